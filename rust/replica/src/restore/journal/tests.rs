#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use ltx::{PageCount, PageSize, RollingChecksum, Timestamp, TxId};

use super::records::{VERSION, encode, units};
use super::*;
use crate::restore::file::Link;
use crate::restore::marks::{MISSING, Parts};

fn info(max: u64, size: u64) -> FileInfo {
    let (min_txid, max_txid) = (TxId::new(1), TxId::new(max));
    FileInfo { level: 9, min_txid, max_txid, size, created_at: Timestamp::from_millis(-5) }
}

fn head(commit: u32) -> Head {
    let (page_size, commit) = (PageSize::new(512).unwrap(), PageCount::new(commit));
    Head { page_size, commit, replica: 7, inode: 8 }
}

fn part(seed: u64) -> Part {
    Part {
        crc: seed,
        len: seed + 1,
        rolling: RollingChecksum::from_checksum(Checksum::new(seed << 8 | Checksum::FLAG)),
    }
}

const LINK: Link = Link { before: Checksum::NONE, after: Checksum::new(5 | 1 << 63) };

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn begin(&self, head: Head, files: &[FileInfo]) -> Journal {
        self.begin_with(&Beginning { head, files, marks: &[], bytes: 0, before: None })
    }

    fn begin_with(&self, beginning: &Beginning<'_>) -> Journal {
        Journal::begin(&self.path(), &self.dir.path().join("new"), beginning).unwrap()
    }

    fn load(&self) -> Option<Saved> {
        Saved::load(&self.path()).unwrap()
    }

    fn marks(&self) -> Vec<FileState> {
        self.load().unwrap().done.marks
    }
}

fn nothing() -> io::Result<()> {
    Ok(())
}

fn save_nothing(_: &File) -> io::Result<()> {
    Ok(())
}

/// A journal of two files with all kinds of records, and its files.
fn filled(place: &Place) -> Vec<FileInfo> {
    let files = vec![info(3, 5000), info(4, 300)];
    let journal = place.begin(head(20), &files);
    journal.unit(1, 2, &part(2), 20);
    journal.unit(1, 0, &part(0), 10);
    journal.checkpoint(nothing, save_nothing).unwrap();
    journal.whole(2, &Whole { header: 77, checksum: 78, link: Some(LINK) }, 300);
    assert_eq!(journal.kept(), 30);
    assert!(journal.edit(LINK.after, nothing, save_nothing).unwrap());
    journal.close(nothing, save_nothing).unwrap();
    assert_eq!(journal.kept(), 330);
    files
}

#[test]
fn what_is_written_is_read() {
    let place = Place::new();
    let files = filled(&place);
    let saved = place.load().unwrap();
    let mut parts = Parts::default();
    parts.add(0, part(0), 10);
    parts.add(2, part(2), 20);
    let whole = FileState::Whole(Whole { header: 77, checksum: 78, link: Some(LINK) });
    assert_eq!((saved.head, &saved.done.files), (head(20), &files));
    assert_eq!(saved.done.marks, [FileState::Parts(Box::new(parts)), whole]);
    assert_eq!((saved.page_1, saved.done.is_closed), (Some(LINK.after), true));
    assert!(!place.dir.path().join("new").exists());
}

#[test]
fn what_is_not_durable_is_not_recorded() {
    let place = Place::new();
    let journal = place.begin(head(20), &[info(3, 5000)]);
    journal.unit(1, 0, &part(0), 10);
    assert_eq!(place.marks(), [FileState::Nothing], "it waits for a checkpoint");
    journal.checkpoint(|| Err(ErrorKind::Other.into()), |_| panic!("must not be saved")).unwrap_err();
    // Nobody knows what is on the disk: nothing more is recorded.
    journal.checkpoint(nothing, save_nothing).unwrap();
    journal.unit(1, 1, &part(0), 10);
    journal.close(nothing, save_nothing).unwrap();
    assert_eq!((place.marks(), journal.kept()), (vec![FileState::Nothing], 0));
    assert!(!place.load().unwrap().done.is_closed);
}

#[test]
fn what_could_not_be_written_is_tried_again() {
    let place = Place::new();
    let journal = place.begin(head(20), &[info(3, 5000)]);
    journal.unit(1, 0, &part(0), 10);
    journal.checkpoint(nothing, |_| Err(ErrorKind::StorageFull.into())).unwrap();
    assert!(!journal.edit(LINK.after, nothing, |_| Err(ErrorKind::StorageFull.into())).unwrap());
    assert_eq!((place.marks(), journal.kept()), (vec![FileState::Nothing], 0));
    journal.checkpoint(nothing, save_nothing).unwrap();
    let saved = place.load().unwrap();
    assert!(matches!(&saved.done.marks[..], [FileState::Parts(parts)] if parts.next == 1));
    assert_eq!((saved.page_1, journal.kept()), (None, 10));
}

