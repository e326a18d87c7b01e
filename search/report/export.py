"""What a search leaves for others: the best configuration as an experiment of its own, all trials as a table."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ogmge.fit import Objective
from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import format_value
from search.experiment.load import load
from search.experiment.mistakes import UserError
from search.experiment.schema import Experiment, Provenance, as_values, to_yaml
from search.experiment.space import with_changes
from search.report.table import trained_seconds
from search.run.best import bests, front_of, winner
from search.run.folder import RunFolder, fingerprint_in, lock_folder, write
from search.run.journal import Journal, SearchRecord, TrialRecord
from search.tracking.client import versions
from search.verdict.evidence import Evidence, read_evidence


class ExportError(UserError):
    """A configuration that cannot be exported: a sentence."""


@dataclass(frozen=True)
class Choice:
    """A trial to be exported, and what is known of its configuration.

    Args:
        trial: of the search.
        metrics: of its best epoch.
        evidence: of its confirmation, where it was confirmed.
    """

    trial: TrialRecord
    metrics: Mapping[str, float]
    evidence: Evidence | None = None


def choose(experiment: Experiment, record: SearchRecord, folder: RunFolder, number: int | None = None) -> Choice:
    """The trial to export: the one asked for, else the confirmation's better, else the search's best.

    Raises:
        ExportError: there is no such trial, or it has no result.
        EvidenceError: the confirmation's verdict is damaged.
    """
    evidence = read_evidence(folder.verdict)
    objective = experiment.search.objective
    if number is None and evidence is not None:
        number = evidence.arms[evidence.best].trial
    if number is None:
        number = _best_number(record, objective, folder)
    trial = record.trials.get(number)
    metrics = trial.best_epoch(objective.metric) if trial is not None else None
    if trial is None or metrics is None:
        what = "is no trial" if trial is None else "is a trial without a result"
        raise ExportError(
            f"{number} {what} of the search in {folder.path}: it has {len(record.trials)}, from 0, and {folder.trials} "
            "lists them"
        )
    is_confirmed = evidence is not None and evidence.arms[trial.arm].trial == number
    return Choice(trial, metrics, evidence if is_confirmed else None)


def _best_number(record: SearchRecord, objective: Objective, folder: RunFolder) -> int:
    best = bests(record, objective)
    if not best:
        raise ExportError(f"no trial of the search in {folder.path} came to a result: see {folder.trials}")
    return winner(best, objective.mode).trial.number


def best_experiment(experiment: Experiment, found: Choice, fingerprint: str, place: Path) -> str:
    """An experiment file that trains a configuration as it stands, and says where it came from.

    Args:
        experiment: what was searched.
        found: the configuration.
        fingerprint: of the data.
        place: where the file is to be.
    """
    objective, origin = experiment.search.objective, _origin(experiment, found, fingerprint)
    alone = experiment.model_copy(
        update={
            "name": f"{experiment.name[:95]}-best",
            "trial": with_changes(experiment.trial, found.trial.changes),
            "origin": origin,
        }
    )
    values = as_values(alone)
    del values["space"], values["confirm"]
    values["search"] = asdict(objective)  # it says which epoch is the best
    train = shlex.join(["uv", "run", "python", "-m", "search", "train", str(place)])
    return f"# {_headline(origin, found)}\n# Train it: {train}\n" + to_yaml(values)


def _origin(experiment: Experiment, found: Choice, fingerprint: str) -> Provenance:
    metric = experiment.search.objective.metric
    arm, evidence, epochs = found.trial.arm, found.evidence, int(found.metrics["epoch"]) + 1
    once = {"value": found.metrics[metric], "seeds": 1, "prediction": None, "epochs": epochs, "verdict": None}
    return Provenance(
        run=experiment.name,
        trial=found.trial.number,
        arm=arm,
        metric=metric,
        **(once if evidence is None else _confirmed_values(evidence, arm)),
        fingerprint=fingerprint,
        versions={name.removeprefix("version."): text for name, text in versions().items()},
    )


def _confirmed_values(evidence: Evidence, arm: Arm) -> dict[str, Any]:
    """What an origin has of a configuration that was confirmed."""
    confirmed = evidence.arms[arm]
    prediction = confirmed.prediction
    return {
        "value": evidence.mean(arm),
        "seeds": confirmed.seeds,
        "prediction": None if prediction is None else (prediction.low, prediction.high),
        "epochs": confirmed.median_epochs,
        "verdict": evidence.verdict.word,
    }


def _headline(origin: Provenance, found: Choice) -> str:
    value = format_value(origin.metric, origin.value)
    name = f"Trial {origin.trial} ({origin.arm}) of the search `{origin.run}`: {origin.metric} {value}"
    if found.evidence is None:
        return f"{name} at epoch {int(found.metrics['epoch'])}, one seed."
    sure = f"{name}, the mean of {origin.seeds} fresh seeds."
    if origin.prediction is None:
        return sure
    low, high = (format_value(origin.metric, end) for end in origin.prediction)
    return f"{sure}\n# One more training comes out between {low} and {high} in 95 %."


def write_best(experiment: Experiment, record: SearchRecord, folder: RunFolder) -> None:
    """Leaves `best.yaml` in the run's folder."""
    write(
        folder.best,
        best_experiment(experiment, choose(experiment, record, folder), fingerprint_in(folder), folder.best),
    )


def trials_table(experiment: Experiment, record: SearchRecord) -> str:
    """All trials as CSV: what they were, how they ended, the metrics of their best epoch.

    Where there are several objectives, also whether a trial is on the Pareto front of its arm.
    """
    objectives = experiment.search.objectives
    several = len(objectives) > 1
    front = {t.number for arm in ARMS for t in front_of(record, arm, objectives)} if several else None
    rows = [_row(trial, objectives[0].metric, front) for trial in record]
    columns = dict.fromkeys(chain(*rows))
    columns.pop("reason", None)
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, "reason"], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(trial: TrialRecord, metric: str, front: Collection[int] | None) -> dict[str, Any]:
    best = trial.best_epoch(metric) or {}
    return {
        "trial": trial.number,
        "arm": trial.arm,
        **({} if trial.source is None else {"source": trial.source.value}),
        "status": trial.status,
        "epochs_trained": len(trial.epochs) - trial.inherited_epochs,
        "epochs_inherited": trial.inherited_epochs,
        **trial.changes,
        **({"best_epoch": int(best["epoch"])} if best else {}),
        **{key: value for key, value in best.items() if key not in ("epoch", "best", "inherited")},
        **({} if front is None else {"pareto_front": "yes" if trial.number in front else "no"}),
        "seconds": round(trained_seconds(trial), 3),
        "reason": "\n".join(str(trial.reason or "").splitlines()),  # csv leaves a bare carriage return unquoted
    }


def export_run(path: Path, output: Path, number: int | None) -> str:
    """Writes a configuration of the run in a folder to a file; returns what it says of itself.

    Raises:
        ExportError: there is no result to export, or the file cannot be written.
    """
    folder = RunFolder(path)
    experiment = load(folder.experiment)
    if not folder.journal.exists():
        raise ExportError(f"there is no search in {path}: `run_search.py FILE` makes one")
    with lock_folder(folder):
        journal = Journal(folder.journal)
        record = journal.replay()
        journal.close()
        found = choose(experiment, record, folder, number)
        text = best_experiment(experiment, found, fingerprint_in(folder), output)
    try:
        write(output, text)
    except OSError as error:
        raise ExportError(f"{output} cannot be written: {error.strerror}") from error
    return f"{output}: {text.splitlines()[0].removeprefix('# ')}"
