"""pruneir: prune, fold and compile trained ONNX networks.

    import pruneir

    pruned = pruneir.optimize("model.onnx", passes=["slim{ratio=0.5}"], data="calibration.npz")
    pruned.save("model.pruned.onnx")

Importing the package imports nothing else; each name below is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pruneir.api import Optimized, compile, load, optimize, save, sensitivity, trace, train
    from pruneir.artifact import Artifact, Profile
    from pruneir.backend import load_artifact
    from pruneir.deployment.compiling import Compiled
    from pruneir.errors import PruneirError, Refusal
    from pruneir.training.options import Training
    from pruneir.weight_files import read_safetensors, write_safetensors
    from pruneir.weights import export_weights

__version__ = "0.1.0"
__all__ = [
    "Artifact",
    "Compiled",
    "Optimized",
    "Profile",
    "PruneirError",
    "Refusal",
    "Training",
    "__version__",
    "compile",
    "export_weights",
    "load",
    "load_artifact",
    "optimize",
    "read_safetensors",
    "save",
    "sensitivity",
    "trace",
    "train",
    "write_safetensors",
]

_HOMES = {
    "Artifact": "pruneir.artifact",
    "Compiled": "pruneir.deployment.compiling",
    "Profile": "pruneir.artifact",
    "load_artifact": "pruneir.backend",
    "PruneirError": "pruneir.errors",
    "Refusal": "pruneir.errors",
    "Training": "pruneir.training.options",
    "export_weights": "pruneir.weights",
    "read_safetensors": "pruneir.weight_files",
    "write_safetensors": "pruneir.weight_files",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pruneir' has no attribute '{name}'")
    found = globals()[name] = getattr(import_module(_HOMES.get(name, "pruneir.api")), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
