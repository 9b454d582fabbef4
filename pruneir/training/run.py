"""What `pruneir train` does: train a network by the plan that lies beside it, and by its teacher."""

from __future__ import annotations

from pathlib import Path

from pruneir.data import Data, Scaling
from pruneir.detection.anchors import given_anchors
from pruneir.errors import PruneirError
from pruneir.files import plan_of
from pruneir.graph import Graph
from pruneir.progress import Progress
from pruneir.score import unread
from pruneir.training.fit import fit
from pruneir.training.options import Training
from pruneir.training.trained import Trained, plan_beside


def trained(
    graph: Graph,
    training: Training,
    data: Data,
    validation: Data | None,
    teacher: Graph | None,
    *,
    scaling: Scaling,
    source: str | None,
    taught_by: str | None,
    checkpoints: Path | None,
    resume: bool,
    seed: int,
    progress: Progress,
) -> Trained:
    """The network trained; its teacher is the network itself where none is given.

    source, taught_by   paths of the network and of the teacher, if they have some
    PruneirError where a network that was cut would only learn from itself.
    """
    plan, warning = plan_beside(source, graph) if source is not None else (None, "")
    taught = training.distill or training.loss == "distill" or (training.loss == "auto" and not data.has_labels)
    if plan is not None and plan.kept and teacher is None and taught:
        raise PruneirError(
            f"{plan_of(Path(source or ''))} says that {source} was cut, and it would learn from what it was before; "
            "give that file as --teacher, or labels"
        )
    fitted = fit(
        graph,
        training,
        data,
        validation,
        teacher if teacher is not None else graph,
        seed=seed,
        plan=plan,
        anchors=given_anchors(training.anchors),
        progress=progress,
        checkpoints=checkpoints,
        resume=resume,
    )
    judged = validation if validation is not None else data
    networks = [graph, *([teacher] if teacher is not None else [])]
    unscored = unread(networks, judged) if training.anchors is None else ""
    unused = _unused(training, teacher, data, taught=bool(taught))
    told = (*data.warnings, *judged.warnings, *filter(None, (warning, unscored, unused)))
    return Trained(fitted, training, seed, scaling, source, taught_by, plan, tuple(dict.fromkeys(told)))


def _unused(training: Training, teacher: Graph | None, data: Data, *, taught: bool) -> str:
    """A warning that nothing is learned from the teacher, since there are labels."""
    if teacher is None or taught or not data.has_labels or training.loss not in ("auto", "cross-entropy", "mse"):
        return ""
    return "--teacher is not looked at, since the data have labels; give --distill SHARE, or --loss distill"
