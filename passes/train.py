"""Training as a pass: fine-tuning after a cut, or sparsity before one."""

from __future__ import annotations

from dataclasses import dataclass

from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.pipeline.passes import Context, Pass, Result
from pruneir.training.extra import require_torch
from pruneir.training.options import Training


@dataclass(frozen=True)
class Train(Training, Pass):  # noqa: D101 - its page is that of its options
    __doc__ = Training.__doc__
    name = "train"
    lossy = True

    def run(self, graph: Graph, context: Context) -> Result:
        """Train on the context's data, learn from its original network, judge on its validation samples."""
        require_torch()
        from pruneir.training.fit import NothingToLearn, fit  # noqa: PLC0415 - torch is an extra
        from pruneir.training.history import summary  # noqa: PLC0415

        if context.data is None:
            raise PruneirError("pass train needs samples to train on; give --data")
        try:
            fitted = fit(
                graph,
                self,
                context.data,
                context.validation,
                context.original,
                seed=context.seed,
                plan=context.plan,
                anchors=context.anchors,
                progress=context.progress,
                checkpoints=context.checkpoints,
                resume=context.checkpoints is not None,
            )
        except NothingToLearn as error:
            return Result(graph, notes=(str(error),))
        if fitted.failed:
            raise PruneirError(f"training stopped: {fitted.stopped}")
        return Result(fitted.graph, changed=fitted.changed, notes=summary(fitted))
