# make demo: convert trained models, prove them, run them on speech. make test: the fast tests.
# Each sets up .venv by itself. PYTHON chooses the interpreter, BACKEND=cuda MLX's CUDA backend on Linux.

NEEDED := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c '$(NEEDED)' 2>/dev/null && echo $$python && break; done)
NO_PYTHON := this needs Python 3.11 or newer with venv (Debian, Ubuntu: install python3-venv); name one with PYTHON=...
VENV = "$(PYTHON)" -c '$(NEEDED)' 2>/dev/null || { echo '$(NO_PYTHON)' >&2; exit 1; }; "$(PYTHON)" -m venv
# What .venv has already, else cpu.
BACKEND ?= $(firstword $(patsubst .venv/installed-%,%,$(wildcard .venv/installed-*)) cpu)
INSTALLED := .venv/installed-$(BACKEND)
BIN := .venv/bin
# MLX's Linux wheel carries a reference BLAS, which is much slower (docs/architecture.md, Speed).
OPENBLAS := $(firstword $(wildcard /usr/lib/*/openblas-pthread/libopenblas.so.0))
PRELOAD := $(if $(OPENBLAS),LD_PRELOAD=$(OPENBLAS))
# On CUDA and the newest Apple GPUs, MLX else rounds float32 products like TF32, which cannot hold a limit of 1e-5.
EXACT := MLX_ENABLE_TF32=0
RUN := $(EXACT) $(PRELOAD) $(BIN)
FUZZ ?= 100000

.PHONY: demo test parity parity-full lint types check fuzz goldens benchmark test-lowest clean

demo: $(INSTALLED)
	$(RUN)/python examples/demo.py

test: $(INSTALLED)
	$(RUN)/python -m pytest

parity: $(INSTALLED)
	$(RUN)/python -m pytest -m parity tests/capture -n 2 --dist worksteal -o faulthandler_timeout=300
	$(RUN)/python -m pytest -m parity --ignore tests/capture --durations=12 --durations-min=20

parity-full: $(INSTALLED)
	$(RUN)/python -m pytest -m full -o faulthandler_timeout=7200 --durations=12 --durations-min=20

lint: $(INSTALLED)
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

types: $(INSTALLED)
	$(BIN)/pyright

check: lint types test parity

fuzz: $(INSTALLED)
	$(RUN)/python tests/fuzz.py --cases $(FUZZ)

goldens: $(INSTALLED)
	$(RUN)/python tests/record_goldens.py

benchmark: $(INSTALLED)
	$(RUN)/python benchmarks/conversion.py

$(INSTALLED): pyproject.toml
	@# MLX's backends share files, so that one cannot be installed over another.
	$(if $(filter-out $@,$(wildcard .venv/installed-*)),rm -rf .venv)
	@$(VENV) .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev,$(BACKEND)]"
	$(BIN)/python -m pytorch_to_mlx.environments torch
	touch $@

# The fast tests with every dependency at its lower bound (torch at the version that the references pin).
test-lowest:
	@$(VENV) .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable ".[dev,$(BACKEND)]"
	.venv-lowest/bin/python -m pytorch_to_mlx.environments torch
	$(EXACT) $(PRELOAD) .venv-lowest/bin/python -m pytest

clean:
	rm -rf .venv .venv-lowest demo-output
