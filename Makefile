# Everything that a person or CI does with this repository. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STATE := .state
PROTOS := $(wildcard proto/vestry/v1/*.proto)
PREFIX ?= /usr/local
DESTDIR ?=

.DEFAULT_GOAL := help
.PHONY: help run test check bench proto format kill-drill install clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/ready ## start the daemon on the embedded store with the sample configuration
	@$(BIN)/vestryd --settings config/vestryd.toml --state-directory $(STATE) --listen-unix $(STATE)/vestry.sock

test: $(VENV)/ready ## run the tests
	@$(BIN)/pytest -q -n $$(nproc)

check: $(VENV)/ready ## check format, lint, types, import contracts, protos
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy tests bench
	$(BIN)/lint-imports
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf lint
	$(BIN)/pytest -q tests/packaging/test_stubs.py

bench: $(VENV)/ready ## measure, side by side with etcd (installed by this target when root)
	@command -v etcd >/dev/null || [ "$$(id -u)" != 0 ] || (apt-get update -qq && apt-get install -y -qq etcd-server >/dev/null)
	@$(BIN)/python -m bench

kill-drill: $(VENV)/ready ## kill the daemon 2000 times under write load, and look for lost versions
	@DRILL_KILLS=2000 $(BIN)/pytest -q tests/e2e/test_kill.py --timeout 7200

format: $(VENV)/ready ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format -w

proto: $(VENV)/ready ## generate client/vestry/v1 from proto/
	$(BIN)/python proto/generate.py client

install: ## install into PREFIX (a virtual environment in $(PREFIX)/lib/vestry, units, /etc/vestry)
	@PYTHON=$(PYTHON) PREFIX=$(PREFIX) DESTDIR=$(DESTDIR) sh systemd/install.sh

clean: ## remove what the other targets made
	rm -rf $(VENV) $(STATE) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# Debian packs the venv module apart; as root we fetch it, others are told what to ask for.
$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "vestry needs Python 3.11 or later: set PYTHON" >&2; exit 1)
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; } \
	  || (echo "$(PYTHON) has no venv module: install python3-venv" >&2; exit 1)
	@echo "setting up $(VENV), which takes a minute" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt pip
	@$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt --build-constraint constraints.txt -e '.[daemon]' --group dev
	@touch $@
