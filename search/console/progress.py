"""Progress of a search: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.text import Text

from datasets.index.list_files import count
from search.backend.interrupt import write_stopping
from search.console.notes import print_line
from search.console.tables import DetailTable
from search.console.wrapping import wrap
from search.experiment.formatting import duration, format_value, label, modalities, modalities_in, percent
from search.run.best import bests
from search.run.budget import remaining
from search.run.trials import Status, TrialRecord
from search.tuner.tuner import Tuner

ENOUGH = 4  # number of ended trials that an estimate of the remaining time needs
QUIET_S = 60.0  # longest time between two lines in a log
WIDE = 120  # least width, in columns, of a terminal that shows a trial's settings beside its numbers
FEWEST_ROWS = 8
ECHO = 2  # columns for the ^C of a terminal at the end of the table: a wrapped line would leave rows on the screen
STOPPING = "stopping after the current epochs; Ctrl-C again stops now"
SEPARATOR = "   "  # between counts
WORDS: dict[Status, str] = {"finished": "finished", "stopped": "stopped early", "failed": "failed"}


@dataclass(frozen=True)
class View:
    """View of a tuner's progress.

    Args:
        name: title of the view.
        noun: name of what it runs, such as "trial".
        what: function that describes a trial in a line, below its number and arm.
        title: function that names and describes a trial in a line of a log.
        bests: function that returns lines with the best results so far.
        unspent: function that returns the rest of the budget: amounts with their units.
        details: heading of the descriptions.
    """

    name: str
    noun: str
    what: Callable[[TrialRecord], str]
    title: Callable[[TrialRecord], str]
    bests: Callable[[], list[str]]
    unspent: Callable[[], list[tuple[float, str]]]
    details: str = "settings"


def describe(trial: TrialRecord) -> str:
    """Return a trial's settings and their source."""
    return label(trial.changes) if trial.source is None else f"{label(trial.changes)} ({trial.source})"


def of_search(tuner: Tuner) -> View:
    """Return the view of a search, with the best trial of each arm."""
    objective = tuner.experiment.search.objective

    def best_lines() -> list[str]:
        return [
            f"best {arm:<9}  {format_value(objective.metric, best.value)}   trial {best.trial.number}: "
            f"{describe(best.trial)}"
            for arm, best in bests(tuner.record, objective).items()
        ]

    def unspent() -> list[tuple[float, str]]:
        return remaining(tuner.experiment.search.budget, tuner.record.spent)

    def title(trial: TrialRecord) -> str:
        return f"{trial.arm} {trial.number}: {describe(trial)}"

    return View(tuner.experiment.name, "trial", describe, title, best_lines, unspent)


