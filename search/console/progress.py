"""What a person sees while a search runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from search.experiment.formatting import duration, format_value, label, modalities, modalities_in, percent
from search.run.best import bests
from search.run.budget import remaining
from search.run.journal import Status, TrialRecord
from search.tuner.tuner import Tuner

ENOUGH = 4  # trials that have ended, to say how long the others will take
QUIET_S = 60.0  # after so long without a line a log gets one
WORDS: dict[Status, str] = {"finished": "finished", "stopped": "stopped early", "failed": "failed"}


@dataclass(frozen=True)
class View:
    """What is said of a tuner.

    Args:
        name: of all of it.
        noun: what it runs, in the plural.
        what: a trial is, in a line.
        bests: so far, in lines.
        unspent: what remains of the budget: how much, of which unit.
    """

    name: str
    noun: str
    what: Callable[[TrialRecord], str]
    bests: Callable[[], list[str]]
    unspent: Callable[[], list[tuple[float, str]]]


def describe(trial: TrialRecord) -> str:
    """A trial's settings, and where they come from, in a line."""
    return label(trial.changes) if trial.source is None else f"{label(trial.changes)} ({trial.source})"


def of_search(tuner: Tuner) -> View:
    """Of a search: the best of each arm."""
    objective = tuner.experiment.search.objective

    def best_lines() -> list[str]:
        return [
            f"best {arm:<9}  {format_value(objective.metric, best.value)}   trial {best.trial.number}: "
            f"{describe(best.trial)}"
            for arm, best in bests(tuner.record, objective).items()
        ]

    def unspent() -> list[tuple[float, str]]:
        return remaining(tuner.experiment.search.budget, tuner.record.spent)

    return View(tuner.experiment.name, "trials", describe, best_lines, unspent)


class Progress:
    """A callback of a tuner that shows it; a context manager for the time it does.

    Args:
        tuner: what is shown.
        view: how.
        console: where.
        at_once: how many trials run at the same time.
    """

    def __init__(self, tuner: Tuner, view: View, console: Console, at_once: int) -> None:
        self._tuner, self._view, self._console, self._at_once = tuner, view, console, at_once
        self._metric = tuner.experiment.search.objective.metric
        self._began = self._said = time.monotonic()
        self._epochs_before = tuner.record.spent.epochs
        self._live: Live | None = None

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

    def on_start(self, trial: TrialRecord) -> None:
        """Nothing: the live table shows what runs."""

    def on_report(self, trial: TrialRecord) -> None:
        """The counts now and then, where nothing is live and no trial has ended for long."""
        if self._live is None and time.monotonic() - self._said >= QUIET_S:
            self._say(self._counts())

    def on_end(self, trial: TrialRecord) -> None:
        """A line, where nothing is live."""
        if self._live is None:
            what = WORDS[trial.status] + (f" ({trial.reason})" if trial.status == "failed" else "")
            count = self._tuner.record.over_count
            line = Text(
                f"[{count}/{self._tuner.policy.total}] {trial.arm} {trial.number}: {self._view.what(trial)}: "
                f"{what} after {len(trial.epochs)} epochs, {self._metric} {format_value(self._metric, trial.best)}"
            )
            self._say(line)

    def _say(self, line: Text) -> None:
        self._said = time.monotonic()
        self._console.print(line, soft_wrap=True)

    # ---- the live table ----

    def table(self) -> RenderableType:
        """Counts, the trials that run, and the best of each arm."""
        trials = list(self._tuner.record.trials.values())
        running = [t for t in trials if t.status == "running"]
        parts: list[RenderableType] = [self._counts()]
        parts.append(self._running(running) if running else Text("  starting workers …", style="dim"))
        parts += [Text(f"  {line}") for line in self._view.bests()]
        return Group(*parts)

    def _counts(self) -> Text:
        """How many trials there are and how they ended, what was spent, and what remains, in a line."""
        parts = [self._trial_counts(), *self._spending(), duration(time.monotonic() - self._began)]
        text = Text.assemble((self._view.name, "bold"), f"  {'   '.join(parts)}")
        if (seconds := self._seconds_to_go(list(self._tuner.record))) is not None:
            text.append(f", about {duration(seconds)} to go", style="dim")
        if unspent := self._view.unspent():
            text.append(f"   budget left: {', '.join(f'{much:.3g} {unit}' for much, unit in unspent)}", style="dim")
        return text

    def _trial_counts(self) -> str:
        record = self._tuner.record
        ends = {word: record.count(status) for status, word in WORDS.items()}
        counts = [f"{n} {word}" for word, n in (ends | {"running": record.count("running")}).items() if n]
        line = f"{sum(ends.values())} of {self._tuner.policy.total} {self._view.noun} ended"
        return f"{line} ({', '.join(counts)})" if counts else line

    def _spending(self) -> list[str]:
        spent = self._tuner.record.spent
        epochs = f"{spent.epochs} epochs" + (f" and {spent.inherited_epochs} inherited" * bool(spent.inherited_epochs))
        if not spent.gpu_seconds:
            return [epochs]
        saved = f" and {spent.saved_gpu_seconds / 3600:.3g} saved" if spent.saved_gpu_seconds else ""
        return [epochs, f"{spent.gpu_seconds / 3600:.3g} GPU-hours{saved}"]

    def _seconds_to_go(self, trials: list[TrialRecord]) -> float | None:
        """Until all trials have ended, if those to come take as many epochs as those that did, at the rate of this
        session; None until four have ended."""
        over = [t for t in trials if t.is_over]
        coming = self._tuner.policy.total - len(over)
        trained = self._tuner.record.spent.epochs - self._epochs_before
        if len(over) < ENOUGH or not trained or not coming:
            return None
        running = sum(t.trained_epochs for t in trials) - sum(t.trained_epochs for t in over)
        epochs = max(0.0, coming * fmean(t.trained_epochs for t in over) - running)
        return epochs * (time.monotonic() - self._began) / trained

    def _running(self, running: list[TrialRecord]) -> Table:
        table = Table(box=None, pad_edge=True, header_style="dim")
        names = modalities_in(t.epochs[-1] for t in self._tuner.record if t.epochs)
        table.add_column("trial", justify="right")
        table.add_column("arm", no_wrap=True)
        table.add_column("what differs", overflow="fold", ratio=1)
        for heading in ("epoch", self._metric, *names):
            table.add_column(Text(heading), justify="right", no_wrap=True)
        table.add_column(Text("k " + "/".join(names) if names else "k"), justify="right", no_wrap=True)
        for trial in running[: max(self._at_once, 8)]:
            table.add_row(*map(Text, self._row(trial, names)))  # a string would be read as markup
        return table

    def _row(self, trial: TrialRecord, names: list[str]) -> list[str]:
        last = trial.epochs[-1] if trial.epochs else {}
        epochs = int(trial.changes.get("epochs", self._tuner.experiment.trial.epochs))
        own = modalities(last)
        alone = [percent(last[f"val/accuracy/{name}"]) if name in own else "" for name in names]
        coefficients = [f"{last[f'coefficient/{name}']:.2f}" if name in own else "-" for name in names]
        fused = format_value(self._metric, last.get(self._metric))
        progress = f"{len(trial.epochs)}/{epochs}"
        k = "/".join(coefficients) if last else ""
        return [str(trial.number), trial.arm, self._view.what(trial), progress, fused, *alone, k]