#[test]
fn a_torn_end_is_ignored_wherever_it_is() {
    let place = Place::new();
    filled(&place);
    let whole = fs::read(place.path()).unwrap();
    let first = usize::try_from(head(20).records()).unwrap();
    for len in 0..whole.len() {
        fs::write(place.path(), &whole[..len]).unwrap();
        // Two files have to be in it.
        let Some(saved) = place.load() else {
            assert!(len < first + 128, "{len}");
            continue;
        };
        let records = (len - first) / 64 - 2;
        let done = saved.done.marks.iter().filter(|mark| **mark != FileState::Nothing).count();
        assert_eq!(done, [0, 1, 1, 2, 2, 2][records], "{len}");
        assert_eq!((saved.page_1.is_some(), saved.done.is_closed), (records >= 4, records >= 5), "{len}");
    }
}

#[test]
fn whichever_byte_is_garbled_nothing_is_made_up() {
    let place = Place::new();
    filled(&place);
    let (whole, first) = (fs::read(place.path()).unwrap(), usize::try_from(head(20).records()).unwrap());
    for at in (0..64).chain(first..whole.len()) {
        let mut garbled = whole.clone();
        garbled[at] ^= 0x20;
        fs::write(place.path(), &garbled).unwrap();
        let Some(saved) = place.load() else {
            assert!(at < first + 128, "{at}");
            continue;
        };
        // All that comes after it is not believed either.
        assert!(!saved.done.is_closed, "{at}");
    }
    // A record of another place is none.
    let mut moved = whole.clone();
    moved.copy_within(first + 128..first + 192, first + 192);
    fs::write(place.path(), &moved).unwrap();
    assert!(!place.load().unwrap().done.is_closed);
}

#[test]
fn other_versions_and_other_units_are_not_read() {
    let place = Place::new();
    filled(&place);
    let file = fs::File::options().write(true).open(place.path()).unwrap();
    for (word, value) in [(0, 1), (1, VERSION + 1), (6, units() + 1)] {
        let mut record = head(20).record(2);
        record[word] = value;
        file.write_all_at(&encode(&record, 0), 0).unwrap();
        assert!(place.load().is_none(), "{word}");
    }
    file.write_all_at(&encode(&head(20).record(2), 0), 0).unwrap();
    assert!(place.load().is_some());
}

#[test]
fn a_new_journal_takes_over_and_maps_the_holders() {
    let place = Place::new();
    filled(&place);
    let file = fs::File::options().write(true).open(place.path()).unwrap();
    file.write_all_at(&[1_u32, 2, 9].map(u32::to_be_bytes).concat(), RECORD).unwrap();
    let saved = place.load().unwrap();
    for commit in [2_u32, 20, 25, 40_000] {
        let files = [info(9, 9), saved.done.files[0], saved.done.files[1]];
        let mapping = Mapping::new(&saved.done, &files).unwrap();
        let marks = &mapping.marks;
        let beginning = Beginning {
            head: head(commit),
            files: &files,
            marks,
            bytes: 330,
            before: Some((&saved, &mapping)),
        };
        let journal = place.begin_with(&beginning);
        let new = place.load().unwrap();
        assert_eq!(
            (new.done.files, new.done.marks, new.done.is_closed),
            (files.to_vec(), marks.clone(), false)
        );
        assert_eq!((new.page_1, journal.kept()), (None, 330));
        let mut holders = vec![0; commit as usize];
        place.load().unwrap().holders(0, &mut holders).unwrap();
        let expected: Vec<u32> = [2, 3, u32::MAX]
            .into_iter()
            .chain([0; 17])
            .chain([MISSING | 3; 40_000])
            .take(commit as usize)
            .collect();
        assert_eq!(holders, expected);
    }
}

#[test]
fn a_new_journal_has_the_space_for_all_of_it() {
    let place = Place::new();
    let head = head(100_000);
    let journal = place.begin(head, &[info(3, 500 << 20)]);
    let metadata = journal.file().metadata().unwrap();
    assert!(metadata.blocks() * 512 >= head.records(), "{metadata:?}");
    assert_eq!(metadata.len(), head.records() + RECORD);
    // And it is read as before.
    assert_eq!(place.marks(), [FileState::Nothing]);
}
