//! Directories of somebody else, and what others have put into ours.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::SystemTime;

use tempfile::TempDir;

use super::{OTHER, REPLICA, SIZES, cached, content, info, memory, whole};
use crate::cache::{Blocks, Cached};
use crate::source::open_source;

/// What is in a directory, and below.
fn listed(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        if path.is_dir() {
            found.extend(listed(&path));
        }
    }
    found.sort();
    found
}

/// Reads a file by way of a directory that is no cache: nothing in it changes, and the trouble says why.
fn refused(path: &Path, why: &str) {
    let (memory, before) = (memory(&SIZES), listed(path));
    let blocks = Arc::new(Blocks::new(path, 1 << 20, REPLICA));
    let client = Cached::new(Arc::clone(&memory), Arc::clone(&blocks));
    for _ in 0..2 {
        assert_eq!(whole(&client, &info(5, SIZES[4])), content(5, SIZES[4]));
    }
    let said = blocks.trouble().unwrap();
    assert!(said.contains(why), "{said}");
    assert_eq!(memory.read_bytes(), 2 * SIZES[4] as u64);
    assert_eq!(listed(path), before);
}

#[test]
fn a_directory_of_something_else_is_not_used() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("Photos")).unwrap();
    fs::write(folder.path().join("Photos/wedding.jpg"), [1; 3000]).unwrap();
    refused(folder.path(), "not marked as a cache");
    // The mark of another program.
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# Of another program, which says so at length in this line.\n";
    fs::write(folder.path().join("CACHEDIR.TAG"), tag).unwrap();
    refused(folder.path(), "not marked as a cache");
}

#[test]
fn what_is_not_of_the_cache_stays() {
    let (memory, folder) = (memory(&[20_000; 100]), TempDir::new().unwrap());
    whole(&cached(&memory, folder.path(), 1 << 20), &info(1, 20_000));
    let odd = ["home/Photos/wedding.jpg", "home/0-1-1-1-1.0", "file", &format!("{OTHER}/below/0-1-1-1-1.0")];
    let odd = odd.map(|name| folder.path().join(name));
    let in_ours = ["wedding.jpg", "0-1-1-1-1", "new-1"].map(|name| folder.path().join(REPLICA).join(name));
    for path in odd.iter().chain(&in_ours) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, [1; 900_000]).unwrap();
        open_source(path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    }
    // What was left by a process that was killed is the cache's.
    let left = folder.path().join(REPLICA).join("new-1-2");
    fs::write(&left, [1; 300_000]).unwrap();
    open_source(&left).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let blocks = Arc::new(Blocks::new(folder.path(), 1 << 20, REPLICA));
    let client = Cached::new(Arc::clone(&memory), Arc::clone(&blocks));
    for number in 1..=100 {
        whole(&client, &info(number, 20_000));
    }
    assert_eq!(blocks.trouble(), None);
    assert!(odd.iter().chain(&in_ours).all(|path| path.exists()));
    assert!(!left.exists());
    let before = memory.read_bytes();
    whole(&client, &info(100, 20_000));
    assert_eq!(memory.read_bytes(), before, "the cache is on");
}

#[test]
fn a_directory_that_others_may_change_is_not_used() {
    let root = TempDir::new().unwrap();
    let (open, link) = (root.path().join("open"), root.path().join("link"));
    fs::create_dir(&open).unwrap();
    symlink(&open, &link).unwrap();
    for mode in [0o777, 0o770, 0o1777] {
        fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
        refused(&open, "other users may write");
        refused(&link, "other users may write");
    }
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let memory = memory(&SIZES);
    for path in [&open, &link] {
        whole(&cached(&memory, path, 1 << 20), &info(2, 5000));
        assert_eq!(memory.read_bytes(), 5000);
    }
    // A link in place of what is the replica's.
    let elsewhere = TempDir::new().unwrap();
    symlink(elsewhere.path(), open.join(OTHER)).unwrap();
    assert!(Blocks::new(&open, 1 << 20, OTHER).trouble().unwrap().contains("link"));
}

