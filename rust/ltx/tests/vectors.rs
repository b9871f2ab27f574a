//! Files that Litestream 0.5.17 wrote: each is read, compared with its manifest, and written again.

#![expect(clippy::disallowed_methods, reason = "test vectors are no live databases")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{Content, read, write};
use ltx::{
    CompactOptions, Decoder, Error, Header, PageEncoding, compact, decode_frame, format_file_name,
    read_page_index,
};

/// One object of a manifest's `files`: plain keys and values.
type Entry = BTreeMap<String, String>;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

/// Reads the flat objects in the `files` list; manifests have one key a line.
fn entries(manifest: &str) -> Vec<Entry> {
    let (_, list) = manifest.split_once("\"files\": [").unwrap();
    let (list, _) = list.split_once("\n ]").unwrap();
    list.split("},").map(|object| object.lines().filter_map(key_and_value).collect()).collect()
}

fn key_and_value(line: &str) -> Option<(String, String)> {
    let (key, value) = line.trim().trim_end_matches(',').split_once(": ")?;
    Some((key.trim_matches('"').to_owned(), value.trim_matches('"').to_owned()))
}

/// All files of all cases, with their bytes.
fn good_files() -> Vec<(Entry, PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for case in std::fs::read_dir(vectors().join("v05")).unwrap() {
        let case = case.unwrap().path();
        let manifest = std::fs::read_to_string(case.join("manifest.json")).unwrap();
        for entry in entries(&manifest) {
            let path = case.join(&entry["path"]);
            let bytes = std::fs::read(&path).unwrap();
            files.push((entry, path, bytes));
        }
    }
    assert!(files.len() >= 128, "only {} files found", files.len());
    files
}

/// The manifest's keys, from a file as read.
fn described(content: &Content, size: usize) -> Entry {
    let Header { page_size, commit, min_txid, max_txid, .. } = content.header;
    let pairs = [
        ("size", size.to_string()),
        ("flags", if content.header.flags.no_checksum { "2" } else { "0" }.to_owned()),
        ("page_size", page_size.get().to_string()),
        ("commit", commit.to_string()),
        ("min_txid", min_txid.get().to_string()),
        ("max_txid", max_txid.get().to_string()),
        ("timestamp_ms", content.header.timestamp.millis().to_string()),
        ("pre_checksum", content.header.pre_apply_checksum.to_string()),
        ("wal_offset", content.header.wal_offset.to_string()),
        ("wal_size", content.header.wal_size.to_string()),
        ("post_checksum", content.trailer.post_apply_checksum.to_string()),
        ("file_checksum", content.trailer.file_checksum.to_string()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[test]
fn files_are_what_their_manifest_says() {
    for (entry, path, bytes) in good_files() {
        let content = read(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (key, value) in described(&content, bytes.len()) {
            assert_eq!(value, entry[&key], "{key} of {}", path.display());
        }
        let name = format_file_name(content.header.min_txid, content.header.max_txid);
        assert_eq!(path.file_name().unwrap().to_str(), Some(name.as_str()));
    }
}

#[test]
fn written_again_they_have_the_same_content() {
    for (_, path, bytes) in good_files() {
        let content = read(&bytes).unwrap();
        for encoding in [PageEncoding::Block, PageEncoding::Frame] {
            let again = read(&write(&content.header, &content.pages, encoding)).unwrap();
            assert_eq!((again.header, &again.pages), (content.header, &content.pages), "{}", path.display());
        }
    }
}

#[test]
fn their_indexes_lead_to_their_pages() {
    for (_, path, bytes) in good_files() {
        let content = read(&bytes).unwrap();
        let index = read_page_index(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(index.len(), content.pages.len());
        let mut page = vec![0; content.header.page_size.bytes()];
        for elem in index.iter() {
            let frame = &bytes[elem.offset as usize..][..elem.size as usize];
            assert_eq!(decode_frame(frame, content.header.page_size, &mut page).unwrap(), elem.pgno);
            assert_eq!(page, content.pages[&elem.pgno.get()]);
        }
    }
}

fn compacted(inputs: Vec<&[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    compact(inputs, &mut out, CompactOptions::default(), &mut |_| {}).unwrap();
    out
}

#[test]
fn a_compacted_file_compacts_to_itself() {
    let mut count = 0;
    for (entry, path, bytes) in good_files() {
        if matches!(entry["level"].as_str(), "1" | "2") {
            assert!(compacted(vec![&bytes]) == bytes, "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} files");
}

/// Files of one case and level by their first transaction: last transaction and bytes.
type Level = BTreeMap<u64, (u64, Vec<u8>)>;

fn levels() -> BTreeMap<(PathBuf, u8), Level> {
    let mut levels = BTreeMap::<_, Level>::new();
    for (entry, path, bytes) in good_files() {
        let case = path.ancestors().nth(4).unwrap().to_owned();
        let header = *Decoder::new(bytes.as_slice()).unwrap().header();
        let level = levels.entry((case, entry["level"].parse().unwrap())).or_default();
        level.insert(header.min_txid.get(), (header.max_txid.get(), bytes));
    }
    levels
}

/// The files of `level` that cover exactly `min..=max`.
fn cover(level: &Level, min: u64, max: u64) -> Option<Vec<&[u8]>> {
    let mut inputs = Vec::new();
    let mut next = min;
    while next <= max {
        let (last, bytes) = level.get(&next)?;
        inputs.push(bytes.as_slice());
        next = last + 1;
    }
    (next == max + 1).then_some(inputs)
}

#[test]
fn compaction_gives_litestreams_own_bytes() {
    let levels = levels();
    let mut count = 0;
    for ((case, number), level) in levels.iter().filter(|((_, number), _)| matches!(number, 1 | 2)) {
        let Some(sources) = levels.get(&(case.clone(), number - 1)) else { continue };
        for (min, (max, expected)) in level {
            let Some(inputs) = cover(sources, *min, *max) else { continue };
            assert!(compacted(inputs) == *expected, "{} level {number}: {min}-{max}", case.display());
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} compactions");
}

#[test]
fn damaged_files_are_refused() {
    let mut count = 0;
    for variant in std::fs::read_dir(vectors().join("v05_corrupt")).unwrap() {
        let variant = variant.unwrap().path();
        let name = variant.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "_base" || name == "junk_names" {
            continue;
        }
        for path in ltx_files(&variant) {
            let result = read(&std::fs::read(&path).unwrap());
            let error = result.expect_err(&format!("{} must not read", path.display()));
            let cut = matches!(error, Error::Truncated { .. });
            assert_eq!(cut, name.contains("_trunc_"), "{name}: {error:?}");
            count += 1;
        }
    }
    assert!(count >= 30, "only {count} files");
}

fn ltx_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(ltx_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "ltx") {
            found.push(path);
        }
    }
    found
}
