# make serve   set up what is missing, package the encoder, serve on 127.0.0.1:8000   (ARGS="--port 9000" is passed on)
# make test    set up what is missing, then run the whole suite       (ARGS="tests/api -x" narrows it)
# make test-all  the same, and the frameworks' own suites against maas's adapters, in an environment of their own
# make test-cluster  kill the primary of a three-node PostgreSQL cluster under load; takes Debian's etcd-server
# make docs    build the documentation site into build/site, strictly
# make fuzz    10,000 requests made from the OpenAPI description, none of which may fail the server
# make audit   known vulnerabilities of the pinned dependencies, and bandit's rules over the code
# make screenshots  the pictures in docs/dashboard.md, taken anew
# make lint    ruff and mypy --strict
# make clean   remove the environment, the bundle and caches; the data folder stays

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt
ARGS    =

# The encoder's weights, and the bundle that is made from them. Without weights maas serves with another encoder.
WEIGHTS := $(wildcard lam_backend/weights/lam-base-v1/model.safetensors)
BUNDLE  := dist/lam-base-v1/lam_config.json

# langchain-tests brings pytest plugins that would change every other test.
ADAPTERS := .venv-adapters
ADAPTERS_PYTHON := $(ADAPTERS)/bin/python

# pip-audit's own dependencies are no part of what it looks at.
AUDIT := .venv-audit

.PHONY: serve test test-all test-cluster chromium docs screenshots fuzz audit lint clean

serve: $(VENV)/installed $(if $(WEIGHTS),$(BUNDLE))
	@$(BIN)/maas serve $(ARGS)

test: $(VENV)/installed-dev chromium
	$(BIN)/python -m pytest $(ARGS)

test-all: test $(ADAPTERS)/installed
	$(ADAPTERS_PYTHON) -m pytest -c tests/adapters/pytest.ini tests/adapters tests/compat
	$(ADAPTERS_PYTHON) -m mypy -p maas.compat

test-cluster: $(VENV)/installed-dev
	$(PIP) -e '.[cluster]'
	$(BIN)/python -m tests.cluster $(ARGS)

docs: $(VENV)/installed-dev
	$(BIN)/python docs/site/build.py

fuzz: $(VENV)/installed-dev
	FUZZ_CASES=10000 $(BIN)/python -m pytest tests/fuzz -s --log-disable=maas $(ARGS)

audit: $(VENV)/installed-dev $(AUDIT)/installed
	$(BIN)/ruff check --select S --ignore S101 maas lam_backend
	$(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

# The tests of the dashboard drive Debian's Chromium; without it, and without the right to install it, they are skipped.
chromium:
	@command -v chromium chromium-browser google-chrome > /dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null && echo "Installing chromium, once" \
	  && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium \
	  > /dev/null 2>&1; } || echo "No chromium here: the tests in a browser are skipped. Install it: apt-get install chromium"

screenshots: $(VENV)/installed-dev chromium
	MAAS_LOG__LEVEL=error $(BIN)/python -m tests.browser.screenshots docs/dashboard

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

$(BUNDLE): $(WEIGHTS) | $(VENV)/installed
	@echo "Packaging the encoder into dist/lam-base-v1, once"
	-@$(BIN)/python -m lam_backend.packaging.package_lam > /dev/null

clean:
	rm -rf $(VENV) $(ADAPTERS) $(AUDIT) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	  v >= (3, 11) or sys.exit(f"found Python {v[0]}.{v[1]}, but maas needs 3.11 or newer: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing maas and its encoder into $(VENV); the first time takes some minutes"
	$(PIP) -e '.[torch,mcp]'
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing maas with all it is tested with into $(VENV); the first time takes some minutes"
	$(PIP) -e '.[dev]'
	@touch $(VENV)/installed $@

$(ADAPTERS)/installed: pyproject.toml constraints.txt tests/adapters/requirements.txt
	@echo "Installing the frameworks that maas has adapters for into $(ADAPTERS); the first time takes some minutes"
	@$(PYTHON) -m venv $(ADAPTERS)
	$(ADAPTERS_PYTHON) -m pip --disable-pip-version-check install -qq -c constraints.txt \
	  -e '.[langchain,langgraph,llamaindex,mcp,postgres,redaction]' -r tests/adapters/requirements.txt
	@touch $@

$(AUDIT)/installed: constraints.txt
	@$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip --disable-pip-version-check install -qq -c constraints.txt pip-audit
	@touch $@
