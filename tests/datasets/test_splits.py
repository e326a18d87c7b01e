"""Held-out clips: a share of each class, in whole groups, the same for a seed whatever the order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.index.clips import SPLITS, SplitName
from datasets.index.splits import draw, find_overlaps, hold_out


@dataclass(frozen=True)
class Entry:
    id: str
    label: str | int
    group: str | None = None
    split: SplitName = "train"


def alone(**counts: int) -> list[Entry]:
    return [Entry(f"{label}{i}", label) for label, n in counts.items() for i in range(n)]


entries = st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 8).map(str))), max_size=60).map(
    lambda rows: [Entry(f"clip{i}", label, group) for i, (label, group) in enumerate(rows)]
)
fractions = st.floats(0.02, 0.6)


@given(entries, fractions, st.integers(0, 5), st.randoms(use_true_random=False))
def test_the_order_of_the_entries_does_not_matter(rows, fraction, seed, random):
    shuffled = random.sample(rows, len(rows))
    assert hold_out(rows, fraction, seed) == hold_out(shuffled, fraction, seed)


@given(entries, fractions, st.integers(0, 5))
def test_groups_are_whole_and_no_class_loses_all_of_its_training_samples(rows, fraction, seed):
    held = hold_out(rows, fraction, seed)
    training = [row for row in rows if row.id not in held]
    assert not {r.group for r in training if r.group} & {r.group for r in rows if r.id in held}
    assert {r.label for r in training} == {r.label for r in rows}


@given(st.lists(st.integers(2, 80), min_size=1, max_size=6), fractions, st.integers(0, 5))
def test_without_groups_each_class_gives_its_share_to_the_sample(sizes, fraction, seed):
    rows = [Entry(f"{label}/{i}", label) for label, n in enumerate(sizes) for i in range(n)]
    held = Counter(int(id_.split("/")[0]) for id_ in hold_out(rows, fraction, seed))
    for label, n in enumerate(sizes):
        assert abs(held[label] - fraction * n) <= 0.5 + 1e-9 or held[label] == 1


def test_seeds_draw_others_and_missing_clips_change_little():
    rows = alone(cat=200, dog=100, eel=7, newt=1)
    held = [hold_out(rows, 0.1, seed) for seed in range(5)]
    assert len({frozenset(h) for h in held}) == 5
    assert all(Counter(id_.rstrip("0123456789") for id_ in h) == {"cat": 20, "dog": 10, "eel": 1} for h in held)
    fewer = hold_out([r for r in rows if r.id[-1] != "3"], 0.1, 0)
    there = {id_ for id_ in held[0] if id_[-1] != "3"}
    assert len(fewer & there) > 0.8 * len(there)


@pytest.mark.parametrize("seed", range(5))
def test_speakers_with_all_classes_are_held_out_whole_and_in_balance(seed):
    """Like CREMA-D: 82 speakers with about 12 clips of each of six emotions, some with fewer."""
    rows = [
        Entry(f"{speaker}/{label}/{i}", label, str(speaker))
        for speaker in range(82)
        for label in range(6)
        for i in range(13 - label % 2 * 2 - speaker % 3)
    ]
    held = hold_out(rows, 0.1, seed)
    counts, all_ = (Counter(r.label for r in part) for part in ([r for r in rows if r.id in held], rows))
    assert len({r.group for r in rows if r.id in held}) in (7, 8, 9)
    assert all(abs(counts[label] / all_[label] - 0.1) < 0.015 for label in range(6))


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_one_class_are_held_out_from_each(seed):
    """Like UCF101: 18 groups of 4 to 7 videos in each class."""
    sizes = [4, 5, 7] * 6
    rows = [
        Entry(f"{label}_g{g}_c{i}", label, f"{label}_g{g}")
        for label in range(20)
        for g, n in enumerate(sizes)
        for i in range(n)
    ]
    held = Counter(int(id_.split("_")[0]) for id_ in hold_out(rows, 0.1, seed))
    assert all(7 <= held[label] <= 13 for label in range(20))  # of 96


def test_a_class_too_rare_for_its_share_is_held_out_once():
    rows = [Entry(f"{g}/{i}", "rare", f"g{g}") for g in range(2) for i in range(3)] + alone(common=100)
    held = hold_out(rows, 0.05, 0)
    assert sum("/" in id_ for id_ in held) == 3
    assert sum(id_.startswith("common") for id_ in held) == 5


def test_nothing_of_nothing():
    assert hold_out([], 0.1, 0) == set()
    assert hold_out(alone(cat=1), 0.5, 0) == set()


@given(st.sets(st.text(min_size=1, max_size=4), max_size=30), st.floats(0.01, 0.99), st.integers(0, 3))
def test_a_draw_takes_some_names_and_leaves_some(names, fraction, seed):
    drawn = draw(sorted(names), fraction, seed)
    assert drawn == draw(sorted(names, reverse=True), fraction, seed)
    assert drawn <= names
    if len(names) < 2:
        assert not drawn
    else:
        assert 1 <= len(drawn) < len(names)
        assert abs(len(drawn) - fraction * len(names)) <= 1


def test_a_draw_is_by_the_seed_and_not_by_the_names():
    names = [f"actor{n:02}" for n in range(40)]
    draws = {frozenset(draw(names, 0.25, seed)) for seed in range(5)}
    assert len(draws) == 5
    assert frozenset(names[:10]) not in draws


def test_what_is_torn_is_named_with_its_splits():
    rows = [
        Entry("a", "x", "g1", "train"),
        Entry("b", "x", "g1", "test"),
        Entry("a", "x", "g2", "validation"),
        Entry("c", "x", "g3", "test"),
        Entry("d", "x", "g3", "test"),
        Entry("e", "x", None, "test"),
        Entry("f", "x", None, "train"),
    ]
    found = find_overlaps(rows)
    assert found.ids == {"a": ("train", "validation")}
    assert found.groups == {"g1": ("train", "test")}
    assert not find_overlaps(rows[3:]).ids


@given(entries, fractions, st.integers(0, 5))
def test_what_is_held_out_is_never_torn(rows, fraction, seed):
    held = hold_out(rows, fraction, seed)
    placed = [Entry(r.id, r.label, r.group, SPLITS[1] if r.id in held else SPLITS[0]) for r in rows]
    assert not find_overlaps(placed).groups
