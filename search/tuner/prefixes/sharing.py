"""Which trial inherits which prefix: decided from what trials report, without files and processes.

A trial goes on from the longest of its prefixes that another trial has stored. After how many epochs a trial stores one
follows from the space: where a configuration that may still come branches off. Two trials that need the same prefix do
not both train it: one leads, and the other is not handed out until the leader has stored it, or has ended.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field

from ogmge.config import TrialConfig
from ogmge.prefix_keys import keys
from search.experiment.space import with_changes
from search.run.journal import TrialRecord
from search.tuner.prefixes.tree import Keys, Prefixes, Tree, branch_points, longest_prefix
from search.tuner.search_policy import Policy


@dataclass(frozen=True)
class Order:
    """Which prefixes a worker takes and stores.

    Args:
        inherits: keys of prefixes to go on from, the longest first.
        leaves: number of epochs -> key of the prefix to store after it.
    """

    inherits: tuple[str, ...] = ()
    leaves: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Prefix:
    """A prefix that is coming (a trial leads) or stored (it has bytes); one that is neither is not kept in mind."""

    epochs: int
    tree: Tree
    leader: int | None = None
    bytes: int | None = None


@dataclass
class _Trial:
    """A trial that has not ended: it waits, then runs.

    Args:
        inherits: key of the prefix that it goes on from, until it has done so.
    """

    keys: Keys
    tree: Tree
    prefixes: Prefixes
    is_running: bool = False
    inherits: str | None = None

    def needed_prefix(self, stored: Container[str]) -> str | None:
        """Key of the stored prefix that it goes on from, or would if it began now."""
        return self.inherits if self.is_running else longest_prefix(self.prefixes, stored)


@dataclass
class Sharing:
    """Follows the trials of a tuner.

    Args:
        policy: the tuner's.
        trial: the experiment's.
        context: all else that affects a training, see `ogmge.prefix_keys.keys`.
        drop: deletes a stored prefix.
        max_bytes: of all stored prefixes; beyond it, those that save the least are dropped.
        from_before: key -> bytes, of the prefixes that earlier sessions stored.
    """

    policy: Policy
    trial: TrialConfig
    context: str
    drop: Callable[[str], None]
    max_bytes: float
    from_before: Mapping[str, int]
    _trees: dict[tuple[str, float], Tree] = field(default_factory=dict)
    _trials: dict[int, _Trial] = field(default_factory=dict)
    _prefixes: dict[str, _Prefix] = field(default_factory=dict)

    def restore(self, trials: Iterable[TrialRecord]) -> None:
        """Take up earlier sessions: trials that ended will not come again, interrupted ones will go on."""
        for trial in trials:
            restored = self._trial_of(trial)
            restored.tree.remove(restored.keys)
            if not trial.is_over:
                self._trials[trial.number] = restored
        for tree in self._trees.values():
            self._recognise(tree)
        for key in self.from_before.keys() - self._prefixes.keys():
            self.drop(key)
        self._tidy()

    def _recognise(self, tree: Tree) -> None:
        """Take up the stored prefixes of a tree."""
        for prefixes in self._still_to_come(tree):
            for key in prefixes.keys() & self.from_before.keys():
                self._prefixes[key] = _Prefix(prefixes[key], tree, bytes=self.from_before[key])

    def expect(self, trial: TrialRecord) -> None:
        """Take note of a trial that will be handed out once it is free."""
        self._trials[trial.number] = self._trial_of(trial)

    def is_free(self, trial: TrialRecord) -> bool:
        """Return True unless a running trial will soon store a longer prefix for this one."""
        if trial.oom_retries:
            return True
        longest = longest_prefix(self._trials[trial.number].prefixes, self._prefixes)
        return longest is None or self._prefixes[longest].bytes is not None

    def begin(self, trial: TrialRecord) -> Order:
        """Take note that a trial is handed out; returns what it takes and stores."""
        if trial.oom_retries:  # with another number of threads nothing is the same to the bit
            self._trials.pop(trial.number, None)
            return Order()
        begun, stored = self._trials[trial.number], self._sizes
        begun.tree.remove(begun.keys)
        begun.is_running, begun.inherits = True, longest_prefix(begun.prefixes, stored)
        leaves = branch_points(begun.prefixes, self._still_to_come(begun.tree))
        self._lead(trial, begun.tree, leaves)
        return Order(tuple(key for key in reversed(begun.prefixes) if key in stored), leaves)

    def _lead(self, trial: TrialRecord, tree: Tree, leaves: Mapping[int, str]) -> None:
        """Make a trial the leader of the prefixes that it is to train, unless they are coming or stored already."""
        for epochs, key in leaves.items():
            if epochs > len(trial.epochs):
                self._prefixes.setdefault(key, _Prefix(epochs, tree, leader=trial.number))

    def record_prefix(self, number: int, key: str, size: int) -> None:
        """Take note that a trial has stored a prefix of `size` bytes."""
        trial = self._trials.get(number)
        if trial is not None and key in trial.prefixes.keys() - self._sizes.keys():
            self._prefixes[key] = _Prefix(trial.prefixes[key], trial.tree, bytes=size)
            self._tidy()

    def record_epochs(self, number: int, epochs: int) -> None:
        """Take note that a trial has trained or inherited so many epochs, and has loaded what it inherits."""
        self._give_up(number, epochs)
        trial = self._trials.get(number)
        if trial is not None and trial.inherits is not None:
            trial.inherits = None
            self._tidy()

    def record_end(self, number: int) -> None:
        """Take note that a trial trains no more, for now or for good."""
        self._give_up(number, math.inf)
        self._trials.pop(number, None)
        self._tidy()

    def _give_up(self, leader: int, epochs: float) -> None:
        """Expect no more prefixes of so many epochs or fewer from a trial that should have stored them by now."""
        for key, prefix in list(self._prefixes.items()):
            if prefix.leader == leader and prefix.epochs <= epochs:
                del self._prefixes[key]

    # ---- what is stored ----

    @property
    def _sizes(self) -> dict[str, int]:
        """Key -> bytes."""
        return {key: prefix.bytes for key, prefix in self._prefixes.items() if prefix.bytes is not None}

    def _trial_of(self, trial: TrialRecord) -> _Trial:
        context = self.context + json.dumps(dict(self.policy.dataset(trial)), sort_keys=True)
        config = with_changes(self.trial, trial.changes)
        own = keys(config, context)
        root = own[0], config.optimizer.lr
        if root not in self._trees:
            siblings = self.policy.siblings(trial)
            self._trees[root] = Tree(
                [(keys(with_changes(self.trial, s.changes), context), s.endless) for s in siblings]
            )
        return _Trial(own, self._trees[root], self._trees[root].prefixes(own))

    def _still_to_come(self, tree: Tree) -> list[Prefixes]:
        """The prefixes of each training of a tree that may still begin."""
        waiting = [trial.prefixes for trial in self._trials.values() if trial.tree is tree and not trial.is_running]
        return waiting + (tree.upcoming if self.policy.has_more else [])

    def _tidy(self) -> None:
        """Drop the prefixes that no trial will go on from, then those that save the least, until the rest fits."""
        stored = self._sizes
        needed = {trial.needed_prefix(stored) for trial in self._trials.values()}
        usable = needed | self._usable_prefixes(stored)
        total = sum(stored.values())
        for key in sorted(stored, key=lambda key: (key in usable, key in needed, self._prefixes[key].epochs)):
            if key in usable and total <= self.max_bytes:
                break
            total -= stored[key]
            del self._prefixes[key]
            self.drop(key)

    def _usable_prefixes(self, stored: Collection[str]) -> set[str | None]:
        """Keys of the stored prefixes that a training which may still begin would go on from."""
        trees = {self._prefixes[key].tree for key in stored}
        return {longest_prefix(prefixes, stored) for tree in trees for prefixes in self._still_to_come(tree)}
