# Every target does the set-up it needs; `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
PYTHONS ?= python3.11 python3.12 python3.13
FUZZ_SECONDS ?= 120
TEST_JOBS ?= 2
BIN := $(VENV)/bin
CONSTRAINTS := constraints/pinned.txt
PACKAGING := setup.cfg setup.py pyproject.toml $(CONSTRAINTS) $(wildcard jaxfs/fuse/*.c)
INSTALL = $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check \
	-c $(CONSTRAINTS)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all check bench soak captures fuzz clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(VENV)/.installed ## system packages, .venv, pinned Python packages; quick where they are there

demo: setup ## mount, compile, call, read
	@PATH="$(abspath $(BIN)):$$PATH" examples/demo.sh

test: setup check ## lint, types, layers and the test suite
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile

check: setup
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.tools.style_figures

test-all: ## the tests on each of PYTHONS that is here, also below ~/.pyenv
	@set -e; for name in $(PYTHONS); do \
		found=; \
		for python in $$name $(HOME)/.pyenv/versions/$${name#python}.*/bin/$$name; do \
			if [ -z "$$found" ] && $$python -c '' 2>/dev/null; then found=$$python; fi; \
		done; \
		if [ -z "$$found" ]; then echo "==> $$name is not here, skipped"; continue; fi; \
		echo "==> testing with $$found"; \
		$(MAKE) --no-print-directory test PYTHON=$$found VENV=.venv-$${name#python}; \
	done

bench: $(VENV)/.installed-bench ## jaxfs beside its peers, as a table and JSON
	$(BIN)/python -m benchmarks

soak: setup ## thousands of waiters, dying engines, 100,000 calls; 3 minutes, writes docs/SOAK.md
	$(BIN)/python -m benchmarks.soak --report

captures: setup ## make the pictures in docs/ anew: mountctl top, mountctl doctor, a program
	$(BIN)/python -m benchmarks.captures

fuzz: setup ## damage good programs for FUZZ_SECONDS (120): only throw-away processes may suffer
	$(BIN)/python -m tests.tools.fuzz --seconds $(FUZZ_SECONDS) --report docs/FUZZ.md

clean: ## remove what was built, .venv included
	rm -rf .venv .venv-* build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache jaxfs/fuse/*.so
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.installed: $(PACKAGING)
	@.ci/system-packages $(PYTHON)
	@echo "==> creating $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "==> installing jaxfs and its packages (pyfuse3 is compiled; a minute or two)"
	@$(INSTALL) -e '.[dev]'
	@touch $@
	@echo "==> ready: $(BIN)/mountctl"

$(VENV)/.installed-bench: $(VENV)/.installed
	@echo "==> installing the peers of the benchmark"
	@$(INSTALL) -e '.[bench]'
	@touch $@
