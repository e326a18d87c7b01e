"""Exports of a search: the best configuration as an experiment file, and all trials as a table or as studies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from datasets.index.list_files import count
from ogmge.fit import Objective
from search.experiment.arms import ARMS, Arm
from search.experiment.escaping import csv_table
from search.experiment.formatting import format_value
from search.experiment.load import load
from search.experiment.mistakes import UserError
from search.experiment.paths import experiment_yaml
from search.experiment.schema import Experiment, Provenance, as_values
from search.experiment.space import with_changes
from search.report.table import trained_seconds
from search.run.best import bests, front_of, winner
from search.run.disk import explain_errors
from search.run.folder import RunFolder, fingerprint_in, lock_folder, require_search, write
from search.run.journal import Journal, read
from search.run.trials import SearchRecord, TrialRecord
from search.tracking.client import versions
from search.tuner.optuna_log import study_name, write_optuna_log
from search.verdict.evidence import Evidence, read_evidence
from search.verdict.next_step import train_command
from search.verdict.seeds import SEED, SPLIT_SEED, fresh_seeds, redraws, split_options, used_seeds


class ExportError(UserError):
    """Configuration that cannot be exported; the message says why."""


@dataclass(frozen=True)
class Choice:
    """Trial to export, with the results of its configuration.

    Args:
        trial: trial of the search.
        metrics: metrics of its best epoch.
        evidence: evidence of its confirmation; None if it was not confirmed.
        seed: seed of its next training; None means that of the trial. After a confirmation it is fresh, for the
            initial weights and for the split, as the confirmation's predictions are about such a training: the search
            chose the configuration because it suits the trial's seed and split too.
    """

    trial: TrialRecord
    metrics: Mapping[str, float]
    evidence: Evidence | None = None
    seed: int | None = None

    def next_training(self, experiment: Experiment) -> dict[str, Any]:
        """Return the sections of an experiment file that trains the configuration once more."""
        changes, options = self.trial.changes, {}
        if self.seed is not None:
            changes, options = {**changes, SEED: self.seed}, split_options(experiment.dataset, self.seed)
        return {
            "trial": with_changes(experiment.trial, changes),
            "dataset": {**experiment.dataset, **options},
        }


def choose(experiment: Experiment, record: SearchRecord, folder: RunFolder, number: int | None = None) -> Choice:
    """Return the trial to export: the requested one, else the better one of the confirmation, else the search's best.

    Raises:
        ExportError: if there is no such trial, or it has no result.
        EvidenceError: if the confirmation's verdict is corrupt.
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
        what = "does not exist" if trial is None else "has no result"
        raise ExportError(
            f"trial {number} of the search in {folder.path} {what}: there are {count(len(record.trials), 'trial')}, "
            f"counted from 0 and listed in {folder.trials}"
        )
    if evidence is None or evidence.arms[trial.arm].trial != number:
        return Choice(trial, metrics)
    used = used_seeds(experiment, record) | {pair.seed for pair in evidence.pairs}
    return Choice(trial, metrics, evidence, *fresh_seeds(experiment.search.seed, used, 1, "train"))


def _best_number(record: SearchRecord, objective: Objective, folder: RunFolder) -> int:
    best = bests(record, objective)
    if not best:
        raise ExportError(f"no trial of the search in {folder.path} has a result: see the reasons in {folder.trials}")
    return winner(best, objective.mode).trial.number


def best_experiment(experiment: Experiment, found: Choice, fingerprint: str, place: Path) -> str:
    """Return an experiment file that trains a configuration and records where it came from.

    Args:
        experiment: experiment that was searched.
        found: configuration to export.
        fingerprint: fingerprint of the data.
        place: path that the file will have.
    """
    objective, origin = experiment.search.objective, _origin(experiment, found, fingerprint)
    alone = experiment.model_copy(
        update={
            "name": f"{experiment.name[:95]}-best",
            "origin": origin,
            **found.next_training(experiment),
        }
    )
    values = as_values(alone)
    del values["space"], values["confirm"]
    values["search"] = asdict(objective)  # it selects the best epoch
    train = train_command(place)
    return f"# {_headline(origin, found)}\n# Train it: {train}\n" + experiment_yaml(values, place)


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
        split_seed=experiment.dataset[SPLIT_SEED] if evidence is not None and redraws(experiment.dataset) else None,
        versions={name.removeprefix("version."): text for name, text in versions().items()},
    )


