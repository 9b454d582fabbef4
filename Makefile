# Two commands set everything up: `make demo` (environment, then the main job on a real network) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench clean

demo: $(VENV)/.core
	@mkdir -p demo
	$(BIN)/pruneir optimize models/mnist_resnet/mnist_resnet_s0.onnx --pass 'slim{ratio=0.5}' \
	    --data models/data/mnist_test_2k.npz -o demo/mnist.pruned.onnx --force

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python tests/benchmarks/scale.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,tvm,train,images]'
	@touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) demo build dist *.egg-info
