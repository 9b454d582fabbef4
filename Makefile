# Two commands set everything up: `make demo` (environment, then the main job on a real network) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FIRMWARE := make gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm

.PHONY: demo test lint bench firmware clean

demo: $(VENV)/.core
	@mkdir -p demo
	$(BIN)/pruneir optimize models/mnist_resnet/mnist_resnet_s0.onnx --pass 'slim{ratio=0.5}' \
	    --data models/data/mnist_test_2k.npz -o demo/mnist.pruned.onnx --force

test: $(VENV)/.dev lint firmware
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What builds and runs Cortex-M code; without it those tests are skipped, or fail where CI is set.
firmware:
	@if command -v arm-none-eabi-gcc >/dev/null && command -v qemu-system-arm >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(FIRMWARE) >/dev/null; \
	else echo "firmware is not tested; to do so: sudo apt-get install $(FIRMWARE)"; fi

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
