"""Metrics of a model's predictions, compared with plain loops written from their definitions."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from torch import Tensor
from torch.nn.functional import cross_entropy

from ogmge.evaluation import BINS, Answers, Evaluation, Unscorable, average_precision, calibration_error
from ogmge.metrics import Tally
from tests.support.tells import tells

NAMES = ("audio", "visual", "text")


VALUES = torch.tensor([-40.0, -1.0, 0.0, 0.5, 1.0, 40.0])


@st.composite
def answers(draw: st.DrawFn) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Draw fused logits [N, K], unimodal logits of one to three modalities, and class ids [N].

    The logits have few distinct values, which makes ties common. Only some classes have examples.
    """
    classes, samples = draw(st.integers(1, 5)), draw(st.integers(1, 25))
    names = NAMES[: draw(st.integers(1, 3))]
    present = draw(st.lists(st.integers(0, classes - 1), min_size=1, unique=True))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))

    def drawn(values: Tensor, *shape: int) -> Tensor:
        return values[torch.randint(0, len(values), shape, generator=generator)]

    y = drawn(torch.tensor(present), samples)
    return drawn(VALUES, samples, classes), {name: drawn(VALUES, samples, classes) for name in names}, y


def evaluated(fused: Tensor, alone: dict[str, Tensor], y: Tensor, size: int = 7) -> Evaluation:
    """Evaluate in batches of `size`."""
    found = Answers(tuple(alone), fused.shape[1])
    for part in torch.arange(len(y)).split(size):
        found.add(fused[part], {name: logits[part] for name, logits in alone.items()}, y[part])
    return found.evaluation()


def precision_by_the_definition(score: list[float], positive: list[bool]) -> float:
    """Compute the average precision threshold by threshold, counting all examples each time."""
    total, before, area = sum(positive), 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        taken = [hit for value, hit in zip(score, positive, strict=True) if value >= threshold]
        recall, precision = sum(taken) / total, sum(taken) / len(taken)
        area += (recall - before) * precision
        before = recall
    return area


def calibration_by_the_definition(confidence: list[float], correct: list[bool]) -> float:
    error = 0.0
    for m in range(BINS):
        inside = [(c, right) for c, right in zip(confidence, correct, strict=True) if m / BINS < c <= (m + 1) / BINS]
        if inside:
            accuracy = sum(right for _, right in inside) / len(inside)
            mean = math.fsum(c for c, _ in inside) / len(inside)
            error += len(inside) / len(confidence) * abs(accuracy - mean)
    return error


ranking = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), st.booleans()), min_size=1, max_size=60)


@given(ranking)
@example([(place % 7 / 7, place % 3 == 0) for place in range(60)])  # so many positives are sorted, not counted
@example([(0.5, True), (0.5, False), (0.5, False)])
def test_average_precision_is_that_of_its_definition_and_of_scikit_learn(pairs):
    score, positive = [value for value, _ in pairs], [hit for _, hit in pairs]
    found = float(average_precision(torch.tensor(score), torch.tensor(positive)))
    if not any(positive):
        assert math.isnan(found)
        return
    assert found == pytest.approx(precision_by_the_definition(score, positive), abs=1e-12)
    assert found == pytest.approx(average_precision_score(positive, score), abs=1e-12)


confidences = st.one_of(st.floats(1e-6, 1.0), st.integers(1, BINS).map(lambda m: m / BINS))


@given(st.lists(st.tuples(confidences, st.booleans()), min_size=1, max_size=40))
@example([(m / BINS, m % 2 == 0) for m in range(1, BINS + 1)])  # each at the upper edge of its bin
def test_the_calibration_error_is_that_of_its_definition(pairs):
    confidence, correct = [value for value, _ in pairs], [right for _, right in pairs]
    found = calibration_error(torch.tensor(confidence, dtype=torch.float64), torch.tensor(correct))
    assert found == pytest.approx(calibration_by_the_definition(confidence, correct), abs=1e-12)


@given(answers())
def test_every_score_of_every_view_is_that_of_plain_loops(given_answers):
    fused, alone, y = given_answers
    found = evaluated(fused, alone, y)
    classes, labels = fused.shape[1], y.tolist()
    counts = Counter(labels)
    assert found.counts.tolist() == [counts[k] for k in range(classes)]
    for scores, logits in zip(found.views, [fused, *alone.values()], strict=True):
        probability, predicted = logits.softmax(1), logits.argmax(1).tolist()
        right = [a == b for a, b in zip(predicted, labels, strict=True)]
        assert scores.accuracy == pytest.approx(sum(right) / len(right))
        accuracies, precisions = [], []
        for k in range(classes):
            if not counts[k]:
                assert math.isnan(scores.class_accuracy[k])
                assert math.isnan(scores.average_precision[k])
                continue
            accuracies.append(sum(r for r, label in zip(right, labels, strict=True) if label == k) / counts[k])
            precisions.append(precision_by_the_definition(probability[:, k].tolist(), [label == k for label in labels]))
            assert float(scores.class_accuracy[k]) == pytest.approx(accuracies[-1])
            assert float(scores.average_precision[k]) == pytest.approx(precisions[-1])
        assert scores.macro_accuracy == pytest.approx(np.mean(accuracies))
        assert scores.mean_average_precision == pytest.approx(np.mean(precisions))
        confidence = [max(row) for row in probability.tolist()]
        assert scores.calibration_error == pytest.approx(calibration_by_the_definition(confidence, right))


