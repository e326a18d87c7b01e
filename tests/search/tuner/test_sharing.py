"""Shared prefixes, without processes: each epoch is trained once, whichever trials end or are killed, and whenever."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ogmge import checkpoint, fit
from ogmge.prefix_keys import keys
from search.backend.prefix_store import PrefixStore
from search.backend.prefix_worker import Prefixes
from search.console.summary import EpochCounts, count_epochs, format_effort
from search.dry_run.draw import draw_trials
from search.dry_run.prefix_savings import expected_savings
from search.experiment.load import check, load
from search.experiment.schema import Experiment
from search.experiment.sources import Source
from search.experiment.space import with_changes
from search.experiment.yaml_source import override, parse
from search.report.export import trials_table
from search.run.budget import Spent
from search.run.causes import failure
from search.run.checkpoints import Storage
from search.run.journal import Journal
from search.run.trials import TrialRecord
from search.tracking.curve import Curve
from search.tuner.prefixes import siblings as related
from search.tuner.prefixes.sharing import Sharing
from search.tuner.prefixes.siblings import continuous_paths, siblings
from search.tuner.prefixes.tree import branch_points, branches
from search.tuner.search_policy import Policy, SearchPolicy, Suggestion
from search.tuner.tuner import Tuner
from search.verdict.confirm_policy import ConfirmPolicy
from tests.support.own_data import Vectors
from tests.support.states import SECONDS, same, without
from tests.support.tells import tells

LOCAL = (*SECONDS, "inherited")  # metrics that depend on the trial that reports a shared epoch

GRID = """
name: shared
dataset: {name: "tests.support.own_data:Vectors"}
trial:
  epochs: 6
  batch_size: 32
  encoder: mlp
  modulation: {end: 5, parameters: all}
  optimizer: {lr: 0.1}
space:
  modulation.alpha: [0.2, 0.9]
  modulation.start: [0, 1, 3]
  modulation.end: [3, 4, 5]
