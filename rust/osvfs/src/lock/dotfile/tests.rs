use super::*;

/// A database that need not exist, and two who want its lock.
fn scene() -> (tempfile::TempDir, PathBuf, [LockDirectory; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("app.db");
    let both = [LockDirectory::of(&database), LockDirectory::of(&database)];
    (dir, database, both)
}

fn names(directory: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    fs::read_dir(directory).unwrap().map(name).collect()
}

/// The word for a process of this host and boot that has ended.
fn word_of_the_dead() -> String {
    let word = Owner::this_process().to_word();
    let (pid, rest) = word.split_once('-').unwrap();
    assert_eq!(pid, std::process::id().to_string());
    // Linux has no process numbers above 2^22.
    format!("{}-{rest}", (1 << 22) + 1)
}

#[test]
fn a_lock_excludes_and_goes() {
    let (dir, database, [mut first, mut second]) = scene();
    first.take().unwrap();
    first.take().unwrap();
    assert_eq!(names(&lock_path(&database)), [first.owner_file()]);
    assert_eq!(second.take().unwrap_err().code, Code::BUSY);
    assert!(first.let_go().unwrap());
    assert!(first.let_go().unwrap(), "there is nothing to release");
    second.take().unwrap();
    break_lock(&database).unwrap();
    assert_eq!(break_lock(&database).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_lock_is_broken_by_any_name_of_its_database() {
    let (dir, database, [mut first, _]) = scene();
    fs::write(&database, b"").unwrap();
    std::os::unix::fs::symlink(&database, dir.path().join("link")).unwrap();
    first.take().unwrap();
    break_lock(&dir.path().join("link")).unwrap();
    assert!(!first.is_ours().unwrap());
    fs::write(lock_path(&database), b"").unwrap();
    assert_eq!(break_lock(&database).unwrap_err().kind(), io::ErrorKind::NotADirectory);
}

#[test]
fn the_lock_of_a_dead_process_is_taken_over_by_one() {
    let (dir, database, [mut first, mut second]) = scene();
    let lock = lock_path(&database);
    fs::create_dir(&lock).unwrap();
    fs::write(lock.join(format!("{OWNER_FILE}{}", word_of_the_dead())), b"").unwrap();
    // It died while it made or released another lock, too.
    fs::create_dir(aside(&lock, &word_of_the_dead())).unwrap();
    let living = aside(&lock, &Owner::this_process().to_word());
    fs::create_dir(&living).unwrap();
    first.take().unwrap();
    assert_eq!(names(&lock), [first.owner_file()]);
    assert_eq!(second.take().unwrap_err().code, Code::BUSY);
    assert!(first.let_go().unwrap());
    fs::remove_dir(living).unwrap();
    assert_eq!(names(dir.path()), [""; 0], "its leftovers are gone, and only its");
}

#[test]
fn a_lock_that_says_nothing_certain_is_in_use() {
    let (_dir, database, [mut first, _]) = scene();
    let lock = lock_path(&database);
    let dead = format!("{OWNER_FILE}{}", word_of_the_dead());
    let unknown = dead.split('-').enumerate().map(|(at, part)| if at == 3 { UNKNOWN_PLACE } else { part });
    let unknown = unknown.collect::<Vec<_>>().join("-");
    let cases: [&[&str]; 5] = [&[], &["owner"], &["owner-1"], &[&unknown], &[&dead, "more"]];
    for files in cases {
        fs::create_dir(&lock).unwrap();
        for file in files {
            fs::write(lock.join(file), b"").unwrap();
        }
        assert_eq!(first.take().unwrap_err().code, Code::BUSY, "{files:?}");
        assert_eq!(names(&lock).len(), files.len());
        break_lock(&database).unwrap();
    }
    // As other libraries make it.
    fs::write(&lock, b"1234").unwrap();
    assert_eq!(first.take().unwrap_err().code, Code::BUSY);
}

const UNKNOWN_PLACE: &str = "unknown";

#[test]
fn a_lock_that_somebody_removed_is_missed_and_the_next_one_is_left_alone() {
    let (_dir, database, [mut first, mut second]) = scene();
    let lock = lock_path(&database);
    first.take().unwrap();
    fs::remove_dir_all(&lock).unwrap();
    assert!(!first.is_ours().unwrap());
    second.take().unwrap();
    assert!(!first.is_ours().unwrap(), "another one is not ours");
    assert!(!first.let_go().unwrap());
    assert_eq!(names(&lock), [second.owner_file()]);
    assert_eq!(first.take().unwrap_err().code, Code::BUSY);
    assert!(second.is_ours().unwrap());
    // As `unix-dotfile` makes it.
    fs::remove_dir_all(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    assert!(!second.let_go().unwrap());
    assert_eq!(names(&lock), [""; 0]);
    fs::remove_dir(&lock).unwrap();
    second.take().unwrap();
    fs::remove_dir_all(&lock).unwrap();
    second.take().unwrap();
    assert!(second.let_go().unwrap());
}

#[test]
fn a_file_system_that_cannot_rename_so_has_locks_all_the_same() {
    let (dir, database, [mut first, mut second]) = scene();
    first.make_in_place().unwrap();
    first.is_held = true;
    assert_eq!(second.take().unwrap_err().code, Code::BUSY);
    assert_eq!(second.make_in_place().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert!(first.is_ours().unwrap());
    assert!(!second.remove_in_place().unwrap());
    assert!(first.remove_in_place().unwrap());
    assert!(!first.remove_in_place().unwrap());
    assert!(!lock_path(&database).exists());
    // A rename that was done and answered with an error.
    first.make_in_place().unwrap();
    first.is_held = false;
    first.take().unwrap();
    assert!(first.let_go().unwrap());
    assert_eq!(names(dir.path()), [""; 0]);
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_and_not_busy() {
    let dir = tempfile::tempdir().unwrap();
    let mut lock = LockDirectory::of(&dir.path().join("none/app.db"));
    assert_eq!(lock.take().unwrap_err().code, Code::IOERR_LOCK);
}