class Progress:
    """Callback of a tuner that shows its progress while it is entered as a context.

    Args:
        tuner: tuner that runs the trials.
        view: view of the tuner's progress.
        console: console to print on.
        at_once: number of trials that run at the same time.
    """

    def __init__(self, tuner: Tuner, view: View, console: Console, at_once: int) -> None:
        self._tuner, self._view, self._console, self._at_once = tuner, view, console, at_once
        self._metric = tuner.experiment.search.objective.metric
        self._began = self._said = time.monotonic()
        self._epochs_before = tuner.record.spent.epochs
        self._live: Live | None = None
        self._is_stopping = False

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self.table, refresh_per_second=4, transient=True)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def announce_stop(self) -> None:
        """Show that trials finish their current epoch: in the live table, elsewhere in a line.

        Called in a signal handler, so it must not use the console.
        """
        self._is_stopping = True
        if self._live is None:
            write_stopping()

    def on_start(self, trial: TrialRecord) -> None:
        """Do nothing: the live table shows what runs."""

    def on_report(self, trial: TrialRecord) -> None:
        """Print the counts if there is no live table and no line was printed for a minute."""
        if self._live is None and time.monotonic() - self._said >= QUIET_S:
            self._say(SEPARATOR.join(self._counts()))

    def on_end(self, trial: TrialRecord) -> None:
        """Print a line if there is no live table."""
        if self._live is None:
            why = trial.reason.headline if trial.reason else ""
            what = WORDS[trial.status] + (f" ({why})" if trial.status == "failed" else "")
            ended, epochs = self._tuner.ended_trials, count(len(trial.epochs), "epoch")
            self._say(
                f"[{ended}/{self._tuner.policy.total}] {self._view.title(trial)}: "
                f"{what} after {epochs}, {self._metric} {format_value(self._metric, trial.best)}"
            )

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        print_line(self._console, line)

    # ---- the live table ----

    def table(self) -> RenderableType:
        """Return the counts, the running trials, and the best of each arm."""
        running = [t for t in self._tuner.record if t.status == "running"]
        parts: list[RenderableType] = [Text("\n".join(self._head()))]
        if running:
            parts.append(Constrain(self._running(running), self._console.width - ECHO))
        elif not self._tuner.complete:
            parts.append(Text("  starting workers …", style="dim"))
        for line in self._view.bests():
            first, *more = wrap(line, self._console.width - 4 - ECHO, fold=True)
            parts.append(Text("\n".join([f"  {first}", *(f"    {rest}" for rest in more)])))
        if self._is_stopping:
            parts.append(Text(f"  {STOPPING}", style="yellow"))
        return Group(*parts)

    def _head(self) -> list[str]:
        """Return the counts in lines, broken between two counts, or within the first one if it is too long."""
        width = self._console.width
        first, *others = self._counts()
        begin, *more = wrap(first, width if len(first) <= width else width - 2)
        lines = [begin, *(f"  {line}" for line in more)]
        for part in others:
            longer = f"{lines[-1]}{SEPARATOR}{part}"
            if len(longer) <= width:
                lines[-1] = longer
            else:
                lines.append(f"  {part}")
        return lines

    def _counts(self) -> list[str]:
        """Return the numbers of trials by status, the spent resources, and the rest of the budget."""
        passed = duration(time.monotonic() - self._began)
        if (seconds := self._seconds_to_go(list(self._tuner.record))) is not None:
            passed += f", about {duration(seconds)} to go"
        parts = [f"{self._view.name}  {self._trial_counts()}", *self._spending(), passed]
        if unspent := self._view.unspent():
            parts.append(f"budget left: {', '.join(f'{much:.3g} {unit}' for much, unit in unspent)}")
        return parts

    def _trial_counts(self) -> str:
        """Return how many trials have ended, how where that differs, and how many run."""
        record = self._tuner.record
        ends = {word: n for status, word in WORDS.items() if (n := record.count(status))}
        line = f"{sum(ends.values())} of {count(self._tuner.policy.total, self._view.noun)} ended"
        if set(ends) - {WORDS["finished"]}:
            line += f" ({', '.join(f'{n} {word}' for word, n in ends.items())})"
        return f"{line}, {running} running" if (running := record.count("running")) else line

    def _spending(self) -> list[str]:
        spent = self._tuner.record.spent
        epochs = count(spent.epochs, "epoch")
        if spent.inherited_epochs:
            epochs += f" and {spent.inherited_epochs} inherited"
        if not spent.gpu_seconds:
            return [epochs]
        saved = f" and {spent.saved_gpu_seconds / 3600:.3g} saved" if spent.saved_gpu_seconds else ""
        return [epochs, f"{spent.gpu_seconds / 3600:.3g} GPU-hours{saved}"]

    def _seconds_to_go(self, trials: list[TrialRecord]) -> float | None:
        """Return the estimated time until all trials have ended, in seconds; None until four have ended.

        The other trials are assumed to take as many epochs as those that have ended, at the rate of this session.
        """
        over = [t for t in trials if t.is_over]
        coming = self._tuner.policy.total - len(over)
        trained = self._tuner.record.spent.epochs - self._epochs_before
        if len(over) < ENOUGH or not trained or not coming:
            return None
        running = sum(t.trained_epochs for t in trials) - sum(t.trained_epochs for t in over)
        epochs = max(0.0, coming * fmean(t.trained_epochs for t in over) - running)
        return epochs * (time.monotonic() - self._began) / trained

    def _running(self, running: list[TrialRecord]) -> DetailTable:
        names = modalities_in(t.epochs[-1] for t in self._tuner.record if t.epochs)
        k = "k " + "/".join(names) if names else "k"
        if len(names) > 2 and self._console.width < WIDE:
            k = "k"
        headings = [self._view.noun, "arm", "epoch", self._metric, *names, k, self._view.details]
        rows = [self._row(trial, names) for trial in running[: max(self._at_once, FEWEST_ROWS)]]
        return DetailTable(headings, rows, left=[1], least_width=WIDE - ECHO, margin=" ")

    def _row(self, trial: TrialRecord, names: list[str]) -> list[str]:
        last = trial.epochs[-1] if trial.epochs else {}
        epochs = int(trial.changes.get("epochs", self._tuner.experiment.trial.epochs))
        own = modalities(last)
        alone = [percent(last[f"val/accuracy/{name}"]) if name in own else "" for name in names]
        coefficients = [f"{last[f'coefficient/{name}']:.2f}" if name in own else "-" for name in names]
        fused = format_value(self._metric, last.get(self._metric))
        progress = f"{len(trial.epochs)}/{epochs}"
        k = "/".join(coefficients) if last else ""
        return [str(trial.number), trial.arm, progress, fused, *alone, k, self._view.what(trial)]
