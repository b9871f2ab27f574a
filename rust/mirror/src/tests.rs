use ltx::{Checksum, Encoder, Timestamp};

use super::*;
use replica::FileClient;

const SIZE: PageSize = PageSize::MIN;

/// A page of a database: all bytes the same, but for page 1 the header fields that matter here.
fn page(pgno: u32, fill: u8) -> Vec<u8> {
    let mut page = vec![fill; SIZE.bytes()];
    if pgno == 1 {
        page[16..18].copy_from_slice(&512_u16.to_be_bytes());
        page[18..20].copy_from_slice(&[2, 2]);
        page[24..28].copy_from_slice(&7_u32.to_be_bytes());
    }
    page
}

/// A replica with one file for each of `steps`: its commit size, its pages, and what they are filled with.
fn replica(dir: &Path, steps: &[(u32, &[u32], u8)]) -> (FileClient, Vec<FileInfo>) {
    let client = FileClient::new(dir.join("replica"));
    let mut files = Vec::new();
    for (txid, (commit, pgnos, fill)) in (2..).map(TxId::new).zip(steps) {
        files.push(write(&client, txid, *commit, pgnos, *fill));
    }
    (client, files)
}

/// One file of a replica: `commit` pages, of which it has `pgnos`.
fn write(client: &FileClient, txid: TxId, commit: u32, pgnos: &[u32], fill: u8) -> FileInfo {
    let header = Header::new(SIZE, PageCount::new(commit), txid, txid);
    let mut encoder = Encoder::new(Vec::new(), &header).unwrap();
    for pgno in pgnos {
        encoder.write_page(Pgno::new(*pgno).unwrap(), &page(*pgno, fill)).unwrap();
    }
    let (bytes, _) = encoder.finish(Checksum::NONE).unwrap();
    client.write_ltx_file(0, txid, txid, &mut bytes.as_slice()).unwrap()
}

fn database(dir: &Path, pages: u32) -> Followed {
    let path = dir.join("out.db");
    fs::write(&path, (1..=pages).flat_map(|pgno| page(pgno, 9)).collect::<Vec<u8>>()).unwrap();
    Followed::open(&path).unwrap()
}

fn bytes(followed: &Followed) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(ReadAt::len(followed.file()).unwrap()).unwrap()];
    ReadAt::read_exact_at(followed.file(), &mut bytes, 0).unwrap();
    bytes
}

fn journal_of(dir: &Path) -> Vec<u8> {
    let path = dir.join("out.db-journal");
    let mut bytes = vec![0; usize::try_from(fs::metadata(&path).unwrap().len()).unwrap()];
    OwnFile::open(&path).unwrap().file().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn steps_are_merged_and_every_one_gets_a_new_change_counter() {
    let dir = tempfile::tempdir().unwrap();
    let followed = database(dir.path(), 3);
    let (client, files) = replica(dir.path(), &[(3, &[2], 1), (4, &[2, 4], 2)]);
    let step = followed.merge(&client, &files).unwrap();
    assert_eq!(step.txid(), TxId::new(3));
    followed.save(&step, &dir.path().join("twin")).unwrap();
    followed.write(&step).unwrap();
    followed.commit().unwrap();
    let found = bytes(&followed);
    assert_eq!(found.len(), 4 * 512);
    assert_eq!(&found[18..28], &[1, 1, 9, 9, 9, 9, 0, 0, 0, 8]);
    let fills: Vec<u8> = [600, 1100, 1600].map(|at| found[at]).to_vec();
    assert_eq!(fills, [2, 9, 2]);
    assert!(!dir.path().join("out.db-journal").exists());
}

#[test]
fn the_journal_has_the_old_pages_those_cut_off_too() {
    let dir = tempfile::tempdir().unwrap();
    let followed = database(dir.path(), 5);
    let (client, files) = replica(dir.path(), &[(3, &[2], 1)]);
    let step = followed.merge(&client, &files).unwrap();
    followed.save(&step, &dir.path().join("twin")).unwrap();
    let journal = journal_of(dir.path());
    let record = 4 + 512 + 4;
    let word = |at: usize| u32::from_be_bytes(journal[at..at + 4].try_into().unwrap());
    assert_eq!([8, 12, 16, 20, 24].map(word), [4, 7, 5, 512, 512]);
    assert_eq!([0, 1, 2, 3].map(|at| word(512 + at * record)), [1, 2, 4, 5]);
    // Bytes 312 and 112 of each page, and the nonce.
    assert_eq!(word(512 + 2 * record - 4), 7 + 9 + 9);
    assert_eq!(journal.len(), 512 + 4 * record);
}

#[test]
fn whoever_truncates_the_second_name_truncates_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let followed = database(dir.path(), 1);
    let (client, files) = replica(dir.path(), &[(1, &[1], 1)]);
    let step = followed.merge(&client, &files).unwrap();
    let twin = dir.path().join("twin");
    fs::write(&twin, b"what an earlier one left").unwrap();
    followed.save(&step, &twin).unwrap();
    fs::write(&twin, b"0000000000000005\n").unwrap();
    assert_eq!(journal_of(dir.path()), b"0000000000000005\n");
}