search: {trials: 100, sampler: grid, scheduler: {name: none}, prefixes: {max_gb: 1}}
"""


def experiment(*words: str) -> Experiment:
    document = parse(GRID, "shared.yaml")
    override(document, words)
    return check(document)


class Machine:
    """Simulated workers and disk: trains nothing, but stores prefixes, one epoch at a time."""

    def __init__(
        self,
        asked: Experiment,
        journal: Path,
        left: dict[str, int] | None = None,
        gb: float = 1e3,
        policy: Policy | None = None,
        share: bool = True,
    ) -> None:
        self.tuner = Tuner(asked, Journal(journal), policy or SearchPolicy(asked))
        self.left = {} if left is None else left  # key -> bytes, on disk
        self.most = 0  # largest number of bytes at any time
        self.trained = 0
        self.sharing = Sharing(self.tuner.policy, asked.trial, "", self.drop, gb * 1e9, dict(self.left))
        if share:
            self.tuner.share(self.sharing)

    def drop(self, key: str) -> None:
        del self.left[key]

    def keys(self, trial: TrialRecord) -> list[str]:
        return keys(with_changes(self.tuner.experiment.trial, trial.changes), "{}")

    def worker(self, trial: TrialRecord, fails: bool = False) -> Iterator[None]:
        self.tuner.record_start(trial.number)
        own, order = self.keys(trial), self.tuner.order(trial.number)
        begun = max((own.index(key) for key in order.inherits if key in self.left), default=0)
        begun = max(begun, len(trial.epochs))
        for epoch in range(len(own) - 1):
            if epoch >= begun:
                yield
                self.trained += 1
                if fails and epoch == 2:
                    self.tuner.record_end(trial.number, "failed", failure("no reason"))
                    return
            if (key := order.leaves.get(epoch + 1)) is not None and epoch + 1 > begun:
                self.left.setdefault(key, 10**8)
                self.most = max(self.most, sum(self.left.values()))
                self.tuner.record_prefix(trial.number, key, 10**8)
            value = self.value(trial, own[epoch + 1])
            metrics = {"epoch": epoch, "val/accuracy": value, "val/loss": -value, "seconds": 1.0}
            best = max(value, trial.best or 0.0)
            inherited = {"inherited": 1.0} if epoch < begun else {}
            gpu = self.tuner.experiment.search.resources.gpu
            if reason := self.tuner.record_epoch(trial.number, {**metrics, "best": best, **inherited}, gpu):
                self.tuner.record_end(trial.number, "stopped", reason)
                return
        self.tuner.record_end(trial.number, "finished")

    def value(self, trial: TrialRecord, key: str) -> float:
        """Return the objective for a state of the training; equal states have equal values."""
        return int(key[:6], 16) / 2**24

    def run(self, at_once: int = 2, steps: int | None = None, failing: frozenset[int] = frozenset()) -> None:
        for _ in islice(self._run(at_once, failing), steps):
            pass

    def _run(self, at_once: int, failing: frozenset[int]) -> Iterator[None]:
        running: list[Iterator[None]] = []
        while True:
            while len(running) < at_once and (trial := self.tuner.next()) is not None:
                running.append(self.worker(trial, trial.number in failing))
            if not running:
                return
            current = running.pop(0)
            running += [current for _ in islice(current, 1)]
            yield

    def bound(self) -> int:
        """Return the number of different epochs of all trials."""
        return len({key for trial in self.tuner.record for key in self.keys(trial)[1:]})


def grids_of(alphas: list[list[float]], most: int) -> st.SearchStrategy[list[str]]:
    """Return grids with at most this many starts, and one end more."""
    choices = st.lists(st.integers(0, 5), min_size=1, max_size=most, unique=True)
    return st.builds(
        lambda alphas, starts, ends, lengths, drops: [
            f"space.modulation.alpha={alphas}",
            f"space.modulation.start={starts}",
            f"space.modulation.end={sorted({*ends, 5})}",
            f"space.epochs={lengths}",
            *([f"space.schedule.milestones={drops}", "trial.schedule={name: step, milestones: [3]}"] if drops else []),
        ],
        st.sampled_from(alphas),
        choices,
        choices,
        st.sampled_from([[6], [6, 8]]),
        st.sampled_from([[], [[3], [4]]]),
    )


grids = grids_of([[0.5], [0.2, 0.9], [0.1, 0.2, 0.3]], most=4)


@settings(max_examples=40, deadline=None)
@given(grids, st.sampled_from(["grid", "random", "qmc", "tpe"]), st.integers(1, 4))
def test_each_epoch_is_trained_once(grid: list[str], sampler: str, at_once: int) -> None:
    """In any order, with any number of parallel trials; and no file is left behind."""
    with TemporaryDirectory() as folder:
        machine = Machine(experiment(*grid, f"search.sampler={sampler}", "search.trials=60"), Path(folder, "j.jsonl"))
        machine.run(at_once)
        assert machine.tuner.complete
        record = machine.tuner.record
        assert sorted(record.trials) == list(range(machine.tuner.policy.total))
        assert machine.trained == record.spent.epochs == machine.bound()
        assert record.spent.inherited_epochs == sum(trial.inherited_epochs for trial in record)
        asked = sum(len(machine.keys(trial)) - 1 for trial in record)
        assert (
            record.spent.epochs + record.spent.inherited_epochs == asked == sum(len(trial.epochs) for trial in record)
        )
        assert not machine.left


@settings(max_examples=15, deadline=None)
@given(grids, st.sampled_from(["random", "tpe"]), st.integers(1, 3))
def test_of_a_continuous_range_each_epoch_is_trained_once_where_settings_come_from_the_other_arm(
    grid: list[str], sampler: str, at_once: int
) -> None:
    rate = "space.optimizer.lr={low: 0.01, high: 0.1}"
    with TemporaryDirectory() as folder:
        words = [*grid, rate, f"search.sampler={sampler}", "search.trials=40"]
        machine = Machine(experiment(*words), Path(folder, "j.jsonl"))
        machine.run(at_once)
        taken = [t for t in machine.tuner.record if t.source == Source.OTHER_ARM]
        assert {trial.arm for trial in taken} == {"baseline", "modulated"}
        assert machine.trained == machine.tuner.record.spent.epochs == machine.bound()
        assert not machine.left


@settings(max_examples=30, deadline=None)
@given(grids, st.integers(1, 3), st.lists(st.integers(0, 60), max_size=3))
def test_a_killed_search_goes_on_with_the_stored_prefixes(grid: list[str], at_once: int, kills: list[int]) -> None:
    """No epoch is trained twice, because no trial was killed in the middle of an epoch."""
    with TemporaryDirectory() as folder:
        asked, path, left, trained = experiment(*grid), Path(folder, "j.jsonl"), {}, 0
        for steps in [*kills, None]:
            machine = Machine(asked, path, left)
            machine.run(at_once, steps)
            trained += machine.trained
        whole = Machine(asked, Path(folder, "whole.jsonl"))
        whole.run(1)
        ends = [
            {n: (t.status, [m["val/accuracy"] for m in t.epochs]) for n, t in m.tuner.record.trials.items()}
            for m in (machine, whole)
        ]
        assert ends[0] == ends[1]
        assert trained == machine.tuner.record.spent.epochs == machine.bound()
        assert not machine.left


@settings(max_examples=30, deadline=None)
@given(grids, st.integers(1, 3), st.frozensets(st.integers(0, 30)))
def test_a_leader_that_fails_holds_nobody_up(grid: list[str], at_once: int, failing: frozenset[int]) -> None:
    with TemporaryDirectory() as folder:
        machine = Machine(experiment(*grid), Path(folder, "j.jsonl"))
        machine.run(at_once, failing=failing)
        assert machine.tuner.complete
        assert not machine.left


@settings(max_examples=20, deadline=None)
@given(grids, st.integers(1, 3), st.sampled_from([0.05, 0.1, 0.3]))
def test_prefixes_take_no_more_room_than_they_may(grid: list[str], at_once: int, gb: float) -> None:
    """Except for prefixes that running trials start from, and the one that each of them is writing."""
    with TemporaryDirectory() as folder:
        machine = Machine(experiment(*grid), Path(folder, "j.jsonl"), gb=gb)
        machine.run(at_once)
        assert machine.tuner.complete
        assert machine.most <= gb * 1e9 + 2 * at_once * 1e8


@settings(max_examples=30, deadline=None)
@given(
    grids,
    st.sampled_from(["tpe", "random", "grid"]),
    st.sampled_from(["{name: asha, grace_epochs: 1, reduction_factor: 2}", "{name: median, grace_epochs: 2}"]),
)
def test_with_one_trial_at_a_time_a_search_finds_the_same_without(grid: list[str], sampler: str, how: str) -> None:
    """It has the same trials, stopped by the same rule after the same epochs, for the same reasons."""
    with TemporaryDirectory() as folder:
        asked = experiment(*grid, f"search.sampler={sampler}", "search.trials=24", f"search.scheduler={how}")
        found = []
        for share in (True, False):
            machine = Machine(asked, Path(folder, f"{share}.jsonl"), share=share)
            machine.run(1)
            record = machine.tuner.record
            found.append([(t.number, t.changes, t.status, t.reason, t.bests) for t in record])
        assert found[0] == found[1]


def test_early_stopping_judges_a_trial_by_what_it_inherits(tmp_path: Path) -> None:
    """At most as many epochs are trained as without early stopping."""
    words = ["search.scheduler={name: asha, grace_epochs: 1, reduction_factor: 2}"]
    machine = Machine(experiment(*words), tmp_path / "j.jsonl")
    machine.run(2)
    stopped = [trial for trial in machine.tuner.record if trial.status == "stopped"]
    assert machine.tuner.complete
    assert any(0 < trial.inherited_epochs == len(trial.epochs) for trial in stopped)
    assert machine.trained <= machine.bound()


def test_a_trial_waits_for_its_leader_while_others_run(tmp_path: Path) -> None:
    """The sampler leaves the order open, so that a later trial without a leader runs first."""
    words = ["space.optimizer.lr=[0.1,0.2]", "space.modulation.start=[3]", "space.modulation.end=[5]"]
    machine = Machine(experiment(*words, "search.baseline_share=0.3"), tmp_path / "j.jsonl")
    first = machine.tuner.next()
    handed = [machine.tuner.next()]
    assert first is not None
    rates = [trial.changes["optimizer.lr"] for trial in (first, handed[0]) if trial]
    assert sorted(rates) == [0.1, 0.2]
    assert machine.tuner.next() is None  # two trees, each with a leader
    machine.tuner.record_start(first.number)
    for epoch in range(3):
        if key := machine.tuner.order(first.number).leaves.get(epoch + 1):
            machine.tuner.record_prefix(first.number, key, 1)
        machine.tuner.record_epoch(first.number, {"epoch": epoch, "val/accuracy": 0.5, "best": 0.5, "seconds": 1.0})
    following = machine.tuner.next()
    assert following is not None
    assert following.changes["optimizer.lr"] == first.changes["optimizer.lr"]


def test_what_needs_results_does_not_pile_up(tmp_path: Path) -> None:
    """If more results could change a trial's settings, no more trials wait than run."""
    words = ["search.sampler=tpe", "search.trials=19", "space.modulation.start=[5]", "space.modulation.end=[5]"]
    asked = experiment(
        *words,
        "space.modulation.alpha=[0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9]",
        "space.modulation.method=[ogm,ogm_ge]",
    )
    drawn = []

    class Counted(SearchPolicy):
        def suggest(self, number: int) -> Suggestion:
            drawn.append(number)
            return super().suggest(number)

    machine = Machine(asked, tmp_path / "j.jsonl", policy=Counted(asked))
    first = machine.tuner.next()
    assert first is not None
    machine.tuner.record_start(first.number)
    assert machine.tuner.next() is None
    assert len(drawn) == 4 + 1  # the arm's random trials of tpe, and one more


