//! The page index of an LTX file.

use ltx::Pgno;
use pyo3::prelude::*;

use crate::errors::{OrRaise, detached};
use crate::pyio::Source;

/// Where one page is in an LTX file.
#[pyclass(frozen, eq, hash, get_all, module = "ltxcore.ltx")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct PageIndexElem {
    pgno: u32,
    offset: u64,
    size: u64,
}

impl From<ltx::PageIndexElem> for PageIndexElem {
    fn from(elem: ltx::PageIndexElem) -> Self {
        Self { pgno: elem.pgno.get(), offset: elem.offset, size: elem.size }
    }
}

#[pymethods]
impl PageIndexElem {
    fn __repr__(&self) -> String {
        format!("PageIndexElem(pgno={}, offset={}, size={})", self.pgno, self.offset, self.size)
    }
}

/// Where each page is in an LTX file.
#[pyclass(frozen, module = "ltxcore.ltx")]
pub(crate) struct PageIndex(ltx::PageIndex);

#[pymethods]
impl PageIndex {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __contains__(&self, pgno: u32) -> bool {
        self.get(pgno).is_some()
    }

    fn get(&self, pgno: u32) -> Option<PageIndexElem> {
        self.0.get(Pgno::new(pgno)?).map(PageIndexElem::from)
    }

    fn items(&self) -> Vec<(u32, PageIndexElem)> {
        self.0.iter().map(|elem| (elem.pgno.get(), elem.into())).collect()
    }

    fn __repr__(&self) -> String {
        format!("<PageIndex of {} pages>", self.0.len())
    }
}

/// Reads the index at the end of an LTX file.
#[pyfunction]
pub(crate) fn read_page_index(py: Python<'_>, file: Source) -> PyResult<PageIndex> {
    let file = file.read_at().or_raise(py)?;
    detached(py, || ltx::read_page_index(&*file)).map(PageIndex)
}
