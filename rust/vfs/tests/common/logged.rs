//! SQLite's error log. One callback for the whole process, so a test finds its own lines by the name of its VFS.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Mutex, Once};

use libsqlite3_sys as ffi;

use super::disk::locked;

type Callback = unsafe extern "C" fn(*mut c_void, c_int, *const c_char);

static LINES: Mutex<Vec<(c_int, Vec<u8>)>> = Mutex::new(Vec::new());

/// Begins to listen. First in every test of a binary that looks at the log, since SQLite wants it before anything else.
pub fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let callback: Callback = note;
        // SAFETY: nothing else of this process uses SQLite yet; the option takes a callback of this type and its argument.
        let code =
            unsafe { ffi::sqlite3_config(ffi::SQLITE_CONFIG_LOG, callback, ptr::null_mut::<c_void>()) };
        assert_eq!(code, ffi::SQLITE_OK);
    });
}

/// The lines that contain `part` so far.
pub fn lines(part: &str) -> Vec<(c_int, Vec<u8>)> {
    let holds = |line: &[u8]| line.windows(part.len()).any(|window| window == part.as_bytes());
    locked(&LINES).iter().filter(|(_, line)| holds(line)).cloned().collect()
}

/// The same as text.
pub fn texts(part: &str) -> Vec<String> {
    lines(part).into_iter().map(|(_, line)| String::from_utf8_lossy(&line).into_owned()).collect()
}

unsafe extern "C" fn note(_: *mut c_void, code: c_int, text: *const c_char) {
    // SAFETY: SQLite's message ends in NUL and lives as long as the call.
    let text = unsafe { CStr::from_ptr(text) }.to_bytes().to_owned();
    locked(&LINES).push((code, text));
}
