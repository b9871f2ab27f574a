//! What a directory can do: found out by trying, in that directory, with files of our own.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FlockOperation, flock, statfs};

use crate::atomic;
use crate::choice::LockMode;
use crate::fcntl::{self, Kind, Owner, Range};
use crate::mmap::Mapping;

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Lock modes that work, the best one first.
    pub lock_modes: Vec<LockMode>,
    /// Whether two mappings of one file are the same memory, so that WAL works between processes.
    pub has_shared_memory: bool,
    /// Whether several writes can be made one atomic write (F2FS).
    pub has_batches: bool,
    /// The kind of file system, by its magic number; `None` if it has no well-known name.
    pub file_system: Option<&'static str>,
    /// Why not to trust what was found out.
    pub warning: Option<&'static str>,
}

/// Tries a directory out. Its files are private, and gone afterwards.
///
/// # Errors
/// What making a file there answers.
pub fn probe(directory: &Path) -> io::Result<Capabilities> {
    let scratch = Scratch::new(directory)?;
    let (first, second) = (scratch.open()?, scratch.open()?);
    let (a, b) = (first.as_fd(), second.as_fd());
    let mut lock_modes = Vec::new();
    if works(a, b, Owner::Description)? {
        lock_modes.push(LockMode::Ofd);
    }
    // Locks of one process never exclude each other; that the kernel takes them must do.
    let byte = Range::new(0, 1);
    let posix = fcntl::set(a, Owner::Process, Kind::Write, byte).is_ok();
    if posix {
        lock_modes.push(LockMode::Posix);
        fcntl::set(a, Owner::Process, Kind::Unlock, byte)?;
    }
    if flock(a, FlockOperation::NonBlockingLockExclusive).is_ok() {
        if flock(b, FlockOperation::NonBlockingLockShared).is_err() {
            lock_modes.push(LockMode::Flock);
        }
        flock(a, FlockOperation::Unlock)?;
    }
    if scratch.can_make_directories() {
        lock_modes.push(LockMode::Dotfile);
    }
    if lock_modes.contains(&LockMode::Ofd) {
        lock_modes.push(LockMode::Excl);
    }
    lock_modes.push(LockMode::None);
    let (file_system, warning) = file_system(directory)?;
    Ok(Capabilities {
        lock_modes,
        has_shared_memory: shares_memory(&first, &second),
        has_batches: atomic::is_supported(a),
        file_system,
        warning,
    })
}

/// Whether a lock of one description keeps another one out, and lets it in again.
fn works(a: std::os::fd::BorrowedFd<'_>, b: std::os::fd::BorrowedFd<'_>, owner: Owner) -> io::Result<bool> {
    let byte = Range::new(0, 1);
    if fcntl::set(a, owner, Kind::Write, byte).is_err() {
        return Ok(false);
    }
    let excludes = fcntl::set(b, owner, Kind::Read, byte).is_err_and(|error| fcntl::is_conflict(&error));
    // With the locks of SQLite's own VFS it must conflict too.
    let is_seen = fcntl::conflict(b, Owner::Process, Kind::Read, byte)? == Some(Kind::Write);
    fcntl::set(a, owner, Kind::Unlock, byte)?;
    let lets_go = fcntl::conflict(b, owner, Kind::Write, byte)?.is_none();
    Ok(excludes && is_seen && lets_go)
}

fn shares_memory(first: &fs::File, second: &fs::File) -> bool {
    const LEN: usize = 65536;
    if first.set_len(LEN as u64).is_err() {
        return false;
    }
    let map = |file: &fs::File| Mapping::new(file.as_fd(), 0, LEN, true);
    let (Ok(one), Ok(other)) = (map(first), map(second)) else { return false };
    one.write_byte(4097, 0x5a);
    other.read_byte(4097) == 0x5a
}

/// Names of file systems by magic number (statfs(2)), and what is known against them.
fn file_system(directory: &Path) -> io::Result<(Option<&'static str>, Option<&'static str>)> {
    const NETWORK: Option<&str> =
        Some("locks on a network file system depend on its server; wal is not safe there");
    const SHARED: Option<&str> =
        Some("files here may be changed from outside this machine, where locks are not seen");
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "magic numbers are 32 bits wide"
    )]
    let magic = statfs(directory)?.f_type as u32;
    Ok(match magic {
        0xef53 => (Some("ext"), None),
        0x5846_5342 => (Some("xfs"), None),
        0x9123_683e => (Some("btrfs"), None),
        0x0102_1994 => (Some("tmpfs"), None),
        0x794c_7630 => (Some("overlayfs"), None),
        0xf2f5_2010 => (Some("f2fs"), None),
        0x2fc1_2fc1 => (Some("zfs"), None),
        0x6969 => (Some("nfs"), NETWORK),
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => (Some("smb"), NETWORK),
        0x0102_1997 => (Some("9p"), SHARED),
        0x6573_5546 => (Some("fuse"), SHARED),
        _ => (None, None),
    })
}

/// A private file for trying things out.
struct Scratch {
    directory: tempdir::Private,
}

mod tempdir {
    //! A directory of our own inside another one.

    use std::fs;
    use std::io;
    use std::os::unix::fs::DirBuilderExt;
    use std::path::{Path, PathBuf};

    pub(super) struct Private(PathBuf);

    impl Private {
        pub(super) fn inside(directory: &Path) -> io::Result<Self> {
            let mut random = [0; 8];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let path = directory.join(format!(".ltxcore-probe-{:016x}", u64::from_le_bytes(random)));
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            Ok(Self(path))
        }

        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Private {
        fn drop(&mut self) {
            // What cannot be removed was not ours to decide about; it is small.
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

impl Scratch {
    fn new(directory: &Path) -> io::Result<Self> {
        tempdir::Private::inside(directory).map(|directory| Self { directory })
    }

    #[expect(clippy::disallowed_methods, reason = "a file of our own, that no SQLite has open")]
    fn open(&self) -> io::Result<fs::File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(self.directory.path().join("probe"))
    }

    fn can_make_directories(&self) -> bool {
        let path = self.directory.path().join("lock");
        fs::create_dir(&path).is_ok() && fs::create_dir(&path).is_err() && fs::remove_dir(&path).is_ok()
    }
}