def test_a_continuous_range_from_the_start_on_prevents_sharing() -> None:
    asked = experiment("space.optimizer.lr={low: 0.01, high: 0.1}", "search.sampler=random")
    assert continuous_paths(asked.space, asked.trial, late=False) == ("optimizer.lr",)
    assert siblings(asked.space, asked.trial, {"optimizer.lr": 0.05, "modulation.method": "none"}) == []


def test_with_a_continuous_alpha_trials_share_what_comes_before_the_window(tmp_path: Path) -> None:
    words = ["space.modulation.alpha={low: 0.1, high: 1.0}", "search.sampler=random", "search.trials=20"]
    machine = Machine(experiment(*words), tmp_path / "j.jsonl")
    machine.run(2)
    record = machine.tuner.record
    assert machine.trained == machine.bound()
    starts = {trial.number: trial.changes.get("modulation.start", 6) for trial in record}
    assert all(
        trial.inherited_epochs in (0, 1, 3) and trial.inherited_epochs <= starts[trial.number] for trial in record
    )
    assert record.spent.inherited_epochs > 0


def test_a_space_too_large_to_look_through_still_shares_what_comes_before_windows() -> None:
    steps = "{low: 0, high: 5, step: 0.001}"
    asked = experiment(f"space.modulation.alpha={steps}")
    found = siblings(asked.space, asked.trial, {"modulation.method": "none"})
    assert len(found) <= related.MOST
    chains = [keys(with_changes(asked.trial, sibling.changes)) for sibling in found]
    assert {1, 3} <= set(branches(chains))


