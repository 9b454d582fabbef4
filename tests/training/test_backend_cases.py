"""The onnx package's own node tests: every float case that the interpreter takes, it computes as they say."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from pruneir import onnx_io
from pruneir.errors import PruneirError
from pruneir.onnx_io.versions import NEWEST_IR, NEWEST_OPSET

pytest.importorskip("torch")
import torch

from pruneir.training.network import Network

DIFFERENT = {
    "test_batchnorm_example_training_mode": "the running variance moves to the unbiased one, as torch has it",
    "test_batchnorm_epsilon_training_mode": "the running variance moves to the unbiased one, as torch has it",
    "test_bitwise_not_3d": "uint16 is computed as int64",
    "test_training_dropout": "another random mask",
    "test_training_dropout_mask": "another random mask",
    "test_training_dropout_default": "another random mask",
    "test_training_dropout_default_mask": "another random mask",
}


def cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        return list(collect_testcases(None))


def differs(case: Any) -> str | None:
    """What is wrong with a case; None if nothing, LookupError if the interpreter or the tensors are not for it."""
    arrays = [array for data in case.data_sets for part in data for array in part]
    if not all(isinstance(array, (np.ndarray, np.generic)) and array.dtype.kind in "biuf" for array in arrays):
        raise LookupError(case.name)
    case.model.ir_version = min(case.model.ir_version, NEWEST_IR)
    for imported in case.model.opset_import:
        imported.version = min(imported.version, NEWEST_OPSET) if not imported.domain else imported.version
    try:
        network = Network(onnx_io.inline_functions(onnx_io.load(case.model)))
    except PruneirError:
        raise LookupError(case.name) from None
    network.train("train" in case.name)
    for inputs, outputs in case.data_sets:
        feeds = {name: tensor_of(array) for name, array in zip(network.graph.inputs, inputs, strict=False)}
        with torch.no_grad():
            made = network(feeds)
        for name, want in zip(network.graph.outputs, outputs, strict=True):
            got = made[name].numpy().astype(np.float64)
            half = np.asarray(want).dtype == np.float16
            relative, absolute = max(case.rtol, 1e-3), max(case.atol, 2e-3 if half else 1e-5)
            if got.shape != np.shape(want):
                return f"{name}: shape {got.shape}, not {np.shape(want)}"
            if not np.allclose(got, np.asarray(want, np.float64), relative, absolute, equal_nan=True):
                return f"{name}: other values"
    return None


def tensor_of(array: np.ndarray) -> torch.Tensor:
    wide = array.dtype.name in ("uint16", "uint32", "uint64")
    return torch.tensor(np.asarray(array, np.int64) if wide else np.asarray(array))


@pytest.mark.slow
def test_the_cases_of_the_onnx_package() -> None:
    wrong, passed = {}, 0
    for case in cases():
        try:
            reason = differs(case)
        except LookupError:
            continue
        if reason is None:
            passed += 1
        else:
            wrong[case.name] = reason
    assert wrong.keys() == DIFFERENT.keys(), wrong
    assert passed > 1200
