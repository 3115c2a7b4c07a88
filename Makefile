# Every target sets up what it needs on a fresh machine: python3 (3.11 or newer) and make are enough.
#
#   make demo     raw text to a finetuned, exported encoder, in a few minutes
#   make test     all tests (those that need an accelerator are skipped where there is none)
#   make quick    the tests without the slow ones
#   make lint     formatting, ruff, strict mypy, generated docs are current
#   make check    lint, then test
#   make format   rewrite the code in the house's format
#   make docs     rewrite the generated part of docs/reference
#
# ARGS goes to pytest: make test ARGS='tests/text -k unicode'

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO_OUT ?= electra-demo
# Two processes, one thread each: what the slowest machine we care about has.
TEST_JOBS ?= 2
# -qq: pip's warnings about unreachable extra indexes say nothing useful; its errors still show.
PIP_INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TEST_JOBS) --dist worksteal

.PHONY: help demo test quick lint check format docs clean

help:
	@sed -n 's/^#   //p' Makefile

# The environment is made once; a stamp says for which pyproject.toml and constraints.txt.
$(VENV)/.run-stamp: pyproject.toml constraints.txt
	@echo "Setting up $(VENV); the first time takes a minute or two."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP_INSTALL) --editable .
	@touch $@

$(VENV)/.dev-stamp: $(VENV)/.run-stamp
	@echo "Adding what the tests and checks need to $(VENV)."
	@$(PIP_INSTALL) --editable '.[dev]'
	@touch $@

demo: $(VENV)/.run-stamp
	$(BIN)/electra demo --out $(DEMO_OUT)

test: $(VENV)/.dev-stamp
	$(PYTEST) $(ARGS)

quick: $(VENV)/.dev-stamp
	$(PYTEST) -m 'not slow and not gpu' $(ARGS)

lint: $(VENV)/.dev-stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests docs tools $(wildcard benchmarks)
	$(BIN)/python docs/generate.py --check

check: lint test

format: $(VENV)/.dev-stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev-stamp
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
