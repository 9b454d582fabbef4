"""What `compile` wrote: how weights with zeros are stored, then the sizes in a few lines."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from pruneir.deployment.compiling import Compiled
from pruneir.numbers import kib
from pruneir.report.storage import storage_table


def report(made: Compiled, *, verbose: bool = False, width: int = 80) -> Group:
    """The weights with zeros, if it was not run; the sizes, against what was predicted and what there is; the folder.

    verbose  also what formats of weights are estimated to cost
    width    columns that there are
    """
    manifest = made.artifact.manifest
    lines: list[RenderableType] = []
    if manifest.weights and made.measured is None:
        lines.append(Padding(storage_table(manifest.weights, verbose=verbose, width=width), (0, 0, 1, 0)))
    for name in ("flash", "ram"):
        memory, predicted = getattr(made.sizes, name), getattr(made.predicted, name)
        allowed = getattr(made.budget, name)
        if memory is None:
            continue
        line = Text.assemble((f"{'RAM' if name == 'ram' else name:7}", "dim"), (kib(memory.total), "bold"))
        if allowed is not None:
            line.append(f" of {kib(allowed)}", style="bold red" if memory.total > allowed else "")
        parts: dict[str, int | None] = {part: getattr(memory, part) for part in memory.__dataclass_fields__}
        line.append(f"  {', '.join(f'{part} {kib(size)}' for part, size in parts.items() if size)}", style="dim")
        if predicted is not None:
            line.append(f"; predicted {kib(predicted.total)}", style="dim")
        if "stack" in parts and parts["stack"] is None:
            line.append("; the stack is not in it, --run measures that", style="dim")
        lines.append(line)
    folder = (str(made.artifact.folder), "bold")
    lines.append(Text.assemble(("wrote  ", "dim"), folder, (f"  for {manifest.target}", "dim")))
    return Group(*lines)
