"""Which values are positive or not negative, whatever the network is fed and whichever channels are masked.

So much follows from the operators alone: √(Σx² + ε) and max(‖x‖, ε) are positive, and a division by them is defined
where a removed channel is zero. Of constants only single numbers count, since those of channels are masked with them.
"""

from __future__ import annotations

from pruneir.graph import Graph, Operator

_POSITIVE = ("Exp", "Softplus")
_NOT_NEGATIVE = (
    *("Abs", "Relu", "Sigmoid", "HardSigmoid", "Softmax", "Sqrt"),
    *("ReduceL1", "ReduceL2", "ReduceSumSquare", "GlobalLpPool", "LpPool"),
)
_KEEPING = (
    *("Cast", "Identity", "Dropout", "Expand", "Flatten", "Gather", "Reshape", "Slice", "Split", "Squeeze"),
    *("Tile", "Transpose", "Unsqueeze", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"),
    *("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Sqrt"),
)
"""One tensor in, whose sign the result has."""
_ALL = ("Add", "Concat", "Max", "Mean", "Min", "Mul", "Sum")
"""What all operands are, the result is."""
_FLOATS = (1, 10, 11, 16)


class Signs:
    """The signs of a graph's values, found when one is first asked for."""

    def __init__(self, graph: Graph):
        self._graph = graph
        self._known: dict[tuple[str, bool], bool] = {}

    def positive(self, name: str) -> bool:
        """Whether every element is more than zero."""
        if not self._known:  # in order, so that nothing is looked for deeper than its inputs
            for value in (out for operator in self._graph.operators for out in operator.outputs):
                self._is(value, strictly=False)
                self._is(value, strictly=True)
        return self._is(name, strictly=True)

    def _is(self, name: str, *, strictly: bool) -> bool:
        key = name, strictly
        if key not in self._known:
            self._known[key] = self._found(name, strictly)
        return self._known[key]

    def _found(self, name: str, strictly: bool) -> bool:
        array, operator = self._graph.constant(name), self._graph.producer(name)
        if array is not None:
            number = array.size == 1 and array.dtype.kind not in "OSU"
            return number and bool(array.item() > 0 if strictly else array.item() >= 0)
        if operator is None or (operator.is_a("Cast") and operator.attribute("to") not in _FLOATS):
            return False
        inputs = [each for each in operator.inputs if each]
        alike = (self._is(each, strictly=strictly) for each in inputs)
        if operator.is_a(*_POSITIVE) or (operator.is_a(*_KEEPING) and next(alike)):
            return True
        if operator.is_a("Max"):
            return any(alike)
        if operator.is_a("Clip"):
            return self._bounded(operator, strictly)
        if operator.is_a("Div"):
            return next(alike) and self._is(inputs[1], strictly=True)
        if operator.is_a(*_ALL) and all(alike):
            return True
        if not strictly:
            return operator.is_a(*_NOT_NEGATIVE) or self._is_square(operator)
        some = operator.is_a("Add", "Sum") and any(self._is(each, strictly=True) for each in inputs)
        return some and all(self._is(each, strictly=False) for each in inputs)

    def _bounded(self, clip: Operator, strictly: bool) -> bool:
        if "min" in clip.attributes:
            return bool(clip.attributes["min"] > 0 if strictly else clip.attributes["min"] >= 0)
        return len(clip.inputs) > 1 and bool(clip.inputs[1]) and self._is(clip.inputs[1], strictly=strictly)

    def _is_square(self, operator: Operator) -> bool:
        exponent = self._graph.constant(operator.inputs[1]) if operator.is_a("Pow") else None
        even = exponent is not None and exponent.size == 1 and not exponent.item() % 2
        return even or (operator.is_a("Mul") and len(set(operator.inputs)) == 1)
