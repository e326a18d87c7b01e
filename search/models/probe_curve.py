"""Linear probes over the epochs of trainings, as values and as `probe_curve.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pydantic import TypeAdapter

from datasets.index.regular_file import fault_of
from search.experiment.arms import Arm
from search.experiment.mistakes import UserError
from search.experiment.space import with_changes
from search.run.best import METRIC
from search.run.folder import RunFolder, write
from search.run.probed_epochs import PREFIX, is_probed
from search.run.trials import SearchRecord, TrialRecord
from search.run.version import VERSION, read_values
from search.verdict.paired import Spread
from search.verdict.probe_policy import ProbedRole, ProbePolicy, probe_title, probed_of
from search.verdict.seeds import SEED, redraws

ROLES: dict[ProbedRole, str] = {"modulated": "modulated", "baseline": "baseline", "alone": "trained alone"}


class ProbeCurveError(UserError):
    """Curves that cannot be computed or read; the message says why."""


@dataclass(frozen=True)
class Line:
    """Accuracy over the epochs of trainings that differ only in their seed.

    Args:
        role: role of the trainings.
        modality: modality of the probed encoder; None for the accuracy of the whole model.
        epochs: number of epochs trained at each point.
        seeds: seeds of the trainings.
        values: accuracies of each seed at each point.
    """

    role: ProbedRole
    modality: str | None
    epochs: tuple[int, ...]
    seeds: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]

    @property
    def spreads(self) -> list[Spread]:
        """Mean and standard deviation over the seeds at each point."""
        return [
            Spread(fmean(point), stdev(point) if len(point) > 1 else None) for point in zip(*self.values, strict=True)
        ]


@dataclass(frozen=True)
class ProbeCurves:
    """Linear probes over the epochs of a search's best configurations.

    Args:
        experiment: name of the search.
        every: interval between probes, in epochs.
        split_redrawn: whether each seed has its own validation split.
        seeds: requested seeds.
        window: first and last epoch (from 0) in which the modulated configuration is modulated.
        configurations: configuration of each arm, as changes of the experiment's trial; the encoders trained alone use
            the baseline's.
        lines: lines by modality, those of the whole models last.
    """

    experiment: str
    every: int
    split_redrawn: bool
    seeds: tuple[int, ...]
    window: tuple[int, int]
    configurations: Mapping[Arm, Mapping[str, Any]]
    lines: tuple[Line, ...]

    @property
    def panels(self) -> dict[str | None, list[Line]]:
        """Lines by modality; None is the key of the whole models."""
        found: dict[str | None, list[Line]] = {}
        for line in self.lines:
            found.setdefault(line.modality, []).append(line)
        return found


def probe_curves(record: SearchRecord, policy: ProbePolicy, every: int) -> ProbeCurves:
    """Return the curves of some trainings.

    Args:
        record: record of the trainings; those with other seeds than the policy's are skipped.
        policy: policy that chose the trainings.
        every: interval between probes, in epochs.
    """
    experiment = policy.experiment
    modulation = with_changes(experiment.trial, policy.best["modulated"]).modulation
    return ProbeCurves(
        experiment=experiment.name,
        every=every,
        split_redrawn=redraws(experiment.dataset),
        seeds=tuple(policy.seeds),
        window=(modulation.start, modulation.end),
        configurations=dict(policy.best),
        lines=tuple(_lines(_finished_trials(record, policy), policy, every)),
    )


def _finished_trials(record: SearchRecord, policy: ProbePolicy) -> list[TrialRecord]:
    return [trial for trial in record if trial.status == "finished" and trial.number < policy.total]


def _lines(trials: Sequence[TrialRecord], policy: ProbePolicy, every: int) -> Iterator[Line]:
    """Yield the lines by modality, those of the whole models last."""
    groups = [[trial for trial in trials if probed_of(trial) == probed] for probed in policy.each]
    for metric, modality in [*((f"{PREFIX}{name}", name) for name in policy.modalities), (METRIC, None)]:
        for group in groups:
            if group and _has(group[0], metric, modality):
                yield _line(group, metric, modality, every)


def _has(trial: TrialRecord, metric: str, modality: str | None) -> bool:
    """Return whether a training has a line in a panel; an encoder trained alone has none in the whole models' panel."""
    return metric in trial.epochs[-1] and (modality is not None or probed_of(trial).modality is None)


def _line(trials: Sequence[TrialRecord], metric: str, modality: str | None, every: int) -> Line:
    last = len(trials[0].epochs)
    epochs = tuple(n for n in range(1, last + 1) if is_probed(n, every, last))
    values = tuple(tuple(trial.epochs[n - 1][metric] for n in epochs) for trial in trials)
    seeds = tuple(int(trial.changes[SEED]) for trial in trials)
    return Line(probed_of(trials[0]).role, modality, epochs, seeds, values)


def failure_notes(record: SearchRecord, policy: ProbePolicy) -> list[str]:
    """Return a note for each training that failed."""
    failed = [trial for trial in record if trial.status == "failed" and trial.number < policy.total]
    return [
        f"{probe_title(trial)} failed with seed {trial.changes[SEED]} ({trial.reason and trial.reason.headline}): "
        "its line shows the other seeds"
        for trial in failed
    ]


def describe_lines(curves: ProbeCurves) -> str:
    """Return a description of the lines of a plot, in sentences."""
    count = len(curves.seeds)
    if count == 1:
        return "Lines: one seed."
    own = ", each with its own validation split" if curves.split_redrawn else ""
    return f"Lines: mean over {count} seeds{own}. Spread: ± one standard deviation."


# ---- the file ----

_CURVES = TypeAdapter(ProbeCurves)


def curve_file(folder: RunFolder) -> Path:
    """Return the file with the values of a run's curves."""
    return folder.probe_curve.path / "probe_curve.json"


def write_curves(folder: RunFolder, curves: ProbeCurves) -> None:
    """Write `probe_curve.json`, which `read_curves` reads."""
    values = asdict(curves)
    for line, written in zip(curves.lines, values["lines"], strict=True):
        written |= {"mean": [spread.mean for spread in line.spreads], "sd": [spread.sd for spread in line.spreads]}
    write(curve_file(folder), json.dumps({"version": VERSION, **values}, indent=2) + "\n")


def read_curves(folder: RunFolder) -> ProbeCurves | None:
    """Read the curves of a run; None if there are none.

    Raises:
        ProbeCurveError: if the file is corrupt.
        VersionError: if a newer version wrote it.
    """
    path = curve_file(folder)
    if not path.exists():
        return None
    try:
        return _CURVES.validate_json(json.dumps(read_values(path)))
    except (ValueError, TypeError, OSError) as error:
        raise ProbeCurveError(
            f"{path} {fault_of(error)}; write it again with `uv run python -m search probe {folder.path.name} --curve`"
        ) from error
