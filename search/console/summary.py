"""The end of a search on the screen: what was found, what it is worth, where things are, what to do next."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.console.notes import print_line
from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import duration, format_difference, format_value, label, modalities_in
from search.experiment.schema import Experiment
from search.run.best import Best, Effort, Interval, effort_of, front_of
from search.run.budget import Spent
from search.run.checkpoints import storage_of
from search.run.folder import RunFolder
from search.run.journal import SearchRecord
from search.tuner.tuner import Tuner
from search.verdict.text import TITLES

SOURCE = "settings from"


def bests_head(best: dict[Arm, Best]) -> list[str]:
    """Above the columns of the best trials, in the order of `bests_rows`."""
    return [f"best {TITLES[arm]}" for arm in reversed(ARMS) if arm in best]


def bests_rows(
    experiment: Experiment, record: SearchRecord, best: dict[Arm, Best], separator: str = " "
) -> list[tuple[str, ...]]:
    """The best trial of each arm, side by side, the modulated one's first: name of the row, its cells.

    Args:
        separator: stands between the settings of a configuration.
    """
    metric, shown = experiment.search.objective.metric, [best[arm] for arm in TITLES if arm in best]
    names = modalities_in(found.metrics for found in shown)
    columns = [_column(metric, names, found, effort_of(record, found.trial.arm), separator) for found in shown]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    return [row for row in rows if set(row) != {SOURCE, "-"}]  # which runs of older programs do not have


def _column(metric: str, names: list[str], best: Best, effort: Effort, separator: str) -> dict[str, str]:
    """Name of a row -> its cell."""
    keys = {metric: metric, "val/accuracy": "val/accuracy"} | {
        f"  {name} alone": f"val/accuracy/{name}" for name in names
    }
    return {name: format_value(key, best.metrics.get(key)) for name, key in keys.items()} | {
        "configuration": label(best.trial.changes, separator),
        "trial": f"{best.trial.number}, at epoch {int(best.metrics['epoch'])}",
        SOURCE: best.trial.source.value if best.trial.source else "-",
        "out of": f"{effort.trials} trials, {effort.epochs} epochs",
    }


def bests_table(experiment: Experiment, record: SearchRecord, best: dict[Arm, Best]) -> Table:
    """The same for the screen."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    table.add_column("")
    for heading in bests_head(best):
        table.add_column(heading, overflow="fold")
    for name, *cells in bests_rows(experiment, record, best, "\n"):
        table.add_row(Text(name, style="dim"), *map(Text, cells))
    return table


def front_table(experiment: Experiment, record: SearchRecord) -> Table:
    """The trade-offs between several objectives: each arm's Pareto front, from the best to the worst in the first."""
    objectives = experiment.search.objectives
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for heading in ("Pareto front", "trial", *(o.metric for o in objectives)):
        table.add_column(Text(heading), no_wrap=True)
    table.add_column("configuration", overflow="fold")
    for arm in reversed(ARMS):
        front = [(trial, trial.best_epoch(objectives[0].metric) or {}) for trial in front_of(record, arm, objectives)]
        front.sort(key=lambda found: found[1][objectives[0].metric], reverse=objectives[0].mode == "max")
        for trial, best in front:
            values = [format_value(o.metric, best[o.metric]) for o in objectives]
            table.add_row(*map(Text, (arm, str(trial.number), *values, label(trial.changes))))
    return table


def worth(experiment: Experiment, best: dict[Arm, Best], interval: Interval | None) -> str:
    """What the difference between the arms is worth, with one seed each."""
    metric = experiment.search.objective.metric
    if len(best) < len(ARMS):
        missing = next(arm for arm in ARMS if arm not in best)
        return (
            f"No {missing} trial came to a result, so there is nothing to compare with: see the reasons in trials.csv."
        )
    difference = best["modulated"].value - best["baseline"].value
    text = f"With modulation {metric} is {format_difference(metric, difference)}"
    if interval is not None:
        text += (
            f" (95 % interval over the same {interval.examples} validation examples: "
            f"{format_difference(metric, interval.low)} to {format_difference(metric, interval.high)})"
        )
    return (
        f"{text}. These are two training runs with one seed each, both picked as the best by this very validation set: "
        "that is a lead, no evidence that modulation helps or hurts. Only fresh seeds can tell."
    )


