//! File names as SQLite hands them over: bytes, with URI parameters behind them.

use std::ffi::{CStr, OsStr, c_char};
use std::marker::PhantomData;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::api::SqliteApi;

/// The name of a file that is being opened. Names are bytes: nothing here asks for UTF-8.
#[derive(Clone, Copy)]
pub struct FileName<'a> {
    raw: *const c_char,
    api: &'a SqliteApi,
    has_parameters: bool,
    lifetime: PhantomData<&'a CStr>,
}

impl<'a> FileName<'a> {
    /// # Safety
    /// `raw` is not null, ends in NUL and outlives `'a`; if `has_parameters`, it is the name that SQLite gave to `xOpen` for a
    /// database, journal or WAL.
    pub(crate) unsafe fn new(raw: *const c_char, api: &'a SqliteApi, has_parameters: bool) -> Self {
        Self { raw, api, has_parameters, lifetime: PhantomData }
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &'a Path {
        // SAFETY: whoever made this promised a text that ends in NUL and outlives 'a.
        let bytes = unsafe { CStr::from_ptr(self.raw) }.to_bytes();
        Path::new(OsStr::from_bytes(bytes))
    }

    /// The value of a URI parameter, such as `lock` in `file:app.db?lock=flock`.
    #[must_use]
    pub fn parameter(&self, key: &CStr) -> Option<&'a CStr> {
        if !self.has_parameters {
            return None;
        }
        // SAFETY: whoever made this promised a name of the kind that may be asked for parameters.
        let value = unsafe { self.api.uri_parameter(self.raw, key) };
        // SAFETY: not null; SQLite keeps the parameters in the memory of the name, which outlives 'a, and each ends in NUL.
        (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) })
    }

    /// A parameter as yes or no, by SQLite's rule: a number, or the first letters of yes, true, on, no, false, off.
    #[must_use]
    pub fn flag(&self, key: &CStr) -> Option<bool> {
        let value = self.parameter(key)?.to_bytes().to_ascii_lowercase();
        match value.as_slice() {
            b"yes" | b"true" | b"on" => Some(true),
            b"no" | b"false" | b"off" => Some(false),
            other => Some(std::str::from_utf8(other).ok()?.parse::<i64>().ok()? != 0),
        }
    }
}
