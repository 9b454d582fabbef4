"""Einsum: every letter is an axis; letters that the output lacks are summed over."""

from __future__ import annotations

from collections import defaultdict

from pruneir.coupling.rule import Axis, Op, Refused, rule


@rule("Einsum")
def einsum(op: Op) -> None:
    """Equal letters are tied; a summed letter must be zero in one operand where it died."""
    left, arrow, right = op.attribute("equation").replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:
        letters = sorted(set(left) - {",", "."})
        right = "".join(letter for letter in letters if left.count(letter) == 1)
        if "..." in left:
            right = "..." + right
    axes: dict[str, list[Axis]] = defaultdict(list)
    for slot, term in enumerate(terms):
        for letter, axis in _named(term, op.input(slot).axes):
            axes[letter].append(axis)
    outputs = dict(_named(right, op.y.axes))
    for letter, facing in axes.items():
        wide = [axis for axis in facing if axis.length == max(a.length for a in facing)]
        if letter in outputs:
            zero = any(axis.zero for axis in wide)
            op.tie(outputs[letter], *wide, role="out")
            op.y.state.zero[outputs[letter].index] = zero
        elif len(wide) == 2:
            op.contract(*wide)
        else:
            op.tie(*wide, role="in")
            op.sum_over(*wide)
            if not any(axis.zero for axis in wide):
                op.lock(wide[0], reason="sums over channels that are not zero where one was removed", code="PIR012")
    if len(terms) > 1:
        op.macs(*(facing[0] for facing in axes.values()))


def _named(term: str, axes: list[Axis]) -> list[tuple[str, Axis]]:
    """Letters and axes in order; the axes of an ellipsis are numbered from the right, as they broadcast."""
    before, dots, after = term.partition("...")
    if len(set(before + after)) < len(before + after):
        raise Refused("takes a diagonal")
    spread = len(axes) - len(before) - len(after)
    if not dots and spread:
        raise Refused(f"names {len(before)} axes of {len(axes)}")
    middle = [f".{spread - i}" for i in range(spread)]
    return list(zip([*before, *middle, *after], axes, strict=True))
