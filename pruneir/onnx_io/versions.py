"""Which models can be read at all: operator sets and file formats that onnx and ONNX Runtime both know."""

from __future__ import annotations

import onnx

from pruneir.errors import PruneirError

OLDEST_OPSET = 7
NEWEST_OPSET = min(26, onnx.defs.onnx_opset_version())
NEWEST_IR = min(13, onnx.IR_VERSION)
"""What ONNX Runtime 1.31 runs; tests/onnx_io/test_versions.py tries it."""


def check_versions(model: onnx.ModelProto) -> None:
    """PruneirError if this is no model, or one of a version that cannot be read."""
    if not model.HasField("graph") or not model.ir_version:
        raise PruneirError("not an ONNX model (no graph or no IR version in it); give an .onnx file")
    if model.ir_version > NEWEST_IR:
        raise PruneirError(
            f"IR version {model.ir_version} is newer than {NEWEST_IR}, the newest that is supported; "
            f"export with opset {NEWEST_OPSET} or lower"
        )
    if not model.opset_import:
        raise PruneirError("the model imports no operator set, so its operators mean nothing; export it again")
    opset = max((x.version for x in model.opset_import if x.domain in ("", "ai.onnx")), default=None)
    if opset is None:
        _check_domains(model)
    elif opset > NEWEST_OPSET:
        raise PruneirError(
            f"opset {opset} is newer than {NEWEST_OPSET}, the newest that both onnx and ONNX Runtime run; "
            f"export with opset {NEWEST_OPSET} or lower"
        )
    elif opset < OLDEST_OPSET:
        raise PruneirError(
            f"opset {opset} is older than {OLDEST_OPSET}; convert the model with onnx.version_converter, "
            f"or export it with opset {OLDEST_OPSET} to {NEWEST_OPSET}"
        )


def _check_domains(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.domain in ("", "ai.onnx"):
            raise PruneirError(
                f"node {node.name or node.op_type!r} is of the standard operator set, "
                "but the model imports no version of that; export it again"
            )