@pytest.mark.parametrize(
    ("own", "others", "points"),
    [("abc", ["ax", "ab", "z"], {1: "a", 2: "b"}), ("ab", ["abc"], {2: "b"}), ("", ["a"], {})],
)
def test_prefixes_end_where_others_branch_off(own: str, others: list[str], points: dict[int, str]) -> None:
    prefixes, *rest = ({key: epochs for epochs, key in enumerate(keys, start=1)} for keys in (own, *others))
    assert branch_points(prefixes, rest) == points


class Claim(Machine):
    """Machine on which modulated trials are clearly better."""

    def value(self, trial: TrialRecord, key: str) -> float:
        return super().value(trial, key) / 100 + (0.5 if trial.arm == "modulated" else 0.1)


@pytest.mark.parametrize("at_once", [1, 3])
def test_an_ablation_goes_on_from_its_pair(tmp_path: Path, at_once: int) -> None:
    """The modulated training of a pair and its ablation are identical until the window opens."""
    asked = experiment("search.metric=val/accuracy")
    best = {"modulated": {"modulation.start": 3, "modulation.alpha": 0.9}, "baseline": {"optimizer.lr": 0.2}}
    best["baseline"]["modulation.method"] = "none"
    policy = ConfirmPolicy(asked, best, [11, 12, 13, 14, 15, 16], Spent())
    machine = Claim(asked, tmp_path / "j.jsonl", policy=policy)
    machine.run(at_once)
    roles = {trial.internal["role"]: trial.inherited_epochs for trial in machine.tuner.record}
    assert machine.tuner.complete
    assert roles == {"modulated": 0, "baseline": 0, "ablation": 3}
    assert machine.trained == machine.bound() == 6 * (6 + 6 + 3)
    assert not machine.left


# ---- files ----


