# Every target makes its own .venv when there is none; PYTHON names another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PYTEST := python -m pytest --numprocesses auto --dist worksteal

.PHONY: demo test test-lowest test-latest lint bench fuzz soak mutants format lock help clean

demo: $(VENV)/.made ## The whole chain on this machine; ARGS="--rotations 3" ends by itself
	@$(BIN)/hcpcreds up $(ARGS)

test: $(VENV)/.made ## All tests, on every core, in random order, with branch coverage
	$(BIN)/$(PYTEST) --cov $(ARGS)

test-lowest: $(VENV)-lowest/.made ## All tests with the oldest dependencies that pyproject.toml allows
	$(VENV)-lowest/bin/$(PYTEST) $(ARGS)

test-latest: $(VENV)/.made ## All tests with the newest of everything
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-latest
	$(BIN)/uv pip install --quiet --refresh --python $(VENV)-latest --editable '.[dev]'
	$(VENV)-latest/bin/$(PYTEST) $(ARGS)

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

COMPILE = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev --generate-hashes \
	--custom-compile-command 'make lock' pyproject.toml

lock: $(VENV)/.made ## Take the newest of what test and test-lowest install, and keep it
	$(COMPILE) --output-file requirements-dev.txt
	$(COMPILE) --output-file requirements-lowest.txt --resolution lowest-direct

help: ## What there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 13

clean: ## Remove everything that the other targets made
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-latest .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache \
		.ruff_cache .import_linter_cache

# Debian ships Python without ensurepip; its own pip then installs into the environment.
$(VENV)/.made: pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hcpcreds needs Python 3.11 or later; name one with: make PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)
	pip="$(BIN)/python -m pip"; $$pip --version >/dev/null 2>&1 || pip="$(PYTHON) -m pip --python $(BIN)/python"; \
		$$pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt && \
		$$pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)-lowest/.made: requirements-lowest.txt $(VENV)/.made
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-lowest
	$(BIN)/uv pip sync --quiet --python $(VENV)-lowest requirements-lowest.txt
	$(BIN)/uv pip install --quiet --python $(VENV)-lowest --no-deps --no-build-isolation --editable .
	@touch $@