@given(answers())
def test_accuracies_are_those_of_training_and_the_macro_accuracy_scikit_learns(given_answers):
    fused, alone, y = given_answers
    found = evaluated(fused, alone, y)
    tally = Tally(tuple(alone), torch.device("cpu"))
    tally.add(cross_entropy(fused, y), fused, alone, y)
    of_training = tally.result("test")
    assert found.fused.accuracy == pytest.approx(of_training["test/accuracy"])
    assert {n: s.accuracy for n, s in found.unimodal.items()} == pytest.approx(
        {name: of_training[f"test/accuracy/{name}"] for name in alone}
    )
    if found.counts.all() and len(found.counts) > 1:  # it warns about classes that are predicted but never true
        assert found.fused.macro_accuracy == pytest.approx(balanced_accuracy_score(y, fused.argmax(1)))


@given(answers())
def test_confusions_are_the_wrong_answers_the_most_frequent_first(given_answers):
    fused, alone, y = given_answers
    pairs = evaluated(fused, alone, y).confusions
    wrong = Counter(p for p in zip(y.tolist(), fused.argmax(1).tolist(), strict=True) if p[0] != p[1])
    assert {(i, j): count for i, j, count in pairs} == wrong
    assert [count for *_, count in pairs] == sorted(wrong.values(), reverse=True)
    for first, second in pairwise(pairs):
        assert first[2] > second[2] or first[:2] < second[:2]


@given(answers())
def test_a_modality_leads_where_it_is_better_than_every_other(given_answers):
    found = evaluated(*given_answers)
    accuracies = {name: scores.class_accuracy.tolist() for name, scores in found.unimodal.items()}
    leaders = found.leaders()
    assert list(leaders) == list(accuracies)
    for name, led in leaders.items():
        expected = {}
        for k, own in enumerate(accuracies[name]):
            others = [values[k] for other, values in accuracies.items() if other != name]
            if others and own > max(others):  # no value compares as greater than NaN
                expected[k] = own - max(others)
        assert dict(led) == pytest.approx(expected)
        margins = [margin for _, margin in led]
        assert margins == sorted(margins, reverse=True)


@given(answers(), st.integers(1, 30))
def test_neither_the_size_of_batches_nor_the_order_of_examples_changes_a_score(given_answers, size):
    fused, alone, y = given_answers
    order = torch.arange(len(y)).flip(0)
    one = evaluated(fused, alone, y)
    other = evaluated(fused[order], {name: logits[order] for name, logits in alone.items()}, y[order], size)
    for first, second in zip(one.views, other.views, strict=True):
        assert torch.allclose(first.average_precision, second.average_precision, equal_nan=True)
        assert torch.equal(first.class_accuracy.nan_to_num(-1), second.class_accuracy.nan_to_num(-1))
        assert first.calibration_error == pytest.approx(second.calibration_error)


@pytest.mark.parametrize("bad", [None, "audio", "visual"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_have_no_score(bad, value):
    views = {name: torch.zeros(10, 3) for name in (None, "audio", "visual")}
    views[bad][[4, 8], 1] = value
    fused = views.pop(None)
    with pytest.raises(Unscorable) as error:
        evaluated(fused, views, torch.zeros(10, dtype=torch.long))
    tells(error.value, bad or "fused", "finite", "2 of 10", 4)


@pytest.mark.parametrize("label", [3, -1])
def test_a_class_id_that_there_is_not_has_no_score(label):
    with pytest.raises(Unscorable) as error:
        evaluated(torch.zeros(2, 3), {"audio": torch.zeros(2, 3)}, torch.tensor([0, label]))
    tells(error.value, "0 to 2", label)


def test_a_million_classes_take_no_memory_for_each_pair_of_them():
    """Scores of 12 MB are evaluated; a confusion matrix would take 8 TB."""
    classes, y = 1_000_000, torch.tensor([7, 999_999, 7])
    logits = torch.zeros(3, classes)
    logits[[0, 1, 2], [7, 12, 7]] = 1
    found = evaluated(logits, {"audio": logits}, y)
    assert found.confusions == [(999_999, 12, 1)]
    assert found.fused.class_accuracy[[7, 999_999]].tolist() == [1, 0]
    assert found.fused.accuracy == pytest.approx(2 / 3)
    assert found.fused.macro_accuracy == 0.5


def test_nothing_has_no_score():
    with pytest.raises(Unscorable) as error:
        Answers(("audio",), 3).evaluation()
    tells(error.value, "no example")


def test_half_precision_answers_are_scored_in_single():
    logits = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    y = torch.arange(50) % 4
    one, other = (evaluated(values, {"audio": values}, y) for values in (logits, logits.float()))
    assert one.fused.calibration_error == other.fused.calibration_error