#[test]
fn without_hard_links_there_is_a_journal_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let followed = database(dir.path(), 1);
    let (client, files) = replica(dir.path(), &[(1, &[1], 1)]);
    let step = followed.merge(&client, &files).unwrap();
    followed.save(&step, &dir.path().join("no such directory/twin")).unwrap();
    assert_eq!(journal_of(dir.path()).len(), 512 + 4 + 512 + 4);
}

#[test]
fn a_journal_that_is_there_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let followed = database(dir.path(), 1);
    let (client, files) = replica(dir.path(), &[(1, &[1], 1)]);
    let step = followed.merge(&client, &files).unwrap();
    fs::write(dir.path().join("out.db-journal"), b"somebody's").unwrap();
    let error = followed.save(&step, &dir.path().join("twin")).unwrap_err();
    assert!(matches!(error, Error::Output { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
}

#[test]
fn another_page_size_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let followed = database(dir.path(), 2);
    ltx::WriteAt::write_all_at(followed.file(), &[4, 0], 16).unwrap();
    let (client, files) = replica(dir.path(), &[(2, &[1], 1)]);
    let step = followed.merge(&client, &files).unwrap();
    let error = followed.save(&step, &dir.path().join("twin")).unwrap_err();
    assert!(matches!(error, Error::PageSizeChanged { expected: 1024, actual: 512 }));
}

#[test]
fn a_damaged_file_is_found_before_the_database_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let followed = database(dir.path(), 2);
    let (client, files) = replica(dir.path(), &[(2, &[2], 1), (2, &[2], 2)]);
    let path = client.root().join("ltx/0").join(ltx::format_file_name(TxId::new(3), TxId::new(3)));
    let len = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();
    fs::write(&path, vec![0; len]).unwrap();
    let before = bytes(&followed);
    let error = followed.merge(&client, &files).unwrap_err();
    assert!(matches!(error, Error::Format { file, .. } if file.min_txid == TxId::new(3)), "{error}");
    assert_eq!(bytes(&followed), before);
    assert_eq!(files[0].created_at, Timestamp::default());
}

#[test]
fn one_follows_and_excludes_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let followed = database(dir.path(), 1);
    let again = Followed::open(&dir.path().join("out.db")).unwrap();
    let locks =
        (followed.try_claim().unwrap().unwrap(), followed.try_exclude(Duration::ZERO).unwrap().unwrap());
    assert!(again.try_claim().unwrap().is_none());
    assert!(again.try_exclude(Duration::ZERO).unwrap().is_none());
    drop(locks);
    assert!(again.try_claim().unwrap().is_some());
    assert!(again.try_exclude(Duration::ZERO).unwrap().is_some());
}