def trained(asked: Experiment, changes: dict, folder: Path, order: dict, store: PrefixStore) -> list[dict]:
    """Train as a worker does; return what it reported."""
    config, said = with_changes(asked.trial, changes), []
    prefixes = Prefixes(store, order)
    prefixes.take(config, folder)

    def report(metrics: dict[str, float]) -> None:
        prefixes.leave(int(metrics["epoch"]) + 1, folder)
        said.append(metrics)

    fit.train(config, Vectors(), report, folder=folder)
    return said


@settings(max_examples=3, deadline=None)
@given(grids_of([[0.5], [0.2, 0.9]], most=2))
def test_a_shared_search_is_that_without_to_the_bit(grid: list[str]) -> None:
    """The metrics, the best weights and the last state equal those of the grid's trials trained one by one."""
    with TemporaryDirectory() as name:
        folder, asked = Path(name), experiment(*grid)
        tuner = Tuner(asked, Journal(folder / "j.jsonl"), SearchPolicy(asked))
        store = PrefixStore(Storage(name))
        tuner.share(Sharing(tuner.policy, asked.trial, "", store.drop, 1e9, {}))
        while (trial := tuner.next()) is not None:
            order = tuner.order(trial.number)
            tuner.record_start(trial.number)
            mine, alone = folder / f"{trial.number}", folder / f"{trial.number}-alone"
            with_order = {"inherits": order.inherits, "leaves": order.leaves}
            said = trained(asked, trial.changes, mine, with_order, store)
            for metrics in said:
                if key := order.leaves.get(int(metrics["epoch"]) + 1):
                    tuner.record_prefix(trial.number, key, 1)
                tuner.record_epoch(trial.number, metrics)
            tuner.record_end(trial.number, "finished")
            assert without(said, LOCAL) == without(
                trained(asked, trial.changes, alone, {"inherits": (), "leaves": {}}, PrefixStore(Storage(str(alone)))),
                LOCAL,
            )
            for file in ("best.pt", "last.pt"):
                one, other = (checkpoint.load(place / file) for place in (mine, alone))
                assert same(one, other, LOCAL), file
        assert tuner.record.spent.epochs <= sum(len(t.epochs) for t in tuner.record)
        assert not list((folder / "prefixes").glob("*.pt"))


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Experiment, PrefixStore, Path]:
    """Return a store in which a training has left its first two epochs, under `key`."""
    asked, store = experiment(), PrefixStore(Storage(str(tmp_path)))
    trained(asked, {"modulation.method": "none"}, tmp_path / "first", {"inherits": (), "leaves": {2: "key"}}, store)
    return asked, store, tmp_path


def test_a_prefix_has_the_epochs_that_it_says(stored) -> None:
    asked, store, folder = stored
    assert store.sizes().keys() == {"key"}
    said = trained(asked, {"modulation.start": 2}, folder / "second", {"inherits": ("key",), "leaves": {}}, store)
    assert [metrics.get("inherited") for metrics in said] == [1.0, 1.0, None, None, None, None]
    best = checkpoint.load(folder / "second" / "best.pt")
    assert best["config"]["modulation"]["start"] == 2


def test_an_interrupted_heir_tells_again_what_it_inherited(stored) -> None:
    asked, store, folder = stored
    order = {"inherits": ("key",), "leaves": {2: "other", 4: "more"}}
    first = trained(asked, {"modulation.start": 2}, folder / "second", order, store)
    again = trained(
        asked, {"modulation.start": 2}, folder / "second", {"inherits": ("key",), "leaves": {2: "x"}}, store
    )
    assert first == again
    assert store.sizes().keys() == {"key", "other", "more"}  # not `x`: its file has six epochs by now


def test_a_damaged_prefix_is_dropped_and_trained_again(stored, caplog) -> None:
    asked, store, folder = stored
    path = folder / "prefixes" / "key.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    order = {"inherits": ("key",), "leaves": {2: "key"}}
    with caplog.at_level(logging.WARNING):
        said = trained(asked, {"modulation.start": 2}, folder / "second", order, store)
    assert not any("inherited" in metrics for metrics in said)
    [warning] = caplog.messages
    tells(warning, path)
    assert store.get("key") is not None  # stored again


def test_another_prefix_under_a_key_is_dropped_and_trained_again(stored, caplog) -> None:
    asked, store, folder = stored
    (folder / "prefixes" / "key.pt").rename(folder / "prefixes" / "wanted.pt")
    with caplog.at_level(logging.WARNING):
        said = trained(asked, {"modulation.start": 2}, folder / "2", {"inherits": ("wanted",), "leaves": {}}, store)
    assert not any("inherited" in metrics for metrics in said)
    [warning] = caplog.messages
    tells(warning, "wanted", "another")
    assert not store.sizes()


