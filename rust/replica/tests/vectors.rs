//! Replicas that the real Litestream 0.5.17 wrote, sound and damaged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a failed test")]
#![allow(clippy::disallowed_methods, reason = "no SQLite has these files open")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use ltx::{Timestamp, TxId};
use replica::{Error, FileClient, RestoreOptions, Target, plan, restore};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors")
}

fn manifest(case: &Path) -> Value {
    serde_json::from_slice(&fs::read(case.join("manifest.json")).unwrap()).unwrap()
}

fn cases(group: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(vectors().join(group)).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.join("manifest.json").exists()).collect();
    cases.sort();
    cases
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::write(&target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// Gives the copy of a case the file times that its manifest notes.
fn set_times(manifest: &Value, case: &Path) {
    for file in manifest["files"].as_array().unwrap() {
        let time = UNIX_EPOCH + Duration::from_nanos(file["mtime_ns"].as_u64().unwrap());
        let path = case.join(file["path"].as_str().unwrap());
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
}

/// Reads a time like `2026-11-20T18:10:49.780Z`, in a year from 1970 to 2099.
fn parse_time(text: &str) -> Timestamp {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap();
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let is_leap = |year: i64| year % 4 == 0;
    let before = |month: i64| [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month as usize - 1];
    let leap_days = (1970..year).filter(|year| is_leap(*year)).count() as i64;
    let extra = i64::from(is_leap(year) && month > 2);
    let days = (year - 1970) * 365 + leap_days + before(month) + extra + day - 1;
    let seconds = days * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19);
    let millis = if text.len() > 20 { number(20..23) } else { 0 };
    Timestamp::from_millis(seconds * 1000 + millis)
}

fn try_restore(replica: &Path, target: &Target) -> Result<(String, bool), Error> {
    let dir = tempfile::tempdir().unwrap();
    let output = dir.path().join("db");
    let client = FileClient::new(replica);
    let result = plan(&client, target).and_then(|plan| {
        let restored = restore(&client, &plan, &output, &RestoreOptions::default())?;
        assert_eq!(restored.pos.txid, plan.txid);
        Ok(plan.clamped)
    });
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), usize::from(result.is_ok()), "{left:?}");
    let clamped = result?;
    let digest = Sha256::digest(fs::read(&output).unwrap());
    Ok((digest.iter().map(|byte| format!("{byte:02x}")).collect(), clamped))
}

fn target(restore: &Value) -> Target {
    match restore["by"].as_str().unwrap() {
        "latest" => Target::Latest,
        "txid" => Target::Txid(restore["txid"].as_str().unwrap().parse().unwrap()),
        "timestamp" => Target::Before(parse_time(restore["timestamp"].as_str().unwrap())),
        by => panic!("{by}"),
    }
}

fn check_case(case: &Path, with_times: bool) -> usize {
    let manifest = manifest(case);
    let name = manifest["case"].as_str().unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&case.join("replica"), &dir.path().join("replica"));
    if with_times {
        set_times(&manifest, dir.path());
    }
    let restores = manifest["restores"].as_array().unwrap();
    let latest = &restores.iter().find(|restore| restore["by"] == "latest").unwrap()["sha256"];
    for expected in restores {
        let target = target(expected);
        let got = try_restore(&dir.path().join("replica"), &target);
        if expected["rc"] == 0 {
            let (sha, _) = got.unwrap_or_else(|error| panic!("{name} {target:?}: {error}"));
            assert_eq!(sha, expected["sha256"].as_str().unwrap(), "{name} {target:?}");
            continue;
        }
        // The one place where we do better: Litestream refuses a time after the newest file ("timestamp does not
        // exist"), so that an idle database cannot be restored to a moment ago. We restore the newest state and say so.
        match (target, got) {
            (Target::Before(time), Ok((sha, clamped))) if time > parse_time("2026-01-01T00:00:00Z") => {
                assert!(clamped, "{name} {target:?}");
                assert_eq!(sha, latest.as_str().unwrap(), "{name} {target:?}");
            }
            (Target::Before(_), Err(Error::TooEarly { .. })) => {}
            (Target::Txid(_), Err(Error::TxidNotAvailable { .. })) => {}
            (_, got) => panic!("{name} {target:?}: {got:?}"),
        }
    }
    restores.len()
}

#[test]
fn every_state_of_every_replica_is_restored_to_the_byte() {
    let cases = cases("v05");
    assert!(cases.len() >= 7, "{cases:?}");
    let restores: usize = cases.iter().map(|case| check_case(case, true)).sum();
    assert!(restores > 100, "{restores}");
}

#[test]
fn replicas_that_lost_their_file_times_restore_by_time_as_well() {
    for case in cases("v05") {
        check_case(&case, false);
    }
}

#[test]
fn damage_is_refused_or_harmless() {
    let cases = cases("v05_corrupt");
    assert!(cases.len() >= 32, "{cases:?}");
    for case in cases {
        let manifest = manifest(&case);
        let name = manifest["case"].as_str().unwrap();
        let dir = tempfile::tempdir().unwrap();
        copy_tree(&vectors().join("v05_corrupt/_base/replica"), dir.path());
        for deleted in manifest["deleted"].as_array().unwrap() {
            fs::remove_file(dir.path().join(deleted.as_str().unwrap())).unwrap();
        }
        if case.join("replica").exists() {
            copy_tree(&case.join("replica"), dir.path());
        }
        let got = try_restore(dir.path(), &Target::Latest).map(|(sha, _)| sha);
        let good = manifest["good_sha256"].as_str().unwrap();
        match name {
            // Nothing shows that there ever was another file.
            "missing_last_delta" => assert_eq!(got.unwrap(), manifest["restore"]["sha256"].as_str().unwrap()),
            // Litestream refuses the whole replica for a file whose range is upside down; nobody can have written it.
            "junk_names" => assert_eq!(got.unwrap(), good),
            _ => {
                let error = got.expect_err(name);
                let typed = matches!(error, Error::Format { .. } | Error::WrongTransactions { .. })
                    || matches!(error, Error::PageSizeMismatch { .. } | Error::FileTooShort { .. });
                assert!(typed, "{name}: {error:?}");
            }
        }
    }
}

#[test]
fn a_file_lost_in_the_middle_is_a_gap_by_time_as_well() {
    let case = vectors().join("v05_corrupt/_base/replica");
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&case, dir.path());
    fs::remove_file(dir.path().join("ltx/0/0000000000000004-0000000000000004.ltx")).unwrap();
    for target in
        [Target::Latest, Target::Before(Timestamp::from_millis(i64::MAX)), Target::Txid(TxId::new(5))]
    {
        let error = try_restore(dir.path(), &target).unwrap_err();
        assert!(matches!(error, Error::Gap { have, .. } if have == TxId::new(3)), "{target:?}: {error}");
    }
}
