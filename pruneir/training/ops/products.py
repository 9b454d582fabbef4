"""Products of matrices: Gemm, MatMul, Einsum."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from pruneir.training.ops.call import Call, op


@op("Gemm")
def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """α·A·B + β·C, of which C may have any shape that broadcasts to the product's."""
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    a = a.mT if call.attribute("transA", 0) else a
    if alpha == 1 and beta == 1 and (c is None or c.dim() == 1):
        return F.linear(a, b if call.attribute("transB", 0) else b.mT, c)
    y = alpha * (a @ (b.mT if call.attribute("transB", 0) else b))
    return y if c is None else y + beta * c


@op("MatMul")
def matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    """As numpy's."""
    return torch.matmul(a, b)


@op("Einsum")
def einsum(call: Call, *operands: Tensor) -> Tensor:
    """As numpy's."""
    return torch.einsum(call.attribute("equation").replace(" ", ""), *operands)
