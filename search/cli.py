"""The command line: what people type, what they are told, and the exit code.

0 done, 1 the search or the training failed, 2 a mistake in what was asked for, 130 interrupted.
"""

from __future__ import annotations

import logging
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

RUNS = Path("runs")
DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def _say(text: str) -> None:
    click.echo(text, err=True)


def _mistakes() -> tuple[type[Exception], ...]:
    from datasets.registry import DatasetError
    from search.execution.cluster import ClusterError
    from search.execution.packing import ResourceError
    from search.experiment import ExperimentError
    from search.folder import FolderError
    from search.tracking.store import TrackingError

    return ExperimentError, DatasetError, FolderError, ResourceError, ClusterError, TrackingError


def _tell(error: Exception) -> None:
    sentences: Sequence[str] = getattr(error, "sentences", [str(error)])
    if len(sentences) > 1:
        _say(f"{len(sentences)} mistakes:")
    for sentence in sentences:
        _say(f"- {sentence}" if len(sentences) > 1 else sentence)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _exit_codes(resume: str) -> Iterator[None]:
    """Mistakes become sentences, an interruption says how to go on."""
    if sys.stderr.isatty():
        _say("loading …")  # torch, Ray and MLflow take seconds
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("datasets.copies").setLevel(logging.INFO)  # what takes long is said
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        _say(f"\ninterrupted; what was done is kept. Go on with:  {resume}")
        sys.exit(INTERRUPTED)
    except _mistakes() as error:
        _tell(error)
        sys.exit(MISTAKE)
    except OSError as error:
        from search.folder import FULL

        if error.errno not in FULL:
            raise
        said = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        _say(f"no room ({said}): what was done is kept. Make room, and go on with:  {resume}")
        sys.exit(FAILED)


def _command(program: str, file: Path, assignments: Sequence[str], *flags: str) -> str:
    return f"uv run {program} {shlex.join([str(file), *assignments, *flags])}"


def _experiment(command: Callable[..., None]) -> Callable[..., None]:
    command = click.argument("assignments", metavar="[KEY=VALUE]...", nargs=-1)(command)
    return click.argument("file", type=click.Path(dir_okay=False, path_type=Path))(command)


def _resumable(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--resume", is_flag=True, help="Go on with the run of this name that was stopped.")(command)


@click.command()
@_experiment
@_resumable
@click.option("--dry-run", is_flag=True, help="Measure a few steps, say what the search would take, start nothing.")
def search_command(file: Path, assignments: tuple[str, ...], resume: bool, dry_run: bool) -> None:
    """Search the experiment in FILE: does OGM-GE help on these data, with which settings, and by how much?

    Trials run in two arms, without and with modulation, tuned just as hard. KEY=VALUE pairs replace parts of the file
    by dotted path; a part of `trial` that is set this way is searched no more:

    \b
        run_search.py experiments/demo.yaml
        run_search.py experiments/demo.yaml --dry-run
        run_search.py experiments/demo.yaml name=long search.trials=64 trial.epochs=30
        run_search.py experiments/demo.yaml trial.fusion=concat 'space.optimizer.lr=[1e-3,1e-2]'

    What comes out is in runs/NAME: best.yaml, trials.csv, experiment.yaml with every default; every metric of every
    epoch is in MLflow (`python -m search ui NAME`). Ctrl-C stops, and --resume goes on from the epoch it was at.

    Exit codes: 0 done, 1 the search failed, 2 a mistake in what was asked for, 130 interrupted.
    """
    from rich.console import Console

    if dry_run and resume:
        raise click.UsageError("--dry-run is of a whole search: leave --resume out")
    if dry_run:
        _plan(file, assignments)
        return
    go_on = _command("run_search.py", file, assignments, "--resume")
    with _exit_codes(go_on):
        from search.runner import search
        from search.validation import load

        outcome = search(load(file, assignments), RUNS, Console(), resume=resume)
        if outcome.halted:
            _say(f"halted ({outcome.halted}): what was done is kept. Mend that, and go on with:  {go_on}")
            sys.exit(FAILED)
        if not outcome.complete:
            raise KeyboardInterrupt
        if not outcome.answered:
            _say(f"the search failed: {outcome.failure}")
            sys.exit(FAILED)


def _plan(file: Path, assignments: tuple[str, ...]) -> None:
    from rich.console import Console

    with _exit_codes(_command("run_search.py", file, assignments, "--dry-run")):
        from search.planning.dry_run import dry_run
        from search.validation import load

        dry_run(load(file, assignments), Console())
        click.echo(f"\nnext:  {_command('run_search.py', file, assignments)}")


@click.group()
def main() -> None:
    """What there is beside the search itself (`run_search.py FILE`)."""


@main.command()
@_experiment
@_resumable
def train(file: Path, assignments: tuple[str, ...], resume: bool) -> None:
    """Train the trial that FILE holds, a search's best.yaml for one, in runs/NAME.

    \b
        python -m search train runs/demo/best.yaml
        python -m search train experiments/demo.yaml name=plain trial.modulation.method=none
    """
    from rich.console import Console

    with _exit_codes(_command("python -m search train", file, assignments, "--resume")):
        from ogmge.trainable import NonFiniteMetric
        from ogmge.training import NonFiniteLoss
        from search import final
        from search.validation import load

        try:
            final.train(load(file, assignments), RUNS, Console(), resume=resume)
        except (NonFiniteLoss, NonFiniteMetric) as error:
            _say(str(error))
            sys.exit(FAILED)


@main.command()
@_experiment
def prepare(file: Path, assignments: tuple[str, ...]) -> None:
    """Make the store of FILE's data set from the publisher's files, on all cores.

    Stopped at any point and started again it goes on where it was. Clips that cannot be used are quarantined with the
    reason; more of them than `dataset.max_quarantined` end it with exit code 1.
    """
    from rich.console import Console

    with _exit_codes(_command("python -m search prepare", file, assignments)):
        from datasets.prepare import TooManyQuarantined
        from search import prepare as preparing
        from search.validation import load

        try:
            preparing.run(load(file, assignments), Console())
        except TooManyQuarantined as error:
            _say(str(error))
            sys.exit(FAILED)


@main.command()
@_experiment
def check(file: Path, assignments: tuple[str, ...]) -> None:
    """Say what of FILE's data set is there, what is missing or torn apart, and draw a few samples.

    Exit code 1 where it cannot be trained on yet.
    """
    from rich.console import Console

    with _exit_codes(_command("python -m search check", file, assignments)):
        from search import check as checking
        from search.validation import load

        if not checking.check(load(file, assignments), RUNS / "sheets", Console()):
            sys.exit(FAILED)


@main.command()
@click.argument("run")
@click.option("--port", default=5000, show_default=True, help="Where; any other that is free, should it be taken.")
def ui(run: str, port: int) -> None:
    """Open MLflow's page on RUN, an experiment's name or its folder. To this machine only."""
    from rich.console import Console

    with _exit_codes(f"python -m search ui {run}"):
        import yaml

        from search.folder import find
        from search.tracking.ui import serve

        folder = find(run, RUNS)
        values: dict[str, Any] = yaml.safe_load((folder / "experiment.yaml").read_text(encoding="utf-8"))
        sys.exit(serve(folder, folder.parent, values["tracking"]["uri"], port, Console()))
