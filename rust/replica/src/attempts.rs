//! What to do when a plan cannot be carried out: another plan, or the part of it that is enough.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

use ltx::{PageSize, SNAPSHOT_LEVEL};

use crate::client::{FileInfo, ReplicaClient};
use crate::error::{Error, Result};
use crate::history::{MOST_PLANS, Plan, Target, plan_from};
use crate::place::FileKey;
use crate::range::RangeReader;
use crate::restore::RestoreOptions;

/// Plans for `target` and carries the plan out with `work`, such as [`restore`](crate::restore()) with the same `options`.
///
/// A replica goes on living: files are merged and deleted. If `work` fails and files of its plan are not what they were, the
/// same target is planned anew, up to five plans in all; the newest state may be a newer one then. Where files of several
/// page sizes follow each other, those from the last change on are used alone; they must hold every page.
///
/// # Errors
/// As [`plan()`], and what `work` returns in the end.
pub fn with_plan<T>(
    client: &dyn ReplicaClient,
    target: &Target,
    options: &RestoreOptions<'_>,
    work: &mut dyn FnMut(&Plan) -> Result<T>,
) -> Result<(Plan, T)> {
    let by_header = matches!(target, Target::Before(_));
    let from = options.base.map(|base| (base.txid(), base.position));
    for _ in 1..MOST_PLANS {
        let plan = plan_from(client, target, from)?;
        match carry_out(client, &plan, options, work) {
            Err(error) if is_stale(client, &all_files(&plan), by_header, &error) => {}
            done => return done,
        }
    }
    let plan = plan_from(client, target, from)?;
    carry_out(client, &plan, options, work)
}

fn all_files(plan: &Plan) -> Vec<FileInfo> {
    plan.files.iter().chain(plan.since.iter().flatten()).copied().collect()
}

/// Whether `error` may have come about because `files` are no longer what a listing has shown: the one that it is about, if
/// it is about one, or any.
pub(crate) fn is_stale(
    client: &dyn ReplicaClient,
    files: &[FileInfo],
    by_header: bool,
    error: &Error,
) -> bool {
    let concerned = |file: &&FileInfo| error.file().is_none_or(|key| key == file.key());
    let files: Vec<FileInfo> = files.iter().filter(concerned).copied().collect();
    error.may_be_stale() && (error.is_not_found() || !are_listed(client, &files, by_header))
}

fn are_listed(client: &dyn ReplicaClient, files: &[FileInfo], by_header: bool) -> bool {
    (0..=SNAPSHOT_LEVEL).all(|level| {
        let used: Vec<&FileInfo> = files.iter().filter(|file| file.level == level).collect();
        let Some(first) = used.iter().map(|file| file.min_txid).min() else { return true };
        // A storage that cannot be listed any more has not said that anything has changed.
        let Ok(listed) = client.ltx_files(level, first, by_header) else { return true };
        let listed: HashSet<FileInfo> = listed.into_iter().collect();
        used.iter().all(|file| listed.contains(*file))
    })
}

fn carry_out<T>(
    client: &dyn ReplicaClient,
    plan: &Plan,
    options: &RestoreOptions<'_>,
    work: &mut dyn FnMut(&Plan) -> Result<T>,
) -> Result<(Plan, T)> {
    match work(plan) {
        Err(error @ Error::PageSizeMismatch { .. }) => {
            let Some((tail, mixed)) = since_last_change(client, plan, options)? else { return Err(error) };
            match work(&tail) {
                Err(Error::MissingPage { .. }) => Err(mixed),
                done => Ok((tail, done?)),
            }
        }
        done => Ok((plan.clone(), done?)),
    }
}

/// The files of `plan` after the last one that has another page size than the newest, and what to say if these are not
/// enough; `None` if there is no such file any more.
fn since_last_change(
    client: &dyn ReplicaClient,
    plan: &Plan,
    options: &RestoreOptions<'_>,
) -> Result<Option<(Plan, Error)>> {
    let never = AtomicBool::new(false);
    let cancel = options.cancel.unwrap_or(&never);
    let reader = RangeReader { client, retry: options.retry, cancel };
    let mut newer: Option<(usize, FileKey, PageSize)> = None;
    for (place, info) in plan.files.iter().enumerate().rev() {
        let page_size = reader.header(info)?.page_size;
        match newer {
            Some((first, file, of_newest)) if of_newest != page_size => {
                let (actual, expected) = (of_newest.get(), page_size.get());
                let mixed = Error::PageSizeMismatch { file, actual, other: info.key(), expected };
                let files = plan.files.get(first..).unwrap_or_default().to_vec();
                return Ok(Some((Plan { files, since: None, ..plan.clone() }, mixed)));
            }
            _ => newer = Some((place, info.key(), page_size)),
        }
    }
    Ok(None)
}