def _confirmed_values(evidence: Evidence, arm: Arm) -> dict[str, Any]:
    """Return the values of `origin` for a confirmed configuration."""
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
    sure = f"{name}, mean of {count(origin.seeds, 'fresh seed')}."
    if origin.expected_range is None:
        return sure
    low, high = (format_value(origin.metric, end) for end in origin.expected_range)
    return f"{sure}\n# 95 % prediction interval of one more training: {low} to {high}."


def write_best(experiment: Experiment, record: SearchRecord, folder: RunFolder) -> None:
    """Write `best.yaml` to the run's folder."""
    write(
        folder.best,
        best_experiment(experiment, choose(experiment, record, folder), fingerprint_in(folder), folder.best),
    )


def trials_table(experiment: Experiment, record: SearchRecord) -> str:
    """Return all trials as CSV: settings, status and metrics of the best epoch.

    With several objectives, a column says whether a trial is on the Pareto front of its arm.
    """
    objectives = experiment.search.objectives
    several = len(objectives) > 1
    front = {t.number for arm in ARMS for t in front_of(record, arm, objectives)} if several else None
    rows = [_row(trial, objectives[0].metric, front) for trial in record]
    columns = dict.fromkeys(chain(*rows))
    columns.pop("reason", None)
    names = [*columns, "reason"]
    return csv_table(names, ([row.get(name, "") for name in names] for row in rows))


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
        "reason": str(trial.reason or ""),
    }


def export_run(path: Path, output: Path, number: int | None) -> str:
    """Write a configuration of the run in a folder to a file; return a line that describes it.

    Raises:
        FolderError: if there is no search in the folder.
        ExportError: if there is no result to export.
        PlaceError: if the file cannot be written.
    """
    folder = RunFolder(path)
    experiment = load(folder.experiment)
    require_search(folder)
    with lock_folder(folder):
        journal = Journal(folder.journal)
        record = journal.replay()
        journal.close()
        found = choose(experiment, record, folder, number)
        text = best_experiment(experiment, found, fingerprint_in(folder), output)
    with explain_errors():
        write(output, text)
    return _written_line(output, _origin(experiment, found, ""), found)


def export_studies(path: Path, output: Path) -> str:
    """Write both studies of the run in a folder for Optuna's tools, even while it is running; return a line about it.

    Args:
        path: folder of the run.
        output: file to write.

    Raises:
        FolderError: if there is no search in the folder.
        ExportError: if the file cannot be written.
    """
    folder = RunFolder(path)
    experiment = load(folder.experiment)
    require_search(folder)
    record, evidence = read(folder.journal), read_evidence(folder.verdict)
    about = {"run": experiment.name, "data": fingerprint_in(folder)}
    about |= {} if evidence is None else {"verdict": evidence.verdict.word}
    try:
        written = write_optuna_log(experiment, record, output, about)
    except OSError as error:
        raise ExportError(f"{output} cannot be written: {error.strerror}") from error
    studies = " and ".join(f"{study_name(experiment, arm)} ({count(written[arm], 'trial')})" for arm in reversed(ARMS))
    left = len(record.trials) - written.total()
    return f"wrote {output}: studies {studies}" + (f"; {count(left, 'unfinished trial')} omitted" if left else "")


def _written_line(output: Path, origin: Provenance, found: Choice) -> str:
    value = f"{origin.metric} {format_value(origin.metric, origin.value)}"
    if found.evidence is None:
        sure = f"{value} at epoch {int(found.metrics['epoch'])} (one seed; epochs count from 0)"
    else:
        sure = f"{value} (mean of {count(origin.seeds, 'fresh seed')})"
    return f"wrote {output}: trial {origin.trial} ({origin.arm}) of {origin.run}, {sure}"
