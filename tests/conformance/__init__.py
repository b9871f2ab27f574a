"""SQLite's own test programs over our VFS, each with negative controls, and the suites of its users: `make conformance`.

`python -m tests.conformance --help` has the options, `checks.py`, `tcl_files.py` and `controls.py` what is run,
what is not, and why.
"""
