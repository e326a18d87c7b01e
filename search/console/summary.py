"""Summary of a search on the screen: the results, what they show, the files, and the next step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from datasets.index.list_files import count
from search.console.notes import print_line, print_paragraph, print_step
from search.console.tables import DetailTable, add_row, fits, plain_table, print_settings
from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import duration, format_difference, format_value, label, modalities_in
from search.experiment.schema import Experiment
from search.run.best import Best, Effort, Interval, effort_of, front_of
from search.run.budget import Spent
from search.run.checkpoints import storage_of
from search.run.folder import RunFolder
from search.run.trials import SearchRecord
from search.tuner.tuner import Tuner
from search.verdict.next_step import NextStep, next_training, ui_command

SOURCE = "settings from"
CONFIGURATION = "configuration"


def bests_head(best: dict[Arm, Best]) -> list[str]:
    """Return the headings of the best trials' columns, in the order of `bests_rows`."""
    return [f"best {arm}" for arm in reversed(ARMS) if arm in best]


def bests_rows(
    experiment: Experiment, record: SearchRecord, best: dict[Arm, Best], separator: str = " "
) -> list[tuple[str, ...]]:
    """Return the best trial of each arm side by side, the modulated arm first: each row's name, then its cells.

    Args:
        experiment: experiment that was searched.
        record: record of the search.
        best: best trial of each arm.
        separator: text between the settings of a configuration.
    """
    metric, shown = experiment.search.objective.metric, [best[arm] for arm in reversed(ARMS) if arm in best]
    names = modalities_in(found.metrics for found in shown)
    columns = [_column(metric, names, found, effort_of(record, found.trial.arm), separator) for found in shown]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return [row for row in rows if set(row) != {SOURCE, "-"}]  # runs of older versions have no sources


def _column(metric: str, names: list[str], best: Best, effort: Effort, separator: str) -> dict[str, str]:
    """Return a trial's column: name of a row -> its cell."""
    keys = {metric: metric, "val/accuracy": "val/accuracy"} | {
        f"  {name} alone": f"val/accuracy/{name}" for name in names
    }
    return {name: format_value(key, best.metrics.get(key)) for name, key in keys.items()} | {
        CONFIGURATION: label(best.trial.changes, separator),
        "trial": f"{best.trial.number}, at epoch {int(best.metrics['epoch'])}",
        SOURCE: best.trial.source.value if best.trial.source else "-",
        "chosen from": f"{count(effort.trials, 'trial')}, {count(effort.epochs, 'epoch')}",
    }


def bests_table(experiment: Experiment, record: SearchRecord, best: dict[Arm, Best]) -> Table:
    """Return the best trials as a table, with one setting per line."""
    return _bests_table(best, bests_rows(experiment, record, best, "\n"))


def _bests_table(best: dict[Arm, Best], rows: list[tuple[str, ...]]) -> Table:
    table = plain_table(["", *bests_head(best)])
    for row in rows:
        add_row(table, row)
    return table


def _print_bests(console: Console, experiment: Experiment, record: SearchRecord, best: dict[Arm, Best]) -> None:
    """Print the best trials; their configurations are below the table if they are too wide for it."""
    table = bests_table(experiment, record, best)
    if fits(console, table):
        console.print(table)
        return
    rows = bests_rows(experiment, record, best, "\n")
    console.print(_bests_table(best, [row for row in rows if row[0] != CONFIGURATION]))
    console.print()
    settings = next(row[1:] for row in rows if row[0] == CONFIGURATION)
    print_settings(console, dict(zip(bests_head(best), settings, strict=True)))


def front_table(experiment: Experiment, record: SearchRecord) -> DetailTable:
    """Return each arm's Pareto front over several objectives, sorted by the first of them."""
    objectives = experiment.search.objectives
    headings = ["Pareto front", "trial", *(o.metric for o in objectives), CONFIGURATION]
    rows = []
    for arm in reversed(ARMS):
        front = [(trial, trial.best_epoch(objectives[0].metric) or {}) for trial in front_of(record, arm, objectives)]
        front.sort(key=lambda found: found[1][objectives[0].metric], reverse=objectives[0].mode == "max")
        for trial, best in front:
            values = [format_value(o.metric, best[o.metric]) for o in objectives]
            rows.append([arm, str(trial.number), *values, label(trial.changes)])
    return DetailTable(headings, rows, left=[0], indent="    ")


def worth(experiment: Experiment, best: dict[Arm, Best], interval: Interval | None) -> str:
    """Return what the difference between the best trials shows, with one seed per arm."""
    if not best:
        return "No trial finished, so there is nothing to compare."
    if len(best) < len(ARMS):
        missing = next(arm for arm in ARMS if arm not in best)
        return f"No {missing} trial has a result, so there is nothing to compare."
    metric = experiment.search.objective.metric
    difference = best["modulated"].value - best["baseline"].value
    text = f"{metric}, best modulated minus best baseline: {format_difference(metric, difference)}"
    if interval is not None:
        low, high = (format_difference(metric, end, unit=False) for end in (interval.low, interval.high))
        text += f" (95 % interval over the {count(interval.examples, 'validation example')}: {low} to {high})"
    return (
        f"{text}. This is a lead, not evidence that modulation helps or hurts: it rests on one seed per arm, and both "
        "trials were chosen on this same validation split. Only fresh seeds can tell."
    )


