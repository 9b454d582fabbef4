"""What training changes in a network, taken out and put back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pruneir.training.network import Network

State = dict[str, Tensor]
"""Weights and running statistics by name, in main memory."""


def taken(network: Network) -> State:
    """A copy of the network's state."""
    held: dict[str, Tensor] = {**network.weights, **network.statistics}
    return {name: tensor.detach().cpu().clone() for name, tensor in held.items()}


def shapes(state: State) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor, by name."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@torch.no_grad()  # type: ignore[untyped-decorator]
def put(network: Network, state: Mapping[str, Tensor]) -> None:
    """Give a network a state, of its own or of another with the same weights."""
    for name, tensor in (*network.weights.items(), *network.statistics.items()):
        tensor.copy_(state[name])


def is_finite(state: State) -> bool:
    """Whether every number is one."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in state.values())
