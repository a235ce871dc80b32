# Every target creates a .venv when there is none; PYTHON names another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PYTEST := python -m pytest --numprocesses auto --dist worksteal
# Hundreds of processes start in the tests: each would compile every module that it imports.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-cluster test-lowest test-latest lint bench fuzz soak conform mutants policies docs image release format lock help clean

demo: $(VENV)/.made ## Run the whole chain on this machine until Ctrl-C, or with ARGS="--rotations 3" for three rotations
	@$(BIN)/hcpcreds up $(ARGS)

test: $(VENV)/.made ## Run all tests, on every core, in random order, with branch coverage
	$(BIN)/$(PYTEST) --cov $(ARGS)

test-cluster: $(VENV)/.made ## Run the tests that need a real API server; KUBEBUILDER_ASSETS names kube-apiserver and etcd
	$(BIN)/python -m pytest tests/cluster $(ARGS)

test-lowest: $(VENV)-lowest/.made ## Run all tests with the lowest versions that pyproject.toml allows
	$(VENV)-lowest/bin/$(PYTEST) $(ARGS)

test-latest: $(VENV)/.made ## Run all tests with the newest versions of all dependencies
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-latest
	$(BIN)/uv pip install --quiet --refresh --python $(VENV)-latest --editable '.[dev]'
	$(VENV)-latest/bin/$(PYTEST) $(ARGS)

lint: $(VENV)/.made ## Check style, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.made ## Format the code as lint requires
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.made ## Measure ratios against the usual alternatives
	@$(BIN)/python -m benchmarks $(ARGS)

fuzz: $(VENV)/.made ## Look for inputs that break a parser; ARGS="--seconds 600"
	@$(BIN)/python -m tests.fuzz $(ARGS)

soak: $(VENV)/.made ## Run a component under load, with faults everywhere around it; ARGS="--minutes 30"
	@$(BIN)/python -m benchmarks.soak $(ARGS)

conform: $(VENV)/.made ## Judge programs of several languages, and write the scoreboard into docs/conform.md
	@$(BIN)/python -m benchmarks.conform $(ARGS)

mutants: $(VENV)/.made ## Find changes of the code that no test notices; ARGS="--room credential --sample 40 --seed 1"
	@$(BIN)/python -m tests.mutants $(ARGS)

policies: $(VENV)/.made ## Write deploy/policies/base, which is generated
	$(BIN)/hcpcreds render --admission-policy --key-vault-user-client-id 00000000-0000-0000-0000-000000000000 \
		--image registry.example/hcpcreds:1 --managed-service ARO-HCP > deploy/policies/base/policies.yaml

docs: $(VENV)/.made ## Build the documentation into site/, strictly
	@$(BIN)/uv tool run --quiet --with-requirements docs/requirements.txt --with-editable . --from sphinx \
		sphinx-build --fresh-env --write-all --fail-on-warning --nitpicky --keep-going --quiet docs site && \
		echo site/index.html

image: $(VENV)/.made ## Build the image and its SBOM into dist/; lint its Containerfile only, where buildah or mmdebstrap is missing
	@VENV=$(VENV) deploy/image/build

release: $(VENV)/.made ## Build everything of a release into dist/ and try the wheel by itself; upload nothing
	@VENV=$(VENV) .ci/release

COMPILE = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev --generate-hashes \
	--custom-compile-command 'make lock' pyproject.toml

lock: $(VENV)/.made ## Lock the newest versions for test and the image, and the lowest for test-lowest
	$(COMPILE) --output-file requirements-dev.txt
	$(COMPILE) --output-file requirements-lowest.txt --resolution lowest-direct
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra cli --constraint requirements-dev.txt \
		--generate-hashes --custom-compile-command 'make lock' pyproject.toml --output-file deploy/image/requirements.txt
	printf 'furo\nmyst-parser\nsphinx\n' | $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --custom-compile-command 'make lock' --output-file docs/requirements.txt -

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 13

clean: ## Remove everything that the other targets created
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-latest dist site .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache \
		.ruff_cache .import_linter_cache

# Debian ships Python without ensurepip; its own pip then installs into the environment.
$(VENV)/.made: pyproject.toml requirements-dev.txt
	@test -e $@ || echo "making $(VENV), which takes a minute or two the first time" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hcpcreds needs Python 3.11 or later; name one with: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || $(PYTHON) -m venv --clear --without-pip $(VENV)
	@pip="$(BIN)/python -m pip"; $$pip --version >/dev/null 2>&1 || pip="$(PYTHON) -m pip --python $(BIN)/python"; \
		$$pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt && \
		$$pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)-lowest/.made: requirements-lowest.txt $(VENV)/.made
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)-lowest
	$(BIN)/uv pip sync --quiet --python $(VENV)-lowest requirements-lowest.txt
	$(BIN)/uv pip install --quiet --python $(VENV)-lowest --no-deps --no-build-isolation --editable .
	@touch $@