#[test]
fn a_sidecar_is_replaced_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.db-txid");
    fs::write(dir.path().join("out.db-txid.new"), "of a process that was killed").unwrap();
    for text in ["first", "second one"] {
        write_sidecar(&path, text.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
    let missing = write_sidecar(&dir.path().join("missing/x"), b"").unwrap_err();
    assert!(matches!(missing, Error::Output { .. }), "{missing}");
}

/// What differs between the database and the files from the first of `steps` on, which is a snapshot; the pages of the last file
/// are left out if `last_is_step`.
fn difference(
    dir: &Path,
    followed: &Followed,
    steps: &[(u32, &[u32], u8)],
    last_is_step: bool,
) -> Option<u32> {
    let client = FileClient::new(dir.join("replica"));
    let mut files = Vec::new();
    for (txid, (commit, pgnos, fill)) in (1..).map(TxId::new).zip(steps) {
        files.push(write(&client, txid, *commit, pgnos, *fill));
    }
    let step = last_is_step.then(|| followed.merge(&client, &files[files.len() - 1..]).unwrap());
    let mut seen = 0;
    let mut watch = |_, _| {
        seen += 1;
        Ok(())
    };
    followed.first_difference(&client, &files, step.as_ref(), &mut watch).unwrap().map(Pgno::get)
}

#[test]
fn a_database_is_compared_with_its_replica() {
    type File = (u32, &'static [u32], u8);
    let all: &[u32] = &[1, 2, 3];
    let cases: [(&[File], bool, Option<u32>); 8] = [
        (&[(3, all, 9)], false, None),
        (&[(3, all, 9), (3, &[2], 1)], false, Some(2)),
        // What a step will write need not be there yet; what it does not has to be.
        (&[(3, all, 9), (3, &[2], 1)], true, None),
        (&[(3, all, 9), (3, &[2], 1), (3, &[3], 9)], true, Some(2)),
        // Nor the size: but a page that nobody brings is missed.
        (&[(3, all, 9), (4, &[4], 1)], true, None),
        (&[(3, all, 9), (2, &[1], 9)], true, None),
        (&[(2, &[1, 2], 9)], false, Some(1)),
        (&[(4, &[1, 2, 3, 4], 9), (4, &[2], 1)], true, Some(4)),
    ];
    for (steps, last_is_step, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let followed = database(dir.path(), 3);
        assert_eq!(difference(dir.path(), &followed, steps, last_is_step), expected, "{steps:?}");
    }
}

#[test]
fn what_a_follower_changes_in_page_1_makes_no_difference() {
    for (at, expected) in [(18, None), (24, None), (92, None), (99, None), (28, Some(1)), (100, Some(1))] {
        let dir = tempfile::tempdir().unwrap();
        let followed = database(dir.path(), 3);
        ltx::WriteAt::write_all_at(followed.file(), &[1], at).unwrap();
        assert_eq!(difference(dir.path(), &followed, &[(3, &[1, 2, 3], 9)], false), expected, "byte {at}");
    }
}

#[test]
fn page_1_is_known_as_the_replica_has_it_if_a_step_brings_it() {
    let dir = tempfile::tempdir().unwrap();
    let followed = database(dir.path(), 3);
    let (client, files) = replica(dir.path(), &[(3, &[2], 1), (3, &[1, 3], 2)]);
    assert_eq!(followed.merge(&client, &files[..1]).unwrap().page_1().unwrap(), None);
    let step = followed.merge(&client, &files).unwrap();
    followed.save(&step, &dir.path().join("twin")).unwrap();
    followed.write(&step).unwrap();
    followed.commit().unwrap();
    let (theirs, ours) = (page(1, 2), bytes(&followed));
    assert_ne!(theirs[..100], ours[..100]);
    let checksum = ltx::page_checksum(Pgno::FIRST, &theirs);
    assert_eq!(step.page_1().unwrap(), Some((checksum, theirs[..100].to_vec())));
}

#[test]
fn a_whole_database_may_bring_another_page_size() {
    let dir = tempfile::tempdir().unwrap();
    let followed = database(dir.path(), 4);
    ltx::WriteAt::write_all_at(followed.file(), &[4, 0], 16).unwrap();
    let client = FileClient::new(dir.path().join("replica"));
    let file = write(&client, TxId::FIRST, 2, &[1, 2], 3);
    let step = followed.merge(&client, &[file]).unwrap();
    followed.save(&step, &dir.path().join("twin")).unwrap();
    // Every old page, at the old size: 2 of 1024 bytes.
    assert_eq!(journal_of(dir.path()).len(), 512 + 2 * (4 + 1024 + 4));
    followed.write(&step).unwrap();
    followed.commit().unwrap();
    assert_eq!(bytes(&followed).len(), 2 * 512);
}
