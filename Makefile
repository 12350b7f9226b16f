# Two commands, on a machine with Python 3.11 or newer and nothing else prepared:
#   make run    the gateway: http://127.0.0.1:8000 (HOST=... PORT=... and what docs/configuration.md lists)
#   make test   everything that must hold before a change is merged

VENV := .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --no-input -qq
# Every package is in the lock with its hashes, so pip resolves nothing and builds nothing.
INSTALL = $(PIP) install --require-hashes --no-deps --only-binary :all: -r
PYTHON = $(shell for python in python3.11 python3.12 python3.13 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)

.PHONY: run test rehearse lint conformance lock clean
.DEFAULT_GOAL := run

run: $(VENV)/.runtime-installed
	@echo "Starting the gateway ..."
	@exec $(VENV)/bin/python manage.py run

test: $(VENV)/.dev-installed $(VENV)/litellm/.installed
	@exec $(VENV)/bin/python -m tests.run

# What needs hours, or kills (docs/testing.md): all of it, or some: make rehearse ONLY="kills fuzz"
rehearse: $(VENV)/.dev-installed
	@exec $(VENV)/bin/python -m tests.rehearse $(ONLY)

lint: $(VENV)/.dev-installed
	@exec $(VENV)/bin/python -m tests.run --static

# Judges the adapters by recorded exchanges with real providers (docs/conformance.md): make conformance RECORDED=folder
RECORDED ?= ../shared/recorded
conformance: $(VENV)/.dev-installed
	@test -d "$(RECORDED)" || { echo "error: there is no folder $(RECORDED); name the one with the recordings: make conformance RECORDED=folder" >&2; exit 1; }
	@exec $(VENV)/bin/python -m tests.conformance "$(RECORDED)"

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null || { echo "error: Python's venv module is missing (Debian: apt-get install python3-venv)" >&2; exit 1; }; \
		apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-venv && $(PYTHON) -m venv $(VENV); }

$(VENV)/.runtime-installed: requirements.lock | $(VENV)/bin/python
	@echo "Installing the packages of $< ..."
	@$(INSTALL) $<
	@touch $@

$(VENV)/.dev-installed: requirements-dev.lock | $(VENV)/bin/python
	@echo "Installing the packages of $< ..."
	@$(INSTALL) $<
	@touch $@

# litellm pins an older openai client than we test with, so it lives in an environment of its own.
$(VENV)/litellm/.installed: requirements-litellm.lock | $(VENV)/bin/python
	@echo "Installing the packages of $< ..."
	@$(VENV)/bin/python -m venv $(VENV)/litellm
	@$(VENV)/litellm/bin/python -m pip --disable-pip-version-check --no-input -qq install --require-hashes --no-deps --only-binary :all: -r $<
	@touch $@

# Needs uv. The lock files carry no index address on purpose.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	echo litellm | uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-annotate - -o requirements-litellm.lock

clean:
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage htmlcov
