"""Facts of a report, read from a run's folder.

Reading changes nothing that a run in progress needs. If weights are stored at a URI, those of the best trials are
fetched to the folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from datasets.store.remote import RemoteError
from ogmge import checkpoint
from search.experiment.arms import ARMS, Arm
from search.experiment.load import load
from search.experiment.schema import Experiment, ExperimentError
from search.models.probe_curve import ProbeCurveError, ProbeCurves, read_curves
from search.run import best as answer
from search.run.causes import Reason
from search.run.checkpoints import storage_of
from search.run.folder import FolderError, RunFolder, at_work, fingerprint_in, require_search
from search.run.journal import read
from search.run.test_log import readings
from search.run.trials import SearchRecord
from search.tuner.search_policy import SearchPolicy
from search.verdict.decide import Verdict
from search.verdict.evidence import ClassDifference, Evidence, EvidenceError, Pair, read_evidence
from search.verdict.pairs import Role
from search.verdict.plan import read_plan

PLAN = "plan.json"  # name of the file in the confirmation's folder


@dataclass(frozen=True)
class ClassChange:
    """Accuracy in a class, of the modulated and of the baseline models, as shares of 1.

    Args:
        name: name of the class.
        modulated, baseline: mean accuracy of each arm.
        low, high: interval of the difference; None if there is none.
    """

    name: str
    modulated: float
    baseline: float
    low: float | None = None
    high: float | None = None

    @property
    def difference(self) -> float:
        return self.modulated - self.baseline


@dataclass(frozen=True)
class Facts:
    """State and results of a run.

    Args:
        folder: folder of the run.
        experiment: resolved experiment.
        record: record of the search.
        total: number of trials in the plan.
        stop_reason: reason why the budget ended the search before that; None if it did not.
        busy: whether a process is working in the folder.
        confirmation: trainings of the confirmation.
        planned_pairs: largest number of pairs that the confirmation plans.
        pairs: results of the confirmation, by seed.
        evidence: evidence of the confirmation; None if there is no verdict yet.
        probe_curves: linear probes over the epochs; None if there are none.
        damage: reason why a file cannot be read, as a sentence; None if all can be read.
        versions: versions of Python and the packages that the run used, as far as they are known.
        made: time at which the facts were read.
    """

    folder: RunFolder
    experiment: Experiment
    record: SearchRecord
    total: int
    stop_reason: Reason | None
    busy: bool
    confirmation: SearchRecord = field(default_factory=SearchRecord)
    planned_pairs: int = 0
    pairs: Sequence[Pair] = ()
    evidence: Evidence | None = None
    probe_curves: ProbeCurves | None = None
    damage: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def metric(self) -> str:
        """Metric that the search optimises; the first if there are several."""
        return self.experiment.search.objective.metric

    @property
    def verdict(self) -> Verdict | None:
        return self.evidence.verdict if self.evidence else None

    @cached_property
    def best(self) -> dict[Arm, answer.Best]:
        """Best trial of each arm that has a result."""
        return answer.bests(self.record, self.experiment.search.objective)

    @property
    def is_probe_outdated(self) -> bool:
        """Whether the search has found other best configurations since the probes over the epochs."""
        probed = self.probe_curves.configurations if self.probe_curves else {}
        return any(arm not in self.best or self.best[arm].trial.changes != probed[arm] for arm in probed)

    @property
    def is_complete(self) -> bool:
        """Whether the search has nothing left to train."""
        return self.record.is_complete(self.total, is_stopped=self.stop_reason is not None)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the data."""
        return fingerprint_in(self.folder)

    @property
    def readings(self) -> list[dict[str, str]]:
        """Readings of the test split, as logged in test_readings.jsonl."""
        return readings(self.folder)

    def weights(self, number: int) -> Path:
        """Return the checkpoint of a trial's best epoch."""
        return storage_of(self.experiment, self.folder).weights(number, cache=self.folder.tune)

    @cached_property
    def interval(self) -> answer.Interval | None:
        """Interval of the difference between the best trials of both arms, over the validation examples."""
        with suppress(checkpoint.CheckpointError, RemoteError):
            return answer.lead(self.best, self.metric, self.weights)
        return None

    @cached_property
    def classes(self) -> list[ClassChange]:
        """Differences by class, by class id: of the confirmation's pairs, else of each arm's best trial."""
        if self.evidence is not None and self.evidence.classes:
            return [_class_change(row) for row in self.evidence.classes]
        with suppress(checkpoint.CheckpointError, RemoteError, KeyError):
            return self._single_changes()
        return []

    def _single_changes(self) -> list[ClassChange]:
        states = {arm: checkpoint.load(self.weights(self.best[arm].trial.number)) for arm in ARMS}
        shares = (answer.class_accuracy(states[arm]).tolist() for arm in reversed(ARMS))
        both = map(ClassChange, states["baseline"]["classes"], *shares)
        return [change for change in both if not math.isnan(change.difference)]


def _class_change(row: ClassDifference) -> ClassChange:
    found = row.paired
    return ClassChange(row.name, found.modulated.mean, found.baseline.mean, found.low, found.high)


def gather(path: Path, *, busy: bool | None = None) -> Facts:
    """Read the facts of the run in a folder.

    Args:
        path: path of the folder.
        busy: whether the run continues; None checks whether a process, maybe this one, is working in the folder.

    Raises:
        FolderError: if no search began in the folder.
        ExperimentError: if its experiment cannot be read.
        VersionError: if a newer version confirmed it.
    """
    folder = RunFolder(path)
    experiment = load(folder.experiment)
    require_search(folder)
    record, policy = read(folder.journal), SearchPolicy(experiment)
    evidence, damage = _evidence(folder)
    curves, more_damage = _probe_curves(folder)
    trainings = read(folder.confirmation.journal)
    return Facts(
        folder,
        experiment,
        record,
        policy.total,
        policy.stop_reason(record),
        at_work(folder) if busy is None else busy,
        trainings,
        _planned_pairs(folder),
        evidence.pairs if evidence else _pairs(trainings),
        evidence,
        curves,
        damage or more_damage,
        _versions(folder),
    )


def _evidence(folder: RunFolder) -> tuple[Evidence | None, str | None]:
    try:
        return read_evidence(folder.verdict), None
    except EvidenceError as error:
        return None, f"{error}."


def _probe_curves(folder: RunFolder) -> tuple[ProbeCurves | None, str | None]:
    try:
        return read_curves(folder), None
    except ProbeCurveError as error:
        return None, f"{error}."


def _planned_pairs(folder: RunFolder) -> int:
    with suppress(FolderError):
        plan = read_plan(folder.confirmation.path / PLAN)
        return 0 if plan is None else plan.seeds
    return 0


def _pairs(trainings: SearchRecord) -> list[Pair]:
    """Return the results of the confirmation so far."""
    found: dict[int, dict[Role, float]] = {}
    for trial in trainings:
        if trial.status == "finished" and trial.best is not None:
            found.setdefault(int(trial.changes["seed"]), {})[trial.internal["role"]] = trial.best
    return [Pair(seed, values) for seed, values in found.items()]


def _versions(folder: RunFolder) -> dict[str, str]:
    """Return the versions in `best.yaml`, which the run wrote."""
    with suppress(ExperimentError):
        origin = load(folder.best).origin
        return {} if origin is None else origin.versions
    return {}
