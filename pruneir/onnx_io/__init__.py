"""ONNX in and out, lossless: loading and saving without a pass changes nothing that a runtime or a reader can see."""

from pruneir.onnx_io.evaluate import evaluate
from pruneir.onnx_io.inline import inline_functions
from pruneir.onnx_io.load import load
from pruneir.onnx_io.model import skeleton, to_model
from pruneir.onnx_io.save import save
from pruneir.onnx_io.session import session

__all__ = ["evaluate", "inline_functions", "load", "save", "session", "skeleton", "to_model"]
