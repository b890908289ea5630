# `make demo` and `make test` do everything from nothing; only Python 3.11-3.13 and make must be there.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo
export PIP_DISABLE_PIP_VERSION_CHECK = 1

RIVALS := $(VENV)/rivals

.PHONY: demo test test-rivals test-pythons check module-list bench lock clean

demo: $(VENV)/installed
	$(BIN)/slickwatch demo --out $(OUT)

# Three workers for two cores, since many tests wait for servers and processes.
test: $(VENV)/installed-dev
	$(BIN)/pytest --numprocesses 3 --dist loadfile

# The networks that ours is compared with, from packages that stay out of the environment.
test-rivals: $(RIVALS)/installed
	PYTHONPATH=$(RIVALS) $(BIN)/pytest tests/models/networks/test_baselines.py

$(RIVALS)/installed: $(VENV)/installed-dev tests/rivals.txt
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(RIVALS) --requirement tests/rivals.txt
	@touch $@

# Everything but the networks, on the other supported Pythons that this machine has.
test-pythons: $(VENV)/installed-dev
	tools/test_pythons.sh

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The modules in docs/architecture.md, from the first lines of their docstrings.
module-list:
	$(PYTHON) tools/module_list.py

bench: $(VENV)/installed
	$(BIN)/slickwatch bench scene

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "Slickwatch needs Python 3.11, 3.12 or 3.13: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 \
	  || { rm -rf $(VENV); $(PYTHON) -m venv --without-pip $(VENV) && $(BIN)/python tools/get_pip.py; } \
	  || { rm -rf $(VENV); echo "No virtual environment could be made; on Debian or Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/installed

# Resolve pyproject.toml anew for all supported Pythons. CUDA packages are left out of the file: they are
# pinned by torch itself where a CUDA build of it is chosen.
lock: $(VENV)/installed-dev
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	  --constraint pins.txt --no-emit-index-url --no-header --no-annotate --quiet \
	  | grep -vE '^(nvidia|cuda|triton)' > constraints.txt

clean:
	rm -rf $(VENV) $(OUT) build dist
