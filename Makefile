# Everything runs in .venv, which is made from a lock file with pip alone. A stamp file inside it records
# that it is up to date, so that a second `make` does no work until a lock or pyproject.toml changes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-stamp
DEV := $(VENV)/.dev-stamp
FLOOR := .venv-floor/.stamp
PIP_FLAGS := --quiet --disable-pip-version-check --no-input
# Bytecode is written on first import, for what is imported, instead of for every file of every package.
INSTALL := -m pip install $(PIP_FLAGS) --no-compile
WORKERS ?= auto
PYTEST_FLAGS := -n $(WORKERS) --dist worksteal
ARGS ?=

# Prints the interpreter to build an environment with: PYTHON if given, else the first that is new enough.
define FIND_PYTHON
usable() { "$$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }; \
candidates="$(or $(PYTHON),python3 python3.13 python3.12 python3.11)"; \
python=""; \
for candidate in $$candidates; do if usable "$$candidate"; then python="$$candidate"; break; fi; done; \
if [ -z "$$python" ]; then \
  echo "No usable Python among: $$candidates. Celo needs Python 3.11 or newer with the venv and ensurepip" >&2; \
  echo "modules (on Debian and Ubuntu: apt install python3-venv). Name one with: make PYTHON=/path/to/python" >&2; \
  exit 1; \
fi
endef

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# pip is the last thing `python -m venv` puts in place, so its presence marks a whole environment.
$(BIN)/pip .venv-floor/bin/pip:
	@$(FIND_PYTHON); \
	echo "Creating $(@:/bin/pip=) with $$("$$python" --version)"; \
	"$$python" -m venv $(@:/bin/pip=)

# $(call install,ENVIRONMENT,LOCK): exactly the pins of the lock, then this project in place.
define install
@echo "Installing $(2) into $(1) (a few minutes the first time)"
$(1)/bin/python $(INSTALL) --no-deps -r $(2)
$(1)/bin/python $(INSTALL) --no-deps --no-build-isolation -e .
endef

$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/pip
	$(call install,$(VENV),requirements.lock)
	@touch $@

# The dev lock holds every pin of the runtime lock, so both are up to date afterwards.
$(DEV): requirements-dev.lock requirements.lock pyproject.toml | $(BIN)/pip
	$(call install,$(VENV),requirements-dev.lock)
	@touch $(RUNTIME) $@

$(FLOOR): requirements-floor.txt requirements-dev.lock pyproject.toml | .venv-floor/bin/pip
	$(call install,.venv-floor,requirements-dev.lock)
	.venv-floor/bin/python $(INSTALL) --no-deps -r requirements-floor.txt
	.venv-floor/bin/python -m pip check
	@touch $@

.PHONY: environment
environment: $(DEV) ## Create or update .venv with everything developers need

.PHONY: demo
demo: $(RUNTIME) ## Meta-train a small Celo, compare it with Adam on unseen tasks, write report/
	$(BIN)/python -m scripts.demo $(ARGS)

.PHONY: test test-all test-floor
test test-all test-floor: export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
test: $(DEV) ## Run the tests and the examples in docstrings, without the slow ones
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -m "not slow" $(ARGS)

test-all: $(DEV) ## Run every test, slow ones included
	$(BIN)/python -m pytest $(PYTEST_FLAGS) $(ARGS)

test-floor: $(FLOOR) ## Test celo/ and meta/ on the oldest JAX that pyproject.toml promises
	.venv-floor/bin/python -m pytest $(PYTEST_FLAGS) -m "not slow" tests/celo tests/meta $(ARGS)

.PHONY: lint format typecheck
lint: $(DEV) ## Check style and formatting (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV) ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(DEV) ## Check types (pyright)
	$(BIN)/pyright

.PHONY: docs docs-numbers
docs: $(DEV) docs-numbers ## Build the documentation into site/; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs-numbers: $(DEV) # Fail if a number in the documentation differs from docs/results/
	$(BIN)/python -m scripts.studies.render --check

.PHONY: wheel-check
wheel-check: $(DEV) ## Build the wheel, install it without extras and import it from outside the tree
	rm -rf build dist .venv-wheel
	$(BIN)/python -m pip wheel $(PIP_FLAGS) --no-deps --no-build-isolation -w dist .
	$(BIN)/python -m venv .venv-wheel
	.venv-wheel/bin/python $(INSTALL) -c requirements.lock dist/celo-*.whl
	root=$$PWD; cd "$$(mktemp -d)"; "$$root/.venv-wheel/bin/python" -I -c 'import celo; print(celo.__file__)'; \
	"$$root/.venv-wheel/bin/celo" --version; "$$root/.venv-wheel/bin/celo" --help

# uv has a separate environment; versions already in the locks are kept unless UPGRADE=--upgrade.
UV ?= .venv-lock/bin/uv
UPGRADE ?=
COMPILE = BUILD="$$($(BIN)/python -c 'import tomllib; \
  print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")')"; \
  printf '%s\n' "$$BUILD" | UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --universal \
  --python-version 3.11 --no-emit-index-url --no-annotate $(UPGRADE) pyproject.toml -

.venv-lock/bin/uv: | $(BIN)/pip
	$(BIN)/python -m venv .venv-lock
	.venv-lock/bin/python $(INSTALL) uv

.PHONY: lock
lock: $(UV) | $(BIN)/pip ## Pin every dependency anew (UPGRADE=--upgrade for the newest versions)
	$(COMPILE) --all-extras -o requirements-dev.lock
	$(COMPILE) --extra train --extra eval -c requirements-dev.lock -o requirements.lock

.PHONY: clean distclean
clean: ## Remove caches and build results
	rm -rf .cache .pytest_cache .ruff_cache .hypothesis build dist site *.egg-info
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

distclean: clean ## Also remove the environments
	rm -rf .venv .venv-floor .venv-lock .venv-wheel
