"""Evaluation of a model on a split: fused and unimodal metrics, overall and for each class."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 15  # bins of the calibration error, as in Guo et al. 2017
FEW = 16  # fewer positives than this are faster counted than sorted
CLASSES_AT_ONCE = 256


class Unscorable(ValueError):
    """Error: the predictions cannot be evaluated."""


@dataclass(frozen=True)
class Scores:
    """Metrics of one view of a model: the fused prediction, or that of a single modality.

    Args:
        accuracy: fraction of examples that are predicted correctly.
        macro_accuracy: mean of `class_accuracy` over the classes that have examples.
        mean_average_precision: mean of `average_precision` over the classes that have examples.
        calibration_error: expected calibration error; see `calibration_error`.
        class_accuracy: accuracy on the examples of each class, float64 [K]; NaN for a class without examples.
        average_precision: average precision of each class against all others, float64 [K]; NaN for a class without
            examples.
    """

    accuracy: float
    macro_accuracy: float
    mean_average_precision: float
    calibration_error: float
    class_accuracy: Tensor
    average_precision: Tensor


@dataclass(frozen=True)
class Evaluation:
    """Results of a model on a split.

    Args:
        counts: number of examples of each class, int64 [K].
        fused: metrics of the fused logits.
        unimodal: modality -> metrics of its unimodal logits (`unimodal_logits`).
        confusions: (true class, predicted class, examples) of each confusion by the fused logits, most frequent first,
            ties by class id. There are at most as many as examples, where a matrix would take K * K numbers.
    """

    counts: Tensor
    fused: Scores
    unimodal: Mapping[str, Scores]
    confusions: Sequence[tuple[int, int, int]]

    @property
    def examples(self) -> int:
        return int(self.counts.sum())

    @property
    def views(self) -> list[Scores]:
        """Fused metrics, then those of each modality."""
        return [self.fused, *self.unimodal.values()]

    def leaders(self) -> dict[str, list[tuple[int, float]]]:
        """Return, for each modality, the classes on which its unimodal accuracy is strictly the highest.

        Each class comes with the lead over the second-best modality (a difference of accuracies), largest lead first.
        """
        if len(self.unimodal) < 2:
            return {name: [] for name in self.unimodal}
        ahead, who = torch.stack([s.class_accuracy for s in self.unimodal.values()]).topk(2, dim=0)
        margin = ahead[0] - ahead[1]
        return {name: _positive(margin.where(who[0] == place, 0)) for place, name in enumerate(self.unimodal)}


def _positive(margins: Tensor) -> list[tuple[int, float]]:
    return [(k, margin) for k, margin in rank_classes(margins) if margin > 0]


def rank_classes(values: Tensor) -> list[tuple[int, float]]:
    """Return (class id, value) pairs of values [K], largest value first, ties by class id; omit NaN.

    >>> rank_classes(torch.tensor([0.5, float("nan"), 2.0, 0.5]))
    [(2, 2.0), (0, 0.5), (3, 0.5)]
    """
    known = [(k, value) for k, value in enumerate(values.tolist()) if not math.isnan(value)]
    return sorted(known, key=lambda pair: -pair[1])


def calibration_error(confidence: Tensor, correct: Tensor, bins: int = BINS) -> float:
    """Return the expected calibration error: sum over bins B of |B| / N * |accuracy(B) - mean confidence(B)|.

    Bins have equal width; the m-th of M bins contains the confidences in ((m - 1) / M, m / M]. Guo, Pleiss, Sun,
    Weinberger: *On Calibration of Modern Neural Networks*, ICML 2017, eq. 3.

    Args:
        confidence: probability of the predicted class, [N], in (0, 1].
        correct: whether the prediction is correct, bool [N].
        bins: number of bins, M.
    """
    value = confidence.double()
    edges = torch.arange(1, bins, dtype=torch.float64, device=value.device) / bins
    place = torch.bucketize(value, edges)
    gap = torch.zeros(bins, dtype=torch.float64, device=value.device).index_add(0, place, correct.double() - value)
    return float(gap.abs().sum() / len(value))


def average_precision(score: Tensor, positive: Tensor) -> Tensor:
    """Return the average precision of a ranking: sum over thresholds n of (R_n - R_(n-1)) P_n.

    The thresholds are the distinct scores in descending order. P_n and R_n are precision and recall of the examples at
    or above the threshold. Tied examples are counted together, so their order does not matter.

    Args:
        score: score of each example, [N].
        positive: whether the example is positive, bool [N].

    Returns:
        float64 []; NaN if no example is positive.
    """
    own = score[positive]  # each positive raises the recall by 1 / len(own), so the sum is the mean of their precisions

    def as_high(values: Tensor) -> Tensor:
        if len(own) < FEW:
            return (values >= own[:, None]).sum(1)
        return len(values) - torch.searchsorted(values.sort().values, own)

    return (as_high(own).double() / as_high(score)).mean()


def _average_precisions(probability: Tensor, y: Tensor, counts: Tensor) -> Tensor:
    """Return the average precision of each class, float64 [K], from probabilities [N, K]."""
    found = torch.full((probability.shape[1],), math.nan, dtype=torch.float64, device=probability.device)
    for classes in counts.nonzero()[:, 0].split(CLASSES_AT_ONCE):
        for k, score in zip(classes, probability[:, classes].T.contiguous(), strict=True):
            found[k] = average_precision(score, y == k)
    return found


def _confusions(y: Tensor, predicted: Tensor) -> list[tuple[int, int, int]]:
    """Return the confusions, sorted; see `Evaluation`."""
    wrong = (y != predicted).nonzero()[:, 0]
    pairs, counts = torch.stack([y[wrong], predicted[wrong]], 1).unique(dim=0, return_counts=True)
    found = [(i, j, number) for (i, j), number in zip(pairs.tolist(), counts.tolist(), strict=True)]
    return sorted(found, key=lambda pair: (-pair[2], pair))


class Answers:
    """Predictions of a model, collected batch by batch and evaluated once with `evaluation`.

    Adding a batch does not synchronise with the device. Memory: float32 softmax scores, 1 + M times [N, K].

    Args:
        names: names of the M modalities.
        classes: number of classes, K.
    """

    def __init__(self, names: tuple[str, ...], classes: int) -> None:
        self.names, self.classes = names, classes
        self._targets: list[Tensor] = []
        self._views: list[list[tuple[Tensor, Tensor, Tensor]]] = [[] for _ in (None, *names)]

    def add(self, fused: Tensor, unimodal: Mapping[str, Tensor], y: Tensor) -> None:
        """Add a batch: fused logits [B, K], name -> unimodal logits [B, K], class ids [B]."""
        self._targets.append(y)
        for kept, logits in zip(self._views, (fused, *(unimodal[name] for name in self.names)), strict=True):
            # The prediction comes from the logits, because different logits can round to the same probability.
            kept.append((logits.softmax(1, torch.float32), logits.argmax(1), logits.isfinite().all(1)))

    def evaluation(self) -> Evaluation:
        """Return the results on all added batches, with tensors on the CPU. Can be called only once.

        Raises:
            Unscorable: if there is no example, if a class id is out of range, or if logits are not finite.
        """
        if not sum(map(len, self._targets)):
            raise Unscorable("there is no example to evaluate on")
        y = torch.cat(self._targets).to(torch.int64)
        if (wrong := y[(y < 0) | (y >= self.classes)]).numel():
            raise Unscorable(f"class ids must be from 0 to {self.classes - 1}, but an example has {int(wrong[0])}")
        counts = y.bincount(minlength=self.classes)
        confusions = _confusions(y, torch.cat([predicted for _, predicted, _ in self._views[0]]))
        fused, *unimodal = (self._scores(view, y, counts) for view in range(1 + len(self.names)))
        return Evaluation(counts.cpu(), fused, dict(zip(self.names, unimodal, strict=True)), confusions)

    def _scores(self, view: int, y: Tensor, counts: Tensor) -> Scores:
        """Return the metrics of a view: 0 is fused, then each modality."""
        probability, predicted, finite = (torch.cat(parts) for parts in zip(*self._views[view], strict=True))
        self._views[view].clear()
        if (bad := (~finite).nonzero()[:, 0]).numel():
            whose = "fused logits" if view == 0 else f"logits of {self.names[view - 1]} alone"
            raise Unscorable(
                f"its {whose} are not finite for {len(bad)} of {len(y)} examples, first for example {int(bad[0])} "
                "(counted from 0): the model has diverged, or that example is corrupt"
            )
        correct = predicted == y
        by_class = (y[correct].bincount(minlength=self.classes).double() / counts).cpu()
        precision = _average_precisions(probability, y, counts).cpu()
        return Scores(
            accuracy=float(correct.double().mean()),
            macro_accuracy=float(by_class.nanmean()),
            mean_average_precision=float(precision.nanmean()),
            calibration_error=calibration_error(probability.amax(1), correct),
            class_accuracy=by_class,
            average_precision=precision,
        )
