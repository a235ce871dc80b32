# Every target makes its own .venv when there is none; PYTHON names another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test lint bench fuzz soak mutants format help clean

demo: $(VENV)/.made ## The whole chain on this machine; ARGS="--rotations 3" ends by itself
	@$(BIN)/hcpcreds up $(ARGS)

test: $(VENV)/.made ## All tests, on every core, in random order, with branch coverage
	$(BIN)/python -m pytest --cov --numprocesses auto --dist worksteal $(ARGS)

lint: $(VENV)/.made ## Style, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.made ## Write what lint would ask for
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.made ## Ratios against what a user would pick instead, side by side
	@$(BIN)/python -m benchmarks $(ARGS)

fuzz: $(VENV)/.made ## Looks for inputs that a parser does not stand; ARGS="--seconds 600"
	@$(BIN)/python -m tests.fuzz $(ARGS)

soak: $(VENV)/.made ## A component under load while everything goes wrong; ARGS="--minutes 30"
	@$(BIN)/python -m benchmarks.soak $(ARGS)

mutants: $(VENV)/.made ## Do the tests notice mistakes? ARGS="--room credential --sample 40 --seed 1"
	@$(BIN)/python -m tests.mutants $(ARGS)

help: ## What there is to make
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

clean: ## Remove everything that the other targets made
	rm -rf $(VENV) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

# Debian ships Python without ensurepip; virtualenv from PyPI then makes the environment.
$(VENV)/.made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hcpcreds needs Python 3.11 or later; name one with: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m pip install --quiet --target $(VENV)/virtualenv virtualenv && \
		PYTHONPATH=$(VENV)/virtualenv $(PYTHON) -m virtualenv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
