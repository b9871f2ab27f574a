//! Processes over one folder, each with some of the actors: one run of a plan.

use std::ffi::{CStr, c_int};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::case::Case;
use crate::step::{ACTORS, Answer, Call, PROCESSES, Step};
use crate::worker::{self, Vfses};

/// Nothing here waits for anything, so this is a call that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const STOCK: &CStr = c"unix";

struct Process {
    pid: c_int,
    socket: UnixStream,
}

/// A world by its name, with what its actors use.
pub fn worlds(case: &Case) -> [(&'static str, Vfses); 4] {
    let mixed = case.is_stock.map(|is_stock| if is_stock { STOCK } else { c"ltx-os" });
    [
        ("stock", [STOCK; ACTORS]),
        ("ours", [c"ltx-os"; ACTORS]),
        ("mixed", mixed),
        ("posix", [c"ltx-posix"; ACTORS]),
    ]
}

/// Runs a plan; what is wrong, or the answers.
pub fn run(folder: &Path, case: &Case, vfses: &Vfses, steps: &[Step]) -> Result<Vec<Answer>, String> {
    fs::create_dir(folder).map_err(|error| error.to_string())?;
    // One more, in which nobody is: visitors come from there.
    let is_ours = |process: usize| {
        let mut here = (0..ACTORS).filter(|actor| case.processes[*actor] == process).peekable();
        here.peek().is_some() && here.all(|actor| vfses[actor] != STOCK)
    };
    let mut all: Vec<_> =
        (0..=PROCESSES).map(|number| Process::start(folder, vfses, is_ours(number), steps)).collect();
    let mut answers = Vec::with_capacity(steps.len());
    let mut wrong = String::new();
    for (number, step) in steps.iter().enumerate() {
        let home = case.processes[step.actor];
        let does = if step.call == Call::Visit && !is_ours(home) { PROCESSES } else { home };
        let answer = all[does].ask(number)?;
        // Those of stock are what is expected here, and compared by the caller.
        if answer != step.expected && step.call != Call::Characteristics {
            let Step { actor, call, expected } = step;
            let _ = write!(wrong, "step {number}, {call:?} by {actor}: {answer:?} instead of {expected:?}");
            break;
        }
        answers.push(answer);
    }
    if wrong.is_empty() {
        wrong = locks_left(folder).join("; ");
    }
    for process in all {
        let status = process.end();
        if status != 0 && wrong.is_empty() {
            wrong = format!("a process ended with {status:#x}");
        }
    }
    if wrong.is_empty() { Ok(answers) } else { Err(wrong) }
}

impl Process {
    fn start(folder: &Path, vfses: &Vfses, is_ours: bool, steps: &[Step]) -> Self {
        let (socket, other) = UnixStream::pair().expect("a pair of sockets");
        socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
        // SAFETY: this process has one thread, and no VFS of ours yet. The child serves and ends without unwinding.
        match unsafe { libc::fork() } {
            0 => {
                drop(socket);
                let serve = || worker::serve(other, folder, vfses, is_ours, steps);
                let code = c_int::from(catch_unwind(AssertUnwindSafe(serve)).is_err());
                // SAFETY: ends the process; what it inherited of the driver is not to be cleaned up here.
                unsafe { libc::_exit(code) }
            }
            pid => {
                assert!(pid > 0, "cannot fork");
                Self { pid, socket }
            }
        }
    }

    fn ask(&mut self, step: usize) -> Result<Answer, String> {
        let mut bytes = [0; Answer::BYTES];
        let number = u32::try_from(step).expect("few steps").to_ne_bytes();
        self.socket
            .write_all(&number)
            .and_then(|()| self.socket.read_exact(&mut bytes))
            .map(|()| Answer::from_bytes(&bytes))
            .map_err(|error| format!("step {step} has no answer: {error}"))
    }

    /// Ends when its socket does, unless it hangs.
    fn end(self) -> c_int {
        let mut status = -1;
        // Processes that were forked later have the socket, too.
        let _ = self.socket.shutdown(Shutdown::Both);
        // SAFETY: it is our child, nobody has waited for it, and there is room for its status.
        unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
        status
    }
}

/// Locks that stay. A child gives up what it inherits when it first runs, which may be later than what its parent does.
fn locks_left(folder: &Path) -> Vec<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = locks_below(folder);
        if found.is_empty() || Instant::now() > until {
            return found;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Locks on files of a folder, as the kernel lists them.
fn locks_below(folder: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(metadata) = entry.metadata() else { continue };
        let inode = format!(":{} ", metadata.ino());
        let locks = table.lines().filter(|line| line.contains(&inode));
        found.extend(locks.map(|lock| format!("{} is left locked: {lock}", entry.file_name().display())));
    }
    found
}
