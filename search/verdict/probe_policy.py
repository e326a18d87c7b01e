"""Policy of the trainings for curves of linear probes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ogmge.config import TrialConfig
from search.experiment.arms import Arm
from search.experiment.dimensions import METHOD, Changes
from search.experiment.schema import Experiment
from search.experiment.space import with_changes
from search.run.causes import Reason
from search.run.trials import SearchRecord, TrialRecord
from search.tuner.prefixes.siblings import Sibling
from search.tuner.search_policy import Suggestion
from search.verdict.seeds import SEED, split_options

ProbedRole = Literal["modulated", "baseline", "alone"]


def alone_changes(modality: str) -> Changes:
    """Return the changes that train an encoder alone: one modality, no modulation, and a linear head."""
    return {"modalities": [modality], METHOD: "none", "fusion": "concat"}


class Probed(NamedTuple):
    """Configuration that is trained with each seed.

    Args:
        role: role of the configuration: best of an arm, or encoder trained alone.
        modality: modality that is trained alone; None for a joint model.
    """

    role: ProbedRole
    modality: str | None = None

    def __str__(self) -> str:
        return self.role if self.modality is None else f"{self.modality} {self.role}"


@dataclass(frozen=True)
class ProbePolicy:
    """Policy that trains each arm's best configuration, and each encoder alone with the settings of the best baseline.

    It trains all of them with each seed, on the same split.

    Args:
        experiment: experiment that was searched.
        best: best configuration of each arm, as changes to the experiment's trial.
        modalities: modalities that are trained alone.
        seeds: seeds of the trainings.
    """

    experiment: Experiment
    best: Mapping[Arm, Changes]
    modalities: Sequence[str]
    seeds: Sequence[int]

    @property
    def each(self) -> list[Probed]:
        """Configurations that are trained with each seed, in this order."""
        return [Probed("modulated"), Probed("baseline"), *(Probed("alone", name) for name in self.modalities)]

    def changes(self, probed: Probed) -> Changes:
        """Return a configuration without its seed."""
        if probed.modality is None:
            return dict(self.best[_arm(probed)])
        return {**self.best["baseline"], **alone_changes(probed.modality)}

    def config(self, probed: Probed) -> TrialConfig:
        """Return the trial of a configuration, without its seed."""
        return with_changes(self.experiment.trial, self.changes(probed))

    @property
    def total(self) -> int:
        return len(self.seeds) * len(self.each)

    def learn(self, trials: Iterable[TrialRecord]) -> None:
        """Do nothing: there is nothing to sample."""

    def restore(self, trial: TrialRecord) -> None:
        """Do nothing: no result changes what is trained."""

    def suggest(self, number: int) -> Suggestion:
        pair, place = divmod(number, len(self.each))
        probed = self.each[place]
        internal = {"pair": pair, **probed._asdict()}
        return Suggestion(_arm(probed), internal, {**self.changes(probed), SEED: self.seeds[pair]})

    def dataset(self, trial: TrialRecord) -> Mapping[str, Any]:
        return split_options(self.experiment.dataset, trial.changes[SEED])

    def stop(self, trial: TrialRecord, record: SearchRecord) -> Reason | None:
        """Return None: every training runs to its last epoch."""

    def tell(self, trial: TrialRecord) -> None:
        """Do nothing, see `restore`."""

    def stop_reason(self, record: SearchRecord) -> Reason | None:
        """Return None: the experiment's budget is that of the search."""

    @property
    def has_more(self) -> bool:
        return False

    def is_determined(self, number: int) -> bool:
        return True

    def siblings(self, trial: TrialRecord) -> list[Sibling]:
        """Return an empty list: prefixes are not shared."""
        return []


def _arm(probed: Probed) -> Arm:
    return "modulated" if probed.role == "modulated" else "baseline"


def probed_of(trial: TrialRecord) -> Probed:
    """Return the configuration that a trial trains."""
    return Probed(trial.internal["role"], trial.internal["modality"])


def probe_title(trial: TrialRecord) -> str:
    """Return the title of a training in MLflow."""
    return f"probe {trial.internal['pair']:02} {probed_of(trial)}"


def probe_tags(trial: TrialRecord) -> dict[str, str]:
    """Return the MLflow tags of a training."""
    role, modality = probed_of(trial)
    return {"pair": str(trial.internal["pair"]), "role": role, **({} if modality is None else {"modality": modality})}