def test_the_first_of_two_that_leave_the_same_stays(stored) -> None:
    asked, store, folder = stored
    before = (folder / "prefixes" / "key.pt").stat()
    trained(asked, {"modulation.start": 3}, folder / "second", {"inherits": (), "leaves": {2: "key"}}, store)
    assert (folder / "prefixes" / "key.pt").stat() == before


def test_a_prefix_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path, caplog) -> None:
    (tmp_path / "prefixes").write_text("no folder")
    asked, store = experiment(), PrefixStore(Storage(str(tmp_path)))
    with caplog.at_level(logging.WARNING):
        said = trained(
            asked, {"modulation.method": "none"}, tmp_path / "a", {"inherits": (), "leaves": {2: "key"}}, store
        )
    assert len(said) == 6
    [warning] = caplog.messages
    tells(warning, tmp_path / "prefixes")


def test_prefixes_at_a_uri(tmp_path: Path) -> None:
    store, here = (
        PrefixStore(Storage((tmp_path / "there").as_uri(), "run-1")),
        PrefixStore(Storage(str(tmp_path / "here"))),
    )
    for place in (store, here):
        assert place.sizes() == {}
        size = place.put("key", {"last": {}, "best": {}})
        assert place.sizes() == {"key": size}
        assert place.put("key", {"last": {"other": 1}, "best": {}}) == size or place is store
        assert place.get("key") == {"version": 1, "last": {}, "best": {}}
        assert place.get("none") is None
        place.put("second", {"last": {}})
        place.drop("second")
        assert place.sizes().keys() == {"key"}
        place.clear()
        assert place.sizes() == {}


def test_a_number_of_threads_makes_another_training(tmp_path: Path) -> None:
    from search.backend.prefix_context import code, context_of
    from search.backend.resources import Resources

    asked = experiment()
    one = context_of(asked, "data", Resources(1, 0), [])
    assert one == context_of(asked, "data", Resources(1, 0), [])
    module = tmp_path / "mine.py"
    module.write_text("a = 1")
    before = code([str(module)])
    others = [
        context_of(asked, "data", Resources(2, 0), []),
        context_of(asked, "data", Resources(1, 0.5), []),
        context_of(asked, "other data", Resources(1, 0), []),
        context_of(asked, "data", Resources(1, 0), [str(module)]),
        context_of(experiment("search.metric=val/loss"), "data", Resources(1, 0), []),
    ]
    assert len({one, *others}) == 6
    module.write_text("a = 2")
    assert code([str(module)]) != before


def test_a_trial_that_ran_out_of_memory_shares_nothing(tmp_path: Path) -> None:
    """It continues with more threads, which changes the last bits of all results."""
    machine = Machine(experiment(), tmp_path / "j.jsonl")
    trial = machine.tuner.next()
    assert trial is not None
    assert machine.tuner.order(trial.number).leaves
    machine.tuner.record_start(trial.number)
    machine.tuner.record_out_of_memory(trial.number)
    again = machine.tuner.next()
    assert again is trial
    assert not machine.tuner.order(trial.number).leaves


def test_a_prefix_goes_once_its_last_heir_has_loaded_it(tmp_path: Path) -> None:
    words = ["space.modulation.alpha=[0.9]", "space.modulation.start=[3]", "space.modulation.end=[5]"]
    machine = Machine(experiment(*words), tmp_path / "j.jsonl")
    machine.run(1, steps=6)
    heir = machine.tuner.next()
    assert heir is not None
    machine.tuner.record_start(heir.number)
    assert machine.tuner.order(heir.number).inherits == tuple(machine.left) != ()
    machine.tuner.record_epoch(heir.number, {"epoch": 0, "best": 0.5, "seconds": 1.0, "inherited": 1.0})
    assert machine.left == {}


# ---- messages ----


@pytest.fixture
def grid(tmp_path: Path) -> Machine:
    """Finished search with 27 modulated trials and one baseline trial."""
    machine = Machine(experiment("space.modulation.start=[0, 1, 3]", "search.resources.gpu=0.5"), tmp_path / "j.jsonl")
    machine.run(2)
    return machine