#[test]
fn links_are_not_followed() {
    let (memory, root) = (memory(&[5000; 40]), TempDir::new().unwrap());
    let (folder, victim) = (root.path().join("cache"), root.path().join("victim"));
    let name = |number: u64| format!("0-{number:x}-{number:x}-1388-{:x}.0", 1_700_000_000_000_u64);
    whole(&cached(&memory, &folder, 1 << 20), &info(1, 5000));
    fs::write(&victim, "precious").unwrap();
    let block = folder.join(REPLICA).join(name(1));
    fs::rename(&block, root.path().join("block")).unwrap();
    symlink(root.path().join("block"), &block).unwrap();
    symlink(&victim, folder.join(REPLICA).join(name(2))).unwrap();
    for file in ["usage", "usage.new"] {
        drop(fs::remove_file(folder.join(file)));
        symlink(&victim, folder.join(file)).unwrap();
    }
    let before = memory.read_bytes();
    let blocks = Arc::new(Blocks::new(&folder, 1 << 20, REPLICA));
    let client = Cached::new(Arc::clone(&memory), Arc::clone(&blocks));
    for number in 1..=40 {
        assert_eq!(whole(&client, &info(number, 5000)), content(number, 5000));
    }
    assert_eq!(memory.read_bytes() - before, 40 * 5000);
    assert_eq!(blocks.trouble(), None);
    let mut text = String::new();
    open_source(&victim).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "precious");
    drop((client, blocks));
    fs::remove_file(folder.join("lock")).unwrap();
    symlink(root.path().join("none"), folder.join("lock")).unwrap();
    let blocks = Arc::new(Blocks::new(&folder, 1 << 20, OTHER));
    let client = Cached::new(Arc::clone(&memory), Arc::clone(&blocks));
    for number in 1..=40 {
        whole(&client, &info(number, 5000));
    }
    assert!(blocks.trouble().is_some());
    assert!(!root.path().join("none").exists());
}

#[test]
fn a_pipe_keeps_nobody_waiting() {
    let (memory, folder) = (memory(&[5000; 40]), TempDir::new().unwrap());
    whole(&cached(&memory, folder.path(), 1 << 20), &info(1, 5000));
    let block = folder.path().join(REPLICA).join(format!("0-1-1-1388-{:x}.0", 1_700_000_000_000_u64));
    for path in [block, folder.path().join("usage")] {
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    }
    let client = cached(&memory, folder.path(), 1 << 20);
    for number in 1..=40 {
        assert_eq!(whole(&client, &info(number, 5000)), content(number, 5000));
    }
    // Like a file that is not there: it gives way.
    let before = memory.read_bytes();
    whole(&client, &info(1, 5000));
    assert_eq!(memory.read_bytes(), before);
}

#[test]
fn a_directory_that_cannot_be_used_is_no_failure() {
    let (memory, folder) = (memory(&SIZES), TempDir::new().unwrap());
    fs::write(folder.path().join("file"), b"x").unwrap();
    let blocks = Arc::new(Blocks::new(&folder.path().join("file"), 1 << 30, REPLICA));
    let client = Cached::new(Arc::clone(&memory), Arc::clone(&blocks));
    for _ in 0..2 {
        for (number, size) in (1..).zip(SIZES) {
            assert_eq!(whole(&client, &info(number, size)), content(number, size));
        }
    }
    assert!(blocks.trouble().is_some());
    assert!(blocks.trouble().is_none(), "once");
    // A block that can neither be read nor removed.
    let other = folder.path().join("other");
    let blocks = Arc::new(Blocks::new(&other, 1 << 30, REPLICA));
    let path = other.join(REPLICA).join(format!("0-1-1-1-{:x}.0", 1_700_000_000_000_u64));
    fs::create_dir_all(path.join("below")).unwrap();
    let client = Cached::new(Arc::clone(&memory), Arc::clone(&blocks));
    assert_eq!(whole(&client, &info(1, 1)), content(1, 1));
    // It is no trouble for the others.
    assert_eq!(whole(&client, &info(2, 5000)), content(2, 5000));
    assert_eq!(blocks.trouble(), None);
    let before = memory.read_bytes();
    whole(&client, &info(2, 5000));
    assert_eq!(memory.read_bytes(), before);
}

#[test]
fn nobody_else_can_read_it() {
    let (memory, folder) = (memory(&SIZES), TempDir::new().unwrap());
    whole(&cached(&memory, &folder.path().join("new"), 1 << 20), &info(2, 5000));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("new")), 0o700);
    assert_eq!(mode(&folder.path().join("new").join(REPLICA)), 0o700);
    for file in fs::read_dir(folder.path().join("new").join(REPLICA)).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
}
