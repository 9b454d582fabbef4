"""Attention as one operator: softmax(scale·Q·Kᵀ + mask)·V per head, with its cache, its windows and its soft cap.

As onnx 1.23 states opsets 23 to 26: the cap comes before the mask, the frontier of causal attention is counted from the
end of what is cached, and a query that may look at nothing gives zeros.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

from pruneir.training.ops.call import Call, op


@op("Attention")
def attention(
    call: Call,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    past_k: Tensor | None = None,
    past_v: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Of Q, K and V as [batch, heads, length, dims] or [batch, length, heads·dims]; the cache and the scores too."""
    flat = q.dim() == 3
    if flat:
        groups = call.attribute("kv_num_heads")
        q, k, v = _heads(q, call.attribute("q_num_heads")), _heads(k, groups), _heads(v, groups)
    k = k if past_k is None else torch.cat([past_k, k], 2)
    v = v if past_v is None else torch.cat([past_v, v], 2)
    served = q.shape[1] // k.shape[1]
    keys, values = (part.repeat_interleave(served, 1) if served > 1 else part for part in (k, v))
    scale = math.sqrt(call.attribute("scale", 1 / math.sqrt(q.shape[-1])))
    raw = (q * scale) @ (keys * scale).mT
    cap = call.attribute("softcap", 0.0)
    capped = cap * torch.tanh(raw / cap) if cap else raw
    bias = _bias(call, q, keys.shape[2], mask, past_k, lengths)
    masked = capped if bias is None else capped + bias
    shares = torch.softmax(masked, -1)
    if bias is not None:
        shares = torch.where(bias.amax(-1, keepdim=True) == -math.inf, torch.zeros_like(shares), shares)
    y = shares @ values
    scores = (raw, capped, masked, shares)[call.attribute("qk_matmul_output_mode", 0)]
    return y.transpose(1, 2).flatten(2) if flat else y, k, v, scores


def _heads(x: Tensor, count: int) -> Tensor:
    return x.unflatten(2, (count, -1)).transpose(1, 2)


def _bias(
    call: Call, q: Tensor, columns: int, mask: Tensor | None, past: Tensor | None, lengths: Tensor | None
) -> Tensor | None:
    """What is added to the scores: the mask, and −∞ where a query must not look."""
    visible = _visible(call, q, columns, past, lengths)
    if mask is not None and mask.shape[-1] < columns:
        closed = False if mask.dtype == torch.bool else -math.inf
        mask = F.pad(mask, (0, columns - mask.shape[-1]), value=closed)
    if mask is not None and mask.dtype == torch.bool:
        visible, mask = mask if visible is None else visible & mask, None
    if visible is None:
        return mask
    bias = torch.zeros_like(visible, dtype=q.dtype).masked_fill(~visible, -math.inf)
    return bias if mask is None else bias + mask


def _visible(call: Call, q: Tensor, columns: int, past: Tensor | None, lengths: Tensor | None) -> Tensor | None:
    """Which keys a query may look at: up to its own place, within the window, within the valid length."""
    rows = q.shape[2]
    before = torch.zeros(1, device=q.device, dtype=torch.int64)
    if past is not None:
        before = before + past.shape[2]
    elif lengths is not None:
        before = lengths.to(q.device).reshape(-1) - rows
    keys = torch.arange(columns, device=q.device)
    ahead = keys - (torch.arange(rows, device=q.device)[:, None] + before.reshape(-1, 1, 1, 1))
    left, right = call.attribute("left_window_size", -1), call.attribute("right_window_size", -1)
    limits = []
    if call.attribute("is_causal", 0):
        limits.append(ahead <= 0)
    if left >= 0:
        limits.append(-ahead <= left)
    if right >= 0:
        limits.append(ahead <= right)
    if lengths is not None:
        limits.append((keys < lengths.to(q.device).reshape(-1, 1)).reshape(-1, 1, 1, columns))
    if not limits:
        return None
    visible = limits[0]
    for limit in limits[1:]:
        visible = visible & limit
    return visible
