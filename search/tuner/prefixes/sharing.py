"""Sharing of prefixes: decides from the trials' reports which trial inherits which prefix, without files or processes.

A trial starts from the longest of its prefixes that another trial has stored. The space determines after how many
epochs a trial stores a prefix: wherever a configuration that may still come branches off. If two trials need the same
prefix, only one of them trains it. This leader runs first; the other is handed out once the leader has stored the
prefix or has ended.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field

from ogmge.config import TrialConfig
from ogmge.prefix_keys import keys
from search.experiment.space import with_changes
from search.run.trials import TrialRecord
from search.tuner.prefixes.tree import Keys, Prefixes, Tree, branch_points, longest_prefix
from search.tuner.search_policy import Policy


@dataclass(frozen=True)
class Order:
    """Prefixes that a worker loads and stores.

    Args:
        inherits: keys of prefixes to start from, the longest first.
        leaves: number of epochs -> key of the prefix to store after them.
    """

    inherits: tuple[str, ...] = ()
    leaves: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Prefix:
    """Prefix that is stored (`bytes` is set), or that its `leader` will store. Others are not tracked."""

    epochs: int
    tree: Tree
    leader: int | None = None
    bytes: int | None = None


@dataclass
class _Trial:
    """Trial that has not ended: it waits, then runs.

    Args:
        inherits: key of the prefix that it starts from, until it has loaded it.
    """

    keys: Keys
    tree: Tree
    prefixes: Prefixes
    is_running: bool = False
    inherits: str | None = None

    def needed_prefix(self, stored: Container[str]) -> str | None:
        """Return the key of the stored prefix that the trial starts from, or would start from now."""
        return self.inherits if self.is_running else longest_prefix(self.prefixes, stored)


@dataclass
class Sharing:
    """Sharing of prefixes among the trials of a tuner.

    Args:
        policy: policy of the tuner.
        trial: trial of the experiment.
        context: everything else that affects a training, see `ogmge.prefix_keys.keys`.
        drop: function that deletes a stored prefix, given its key.
        max_bytes: total size of all stored prefixes; above it, those that save the least are dropped.
        from_before: key -> bytes, for the prefixes that earlier sessions stored.
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
        """Restore the state of earlier sessions: ended trials will not come again, interrupted ones will continue."""
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
        """Register the stored prefixes that belong to a tree."""
        for prefixes in self._still_to_come(tree):
            for key in prefixes.keys() & self.from_before.keys():
                self._prefixes[key] = _Prefix(prefixes[key], tree, bytes=self.from_before[key])

    def expect(self, trial: TrialRecord) -> None:
        """Register a trial that will be handed out once it is free."""
        self._trials[trial.number] = self._trial_of(trial)

    def is_free(self, trial: TrialRecord) -> bool:
        """Return True unless a running trial will soon store a longer prefix for this one."""
        if trial.oom_retries:
            return True
        longest = longest_prefix(self._trials[trial.number].prefixes, self._prefixes)
        return longest is None or self._prefixes[longest].bytes is not None

    def begin(self, trial: TrialRecord) -> Order:
        """Register that a trial is handed out; return what it inherits and stores."""
        if trial.oom_retries:  # another number of threads changes the last bits of the results
            self._trials.pop(trial.number, None)
            return Order()
        begun, stored = self._trials[trial.number], self._sizes
        begun.tree.remove(begun.keys)
        begun.is_running, begun.inherits = True, longest_prefix(begun.prefixes, stored)
        leaves = branch_points(begun.prefixes, self._still_to_come(begun.tree))
        self._lead(trial, begun.tree, leaves)
        return Order(tuple(key for key in reversed(begun.prefixes) if key in stored), leaves)

    def _lead(self, trial: TrialRecord, tree: Tree, leaves: Mapping[int, str]) -> None:
        """Make a trial the leader of the prefixes that it will train, unless they are stored or have a leader."""
        for epochs, key in leaves.items():
            if epochs > len(trial.epochs):
                self._prefixes.setdefault(key, _Prefix(epochs, tree, leader=trial.number))

    def record_prefix(self, number: int, key: str, size: int) -> None:
        """Record that a trial has stored a prefix of `size` bytes."""
        trial = self._trials.get(number)
        if trial is not None and key in trial.prefixes.keys() - self._sizes.keys():
            self._prefixes[key] = _Prefix(trial.prefixes[key], trial.tree, bytes=size)
            self._tidy()

    def record_epochs(self, number: int, epochs: int) -> None:
        """Record that a trial has trained or inherited `epochs` epochs, and so has loaded its inherited prefix."""
        self._give_up(number, epochs)
        trial = self._trials.get(number)
        if trial is not None and trial.inherits is not None:
            trial.inherits = None
            self._tidy()

    def record_end(self, number: int) -> None:
        """Record that a trial has stopped training, for now or for good."""
        self._give_up(number, math.inf)
        self._trials.pop(number, None)
        self._tidy()

    def _give_up(self, leader: int, epochs: float) -> None:
        """Stop waiting for the prefixes of up to `epochs` epochs that their leader should have stored by now."""
        for key, prefix in list(self._prefixes.items()):
            if prefix.leader == leader and prefix.epochs <= epochs:
                del self._prefixes[key]

    # ---- stored prefixes ----

    @property
    def _sizes(self) -> dict[str, int]:
        """Sizes of the stored prefixes: key -> bytes."""
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
        """Return the prefixes of each training of a tree that may still begin."""
        waiting = [trial.prefixes for trial in self._trials.values() if trial.tree is tree and not trial.is_running]
        return waiting + (tree.upcoming if self.policy.has_more else [])

    def _tidy(self) -> None:
        """Drop prefixes that no trial will start from, then those that save the least, until the rest fits."""
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
        """Return the keys of the stored prefixes that some training may still start from."""
        trees = {self._prefixes[key].tree for key in stored}
        return {longest_prefix(prefixes, stored) for tree in trees for prefixes in self._still_to_come(tree)}