def test_epochs_are_counted_once(grid: Machine) -> None:
    """Each epoch took a second on half a GPU."""
    spent, asked = grid.tuner.record.spent, 6 * len(grid.tuner.record.trials)
    assert (spent.epochs, spent.inherited_epochs) == (grid.bound(), asked - grid.bound())
    assert (spent.gpu_seconds, spent.saved_seconds) == (spent.epochs / 2, spent.inherited_epochs)
    assert spent.saved_gpu_seconds == spent.inherited_epochs / 2
    counts = count_epochs(grid.tuner.experiment, grid.tuner.record)
    assert counts == EpochCounts(spent.epochs, spent.inherited_epochs, saved=0, failed=0, unpaid=0, to_come=0)
    assert sum(counts) == asked
    text = format_effort(counts, spent)
    hours = [f"{seconds / 3600:.3g}" for seconds in (spent.gpu_seconds, spent.saved_gpu_seconds)]
    tells(text, f"{spent.epochs} trained", f"{hours[0]} GPU-hours")
    assert re.findall(r"[\d.]*\d", text) == [f"{spent.epochs}", f"{spent.inherited_epochs}", *hours]


def test_mlflow_has_the_curve_of_what_was_saved(grid: Machine) -> None:
    record = grid.tuner.record
    step, values = max(Curve(record, "max").end().items())
    assert step == record.spent.epochs
    assert values["saved/epochs"] == record.spent.inherited_epochs
    assert values["saved/training_hours"] == record.spent.saved_seconds / 3600
    assert values["saved/gpu_hours"] == record.spent.saved_gpu_seconds / 3600


def test_the_table_of_trials_says_who_trained(grid: Machine) -> None:
    rows = list(csv.DictReader(io.StringIO(trials_table(grid.tuner.experiment, grid.tuner.record))))
    trials = grid.tuner.record.trials
    assert [int(row["epochs_inherited"]) for row in rows] == [
        trials[int(row["trial"])].inherited_epochs for row in rows
    ]
    assert all(int(row["epochs_trained"]) + int(row["epochs_inherited"]) == 6 for row in rows)
    assert all(float(row["seconds"]) == int(row["epochs_trained"]) for row in rows)
    assert "inherited" not in rows[0]


def test_a_plan_foresees_it(grid: Machine) -> None:
    asked = grid.tuner.experiment
    found = expected_savings(asked, draw_trials(asked))
    epochs = 6 * len(grid.tuner.record.trials)
    assert round(epochs * (1 - found.inherited_share)) == grid.bound()
    assert grid.most <= found.prefixes * 10**8
    assert (found.prevented_by, found.limited_by) == ((), ())
    off = experiment("search.share_prefixes=false")
    assert expected_savings(off, draw_trials(off)).inherited_share == 0


@pytest.mark.parametrize(
    ("words", "prevented", "limited"),
    [
        (["space.optimizer.lr={low: 0.01, high: 0.1}", "search.transfer=0"], ("optimizer.lr",), ()),
        (["space.modulation.alpha={low: 0.1, high: 1.0}"], (), ("modulation.alpha",)),
        (["space.modulation.alpha={low: 0.1, high: 1.0, step: 0.1}"], (), ()),
    ],
)
def test_a_plan_names_the_ranges_that_prevent_it(words: list[str], prevented: tuple, limited: tuple) -> None:
    asked = experiment(*words, "search.sampler=random")
    found = expected_savings(asked, draw_trials(asked))
    assert (found.prevented_by, found.limited_by) == (prevented, limited)
    assert (found.inherited_share == 0) == bool(prevented)


def test_trials_that_take_settings_from_the_other_arm_share_epochs_whatever_the_range() -> None:
    asked = experiment("space.optimizer.lr={low: 0.01, high: 0.1}", "search.trials=40", "search.sampler=tpe")
    found = expected_savings(asked, draw_trials(asked))
    assert found.prevented_by == ("optimizer.lr",)
    assert found.inherited_share > 0.02


@pytest.mark.parametrize("file", sorted(path.name for path in Path("experiments").glob("*.yaml")))
def test_trials_of_the_shipped_files_share_prefixes(file: str) -> None:
    """Their learning rates are choices, and their windows open in steps."""
    asked = load(Path("experiments", file))
    found = expected_savings(asked, draw_trials(asked))
    assert found.prevented_by == ()
    assert found.inherited_share > 0.02
