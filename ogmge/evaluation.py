"""What a model's answers on a split are worth: fused and of each modality alone, in all and for each class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15  # of the calibration error, as in Guo et al. 2017


class Unscorable(ValueError):
    """Answers that have no score: a sentence."""


@dataclass(frozen=True)
class Scores:
    """What one view of a model reaches: the fused one, or a modality alone.

    Args:
        accuracy: the share of examples that it gets right.
        macro_accuracy: the mean of `class_accuracy` over the classes with an example.
        mean_average_precision: the mean of `average_precision` over the classes with an example.
        calibration_error: see `calibration_error`.
        class_accuracy: float64 [K], the share of a class's examples that it gets right; NaN where there is none.
        average_precision: float64 [K], one class against all others; NaN where there is no example.
    """

    accuracy: float
    macro_accuracy: float
    mean_average_precision: float
    calibration_error: float
    class_accuracy: Tensor
    average_precision: Tensor


@dataclass(frozen=True)
class Evaluation:
    """A model on a split.

    Args:
        counts: int64 [K], examples of each class.
        fused: of all modalities together.
        unimodal: modality -> what it reaches alone (`unimodal_logits`).
        confusion: int64 [K, K], examples of class i that the fused answer takes for class j.
    """

    counts: Tensor
    fused: Scores
    unimodal: Mapping[str, Scores]
    confusion: Tensor

    @property
    def examples(self) -> int:
        return int(self.counts.sum())

    @property
    def views(self) -> list[Scores]:
        """The fused one, then each modality's."""
        return [self.fused, *self.unimodal.values()]

    def confusions(self) -> list[tuple[int, int, int]]:
        """(true, predicted, examples) of what was confused, the most frequent first, of equal ones by class id."""
        wrong = self.confusion.clone().fill_diagonal_(0)
        pairs = [(int(i), int(j), int(wrong[i, j])) for i, j in wrong.nonzero()]
        return sorted(pairs, key=lambda pair: (-pair[2], pair))

    def leaders(self) -> dict[str, list[tuple[int, float]]]:
        """Modality -> the classes that it alone answers better than any other alone, and how much better than the next
        (a difference of accuracies), the furthest ahead first. Where two are equal, none leads."""
        if len(self.unimodal) < 2:
            return {name: [] for name in self.unimodal}
        ahead, who = torch.stack([s.class_accuracy for s in self.unimodal.values()]).topk(2, dim=0)
        margin = ahead[0] - ahead[1]
        return {name: _positive(margin.where(who[0] == place, 0)) for place, name in enumerate(self.unimodal)}


def _positive(margins: Tensor) -> list[tuple[int, float]]:
    return [(k, margin) for k, margin in rank_classes(margins) if margin > 0]


def rank_classes(values: Tensor) -> list[tuple[int, float]]:
    """(class id, value) of values [K], the largest first, of equal ones by id; NaN is omitted.

    >>> rank_classes(torch.tensor([0.5, float("nan"), 2.0, 0.5]))
    [(2, 2.0), (0, 0.5), (3, 0.5)]
    """
    known = [(k, value) for k, value in enumerate(values.tolist()) if not math.isnan(value)]
    return sorted(known, key=lambda pair: -pair[1])


def calibration_error(confidence: Tensor, correct: Tensor, bins: int = BINS) -> float:
    """Expected calibration error: sum over the bins B of |B| / N * |accuracy(B) - mean confidence(B)|.

    Bins are equally wide; the m-th of M holds the confidences in ((m - 1) / M, m / M]. Guo, Pleiss, Sun, Weinberger:
    *On Calibration of Modern Neural Networks*, ICML 2017, eq. 3.

    Args:
        confidence: [N], the probability of the answer given, in (0, 1].
        correct: bool [N], whether it was right.
    """
    value = confidence.double()
    edges = torch.arange(1, bins, dtype=torch.float64, device=value.device) / bins
    place = torch.bucketize(value, edges)
    gap = torch.zeros(bins, dtype=torch.float64, device=value.device).index_add(0, place, correct.double() - value)
    return float(gap.abs().sum() / len(value))


