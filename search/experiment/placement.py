"""Placement of a configuration in an arm's space: what it means there, and the nearest configuration of the space."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ogmge.config import TrialConfig
from search.experiment.arms import Arm
from search.experiment.dimensions import END, METHOD, MODULATION, START, Changes, Dimension, Internal
from search.experiment.formatting import flat, text
from search.experiment.schema import Experiment
from search.experiment.space import dimensions, methods, most_epochs


@dataclass(frozen=True)
class Placement:
    """A configuration and the nearest one in a space.

    Args:
        whole: the configuration, as returned by `configuration`.
        nearest: the nearest configuration of the space, as changes of the experiment's trial.
        sampled: the nearest configuration, as it is sampled.
    """

    whole: Changes
    nearest: Changes
    sampled: Internal

    @property
    def is_inside(self) -> bool:
        """Whether the space contains the configuration."""
        return not self.outside

    @property
    def outside(self) -> list[str]:
        """Paths at which the configuration lies outside the space."""
        here = self.nearest
        return [path for path, value in self.whole.items() if path not in here or not _is_same(value, here[path])]

    @property
    def differences(self) -> list[str]:
        """Texts that say where the configuration lies outside the space, one per path.

        >>> whole = {"fusion": "sum", "optimizer.lr": 0.001, "epochs": 9}
        >>> Placement(whole, {"fusion": "sum", "optimizer.lr": 0.01}, {}).differences
        ['`optimizer.lr` 0.001 (nearest: 0.01)', '`epochs` 9 (not searched)']
        """
        return [f"`{path}` {text(self.whole[path])} ({self._beside(path)})" for path in self.outside]

    def _beside(self, path: str) -> str:
        return f"nearest: {text(self.nearest[path])}" if path in self.nearest else "not searched"


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, apart from rounding errors of floats."""
    return one == other or (isinstance(one, float) and isinstance(other, float) and math.isclose(one, other))


def place(experiment: Experiment, changes: Changes, arm: Arm) -> Placement:
    """Place the experiment's trial with some changes in an arm's space."""
    searched = dimensions(experiment.space, experiment.trial, modulated=arm == "modulated")
    whole = configuration(experiment, changes, arm)
    sampled = {name: value for dimension in searched for name, value in dimension.nearest(whole).items()}
    return Placement(whole, decode(searched, sampled, arm), sampled)


def configuration(experiment: Experiment, changes: Changes, arm: Arm) -> Changes:
    """Return the experiment's trial with some changes as a configuration of an arm.

    The result has a value for each path that the arm searches or that `changes` sets to another value. In the baseline
    the method is `none`, and all other modulation is omitted. In the modulated arm, `none` is replaced by the
    experiment's method or the first one of its space. An end after the last epoch becomes the last epoch.
    """
    space, trial = experiment.space, experiment.trial
    own = values_of(trial, whole=space)
    values = own | changes
    paths = dict.fromkeys([*space, *(path for path, value in changes.items() if value != own.get(path))])
    if arm == "baseline":
        return {path: values[path] for path in paths if not path.startswith(MODULATION)} | {METHOD: "none"}
    found = {path: values[path] for path in [*paths, METHOD, START, END]}
    modulating = [name for name in (found[METHOD], trial.modulation.method, *methods(space, trial)) if name != "none"]
    last = max(most_epochs(space, trial), values["epochs"]) - 1
    return found | {METHOD: modulating[0], END: min(found[END], last)}


def values_of(trial: TrialConfig, whole: Collection[str] = ()) -> dict[str, Any]:
    """Return a trial's settings by dotted path, as JSON values; mappings at the paths in `whole` are not flattened."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(trial)))
    found = flat(values)
    for path in whole:
        inside = [other for other in found if other.startswith(f"{path}.")]
        if inside:
            found = {key: value for key, value in found.items() if key not in inside} | {path: _at(values, path)}
    return found


def _at(values: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path."""
    inner: Any = values
    for part in path.split("."):
        inner = inner[part]
    return inner


def decode(searched: Sequence[Dimension], sampled: Internal, arm: Arm) -> Changes:
    """Return a sampled configuration as changes of the experiment's trial."""
    changes: Changes = {METHOD: "none"} if arm == "baseline" else {}
    for dimension in searched:
        changes |= dimension.decode(sampled)
    return changes
