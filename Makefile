# make demo: convert two trained models, prove them, run them on speech. make test: the fast tests.
# Each sets up .venv by itself. PYTHON chooses the interpreter, BACKEND=cuda MLX's CUDA backend on Linux.

PYTHON ?= python3
BACKEND ?= cpu
BIN := .venv/bin
# MLX's Linux wheel carries a reference BLAS, about 40 times slower (docs/architecture.md, Speed).
OPENBLAS := $(firstword $(wildcard /usr/lib/*/openblas-pthread/libopenblas.so.0))
PRELOAD := $(if $(OPENBLAS),LD_PRELOAD=$(OPENBLAS))
RUN := $(PRELOAD) $(BIN)
FUZZ ?= 100000

.PHONY: demo test parity lint types check fuzz goldens benchmark test-lowest clean

demo: .venv/installed
	$(RUN)/python examples/demo.py

test: .venv/installed
	$(RUN)/python -m pytest

parity: .venv/installed
	$(RUN)/python -m pytest -m parity

lint: .venv/installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

types: .venv/installed
	$(BIN)/pyright

check: lint types test parity

fuzz: .venv/installed
	$(RUN)/python tests/fuzz.py --cases $(FUZZ)

goldens: .venv/installed
	$(RUN)/python tests/record_goldens.py

benchmark: .venv/installed
	$(RUN)/python benchmarks/conversion.py

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev,$(BACKEND)]"
	$(BIN)/python -m pytorch_to_mlx.environments torch
	touch $@

# The fast tests with every dependency at its lower bound (torch at the version that the references pin).
test-lowest:
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct --editable ".[dev,$(BACKEND)]"
	.venv-lowest/bin/python -m pytorch_to_mlx.environments torch
	$(PRELOAD) .venv-lowest/bin/python -m pytest

clean:
	rm -rf .venv .venv-lowest demo-output
