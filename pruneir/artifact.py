"""What a backend makes of a network: a folder that runs, says what it needs, and can be measured.

    DIR/manifest.json   backend, target, inputs, outputs, sizes, versions
    DIR/…               whatever the backend put there

Figures are of one run of the artifact. Sizes are in bytes.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pruneir.errors import PruneirError
from pruneir.storage import Storage

Array = np.ndarray[Any, Any]
Unit = Literal["instructions", "ms"]

MANIFEST = "manifest.json"
SCHEMA = 1
DEFAULT = "default"
"""Schedule of a layer that none was written for."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output: its name in the network, numpy dtype, and shape, where None is chosen for every run."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.name}[{','.join('any' if size is None else str(size) for size in self.shape)}] {self.dtype}"


@dataclass(frozen=True, slots=True)
class Flash:
    """Bytes of read-only memory.

    text    machine code
    rodata  constants, most of which are weights
    data    initial values of variables
    """

    text: int = 0
    rodata: int = 0
    data: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.text + self.rodata + self.data


@dataclass(frozen=True, slots=True)
class Ram:
    """Bytes of working memory.

    arena   intermediate values and workspaces of kernels
    io      inputs and outputs, where they are not in the arena
    stack   high-water mark; None where it was not measured
    static  other variables
    """

    arena: int = 0
    io: int = 0
    stack: int | None = None
    static: int = 0

    @property
    def total(self) -> int:
        """All that is known."""
        return self.arena + self.io + (self.stack or 0) + self.static


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory that a network needs on a machine; None where a backend does not say."""

    flash: Flash | None = None
    ram: Ram | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artifact says of itself.

    backend   name of the backend that made it and can open it
    target    machine that it is for
    sizes     memory that it needs
    versions  what made it, by name
    details   what the backend itself wants to find again, as JSON
    weights   how those of layers with zeros are stored, where leaving these out was considered
    """

    backend: str
    target: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    sizes: Footprint = Footprint()
    versions: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[Storage, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The content of `manifest.json`."""
        return {"schema": SCHEMA, **asdict(self), "weights": [each.document() for each in self.weights]}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Manifest:
        """The manifest that `to_json` wrote. KeyError, TypeError or ValueError for anything else."""
        if found["schema"] != SCHEMA:
            raise ValueError(f"schema {found['schema']}")
        flash, ram = found["sizes"]["flash"], found["sizes"]["ram"]
        return cls(
            str(found["backend"]),
            str(found["target"]),
            _ports(found["inputs"]),
            _ports(found["outputs"]),
            Footprint(None if flash is None else Flash(**flash), None if ram is None else Ram(**ram)),
            dict(found["versions"]),
            dict(found["details"]),
            tuple(map(Storage.from_document, found.get("weights", ()))),
        )

    def write(self, folder: Path) -> None:
        """Write `manifest.json`; the same manifest gives the same bytes."""
        (folder / MANIFEST).write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact folder. PruneirError if it is none."""
    path = folder / MANIFEST
    if not path.is_file():
        what = "has no manifest.json, so it is no artifact" if folder.is_dir() else "is no folder"
        raise PruneirError(f"{folder}: {what}; `pruneir compile MODEL --target T -o DIR` makes one")
    try:
        return Manifest.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PruneirError(
            f"{path}: is no manifest of this version of pruneir ({' '.join(str(error).split())}); compile it again"
        ) from None


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """One step of a run.

    name          the layer, as in the network
    kernel        the function that computes it
    macs          multiply-accumulates
    schedule      how: `register tile 4x5`, or `DEFAULT`
    instructions, ms   what it took, in the unit of the profile
    """

    name: str
    kernel: str
    macs: int
    schedule: str = DEFAULT
    instructions: int | None = None
    ms: float | None = None

    @property
    def taken(self) -> float | None:
        """What it took, in whichever unit it was measured."""
        return self.instructions if self.instructions is not None else self.ms


@dataclass(frozen=True, slots=True)
class Profile:
    """What one run took.

    instructions, ms    in total: either; a count from an emulator is no time
    macs                multiply-accumulates
    flash, ram          memory, with the stack as it was measured
    arena_lower_bound   bytes that no arrangement of the arena can go below
    layers              the steps, in order
    machine             what it ran on, in words: `QEMU mps2-an386`
    least_ms            the shortest of the runs, where `ms` is their median
    threads             that it ran on
    peak_gflops         10⁹ floating-point operations a second that these can do at most
    """

    macs: int
    layers: tuple[LayerProfile, ...]
    instructions: int | None = None
    ms: float | None = None
    flash: Flash | None = None
    ram: Ram | None = None
    arena_lower_bound: int | None = None
    machine: str = ""
    least_ms: float | None = None
    threads: int | None = None
    peak_gflops: float | None = None

    @property
    def unit(self) -> Unit:
        """What was counted."""
        return "ms" if self.instructions is None else "instructions"

    @property
    def taken(self) -> float | None:
        """The total, in that unit."""
        return self.instructions if self.instructions is not None else self.ms


@dataclass(frozen=True)
class Artifact(ABC):
    """A compiled network in a folder.

    folder    where it is; all that it needs is inside, and it may be moved
    manifest  what it says of itself
    """

    folder: Path
    manifest: Manifest

    @abstractmethod
    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, for one array per input of exactly its dtype and shape, C-contiguous."""

    @abstractmethod
    def profile(self, inputs: Mapping[str, Array]) -> Profile:
        """What a run on these inputs takes, in total and layer by layer."""

    def run_all(self, batches: Iterable[Mapping[str, Array]]) -> Iterator[dict[str, Array]]:
        """The outputs of many runs, in order; for a backend to do together where starting a run is slow."""
        return map(self.run, batches)

    def __call__(self, inputs: Mapping[str, Array] | Array) -> dict[str, Array]:
        """The outputs by name.

        inputs  one array per input, or the only input's; numbers are converted where none is lost

        PruneirError for a missing input, an unknown one, or one of another shape.
        """
        return self.run(self.fitted(inputs))

    def fitted(self, inputs: Mapping[str, Array] | Array) -> dict[str, Array]:
        """The inputs as `run` wants them."""
        ports = {port.name: port for port in self.manifest.inputs}
        shown = ", ".join(map(str, ports.values()))
        if not isinstance(inputs, Mapping):
            if len(ports) != 1:
                raise PruneirError(f"{self.folder}: takes {shown}; give an array for each, by name")
            inputs = dict.fromkeys(ports, np.asarray(inputs))
        for name in sorted({*inputs} ^ {*ports}):
            what = "there is no input" if name in inputs else "no array for input"
            raise PruneirError(f"{self.folder}: {what} '{name}'; it takes {shown}")
        return {name: self._as(np.asarray(inputs[name]), port) for name, port in ports.items()}

    def _as(self, array: Array, port: Port) -> Array:
        fits = len(array.shape) == len(port.shape) and all(
            wanted in (None, size) for size, wanted in zip(array.shape, port.shape, strict=True)
        )
        if not fits:
            given = ",".join(map(str, array.shape))
            raise PruneirError(f"{self.folder}: takes {port}, but the array has shape [{given}]")
        if not np.can_cast(array.dtype, port.dtype, "same_kind"):
            raise PruneirError(f"{self.folder}: takes {port}, but the array holds {array.dtype}")
        return np.ascontiguousarray(array, port.dtype)


def _ports(found: Iterable[Mapping[str, Any]]) -> tuple[Port, ...]:
    return tuple(Port(str(each["name"]), str(np.dtype(each["dtype"])), tuple(each["shape"])) for each in found)
