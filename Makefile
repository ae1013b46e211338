# `make test` and `make demo` work in a fresh clone on a fresh machine: they build .venv first.
#
# PYTHON=python3.10      another interpreter (3.10 or newer)
# TORCH_INDEX=URL        an extra package index that serves CPU builds of torch
# PYTEST_FLAGS="-n 4"    more workers for the tests

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
PYTEST_FLAGS ?= -n 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt
STAMP := $(VENV)/.installed

.PHONY: test test-all lint types demo bench clean

test: lint
	$(BIN)/python -m pytest -q -m "not long" $(PYTEST_FLAGS)

test-all: lint
	$(BIN)/python -m pytest -q $(PYTEST_FLAGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory types

# The annotations are those of numpy 2; Python 3.10, where Lava wants numpy 1, runs the same code without this check.
# mypy finds packages by folders, not by the mapping in pyproject.toml: it gets a folder of links laid out as installed
types: $(STAMP)
	@rm -rf build/types && mkdir -p build/types/ndeploy
	@for part in ndeploy/*; do ln -s "$(CURDIR)/$$part" build/types/ndeploy/; done
	@for part in targets quantize converters hwtests; do ln -s "$(CURDIR)/$$part" build/types/ndeploy/; done
	@if $(BIN)/python -c 'import numpy; raise SystemExit(numpy.__version__ < "2")'; then \
		cd build/types && $(abspath $(BIN))/mypy --config-file $(CURDIR)/pyproject.toml -p ndeploy; \
	else echo "types are not checked here: numpy 1 has other annotations (use Python 3.11 or newer)"; fi

demo: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" bash examples/demo.sh

# the peers ask for torchvision and other builds of torch: without their needs, but for two small ones
bench: $(STAMP)
	$(PIP) install --quiet --no-deps snntorch==1.0.0 spikingjelly==2.0.0 loguru tqdm onnxruntime==1.31.1 flatbuffers
	$(BIN)/python benchmarks/simulator.py
	$(BIN)/python benchmarks/ctm.py

# torch comes first and by its exact version, so that nothing after it can choose another build. norse asks for
# torchvision, which would replace torch, and lava-nc 0.10.0 asks for Python 3.10 and numpy < 2 although it runs on
# newer ones (ndeploy/targets: the worker mends the one import that fails): both are installed without their needs,
# which are in the extras `lava` and `test`.
$(STAMP): pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip "setuptools>=77" wheel
	$(INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch==2.13.0
	$(INSTALL) --editable ".[lava,test]"
	$(INSTALL) --no-deps --ignore-requires-python lava-nc==0.10.0 norse==1.1.0
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
