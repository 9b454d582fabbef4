"""A training between two epochs, in a file: with it a run that was stopped goes on to the same result, bit for bit.

`training.safetensors` holds the state of the network, of the optimizer, and of the best epoch so far; its metadata hold
the history. Shuffling and dropout of an epoch follow from the seed and the epoch's number, so that no state of a random
generator is needed. The file is replaced after each epoch, whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pruneir.data import Data
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.onnx_io.model import skeleton
from pruneir.training.history import Epoch, Judged, epoch_of
from pruneir.training.program import constants
from pruneir.training.state import State, shapes

_NAME = "training.safetensors"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a training is.

    state      of the network after the last epoch
    optimizer  its buffers, by index of the parameter and name
    history    of the epochs done
    before     how good the network was that was given
    best       the state of the best epoch so far, if that is not the last
    chosen     the number of that epoch; 0: the network that was given
    """

    state: State
    optimizer: State
    history: tuple[Epoch, ...]
    before: Judged
    best: State
    chosen: int

    def misfit(self, given: State, optimizer: torch.optim.Optimizer) -> str:
        """What is not of a training with such a state and optimizer; empty if that may go on from here."""
        wanted = shapes(given)
        if shapes(self.state) != wanted or (self.best and shapes(self.best) != wanted):
            return "its tensors are not those of the network"
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for name, buffer in self.optimizer.items():
            index = int(name.partition("/")[0])
            if index >= len(weights) or (buffer.ndim and buffer.shape != weights[index].shape):
                return "its buffers are not those of the optimizer"
        numbers = [epoch.number for epoch in self.history]
        if numbers != list(range(1, len(numbers) + 1)) or not 0 <= self.chosen <= len(numbers):
            return "its epochs are not in order"
        return ""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with the checkpoint of one training.

    mark  what the training is: by option and part, what must be the same to go on
    """

    path: Path
    mark: Mapping[str, str]

    @property
    def file(self) -> Path:
        """Where the checkpoint lies."""
        return self.path / _NAME

    def opened(self, *, resume: bool) -> Checkpoint | None:
        """What the folder holds of this training; None if there is nothing yet.

        PruneirError if it holds another training, or one that was not to be resumed.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PruneirError(f"{self.path}: no such folder can be made ({error.strerror})") from None
        for draft in self.path.glob(f".{_NAME}.*"):  # what a killed run left half written
            draft.unlink(missing_ok=True)
        if not self.file.exists():
            return None
        if not resume:
            raise PruneirError(f"{self.file} exists; pass --resume to go on, or give a new folder")
        try:
            return self._read()
        except (SafetensorError, ValueError, KeyError, TypeError, OSError) as error:
            raise self.damaged(str(error)) from None

    def damaged(self, why: str) -> PruneirError:
        """What to raise where the file holds what no training of this kind wrote."""
        return PruneirError(f"{self.file} is damaged ({why}); remove it to start again")

    def keep(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint in place of the last."""
        tensors = {
            f"{kind}/{name}": tensor.contiguous()
            for kind in ("state", "optimizer", "best")
            for name, tensor in getattr(checkpoint, kind).items()
        }
        told = {
            "schema": _SCHEMA,
            "mark": dict(self.mark),
            "history": [asdict(epoch) for epoch in checkpoint.history],
            "before": asdict(checkpoint.before),
            "chosen": checkpoint.chosen,
        }
        draft = self.path / f".{_NAME}.{secrets.token_hex(4)}"
        try:
            save_file(tensors, draft, metadata={"pruneir": json.dumps(told)})
            draft.replace(self.file)
        except (OSError, SafetensorError) as error:
            raise PruneirError(f"{self.file} cannot be written ({error}); check the folder") from None
        finally:
            with suppress(OSError):  # what went wrong first is told
                draft.unlink(missing_ok=True)

    def _read(self) -> Checkpoint:
        parts: dict[str, State] = {"state": {}, "optimizer": {}, "best": {}}
        with safe_open(self.file, "pt") as archive:
            told = json.loads(archive.metadata()["pruneir"])
            if told["schema"] != _SCHEMA:
                raise ValueError(f"schema {told['schema']!r}, not {_SCHEMA}")
            for key in archive.keys():  # noqa: SIM118 - it is no mapping
                kind, _, name = key.partition("/")
                parts[kind][name] = archive.get_tensor(key)
        self._require_same(told["mark"])
        return Checkpoint(
            **parts,
            history=tuple(map(epoch_of, told["history"])),
            before=Judged(**told["before"]),
            chosen=told["chosen"],
        )

    def _require_same(self, mark: Mapping[str, str]) -> None:
        differing = [key for key in {**mark, **self.mark} if mark.get(key) != self.mark.get(key)]
        if differing:
            shown = ", ".join(f"{key} was {mark.get(key)}, is {self.mark.get(key)}" for key in differing[:3])
            raise PruneirError(f"{self.file} is of another training: {shown}; give a new folder, or what it was")


def mark_of(
    options: Mapping[str, object], networks: Mapping[str, Graph | None], samples: Mapping[str, Data | None]
) -> dict[str, str]:
    """What tells trainings apart: options, networks, and of the samples what makes them, their number and the first."""
    found = {name: str(value) for name, value in options.items()}
    for what, graph in networks.items():
        if graph is not None:
            digest = hashlib.sha256(skeleton(graph).SerializeToString(deterministic=True))
            for name, array in constants(graph).items():
                digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
            found[what] = digest.hexdigest()[:16]
    for what, data in samples.items():
        if data is not None:
            digest = hashlib.sha256(f"{len(data)}{data.code}".encode())
            batch = next(data.batches(8, data.batch or 8))
            labels = {"labels": batch.labels} if batch.labels is not None else {}
            for name, array in (batch.feeds | labels).items():
                digest.update(name.encode() + array.tobytes())
            found[what] = digest.hexdigest()[:16]
    return found


def buffers(optimizer: torch.optim.Optimizer) -> State:
    """The buffers of an optimizer, such as momentum, by index of the parameter and name."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}/{name}": value.detach().cpu().clone()
        for index, entry in state.items()
        for name, value in entry.items()
        if isinstance(value, Tensor)
    }


def with_buffers(optimizer: torch.optim.Optimizer, given: State) -> None:
    """Give an optimizer the buffers that it had."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in given.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
