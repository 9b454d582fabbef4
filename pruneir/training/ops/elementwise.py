"""Pointwise operators: arithmetic with broadcasting, comparisons, logic, casts, and activations."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from pruneir.training.ops.call import Call, op

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Det": torch.linalg.det,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "PRelu": lambda x, slope: torch.where(x < 0, x * slope, x),
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[Call, Tensor], Tensor]:
    return lambda call, x: function(x)


for _kind, _function in _UNARY.items():
    op(_kind)(_unary(_function))


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Call, Tensor, Tensor], Tensor]:
    return lambda call, a, b: function(a, b)


for _kind, _pair in _BINARY.items():
    op(_kind)(_binary(_pair))


@op("Div")
def div(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """Integers are divided towards zero."""
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@op("Mod")
def mod(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """With the sign of the divisor, with `fmod` that of the dividend."""
    return torch.fmod(a, b) if call.attribute("fmod", 0) else torch.remainder(a, b)


@op("Pow")
def power(call: Call, x: Tensor, exponent: Tensor) -> Tensor:
    """In the type of x."""
    if exponent.numel() == 1 and not exponent.requires_grad and exponent.dim() <= x.dim():
        return torch.pow(x, exponent.item()).to(x.dtype)
    return torch.pow(x, exponent).to(x.dtype)


@op("Sum")
def total(call: Call, *terms: Tensor) -> Tensor:
    """The sum of all inputs."""
    return reduce(torch.add, terms)


@op("Mean")
def mean(call: Call, *terms: Tensor) -> Tensor:
    """The mean of all inputs."""
    return reduce(torch.add, terms) / len(terms)


@op("Max")
def maximum(call: Call, *terms: Tensor) -> Tensor:
    """The largest of all inputs."""
    return reduce(torch.maximum, terms)


@op("Min")
def minimum(call: Call, *terms: Tensor) -> Tensor:
    """The smallest of all inputs."""
    return reduce(torch.minimum, terms)


@op("BitShift")
def bit_shift(call: Call, x: Tensor, by: Tensor) -> Tensor:
    """LEFT or RIGHT."""
    left = call.attribute("direction") == "LEFT"
    return torch.bitwise_left_shift(x, by) if left else torch.bitwise_right_shift(x, by)


@op("Where")
def where(call: Call, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """x where the condition holds, else y."""
    return torch.where(condition, x, y)


@op("Cast")
def cast(call: Call, x: Tensor) -> Tensor:
    """Floats of every width stay what the network computes in."""
    return x.to(call.mode.dtype_of(call.attribute("to")))


@op("CastLike")
def cast_like(call: Call, x: Tensor, like: Tensor) -> Tensor:
    """To the type of the second input."""
    return x.to(like.dtype)


@op("Clip")
def clip(call: Call, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """Bounds are attributes before opset 11; a lower bound above the upper one gives way to it."""
    if call.opset < 11:
        return torch.clamp(x, call.attribute("min", -math.inf), call.attribute("max", math.inf))
    if low is None and high is None:
        return x
    return torch.clamp(x, low, high)


@op("IsInf")
def is_inf(call: Call, x: Tensor) -> Tensor:
    """Of either sign, or of those that the attributes name."""
    found = torch.zeros_like(x, dtype=torch.bool)
    if call.attribute("detect_positive", 1):
        found = found | torch.isposinf(x)
    return found | torch.isneginf(x) if call.attribute("detect_negative", 1) else found


@op("Dropout", spread=True)
def dropout(call: Call, x: Tensor, ratio: Tensor | None = None, _: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Drops in training, and hands x on otherwise."""
    share = 0.5 if ratio is None else float(ratio)
    share = share if call.opset >= 12 else call.attribute("ratio", 0.5)
    if not call.mode.training or not share:
        return x, torch.ones_like(x, dtype=torch.bool) if call.wants(1) else x
    kept = torch.rand_like(x) >= share
    return x * kept / (1 - share) if share < 1 else torch.zeros_like(x), kept


@op("LeakyRelu")
def leaky_relu(call: Call, x: Tensor) -> Tensor:
    """α·x below zero."""
    return F.leaky_relu(x, call.attribute("alpha", 0.01))


@op("Elu")
def elu(call: Call, x: Tensor) -> Tensor:
    """α·(eˣ − 1) below zero."""
    return F.elu(x, call.attribute("alpha", 1.0))


@op("Celu")
def celu(call: Call, x: Tensor) -> Tensor:
    """α·(e^(x/α) − 1) below zero."""
    return F.celu(x, call.attribute("alpha", 1.0))


@op("Selu")
def selu(call: Call, x: Tensor) -> Tensor:
    """γ·x above zero, γ·α·(eˣ − 1) below."""
    alpha = call.attribute("alpha", 1.67326319217681884765625)
    return call.attribute("gamma", 1.05070102214813232421875) * F.elu(x, alpha)


@op("HardSigmoid")
def hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    """α·x + β within 0 … 1."""
    return torch.clamp(call.attribute("alpha", 0.2) * x + call.attribute("beta", 0.5), 0, 1)


@op("ThresholdedRelu")
def thresholded_relu(call: Call, x: Tensor) -> Tensor:
    """x above α, else zero."""
    return torch.where(x > call.attribute("alpha", 1.0), x, torch.zeros_like(x))


@op("Shrink")
def shrink(call: Call, x: Tensor) -> Tensor:
    """x moved by the bias towards zero outside of ±λ, else zero."""
    bias, lambd = call.attribute("bias", 0.0), call.attribute("lambd", 0.5)
    zero = torch.zeros_like(x)
    return torch.where(x > lambd, x - bias, torch.where(x < -lambd, x + bias, zero)).to(x.dtype)


@op("Gelu")
def gelu(call: Call, x: Tensor) -> Tensor:
    """x·Φ(x), or its approximation by tanh."""
    return F.gelu(x, approximate=call.attribute("approximate", "none"))


@op("Swish")
def swish(call: Call, x: Tensor) -> Tensor:
    """x·σ(α·x)."""
    return x * torch.sigmoid(call.attribute("alpha", 1.0) * x)
