# Every target does the set-up it needs; `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
FUZZ_SECONDS ?= 120
# of make soak: all attacks together, and each alone
SECONDS ?= 60
ALONE_SECONDS ?= $(SECONDS)
# of make stress: rounds, and files or directories
N ?= 10
FILES ?= tests
FUZZ_STATES ?= 500
TEST_JOBS ?= 2
# of make gpu: which checks, with what gpu-bring collected for these versions of Python
PARTS ?= ABDCEFGH
GPU_FOLDER ?= build/gpu-bring
GPU_PYTHON ?= 3.12
GPU_OUT ?= build/gpu
BIN := $(VENV)/bin
CONSTRAINTS := constraints/pinned.txt
PACKAGING := setup.cfg setup.py pyproject.toml $(CONSTRAINTS) $(wildcard jaxfs/fuse/*.c)
INSTALL = $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check \
	-c $(CONSTRAINTS)

.DEFAULT_GOAL := help
# the tests that need no mount
UNMOUNTED := $(wildcard tests/vfs tests/calls tests/arrays tests/programs)
COVERAGE := build/coverage.json
.PHONY: help setup setup-dev demo test test-all check coverage bench soak stress captures fuzz clean
.PHONY: gpu gpu-bring gpu-try

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: $(VENV)/.installed ## what `make demo` needs: system packages, .venv, pinned packages

setup-dev: $(VENV)/.installed-dev ## what `make test` needs

demo: setup ## mount, compile, call, read
	@PATH="$(abspath $(BIN)):$$PATH" examples/demo.sh

test: setup-dev check gpu-try ## lint, types, layers, a try of `make gpu`, and the test suite
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile

check: setup-dev ## lint, format, types, layers, figures of style
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.tools.style_figures --check

test-all: ## `make test` on each supported Python that is here, also below ~/.pyenv
	@.ci/run all

coverage: setup-dev ## branch coverage of vfs, calls, arrays and programs by tests without a mount
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q $(UNMOUNTED)
	$(BIN)/coverage combine -q
	@mkdir -p $(dir $(COVERAGE))
	$(BIN)/coverage json -q -o $(COVERAGE)
	$(BIN)/python -m docs.tools.style_figures --coverage $(COVERAGE)

bench: $(VENV)/.installed-bench ## jaxfs beside its peers, as a table and JSON
	$(BIN)/python -m benchmarks

gpu: ## checks PARTS (ABDCEFGH) on an NVIDIA GPU, in 5 minutes, with the JAX of PYTHON; no network
	@PYTHON="$(PYTHON)" benchmarks/gpu/on_machine.sh $(GPU_FOLDER) --parts $(PARTS) --out $(GPU_OUT) --report

gpu-bring: setup-dev ## collect in GPU_FOLDER what a GPU machine with GPU_PYTHON (3.12) lacks
	$(BIN)/python -m benchmarks.gpu.bring $(GPU_FOLDER) $(GPU_PYTHON)

gpu-try: setup-dev ## run the checks of `make gpu` on the CPU with small arrays; fails if one does not run
	$(BIN)/python -m benchmarks.gpu --platform cpu --small --budget 1800 --out build/gpu-try

soak: setup ## waiters, dying engines, 100,000 calls, attacks of SECONDS (60); writes docs/reports/soak.md
	$(BIN)/python -m tests.soak --report --seconds $(SECONDS) --alone-seconds $(ALONE_SECONDS)

stress: setup-dev ## FILES (tests) N times (10) beside a busy core; goes on where it was interrupted
	$(BIN)/python -m tests.tools.stress --rounds $(N) --report docs/reports/stress.json $(FILES)

captures: setup ## make the pictures in docs/ anew: mountctl top, mountctl doctor, a program
	$(BIN)/python -m docs.tools.captures

fuzz: setup-dev ## damage good programs for FUZZ_SECONDS (120), and FUZZ_STATES (500) state directories
	$(BIN)/python -m tests.tools.fuzz --seconds $(FUZZ_SECONDS) --report docs/reports/fuzz.md
	$(BIN)/python -m tests.tools.state_fuzz --states $(FUZZ_STATES) --report docs/reports/fuzz_state

clean: ## remove what was built, .venv included
	rm -rf .venv .venv-* build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache .coverage .coverage.* jaxfs/fuse/*.so
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.installed: $(PACKAGING)
	@.ci/system-packages $(PYTHON)
	@echo "==> creating $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "==> installing jaxfs and its packages (pyfuse3 is compiled; a minute or two)"
	@$(INSTALL) -e .
	@touch $@
	@echo "==> ready: $(BIN)/mountctl"

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "==> installing what the tests and checks need"
	@$(INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	@echo "==> installing the peers of the benchmark"
	@$(INSTALL) -e '.[bench]'
	@touch $@