def format_stop(tuner: Tuner) -> str | None:
    """Return which trials the search lost to the budget; None if it lost none."""
    reason, stopped = tuner.stop_reason, len(tuner.record.cut_short)
    planned = tuner.policy.total
    unstarted = max(0, planned - len(tuner.record.trials))
    if reason is None or not (stopped or unstarted):
        return None
    lost = f"It stopped {count(stopped, 'trial')}, and {unstarted} of {count(planned, 'planned trial')} never began"
    more = "To continue with them, repeat the command with `--resume` and a larger `search.budget`."
    return f"{str(reason).capitalize()}. {lost}. {more}"


def ends(record: SearchRecord) -> str:
    """Return the numbers of trials by how they ended."""
    early = f"{record.count('stopped')} stopped early, {record.count('failed')} failed"
    return f"{record.count('finished')} finished, {early}"


class EpochCounts(NamedTuple):
    """Numbers of epochs that trials request, by outcome."""

    trained: int
    inherited: int  # trained by another trial
    saved: int  # not trained because of early stopping
    failed: int  # not trained because the trial failed
    unpaid: int  # not trained for lack of budget
    to_come: int  # not trained yet


WHAT = {  # outcome -> description, for epochs that the trial did not train
    "inherited": "inherited (trained by another trial)",
    "saved": "saved by early stopping",
    "failed": "skipped by failed trials",
    "unpaid": "skipped for lack of budget",
    "to_come": "still to come in trials that have begun",
}
FATES = {"stopped": "saved", "failed": "failed"}  # status of a trial -> outcome of its other epochs


def count_epochs(experiment: Experiment, record: SearchRecord) -> EpochCounts:
    """Count the epochs of the trials that have begun."""
    missing: Counter[str] = Counter()
    for trial in record:
        fate = "unpaid" if trial.is_cut_short else FATES.get(trial.status, "to_come")
        missing[fate] += int(trial.changes.get("epochs", experiment.trial.epochs)) - len(trial.epochs)
    spent = record.spent
    return EpochCounts(spent.epochs, spent.inherited_epochs, *(missing[fate] for fate in EpochCounts._fields[2:]))


def epochs_line(counts: EpochCounts, spent: Spent) -> str:
    """Return the number of epochs, where they went unless all were trained, and the GPU-hours."""
    if counts.trained == sum(counts):
        return f"{count(counts.trained, 'epoch')} trained{_gpu_hours(spent)}"
    return f"{count(sum(counts), 'epoch')}: {format_effort(counts, spent)}"


def format_effort(counts: EpochCounts, spent: Spent) -> str:
    """Return the epochs by outcome, and the GPU-hours."""
    others = counts._asdict()
    text = ", ".join([f"{others.pop('trained')} trained", *(f"{n} {WHAT[fate]}" for fate, n in others.items() if n)])
    return f"{text}{_gpu_hours(spent)}"


def _gpu_hours(spent: Spent) -> str:
    if not spent.gpu_seconds:
        return ""
    return f"; {spent.gpu_seconds / 3600:.3g} GPU-hours spent, {spent.saved_gpu_seconds / 3600:.3g} saved by sharing"


def print_summary(
    console: Console,
    tuner: Tuner,
    best: dict[Arm, Best],
    interval: Interval | None,
    seconds: float,
    step: NextStep | None = None,
) -> None:
    """Print the results of a search and the next step.

    Args:
        console: console to print on.
        tuner: tuner of the search.
        best: best trial of each arm that has a result.
        interval: interval of the difference between them.
        seconds: wall time of all sessions.
        step: next step; None if the confirmation follows.
    """
    experiment, record = tuner.experiment, tuner.record
    trials = f"{count(len(record.trials), 'trial')} in {duration(seconds)}: {ends(record)}"
    epochs = epochs_line(count_epochs(experiment, record), record.spent)
    for paragraph in (f"{experiment.name}: {trials}", epochs, format_stop(tuner)):
        if paragraph is not None:
            console.print()
            print_paragraph(console, paragraph)
    if best:
        console.print()
        _print_bests(console, experiment, record, best)
        if len(experiment.search.objectives) > 1:
            console.print()
            console.print(front_table(experiment, record))
    console.print()
    print_paragraph(console, worth(experiment, best, interval))
    if step is not None:
        console.print()
        print_step(console, step)


def print_files(
    console: Console,
    folder: RunFolder,
    experiment: Experiment,
    step: NextStep | None = None,
    missing: Collection[Path] = (),
) -> None:
    """Print the paths of the files, and other commands to run next.

    Args:
        console: console to print on.
        folder: folder of the run.
        experiment: experiment that was searched.
        step: next step that was printed; its command is not repeated.
        missing: files that are missing or out of date, which are not listed.
    """
    tracking = experiment.tracking.uri or str(folder.path.parent / "mlflow.db")
    files = {
        "configuration": folder.best,
        "verdict": folder.verdict,
        "report": folder.report,
        "all trials": folder.trials,
        "weights, logs": folder.tune
        if experiment.search.storage is None
        else storage_of(experiment, folder).display_name,
        "MLflow": tracking,
    }
    commands = [next_training(folder.best), ui_command(folder)]
    absent = [file for file in (folder.verdict, folder.report) if not file.exists()]
    missing = {*missing, *absent}
    files = {name: place for name, place in files.items() if place not in missing}
    if folder.best in missing:
        del commands[0]
    listed = "\n".join(f"{name:<16}{place}" for name, place in files.items())
    given = None if step is None else step.command
    following = "\n       ".join(command for command in commands if command != given)
    print_line(console, f"\n{listed}\n\nnext:  {following}")
