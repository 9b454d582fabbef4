# Two commands set everything up: `make demo` (environment, then the main job on a real network) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROGRAMS := make g++ gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm graphviz gcc-aarch64-linux-gnu \
    libc6-dev-arm64-cross
COMMANDS := cc g++ arm-none-eabi-gcc qemu-system-arm dot aarch64-linux-gnu-gcc

.PHONY: demo test lint bench programs clean

demo: $(VENV)/.core
	@mkdir -p demo
	$(BIN)/pruneir optimize models/mnist_resnet/mnist_resnet_s0.onnx --pass 'slim{ratio=0.5}' \
	    --data models/data/mnist_test_2k.npz -o demo/mnist.pruned.onnx --force
	@if [ "$$(uname -m)" = x86_64 ] && command -v cc >/dev/null; then \
	    $(BIN)/pruneir bench models/mnist_resnet/mnist_resnet_s0.onnx demo/mnist.pruned.onnx --target x86 --threads 1; \
	else echo "with a C compiler on x86-64, this also measures how fast both are here"; fi

test: $(VENV)/.dev lint programs
	$(BIN)/python -m pytest -m "" -rs

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What builds for Cortex-M, x86 and AArch64, runs firmware, and draws; without it those tests are skipped, and none is run
# where CI is set.
programs:
	@lacking=; for each in $(COMMANDS); do command -v $$each >/dev/null || lacking=1; done; \
	if [ -z "$$lacking" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PROGRAMS) >/dev/null; \
	else echo "some tests are skipped; to run them: sudo apt-get install $(PROGRAMS)"; fi

bench: $(VENV)/.dev
	$(BIN)/python tests/benchmarks/scale.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,tvm,train,images,report]'
	@touch $@ $(VENV)/.core

clean:
	rm -rf $(VENV) demo build dist *.egg-info
