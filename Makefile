# make setup   prepare .venv from the locked dependencies (the command line is then .venv/bin/acu-ledger)
# make demo    sell real agent work end to end, on an embedded PostgreSQL
# make serve   keep a server running, and print how to call it
# make test    everything: the static part, then the tests (EXAMPLES=random: with other examples each time)
# make faults  kill, cut and starve servers; compare the books with what their clients were told (SIZE=large)
# make bench   figures of the whole path beside their ceilings (SIZE=small, PROFILE=1; COMPARE=<commit>: over that commit's)
# make check   the static part alone: lint, types, import contracts, protos, stubs
# make proto   regenerate the stubs from the protos
# make protos  the public protos as a module for other languages, in build/protos
# make styles  remake the table and the picture of docs/pricing-styles.md
# make dashboard  remake the picture of the finance dashboard in docs/finance.md
# make schema  regenerate the JSON Schemas of what is written in YAML
# make lock    resolve the dependencies anew, within what pyproject.toml allows
# make dist    the wheel and the source archive, in dist/
# make clean   remove what the targets above have made

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo serve test faults bench check proto protos styles dashboard schema lock dist clean

BIN := .venv/bin
STAMPS := .venv/.stamps
UV_VERSION := 0.13.9

PROTOC = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iproto \
	--python_out=$(1) --grpc_python_out=$(1) --mypy_out=quiet:$(1) --mypy_grpc_out=quiet:$(1) \
	$$(find proto/ledger -name '*.proto' | LC_ALL=C sort) && \
	cd $(1) && $(STUBS) -name '*.py' | xargs sed -i.generated $(OLDEST) && $(STUBS) -name '*.generated' | xargs rm
# What the generators write has been the same code for two years but for the releases that it demands, its own: as
# old as pyproject.toml allows will do. docs/decisions/0012-stubs-for-two-years.md
OLDEST = -e '/_runtime_version$$/d' -e '/^_runtime_version/,/^)/d' -e "/^GRPC_GENERATED_VERSION/s/'.*'/'1.68.0'/"
STUBS = find ledger/v1 ledger/admin ledger/finance -name '*_pb2*' -not -path '*/__pycache__/*'

help:
	@sed -n 's/^# make /make /p' Makefile

# The first Python that is new enough and can make environments. PYTHON=... on the command line wins. The
# distribution's comes first: it is built with profile-guided optimization, and one built by hand, which often
# stands before it on the PATH, seldom is: the service takes a quarter less time for the same work.
define FIND_PYTHON
for python in $(or $(PYTHON),/usr/bin/python3 python3.13 python3.12 python3.11 python3.14 python3 python); do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
		found="$$python"; \
		if "$$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then echo "$$python"; exit 0; fi; \
	fi; \
done; \
if [ -n "$${found:-}" ]; then \
	echo "$$found cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)." >&2; \
else \
	echo "Python 3.11 or newer is needed, and none was found. Install it, or name it: make setup PYTHON=/path/to/python3." >&2; \
fi; \
exit 1
endef

setup: $(STAMPS)/project

$(STAMPS)/python:
	@python=$$($(FIND_PYTHON)); \
	echo "Making .venv with $$($$python --version)"; \
	"$$python" -m venv .venv; \
	mkdir -p $(STAMPS); touch $@

$(STAMPS)/dependencies: requirements-dev.lock | $(STAMPS)/python
	@echo "Installing the locked dependencies"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

$(STAMPS)/project: pyproject.toml $(STAMPS)/dependencies
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(BIN)/acu-ledger demo --data build/demo

serve: setup
	@$(BIN)/acu-ledger serve --data build/serve

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint
	@rm -rf build/stubs build/committed && mkdir -p build/stubs build/committed
	@$(call PROTOC,build/stubs)
	@$(STUBS) | xargs tar -cf - | tar -xf - -C build/committed
	@diff -r build/committed build/stubs || { echo "Stubs are out of date: make proto" >&2; exit 1; }
	@echo "Stubs are up to date"
	@.ci/deployables

# Workers, each with a PostgreSQL of its own (tests/conftest.py says how many); who has nothing left takes from the others.
test: check
	$(BIN)/pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal

faults: SIZE ?= small
faults: setup
	@$(BIN)/python -m tests.faults $(SIZE)

# The client starts servers after it has opened channels: gRPC need not prepare itself for that, it is no fork.
bench: SIZE ?= full
bench: setup
	@GRPC_ENABLE_FORK_SUPPORT=0 SIZE=$(SIZE) PROFILE=$(PROFILE) COMPARE='$(COMPARE)' $(BIN)/python -m tests.benchmarks

proto: setup
	@$(STUBS) | xargs rm -f
	@$(call PROTOC,.)

# All that a backend's stubs are generated from: nothing of the back office, no other module, no network.
protos: PROTOS ?= build/protos
protos: setup
	@rm -rf $(PROTOS); mkdir -p $(PROTOS)/ledger $(PROTOS)/google
	@cp -R proto/ledger/v1 $(PROTOS)/ledger/; cp -R proto/google/rpc $(PROTOS)/google/; cp LICENSE ledger/client/service_config.json $(PROTOS)/
	@sed -e 's#path: proto#path: .#' -e 's#proto/google#google#' buf.yaml >$(PROTOS)/buf.yaml
	@$(BIN)/buf lint $(PROTOS); $(BIN)/buf build $(PROTOS) --output /dev/null
	@find $(PROTOS) -type f | LC_ALL=C sort

styles: setup
	@$(BIN)/python docs/pricing_styles.py

# Needs Debian's prometheus, with its promtool.
dashboard: setup
	@$(BIN)/python -m docs.finance_dashboard

schema: setup
	@$(BIN)/python -m ledger.prices.schemas ledger/sample/schema

# uv resolves for every platform and Python at once, which pip cannot; it stays out of the environment.
build/uv/bin/uv: | $(STAMPS)/python
	@$(BIN)/python -m venv build/uv
	@build/uv/bin/python -m pip install --quiet --quiet --disable-pip-version-check uv==$(UV_VERSION)

LOCK = build/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock"
# What LiteLLM asks for, and its objects are made without: 100 MB.
WITHOUT = boto3 huggingface-hub tokenizers
lock: build/uv/bin/uv
	$(LOCK) pyproject.toml --extra dev --output-file requirements-dev.lock
	$(LOCK) pyproject.toml --extra server --constraints requirements-dev.lock --output-file requirements.lock
	$(LOCK) pyproject.toml --resolution lowest --output-file requirements-oldest.lock
	$(LOCK) - <<<litellm --constraints requirements-dev.lock --excludes <(printf '%s\n' $(WITHOUT)) \
		--output-file requirements-litellm.lock

# By the locked setuptools, not by what a registry has today. The wheel is built of the source archive.
dist: setup
	@rm -rf dist; mkdir -p build
	@$(BIN)/python -m build --no-isolation --outdir dist . >build/dist.log 2>&1 || { cat build/dist.log; exit 1; }
	@ls dist/*

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