def format_stop(tuner: Tuner) -> str | None:
    """What the budget left of the plan, where it ended the search before all of it was done."""
    reason, stopped = tuner.stop_reason, len(tuner.record.cut_short)
    planned = tuner.policy.total
    unstarted = max(0, planned - len(tuner.record.trials))
    if reason is None or not (stopped or unstarted):
        return None
    done = f"{str(reason).capitalize()}. It stopped {stopped} of the trials, and {unstarted} of the plan's {planned}"
    return f"{done} were not started: the same command with more of `search.budget` and --resume goes on with them."


def ends(record: SearchRecord) -> str:
    """How the trials ended."""
    early = f"{record.count('stopped')} stopped early, {record.count('failed')} failed"
    return f"{record.count('finished')} trained to the end, {early}"


class EpochCounts(NamedTuple):
    """The epochs that trials ask for, by what became of them."""

    trained: int
    inherited: int  # trained by another trial
    saved: int  # by early stopping
    failed: int  # of trials that failed before
    unpaid: int  # for lack of budget
    to_come: int  # of trials that have begun


WHAT = {  # of the epochs that were not trained
    "inherited": "inherited (trained by another trial)",
    "saved": "saved by early stopping",
    "failed": "skipped by failed trials",
    "unpaid": "skipped for lack of budget",
    "to_come": "to come in trials that have begun",
}
FATES = {"stopped": "saved", "failed": "failed"}  # a trial's status -> what becomes of its other epochs


def count_epochs(experiment: Experiment, record: SearchRecord) -> EpochCounts:
    """Count the epochs of trials that have begun."""
    missing: Counter[str] = Counter()
    for trial in record:
        fate = "unpaid" if trial.is_cut_short else FATES.get(trial.status, "to_come")
        missing[fate] += int(trial.changes.get("epochs", experiment.trial.epochs)) - len(trial.epochs)
    spent = record.spent
    return EpochCounts(spent.epochs, spent.inherited_epochs, *(missing[fate] for fate in EpochCounts._fields[2:]))


def format_effort(counts: EpochCounts, spent: Spent) -> str:
    """Where the epochs went, and the GPU's hours."""
    others = counts._asdict()
    text = ", ".join([f"{others.pop('trained')} trained", *(f"{n} {WHAT[fate]}" for fate, n in others.items() if n)])
    hours = f"{spent.gpu_seconds / 3600:.3g} GPU-hours spent, {spent.saved_gpu_seconds / 3600:.3g} saved by sharing"
    return f"{text}; {hours}" if spent.gpu_seconds else text


def print_summary(
    console: Console,
    tuner: Tuner,
    best: dict[Arm, Best],
    interval: Interval | None,
    seconds: float,
) -> None:
    """Prints all of it."""
    experiment, record = tuner.experiment, tuner.record
    console.print(
        f"\n[bold]{experiment.name}[/bold]: {len(record.trials)} trials in {duration(seconds)}: {ends(record)}\n",
        highlight=False,
    )
    counts = count_epochs(experiment, record)
    console.print(Text(f"{sum(counts)} epochs: {format_effort(counts, record.spent)}\n"))
    if sentence := format_stop(tuner):
        console.print(Text(f"{sentence}\n"))
    if best:
        console.print(bests_table(experiment, record, best))
        console.print()
        if len(experiment.search.objectives) > 1:
            console.print(front_table(experiment, record))
            console.print()
    console.print(Text(worth(experiment, best, interval)))


def print_files(console: Console, folder: RunFolder, experiment: Experiment, *, found: bool) -> None:
    """Where everything is, and the next commands.

    Args:
        found: whether there is a best configuration.
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
    confirmed = folder.verdict.exists()
    commands = [f"train {folder.best}", f"ui {experiment.name}"]
    if not found:
        del files["configuration"], commands[0]
    elif not confirmed:
        commands.insert(0, f"confirm {experiment.name}")
    for name, place in (("verdict", folder.verdict), ("report", folder.report)):
        if not place.exists():
            del files[name]
    listed = "\n".join(f"{name:<16}{place}" for name, place in files.items())
    following = "\n       ".join(f"uv run python -m search {command}" for command in commands)
    print_line(console, f"\n{listed}\n\nnext:  {following}")
