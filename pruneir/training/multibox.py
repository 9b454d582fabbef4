"""SSD's multibox loss (Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016).

Every truth is matched with the anchor that it overlaps most, each with one of its own; then every anchor left with the
truth that it overlaps most, if their IoU is more than 0.5. Over a batch with P matched anchors

    (Σ smooth L1(loc − offset of the truth), over the matched + Σ −log softmax(conf)[class], over matched and mined) / P

where of each image the unmatched anchors with the largest loss for the background are mined, three for each matched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pruneir.data import Data
from pruneir.detection.anchors import Anchors
from pruneir.detection.heads import Heads
from pruneir.detection.truths import ASIDE, BOX, CLASS, are_boxes, padded
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.training.heads import head_of
from pruneir.training.losses import Values, labels_of

MATCHED, MINED = 0.5, 3
"""IoU above which an anchor is matched; unmatched anchors that count, for each matched one."""
_APART = 3.0
"""How much further than all anchors a box may reach."""


@dataclass(frozen=True, slots=True)
class Multibox:
    """The loss of a detector.

    loc, conf  the values of the heads: offsets `[N, A, 4]`, scores before a Softmax `[N, A, classes]`
    anchors    that offsets are from
    """

    loc: str
    conf: str
    anchors: Anchors

    def __call__(self, values: Values, labels: Tensor | None, taught: Values | None) -> Tensor:
        """The loss of a batch."""
        loc, conf = values[self.loc], values[self.conf]
        truths = torch.from_numpy(self._truths(labels, len(loc), conf.shape[2])).to(loc)
        anchors = torch.from_numpy(self.anchors.boxes).to(loc)
        which, matched = match(truths[..., BOX], truths[..., CLASS] >= 0, anchors)
        own = truths.gather(1, which[..., None].expand(-1, -1, truths.shape[2]))
        skipped = matched & (own[..., ASIDE] > 0)
        matched &= ~skipped
        aims = torch.where(matched, own[..., CLASS] + 1, 0).long()
        each = functional.cross_entropy(conf.transpose(1, 2), aims, reduction="none")
        counting = matched | mined(each.detach(), matched, skipped)
        goals = offsets(own[..., BOX], anchors, torch.from_numpy(self.anchors.variances).to(loc))[matched]
        total = functional.smooth_l1_loss(loc[matched], goals, reduction="sum") + (each * counting).sum()
        return total / matched.sum().clamp_min(1)

    def _truths(self, labels: Tensor | None, count: int, classes: int) -> np.ndarray:
        found = padded(labels_of(labels).cpu().numpy(), count)
        known = found[found[..., CLASS] >= 0]
        if len(known) and known[:, CLASS].max() > classes - 2:
            raise PruneirError(
                f"labels: class {int(known[:, CLASS].max())}, but '{self.conf}' has {classes} scores, the first for "
                f"the background; give classes from 0 to {classes - 2}"
            )
        reach, ours = float(np.abs(known[:, BOX]).max(initial=0)), float(np.abs(self.anchors.boxes).max())
        if reach > _APART * ours or (0 < reach <= 1 and ours > _APART):
            raise PruneirError(
                f"labels: boxes reach to {reach:g}, anchors to {ours:g}; give both in the same unit, pixels "
                "or shares of the image"
            )
        return found


def require_boxes(data: Data) -> None:
    """PruneirError where labels are boxes, but no sample has one."""
    labels = (batch.own_labels for batch in data.batches())
    if all(each is not None and are_boxes(each) and not (each[..., CLASS] >= 0).any() for each in labels):
        raise PruneirError("loss=multibox: no sample has a box; classes count from 0, and −1 says that there is none")


def multibox(graph: Graph, heads: Heads) -> Multibox:
    """The multibox loss of a graph with such heads. PruneirError where classes do not compete in a Softmax."""
    conf = head_of(graph, heads.conf)
    if conf.classes == "each":
        raise PruneirError(
            f"loss=multibox: '{heads.conf}' ends in a Sigmoid, and SSD's classes compete in a Softmax; end the "
            "exported graph before it, or give loss=module:function"
        )
    return Multibox(heads.loc, conf.value, heads.anchors)


def overlaps(boxes: Tensor, anchors: Tensor) -> Tensor:
    """IoU `[B, M, A]` of boxes `[B, M, 4]` with anchors `[A, 4]`."""
    low = torch.maximum(boxes[:, :, None, :2], anchors[:, :2])
    high = torch.minimum(boxes[:, :, None, 2:], anchors[:, 2:])
    shared = (high - low).clamp_min(0).prod(-1)
    areas: Callable[[Tensor], Tensor] = lambda each: (each[..., 2:] - each[..., :2]).prod(-1)  # noqa: E731
    return shared / (areas(boxes)[:, :, None] + areas(anchors) - shared)


def match(boxes: Tensor, known: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Which truth each anchor is matched with, int64 `[B, A]`, and whether it is matched at all, bool `[B, A]`.

    boxes  `[B, M, 4]`
    known  `[B, M]`, whether there is such a box
    """
    found = overlaps(boxes, anchors).masked_fill(~known[..., None], -1.0)
    best, which = found.max(dim=1)
    matched = best > MATCHED
    left, images, count = found.clone(), torch.arange(len(boxes), device=boxes.device), len(anchors)
    for _ in range(boxes.shape[1]):  # the largest overlap that is left, so that no two truths share their best anchor
        most, place = left.flatten(1).max(dim=1)
        truth, anchor, some = place // count, place % count, most > 0
        here, truth, anchor = images[some], truth[some], anchor[some]
        which[here, anchor], matched[here, anchor] = truth, True
        left[here, truth] = -1.0
        left[here, :, anchor] = -1.0
    return which, matched


def mined(losses: Tensor, matched: Tensor, skipped: Tensor) -> Tensor:
    """The hardest negatives, bool `[B, A]`: of each image those with the largest losses `[B, A]`."""
    left = losses.masked_fill(matched | skipped, -torch.inf)
    rank = left.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (rank < MINED * matched.sum(dim=1, keepdim=True)) & ~matched & ~skipped


def offsets(boxes: Tensor, anchors: Tensor, variances: Tensor) -> Tensor:
    """SSD's offsets `[B, A, 4]` of boxes `[B, A, 4]` from anchors `[A, 4]`: `detection.boxes.encode` in torch."""
    sizes = anchors[:, 2:] - anchors[:, :2]
    centres = (boxes[..., :2] + boxes[..., 2:] - anchors[:, :2] - anchors[:, 2:]) / 2
    wide = (boxes[..., 2:] - boxes[..., :2]).clamp_min(torch.finfo(boxes.dtype).tiny)
    return torch.cat([centres / sizes, torch.log(wide / sizes)], dim=-1) / variances
