//! Shared mappings: the only `mmap` of the crate. It hands out raw pointers, never references, since other processes write there.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// A part of a file, mapped and shared with every process that maps it; unmapped when it is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: NonNull<u8>,
    len: usize,
}

// SAFETY: an address and a length. What is behind them is shared between processes anyway, and nothing here looks at it.
#[expect(unsafe_code, reason = "a raw pointer is not Send by itself")]
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes from `offset` on, a multiple of the page size. The file must be that long, or touching what is missing
    /// kills the process.
    ///
    /// # Errors
    /// What `mmap` answers.
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: u64, len: usize, is_writable: bool) -> io::Result<Self> {
        let protection = if is_writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: no address is asked for, so no mapping that exists is touched.
        #[expect(unsafe_code, reason = "the system call itself")]
        let address = unsafe { mmap(std::ptr::null_mut(), len, protection, MapFlags::SHARED, fd, offset) }?;
        Self::of(address.cast(), len)
    }

    /// `len` bytes of zeros that only this process has.
    ///
    /// # Errors
    /// What `mmap` answers.
    pub(crate) fn private(len: usize) -> io::Result<Self> {
        // SAFETY: no address is asked for, so no mapping that exists is touched.
        #[expect(unsafe_code, reason = "the system call itself")]
        let address = unsafe {
            mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }?;
        Self::of(address.cast(), len)
    }

    fn of(address: *mut u8, len: usize) -> io::Result<Self> {
        let address = NonNull::new(address).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { address, len })
    }

    /// The address of byte `offset` of the mapping, which must be inside it.
    pub(crate) fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset < self.len);
        self.address.as_ptr().wrapping_add(offset)
    }
}

/// Single bytes, for finding out whether memory is shared at all.
impl Mapping {
    pub(crate) fn write_byte(&self, offset: usize, byte: u8) {
        assert!(offset < self.len, "inside the mapping");
        // SAFETY: inside a mapping that is there as long as `self`; only `probe` calls this, for a writable one of its own.
        #[expect(unsafe_code, reason = "memory that is shared is never a reference")]
        unsafe {
            self.at(offset).write_volatile(byte);
        }
    }

    pub(crate) fn read_byte(&self, offset: usize) -> u8 {
        assert!(offset < self.len, "inside the mapping");
        // SAFETY: inside a mapping that is there as long as `self`.
        #[expect(unsafe_code, reason = "memory that is shared is never a reference")]
        unsafe {
            self.at(offset).read_volatile()
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length. SQLite has let go of every pointer into it: it calls `xShmUnmap`, or closes
        // the file, only when it uses them no more.
        #[expect(unsafe_code, reason = "the system call itself")]
        let unmapped = unsafe { munmap(self.address.as_ptr().cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}
