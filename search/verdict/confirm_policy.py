"""Policy of a confirmation: trains pairs with fresh seeds, and their ablations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.experiment.arms import ARMS, Arm, other_arm
from search.experiment.dimensions import METHOD, MODULATION, Changes
from search.experiment.schema import Experiment
from search.run.budget import Spent, stop_reason
from search.run.causes import Reason
from search.run.trials import SearchRecord, TrialRecord
from search.tuner.prefixes.siblings import Sibling
from search.tuner.search_policy import Suggestion
from search.verdict.pairs import Pairs, Role
from search.verdict.seeds import SEED, split_options


def ablation_changes(best: Mapping[Arm, Changes], of: Arm) -> Changes:
    """Return a configuration with its modulation switched: off, or on as in the best modulated configuration."""
    if of == "modulated":
        return {**best[of], METHOD: "none"}
    switched = {path: value for path, value in best["modulated"].items() if path.startswith(MODULATION)}
    return {**best[of], **switched}


def shared_settings(changes: Changes) -> Changes:
    """Return the settings of a configuration except its modulation and its seed."""
    return {path: value for path, value in changes.items() if path != SEED and not path.startswith(MODULATION)}


@dataclass
class ConfirmPolicy:
    """Policy that trains pairs. Both trainings of a pair have the same seed, initial weights, data order and split.

    Args:
        experiment: experiment that was searched.
        best: best configuration of each arm, as changes to the experiment's trial.
        seeds: seeds of the pairs, one for each planned pair.
        spent: resources that the search used.
        sequential: see `Pairs`.
        limited: whether the experiment's budget covers the search and the confirmation together, not the search alone.

    Attributes:
        pairs: state of the pairs.
    """

    experiment: Experiment
    best: Mapping[Arm, Changes]
    seeds: Sequence[int]
    spent: Spent
    sequential: bool = False
    limited: bool = True
    pairs: Pairs = field(init=False)

    def __post_init__(self) -> None:
        baseline, modulated = (shared_settings(self.best[arm]) for arm in ARMS)
        self.pairs = Pairs(
            len(self.seeds),
            self.experiment.search.objective.mode,
            sequential=self.sequential,
            pair_is_ablation=baseline == modulated,
        )

    @property
    def total(self) -> int:
        return self.pairs.trainings

    def learn(self, trials: Iterable[TrialRecord]) -> None:
        """Do nothing: there is nothing to sample."""

    def restore(self, trial: TrialRecord) -> None:
        self.pairs.take(*_place(trial), trial)

    def suggest(self, number: int) -> Suggestion:
        pair, role = self.pairs.hand_out()
        of = self.pairs.ablation_of
        if role != "ablation":
            arm, changes = role, self.best[role]
        else:
            assert of is not None
            arm, changes = other_arm(of), ablation_changes(self.best, of)
        return Suggestion(arm, {"pair": pair, "role": role}, {**changes, SEED: self.seeds[pair]})

    def dataset(self, trial: TrialRecord) -> Mapping[str, Any]:
        return split_options(self.experiment.dataset, trial.changes[SEED])

    def stop(self, trial: TrialRecord, record: SearchRecord) -> Reason | None:
        """Return None: every training runs to its last epoch."""

    def tell(self, trial: TrialRecord) -> None:
        self.pairs.take(*_place(trial), trial)

    def stop_reason(self, record: SearchRecord) -> Reason | None:
        return stop_reason(self.experiment.search.budget, self.spent + record.spent) if self.limited else None

    @property
    def has_more(self) -> bool:
        return self.pairs.has_more

    def is_determined(self, number: int) -> bool:
        return True

    def siblings(self, trial: TrialRecord) -> list[Sibling]:
        """Return the configurations with the same seed: the pair, and the ablations of both."""
        every = [*self.best.values(), *(ablation_changes(self.best, arm) for arm in self.best)]
        return [Sibling({**changes, SEED: trial.changes[SEED]}) for changes in every]


def _place(trial: TrialRecord) -> tuple[int, Role]:
    return trial.internal["pair"], trial.internal["role"]


def title(trial: TrialRecord) -> str:
    """Return the title of a confirmation's training in MLflow."""
    pair, role = _place(trial)
    return f"confirm {pair:02} {role}"


def tags_of(trial: TrialRecord) -> dict[str, str]:
    """Return the MLflow tags of a confirmation's training."""
    pair, role = _place(trial)
    return {"pair": str(pair), "role": role}
