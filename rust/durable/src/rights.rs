//! Who may use what is made: files beside a database, in its place, or in a replica.

use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use crate::names::parent;

/// Access rights of new files and directories, before the umask.
#[derive(Clone, Copy, Debug)]
pub struct Rights {
    file_mode: u32,
    pub(crate) dir_mode: u32,
    /// User and group, where they are not to be those of this process.
    owner: Option<(u32, u32)>,
}

impl Rights {
    /// For the owner of this process alone: files `0600`, directories `0700`.
    pub const PRIVATE: Self = Self { file_mode: 0o600, dir_mode: 0o700, owner: None };

    /// For whoever may read `file`: its rights and its owner for files, the rights of its directory for directories.
    ///
    /// # Errors
    /// What `stat` answers.
    pub fn of(file: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(file)?;
        let dir_mode = fs::metadata(parent(file))?.mode() & 0o777;
        let owner = Some((metadata.uid(), metadata.gid()));
        Ok(Self { file_mode: metadata.mode() & 0o666, dir_mode, owner })
    }

    /// The same, but files with `mode`.
    #[must_use]
    pub const fn with_file_mode(self, mode: u32) -> Self {
        Self { file_mode: mode, ..self }
    }

    pub(crate) const fn file_mode(self) -> u32 {
        self.file_mode
    }

    /// Gives a file or directory that was just made to its owner and group, as far as this process may. Another group gets in no
    /// further than the others.
    pub(crate) fn give_to(self, made: &File) -> io::Result<()> {
        let Some((user, group)) = self.owner else { return Ok(()) };
        if !give_owner(made, user, group)? {
            let mode = mode_in_another_group(made.metadata()?.mode());
            // Not allowed for a lock file that another user has made.
            let _ = made.set_permissions(Permissions::from_mode(mode));
        }
        Ok(())
    }
}

/// Gives `file` owner, group and access rights of another one, as far as this process may. Whoever may not use the other one may not
/// use it either, but for its owner.
///
/// # Errors
/// What `fstat` and `fchmod` answer.
pub fn give_rights_of(other: &Metadata, file: &File) -> io::Result<()> {
    let has_group = give_owner(file, other.uid(), other.gid())?;
    // Without set-id bits: they would be of another owner.
    let mode = other.mode() & 0o777;
    let mode = if has_group { mode } else { mode_in_another_group(mode) };
    file.set_permissions(Permissions::from_mode(mode))
}

/// Gives a file away; whether it has the group now. Only root gives files away, and a group is set by those who are in it.
fn give_owner(file: &File, user: u32, group: u32) -> io::Result<bool> {
    let _ = fchown(file, Some(user), None);
    Ok(file.metadata()?.gid() == group || fchown(file, None, Some(group)).is_ok())
}

/// What of `mode`, the access rights of one file, another file may have that could not be given the same group.
///
/// Nobody may do more with the other file. Who is in the old group is one of the others there, and who is in its own group was one
/// of them before: so both may do what group and others may in `mode`. Bits beyond these nine are left out.
const fn mode_in_another_group(mode: u32) -> u32 {
    let both = (mode >> 3) & mode & 0o7;
    mode & 0o700 | both << 3 | both
}

#[cfg(test)]
mod tests {
    use std::fs::DirBuilder;
    use std::os::unix::fs::DirBuilderExt;

    use super::*;
    use crate::{create_dirs, create_new, create_or_empty};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_made_for_a_file_is_used_by_those_who_use_the_file() {
        let root = tempfile::tempdir().unwrap();
        let (dir, database) = (root.path().join("dir"), root.path().join("dir/db"));
        DirBuilder::new().mode(0o750).create(&dir).unwrap();
        create_new(&database, 0o640).unwrap();
        let rights = Rights::of(&database).unwrap();
        create_dirs(&dir.join("meta/ltx"), rights).unwrap();
        create_or_empty(&dir.join("meta/file"), rights).unwrap();
        create_or_empty(&dir.join("meta/other"), rights.with_file_mode(0o600)).unwrap();
        let made = ["meta", "meta/ltx", "meta/file", "meta/other"].map(|name| mode(&dir.join(name)));
        assert_eq!(made, [0o750, 0o750, 0o640, 0o600]);
    }

    #[test]
    fn rights_are_copied_but_for_set_id_bits() {
        let root = tempfile::tempdir().unwrap();
        let (old, new) = (root.path().join("old"), root.path().join("new"));
        let old = create_new(&old, 0o600).unwrap();
        old.set_permissions(Permissions::from_mode(0o4664)).unwrap();
        let file = create_new(&new, 0o600).unwrap();
        give_rights_of(&old.metadata().unwrap(), &file).unwrap();
        assert_eq!(mode(&new), 0o664);
    }

    #[test]
    fn nobody_gets_in_who_could_not_before() {
        let cases = [
            (0o660, 0o600),
            (0o640, 0o600),
            (0o664, 0o644),
            (0o644, 0o644),
            (0o666, 0o666),
            // The group is kept out on purpose, and would be let in with the others.
            (0o604, 0o600),
            (0o6775, 0o755),
        ];
        for (mode, expected) in cases {
            assert_eq!(mode_in_another_group(mode), expected, "{mode:o}");
        }
    }
}
