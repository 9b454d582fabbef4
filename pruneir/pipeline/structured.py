"""What structured passes share: groups → scores → a choice within a budget → surgery → absorption."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from pruneir.conflicts import Exclusive
from pruneir.constants import Held, Moments, absorb, estimate, held_constants
from pruneir.coupling import Coupling, Cut, Group
from pruneir.errors import PruneirError
from pruneir.explain.locks import locks
from pruneir.graph import Graph
from pruneir.pipeline.passes import Context, GroupRow, Pass, Result
from pruneir.selection import Budget, Scores, candidates, choose
from pruneir.selection.choose import Removed, why_not_more
from pruneir.surgery import apply
from pruneir.verify import held, kept_positions, masked


@dataclass(frozen=True)
class Structured(Pass):
    """A pass that removes whole channels."""

    lossy = True
    structured = True
    exclusive: ClassVar[Exclusive] = (("ratio", "macs"),)
    ratio: float = 0.5
    macs: float | None = None
    scope: Literal["global", "local"] = "global"
    max_per_group: float = 0.9
    pairs: Literal["positions", "blocks"] = "positions"
    absorb: bool = True
    cut_norms: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (("ratio", 0, 1), ("macs", 0, 1), ("max_per_group", 0, 1)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise PruneirError(f"pass {self.name}: {name}={value:g} is not a share between {low} and {high}")
        super().__post_init__()

    @abstractmethod
    def scores(self, coupling: Coupling, groups: list[Group], context: Context) -> Scores:
        """A score per channel of the groups that this pass can judge; the lowest go first."""

    def unscored(self) -> str:
        """Why a group may have no score."""
        return "nothing scores it"

    def run(self, graph: Graph, context: Context) -> Result:
        """Remove the channels with the lowest scores."""
        coupling = context.couplings.of(graph, cut_norms=self.cut_norms)
        groups, why = candidates(coupling, context, self.pairs)
        scores = self.scores(coupling, groups, context)
        why |= {group.name: self.unscored() for group in groups if group not in scores}
        budget = Budget.of(
            context, scores, ratio=self.ratio, macs=self.macs, scope=self.scope, max_per_group=self.max_per_group
        )
        total = max(coupling.mac_counter.total(coupling.dead([])), 1)
        removed = choose(
            scores,
            budget,
            lambda some: coupling.mac_counter.total(coupling.dead(some.items())) / total,
            restrictions(budget, why),
        )
        why |= why_not_more(scores, removed, budget)
        return removing(coupling, removed, why, absorb_held=self.absorb)


def removing(
    coupling: Coupling,
    removed: Removed,
    why: Mapping[str, str],
    *,
    absorb_held: bool = True,
    moments: Mapping[str, Moments] | None = None,
) -> Result:
    """The graph without some channels, a row for each group, and the uncut network that it must equal.

    why          by name, what is to be said of a group
    absorb_held  fold the constants that the channels leave into their consumers
    moments      whose means these constants are; estimated from the weights if not given
    """
    dead = coupling.dead(removed.items())
    cut = coupling.cut(dead)
    surgery = apply(coupling, dead)
    changed: frozenset[str] = frozenset()
    constants: Held = {}
    if absorb_held and removed:
        constants = held_constants(coupling, cut, estimate(coupling) if moments is None else moments)
        changed = absorb(coupling, cut, constants, surgery.graph).changed
    return Result(
        graph=surgery.graph,
        rows=_rows(coupling, removed, cut, why),
        refusals=tuple(locks(coupling)),
        notes=_opened(coupling, cut),
        cuts=surgery.cuts,
        copies=surgery.copies,
        changed=changed,
        reference=lambda: held(coupling, dead, constants) if absorb_held else masked(coupling, dead),
        kind="held" if absorb_held else "masked",
        kept=lambda: kept_positions(coupling, dead),
    )


def restrictions(budget: Budget, why: Mapping[str, str]) -> list[str]:
    """The options in force that keep channels from going."""
    flags = {"--keep": "kept by --keep", "--keep-inputs": "kept by --keep-inputs", "--only": "left out by --only"}
    found = [flag for flag, reason in flags.items() if reason in why.values()]
    found += ["--ratio"] if budget.ratios else []
    return [*found, "--target"] if budget.multiple > 1 else found


def _opened(coupling: Coupling, cut: Cut) -> tuple[str, ...]:
    """What `cut_norms` let through, in words."""
    values = coupling.traced.values
    constants = {use.operator: use.labels for use in coupling.traced.uses if not use.slot}
    touched = []
    for operator in coupling.traced.opened:
        state = values.get(operator.inputs[0])
        labels = state.labels if state is not None else constants[operator]
        if any(cut.touches(known) for known in labels if known is not None):
            touched.append(operator.label)
    if not touched:
        return ()
    some = ", ".join(touched[:3]) + (", …" if len(touched) > 3 else "")
    return (f"cut_norms: {len(touched)} normalisations now take their statistics over fewer channels ({some})",)


def _rows(coupling: Coupling, removed: Removed, cut: Cut, why: Mapping[str, str]) -> tuple[GroupRow, ...]:
    before, after = coupling.mac_counter.by_operator(), coupling.mac_counter.by_operator(cut)
    return tuple(
        GroupRow(
            name=group.name,
            members=tuple(operator.label for operator in group.operators),
            channels_before=len(group),
            channels_after=len(group) - len(removed.get(group, ())),
            macs_before=sum(before.get(operator, 0) for operator in group.operators),
            macs_after=sum(after.get(operator, 0) for operator in group.operators),
            note=why.get(group.name, ""),
        )
        for group in coupling.groups
    )
