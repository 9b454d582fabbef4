"""How long a network takes on its target before and after a run, as the target's backend predicts it."""

from __future__ import annotations

from dataclasses import dataclass

from pruneir.deployment.compiling import Compiler
from pruneir.errors import PruneirError
from pruneir.pipeline.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is known of the time of one run of one sample.

    ms   before and after; None where it cannot be predicted
    on   the machine: target, cores, clock
    why  what stands in the way; empty if nothing does
    """

    ms: tuple[float, float] | None = None
    on: str = ""
    why: str = ""


def predicted(outcome: Outcome) -> Prediction | None:
    """The prediction for the target of a run; None where that is no machine, or its backend predicts no times."""
    if outcome.recipe.target == "any":
        return None
    try:
        compiler = Compiler.of(outcome.recipe.target)
        if not compiler.backend.clocked:
            return None
        before, after = (
            compiler.backend.predict_ms(compiler.prepared(graph), compiler.target)
            for graph in (outcome.original, outcome.graph)
        )
    except PruneirError as error:
        return Prediction(why=str(error).removeprefix("--target: "))
    on = f"{compiler.target.name}, {compiler.backend.clocked}"
    return None if before is None or after is None else Prediction((before, after), on)
