# One door: each target sets up what it needs in .venv on a machine with Python 3.11+, git and make.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8
STAMP := $(VENV)/.synced
PEERS_VENV := .venv-peers
PEERS_STAMP := $(PEERS_VENV)/.synced
AZURITE := .azurite
AZURITE_STAMP := $(AZURITE)/.synced
# What tests need and no wheel brings, as program:package of Debian's: a browser for Prefect's UI,
# what a Prefect server in production stands on, and what Azurite runs on (20 or newer). Prefect's
# migrations want a PostgreSQL with pg_trgm.
SYSTEM_PACKAGES := chromium:chromium postgres:postgresql redis-server:redis-server node:nodejs npm:npm
# Compiled modules are what keeps `factory runs list` under half a second.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONUNBUFFERED := 1

.PHONY: run test tests check lint rewritten types fix bench bench-peers soak pictures openapi lock setup system-packages azurite clean

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

# Looks before it asks apt-get. What it cannot install is told, and fails the tests that need it.
system-packages:
	@missing=; export PATH="$$PATH:$$(echo /usr/lib/postgresql/*/bin | tr ' ' :)"; \
	for each in $(SYSTEM_PACKAGES); do \
		command -v $${each%:*} >/dev/null || missing="$$missing $${each#*:}"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	root=; [ "$$(id -u)" = 0 ] || root="sudo -n"; \
	install="$$root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends$$missing"; \
	if command -v apt-get >/dev/null && $$root true 2>/dev/null; then \
		echo "Installing$$missing …"; \
		$$install >/dev/null 2>&1 || { $$root apt-get update -qq && $$install >/dev/null; } && exit 0; \
	fi; \
	echo "Some tests will fail: they need$$missing, which cannot be installed from here." >&2

# Azure's blob storage, emulated. What is missing is told, and fails the tests that need it.
azurite: system-packages
	@$(MAKE) --no-print-directory $(AZURITE_STAMP) || \
		echo "Some tests will fail: they need Azurite, which cannot be installed from here." >&2

$(AZURITE_STAMP): tests/npm/package.json tests/npm/package-lock.json
	@echo "Installing the locked Azurite into $(AZURITE) …"
	@mkdir -p $(AZURITE) && cp $^ $(AZURITE)
	@npm ci --prefix $(AZURITE) --ignore-scripts --no-audit --no-fund --prefer-offline --fetch-retries 1 \
		--loglevel error
	@touch $(AZURITE_STAMP)

run: $(STAMP)
	@$(BIN)/factory run microservice --set service_name=orders

test: $(STAMP) system-packages azurite
	@$(MAKE) --no-print-directory tests

# With what there is. Examples are the same in every run here; the soak looks for others.
tests: $(STAMP)
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations 25 --hypothesis-profile ci

# What waits for the network goes beside what does not.
check: $(STAMP)
	@$(MAKE) --no-print-directory --jobs 3 lint rewritten azurite
	@$(MAKE) --no-print-directory --jobs 2 types tests

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

# pytest rewrites every assertion in a fresh clone: once here, or in each worker. Errors are for it to tell.
rewritten: $(STAMP)
	@$(BIN)/python -m pytest --collect-only -qq >/dev/null || true

# Beside the tests: those wait at times, and this has one thread.
types: $(STAMP)
	@$(BIN)/basedpyright

fix: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

soak: $(STAMP) system-packages azurite
	@$(BIN)/python -m pytest -m "soak or hypothesis" --timeout 1800

# Takes the README's pictures of Prefect's UI anew.
pictures: $(STAMP) system-packages
	@FACTORY_PICTURES=docs/pictures $(BIN)/python -m pytest -q tests/flows/test_prefect_ui.py

bench: $(STAMP) $(PEERS_STAMP) system-packages
	@$(BIN)/python -m benchmarks

bench-peers: $(PEERS_STAMP)
	@$(BIN)/python -m benchmarks.peers

$(PEERS_STAMP): requirements-peers.lock | $(STAMP)
	@test -x $(PEERS_VENV)/bin/python || $(BIN)/python -m venv --without-pip $(PEERS_VENV)
	@echo "Installing the locked peers into $(PEERS_VENV) …"
	@$(BIN)/uv pip install --quiet --python $(PEERS_VENV)/bin/python --no-deps --require-hashes --compile-bytecode -r requirements-peers.lock
	@touch $(PEERS_STAMP)

# The document of the API, after a change of its routes; BREAKING=--breaking where clients have to follow.
openapi: $(STAMP)
	@$(BIN)/python -m tests.api.openapi_file $(BREAKING)

lock: $(STAMP)
	@$(BIN)/uv pip compile pyproject.toml --extra light --extra minilm --extra production --extra report --extra tracing --group dev --universal --generate-hashes \
		--no-header --python-version 3.11 --quiet --output-file requirements.lock
	@$(BIN)/uv pip compile --group pyproject.toml:peers --universal --generate-hashes \
		--no-header --python-version 3.11 --quiet --output-file requirements-peers.lock

clean:
	@rm -rf $(VENV) $(PEERS_VENV) $(AZURITE)
