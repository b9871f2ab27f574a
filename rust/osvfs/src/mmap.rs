//! Memory for SQLite: shared with a file, or of this process alone. It hands out raw pointers, never references, since other
//! processes write there.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use forks::UnsharedMemory;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Memory that stays where it is until this is dropped.
#[derive(Debug)]
pub(crate) enum Mapping {
    /// A part of a file, shared with every process that maps it, though not with a forked child.
    Shared(UnsharedMemory),
    Private {
        address: NonNull<u8>,
        len: usize,
    },
}

// SAFETY: an address and a length. Nothing here looks at what is behind them.
#[expect(unsafe_code, reason = "a raw pointer is not Send by itself")]
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `len` bytes from `offset` on, a multiple of the page size. The file must be that long, or touching what is missing
    /// kills the process.
    ///
    /// # Errors
    /// What `mmap` answers.
    pub(crate) fn new(fd: BorrowedFd<'_>, offset: u64, len: usize, is_writable: bool) -> io::Result<Self> {
        UnsharedMemory::map(fd, offset, len, is_writable).map(Self::Shared)
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
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self::Private { address, len })
    }

    fn len(&self) -> usize {
        match self {
            Self::Shared(memory) => memory.len(),
            Self::Private { len, .. } => *len,
        }
    }

    /// The address of byte `offset` of the mapping, which must be inside it.
    pub(crate) fn at(&self, offset: usize) -> *mut u8 {
        debug_assert!(offset < self.len());
        match self {
            Self::Shared(memory) => memory.address(),
            Self::Private { address, .. } => address.as_ptr(),
        }
        .wrapping_add(offset)
    }
}

/// Single bytes, for finding out whether memory is shared at all.
impl Mapping {
    pub(crate) fn write_byte(&self, offset: usize, byte: u8) {
        assert!(offset < self.len(), "inside the mapping");
        // SAFETY: inside a mapping that is there as long as `self`; only `probe` calls this, for a writable one of its own.
        #[expect(unsafe_code, reason = "memory that is shared is never a reference")]
        unsafe {
            self.at(offset).write_volatile(byte);
        }
    }

    pub(crate) fn read_byte(&self, offset: usize) -> u8 {
        assert!(offset < self.len(), "inside the mapping");
        // SAFETY: inside a mapping that is there as long as `self`.
        #[expect(unsafe_code, reason = "memory that is shared is never a reference")]
        unsafe {
            self.at(offset).read_volatile()
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Self::Private { address, len } = *self {
            // SAFETY: mapped in `private` with this length. SQLite has let go of every pointer into it: it calls `xShmUnmap`,
            // or closes the file, only when it uses them no more.
            #[expect(unsafe_code, reason = "the system call itself")]
            let unmapped = unsafe { munmap(address.as_ptr().cast(), len) };
            debug_assert!(unmapped.is_ok());
        }
    }
}
