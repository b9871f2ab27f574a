//! Who made a lock directory, and whether that process has ended.
//!
//! An owner is written as one word, which is part of file names: files of that name can be renamed and looked for in one step, which
//! their content cannot. It is `PID-STARTED-PLACE-NONCE-HOST`. The place stands for host, boot, PID namespace and time namespace: only
//! where all four are the same does a process number mean the same process, and its start the same moment.

use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Written where a part cannot be found out. Two unknown places are never the same one.
const UNKNOWN: &str = "unknown";

/// Bytes of a host name that are kept, for the reader of a directory listing.
const HOST_LEN: usize = 40;

/// What is known about a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pid: Pid,
    /// In clock ticks since the host was started.
    started: Option<u64>,
    place: Option<u64>,
}

impl Owner {
    pub(super) fn this_process() -> Self {
        let pid = rustix::process::getpid();
        Self { pid, started: start_time(Path::new("/proc/self/stat")), place: place() }
    }

    /// The word for this owner, which no other lock has.
    pub(super) fn to_word(&self) -> String {
        let mut nonce = [0; 8];
        // Without random bytes the word is still that of one process and one start.
        let _ = getrandom::fill(&mut nonce);
        let number = |number: Option<u64>| number.map_or_else(|| UNKNOWN.to_owned(), |it| it.to_string());
        let place = self.place.map_or_else(|| UNKNOWN.to_owned(), |place| format!("{place:016x}"));
        format!(
            "{}-{}-{place}-{:016x}-{}",
            self.pid.as_raw_nonzero(),
            number(self.started),
            u64::from_le_bytes(nonce),
            host_label()
        )
    }

    pub(super) fn parse(word: &str) -> Option<Self> {
        let mut parts = word.splitn(5, '-');
        let pid = parts.next()?.parse().ok().filter(|pid| *pid > 0).and_then(Pid::from_raw)?;
        let started = parts.next()?.parse().ok();
        let place = u64::from_str_radix(parts.next()?, 16).ok();
        // A word that was cut short may be about anybody.
        parts.next().zip(parts.next())?;
        Some(Self { pid, started, place })
    }

    /// Whether this process has ended for sure, as far as `us` can tell.
    pub(super) fn has_ended(&self, us: &Self) -> bool {
        if self.place.is_none() || self.place != us.place {
            return false;
        }
        match test_kill_process(self.pid) {
            // The only answer that means "no such process"; a process of another user answers `EPERM`.
            Err(Errno::SRCH) => true,
            // Some process has this number; a later one, if it was started at another time.
            _ => self.started.is_some_and(|started| start_of(self.pid).is_some_and(|found| found != started)),
        }
    }
}

/// When the process of a number was started; `None` if `/proc` does not show that, or may be about another process.
fn start_of(pid: Pid) -> Option<u64> {
    // `/proc` may be that of an outer PID namespace, with other numbers. There this process has more than one.
    let status = read_small(Path::new("/proc/self/status")).ok()?;
    let mut numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace();
    let ours = rustix::process::getpid().as_raw_nonzero().to_string();
    if numbers.next() != Some(&*ours) || numbers.next().is_some() {
        return None;
    }
    start_time(Path::new(&format!("/proc/{}/stat", pid.as_raw_nonzero())))
}

/// Field 22 of a `stat` file (proc(5)).
fn start_time(stat: &Path) -> Option<u64> {
    // The second field is a name in parentheses, which may hold anything.
    read_small(stat).ok()?.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// A number for the host, boot, PID namespace and time namespace of this process; `None` if one of them cannot be found out.
fn place() -> Option<u64> {
    let boot = read_small(Path::new("/proc/sys/kernel/random/boot_id")).ok()?;
    let pids = fs::read_link("/proc/self/ns/pid").ok()?;
    // Start times are those of a clock that differs between time namespaces, which old kernels do not have.
    let times = match fs::read_link("/proc/self/ns/time") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return None,
        found => found.unwrap_or_default(),
    };
    let system = rustix::system::uname();
    let parts = [
        boot.trim().as_bytes(),
        system.nodename().to_bytes(),
        pids.as_os_str().as_encoded_bytes(),
        times.as_os_str().as_encoded_bytes(),
    ];
    Some(fingerprint(&parts.join(&0)))
}

/// FNV-1a, 64 bits: the same in every build.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The name of this host, for people.
fn host_label() -> String {
    let system = rustix::system::uname();
    let name = system.nodename().to_bytes().iter().take(HOST_LEN);
    name.map(|&byte| if byte.is_ascii_alphanumeric() { char::from(byte) } else { '_' }).collect()
}

#[expect(clippy::disallowed_methods, reason = "no database, and no -shm")]
fn read_small(path: &Path) -> io::Result<String> {
    String::from_utf8(fs::read(path)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_word_says_who_and_is_unique() {
        let us = Owner::this_process();
        let (one, two) = (us.to_word(), us.to_word());
        assert_ne!(one, two);
        for word in [one, two] {
            assert_eq!(Owner::parse(&word), Some(us.clone()));
            assert!(word.len() < 143 - ".ltxcore-lock-".len(), "the shortest limit of a usual file system");
            assert!(!word.contains('/'));
        }
        for word in
            ["", "7", "0-1-2-3-h", "-7-1-2-3-h", "7-1-2", "7-1-2-3", "x-1-2-3-h", "99999999999-1-2-3-h"]
        {
            assert_eq!(Owner::parse(word), None, "{word}");
        }
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn only_what_is_certain_counts_as_dead() {
        let us = Owner::this_process();
        let mut child = Command::new("true").spawn().unwrap();
        let gone = Pid::from_child(&child);
        child.wait().unwrap();
        let later = us.started.map(|started| started + 1);
        let cases = [
            ("this one", us.clone(), false),
            ("an ended one", Owner { pid: gone, ..us.clone() }, true),
            ("its number is that of another one", Owner { started: later, ..us.clone() }, true),
            (
                "an ended one, whose start is not known",
                Owner { pid: gone, started: None, ..us.clone() },
                true,
            ),
            ("its start is not known", Owner { started: None, ..us.clone() }, false),
            ("another place", Owner { pid: gone, place: Some(1), ..us.clone() }, false),
            ("an unknown place", Owner { pid: gone, place: None, ..us.clone() }, false),
        ];
        for (who, owner, is_dead) in cases {
            assert_eq!(owner.has_ended(&us), is_dead, "{who}");
        }
        let nowhere = Owner { place: None, ..us.clone() };
        assert!(!Owner { pid: gone, ..nowhere.clone() }.has_ended(&nowhere), "two unknown places");
    }
}