def average_precision(score: Tensor, positive: Tensor) -> Tensor:
    """Average precision of a ranking: sum over the thresholds of (R_n - R_(n-1)) P_n.

    The thresholds are the distinct scores, from the highest; P_n and R_n are precision and recall of what scores at
    least as high. Examples of equal score are taken together, so that their order changes nothing.

    Args:
        score: [N].
        positive: bool [N].

    Returns:
        float64 []; NaN where nothing is positive.
    """
    own = score[positive]  # recall rises by one part in len(own) with each of them: a mean of their precisions

    def as_high(values: Tensor) -> Tensor:
        return len(values) - torch.searchsorted(values.sort().values, own)

    return (as_high(own).double() / as_high(score)).mean()


class Answers:
    """A model's answers, batch by batch; scored once, with `evaluation`. Nothing waits for the device before.

    Keeps softmax scores, in float32: 1 + M times [N, K].

    Args:
        names: the modalities.
        classes: how many.
    """

    def __init__(self, names: tuple[str, ...], classes: int) -> None:
        self.names, self.classes = names, classes
        self._targets: list[Tensor] = []
        self._views: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in (None, *names)]

    def add(self, fused: Tensor, unimodal: Mapping[str, Tensor], y: Tensor) -> None:
        """Adds a batch: fused logits [B, K], those of each modality alone, class ids [B]."""
        self._targets.append(y)
        for kept, logits in zip(self._views, (fused, *(unimodal[name] for name in self.names)), strict=True):
            # the answer is that of the logits: two of them can become one probability
            kept.append((logits.softmax(1, torch.float32), logits.argmax(1), logits.isfinite().all(1)))

    def evaluation(self) -> Evaluation:
        """The scores of all that was added, to be asked for once; their tensors are on the CPU.

        Raises:
            Unscorable: nothing was added, a class id that there is not, or logits that are not finite.
        """
        if not sum(map(len, self._targets)):
            raise Unscorable("there is no example to evaluate on")
        y = torch.cat(self._targets).to(torch.int64)
        if (wrong := y[(y < 0) | (y >= self.classes)]).numel():
            raise Unscorable(f"class ids must be 0 to {self.classes - 1}, but an example has {int(wrong[0])}")
        counts = y.bincount(minlength=self.classes)
        fused, confusion = self._scores(0, y, counts)
        unimodal = {name: self._scores(place, y, counts)[0] for place, name in enumerate(self.names, 1)}
        return Evaluation(counts.cpu(), fused, unimodal, confusion.cpu())

    def _scores(self, view: int, y: Tensor, counts: Tensor) -> tuple[Scores, Tensor]:
        """Of one view, and what it takes for what, [K, K]."""
        probability, predicted, finite = (torch.cat(parts) for parts in zip(*self._views[view], strict=True))
        self._views[view].clear()
        if (bad := (~finite).nonzero()[:, 0]).numel():
            whose = "fused logits" if view == 0 else f"logits of {self.names[view - 1]} alone"
            raise Unscorable(
                f"its {whose} are not finite for {len(bad)} of {len(y)} examples, first for number {int(bad[0])} (from "
                "0): the model has diverged, or that example is broken"
            )
        confusion = (y * self.classes + predicted).bincount(minlength=self.classes**2).view(self.classes, self.classes)
        by_class = (confusion.diagonal().double() / counts).cpu()
        precision = torch.stack(
            [average_precision(score, y == k) for k, score in enumerate(probability.T.contiguous())]
        ).cpu()
        correct = predicted == y
        scores = Scores(
            accuracy=float(correct.double().mean()),
            macro_accuracy=float(by_class.nanmean()),
            mean_average_precision=float(precision.nanmean()),
            calibration_error=calibration_error(probability.amax(1), correct),
            class_accuracy=by_class,
            average_precision=precision,
        )
        return scores, confusion
