"""The command line: what people type, what they are told, and the exit code.

0 done, 1 the search or the training failed, 2 a mistake in what was asked for, 130 interrupted.
"""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, get_args

import click

import search.backend.environment  # noqa: F401, before a user's module can import Ray
from search.cli.completion import assignments, runs
from search.cli.errors import Command, Group, command_line

if TYPE_CHECKING:
    from rich.console import Console

RUNS = Path("runs")
_MODEL = runs(RUNS, "best.pt")
PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
DONE, FAILED, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def _say(text: str) -> None:
    click.echo(text, err=True)


def _fail(text: str) -> NoReturn:
    _say(text)
    sys.exit(FAILED)


def _console() -> Console:
    from rich.console import Console

    return Console()


def _mistakes() -> tuple[type[Exception], ...]:
    """The base of a user's mistakes in each package."""
    from datasets.registry import DatasetError
    from ogmge.checkpoint import CheckpointError
    from search.experiment.mistakes import UserError

    return UserError, DatasetError, CheckpointError


def _tell(sentences: Sequence[str]) -> None:
    if len(sentences) > 1:
        _say(f"{len(sentences)} mistakes:")
    for sentence in sentences:
        _say(f"- {sentence}" if len(sentences) > 1 else sentence)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _exit_codes(*more: str, keeps: str = "what was done is kept. Go on with:  ") -> Iterator[str]:
    """Mistakes become sentences, an interruption says how to go on: with the command that is given.

    Args:
        more: words that are typed beside those of this time, to go on.
        keeps: what an interruption leaves, before the command to go on with.
    """
    if sys.stderr.isatty():
        _say("loading …")  # torch, Ray and MLflow take seconds
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("datasets.store.cache").setLevel(logging.INFO)  # what takes long is said
    signal.signal(signal.SIGTERM, _interrupt)
    go_on = command_line(*more)
    try:
        yield go_on
    except KeyboardInterrupt:
        _say(f"\ninterrupted; {keeps}{go_on}")
        sys.exit(INTERRUPTED)
    except _mistakes() as error:  # asked for now: two of them come with torch
        _tell(getattr(error, "sentences", [str(error)]))
        sys.exit(MISTAKE)
    except OSError as error:
        _fail_without_room(error, go_on)


def _fail_without_room(error: OSError, go_on: str) -> NoReturn:
    """Say that the disk is full; anything else is raised again."""
    from search.run.folder import FULL

    if error.errno not in FULL:
        raise error
    said = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    _fail(f"no room ({said}): what was done is kept. Make room, and go on with:  {go_on}")


_run = click.argument("run", shell_complete=runs(RUNS, "experiment.yaml"))
_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
_assignments = click.argument("assignments", metavar="[KEY=VALUE]...", nargs=-1, shell_complete=assignments)
_resumable = click.option("--resume", is_flag=True, help="Go on with the run of this name that was stopped.")


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
        click.echo(f"{project['name']} {project['version']}")
        context.exit()


_version_option = click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)


@click.command("run_search.py", cls=Command)
@_file
@_assignments
@_resumable
@click.option("--dry-run", is_flag=True, help="Measure a few steps, say what a search would take.")
@_version_option
def search_command(file: Path, assignments: tuple[str, ...], resume: bool, dry_run: bool) -> None:
    """Search the experiment in FILE: does OGM-GE help on these data, with which settings, and by how much?

    Trials run in two arms, without and with modulation, tuned just as hard. KEY=VALUE pairs replace parts of the file
    by dotted path (docs/keys.md has them all); a part of `trial` that is set this way is searched no more:

    \b
        run_search.py experiments/demo.yaml --dry-run
        run_search.py experiments/demo.yaml name=long search.trials=64
        run_search.py experiments/demo.yaml 'space.optimizer.lr=[1e-3,1e-2]'

    What comes out is in runs/NAME: best.yaml, trials.csv, experiment.yaml with every default; every metric of every
    epoch is in MLflow (`python -m search ui NAME`). Ctrl-C stops, and --resume goes on from the epoch it was at.

    Exit codes: 0 done, 1 the search failed, 2 a mistake in what was asked for, 130 interrupted.
    """
    if dry_run and resume:
        raise click.UsageError("--dry-run is of a whole search: leave --resume out")
    if dry_run:
        _plan(file, assignments)
        return
    with _exit_codes("--resume") as go_on:
        from search.commands.search import search
        from search.experiment.load import load

        outcome = search(load(file, assignments), RUNS, _console(), resume=resume)
        failure = None if outcome.has_answer else f"the search failed: {outcome.failure}"
        _end(outcome.halted, outcome.complete, failure, go_on)
        if (sure := outcome.confirmed) is not None:
            _end(sure.halted, sure.complete, sure.failure and f"there is no verdict: {sure.failure}", go_on)


def _end(halted: str | None, complete: bool, failure: str | None, go_on: str) -> None:
    """Says how it ended, where that was not well."""
    if halted:
        _fail(f"halted ({halted}): what was done is kept. Fix that, and go on with:  {go_on}")
    if not complete:
        raise KeyboardInterrupt
    if failure:
        _fail(failure)


def _plan(file: Path, assignments: tuple[str, ...]) -> None:
    with _exit_codes(keeps="nothing was started. Again:  "):
        from search.commands.estimate import dry_run
        from search.experiment.load import load

        dry_run(load(file, assignments), RUNS, _console())
        click.echo(f"\nnext:  {command_line(without='--dry-run')}")


@click.group("python -m search", cls=Group)
@_version_option
def main() -> None:
    """What there is beside the search itself (`run_search.py FILE`).

    `python -m search COMMAND --help` says more of each. bash completes it all, behind
    `source search/cli/completion.bash`.
    """


@main.command(short_help="Train the best of each arm with fresh seeds, for the verdict.")
@_run
@_assignments
@click.option("--seeds", type=click.IntRange(min=1), help="Fresh seeds for each arm; the file's, or 10.")
@click.option("--sequential", is_flag=True, help="Add seeds until it is clear, --seeds at most, or the budget is gone.")
@click.option("--test", is_flag=True, help="Read the test split once, with all models, at the end.")
def confirm(run: str, assignments: tuple[str, ...], seeds: int | None, sequential: bool, test: bool) -> None:
    """Train the best configuration of each arm of RUN again with fresh seeds, in pairs, and say whether OGM-GE helps.

    RUN is an experiment's name or its folder. KEY=VALUE pairs may change where it runs (`search.address`,
    `search.resources`) and the budget. Stopped at any point, the same command goes on. docs/verdict.md says how to read
    what comes out, and how often it is wrong.

    \b
        python -m search confirm vggsound
        python -m search confirm vggsound --seeds 20 --test
        python -m search confirm vggsound --sequential search.budget.hours=100
    """
    with _exit_codes() as go_on:
        from search.commands.confirm import Ask, confirm_run
        from search.run.folder import find

        ended = confirm_run(find(run, RUNS), assignments, _console(), Ask(seeds, sequential, test))
        _end(ended.halted, ended.complete, ended.failure and f"there is no verdict: {ended.failure}", go_on)


_OUTPUT = click.Path(dir_okay=False, path_type=Path)


@main.command(short_help="Write the best configuration of a search as a file.")
@_run
@click.option("-o", "--output", type=_OUTPUT, default=Path("best.yaml"), show_default=True, help="The file.")
@click.option("--trial", type=click.IntRange(min=0), help="This one rather than the best.")
def export(run: str, output: Path, trial: int | None) -> None:
    """Write the best configuration of RUN as an experiment file that trains as it stands.

    It is the better of the two in the confirmation, where there is one; else the best of the search.
    """
    with _exit_codes():
        from search.report.export import export_run
        from search.run.folder import find

        click.echo(export_run(find(run, RUNS), output, trial))
        click.echo(f"\nnext:  uv run python -m search train {shlex.quote(str(output))}")


@main.command(short_help="Train one configuration to the end, and register the model.")
@_file
@_assignments
@_resumable
@click.option("--workers", type=click.IntRange(min=1), help="Processes that train it; one for each GPU, or one.")
@click.option("--all-data", is_flag=True, help="Train on the validation samples, too.")
@click.option("--epochs", type=click.IntRange(min=1), help="End after so many, with the schedule of all of them.")
@click.option("--no-test", is_flag=True, help="Leave the test split unread.")
def train(
    file: Path,
    assignments: tuple[str, ...],
    resume: bool,
    workers: int | None,
    all_data: bool,
    epochs: int | None,
    no_test: bool,
) -> None:
    """Train the trial that FILE holds, a search's best.yaml for one, in runs/NAME.

    At the end the test split is read, once, and the model is registered in MLflow as `models:/NAME@champion`. With
    --all-data nothing is left to choose an epoch by: training ends after the median best epoch of the confirmation's
    runs, which best.yaml has.

    \b
        python -m search train runs/demo/best.yaml
        python -m search train runs/demo/best.yaml name=all --all-data --workers 4
        python -m search train experiments/demo.yaml trial.modulation.method=none
    """
    with _exit_codes("--resume"):
        from ogmge.fit import NonFiniteMetric
        from ogmge.trainer import NonFiniteLoss
        from search.backend.ddp import TrainingFailed
        from search.commands import train as final
        from search.experiment.load import load

        how = final.How(resume, workers, all_data, epochs, not no_test)
        try:
            final.train(load(file, assignments), RUNS, _console(), how)
        except (NonFiniteLoss, NonFiniteMetric, TrainingFailed) as error:
            _fail(str(error))


Split = Literal["test", "validation"]
_FOLDER = click.Path(file_okay=False, path_type=Path)


@main.command(short_help="Say what a model reaches on the test split, class by class.")
@click.argument("model", shell_complete=_MODEL)
@_assignments
@click.option(
    "--split", type=click.Choice(get_args(Split)), default="test", show_default=True, help="Split to evaluate."
)
@click.option("--data", type=_OUTPUT, help="Experiment file that names the data; that of the model's run.")
@click.option(
    "--against",
    metavar="MODEL",
    shell_complete=_MODEL,
    help="Another model, of the same classes: where do they differ?",
)
@click.option("-o", "--output", type=_FOLDER, help="Folder of the files; that of the checkpoint.")
def evaluate(
    model: str, assignments: tuple[str, ...], split: Split, data: Path | None, against: str | None, output: Path | None
) -> None:
    """Say what MODEL reaches on the test split: fused, each modality alone, and class by class.

    MODEL is a training's name or folder, a checkpoint, or `models:/NAME@champion`. The data are those of its run;
    KEY=VALUE pairs may change them (`dataset.store`). Each reading of the test split is put on record. docs/evaluate.md
    says what the numbers mean.

    \b
        python -m search evaluate demo-best
        python -m search evaluate demo-best --against plain
        python -m search evaluate runs/demo/tune/0003/best.pt --split validation
        python -m search evaluate mine.pt --data experiments/demo.yaml -o mine
    """
    with _exit_codes():
        from search.commands.evaluate import Ask
        from search.commands.evaluate import evaluate as evaluate_model

        evaluate_model(model, RUNS, _console(), Ask(split, data, assignments, against, output))


@main.command(short_help="Say how good each encoder of a model is by itself.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, shell_complete=_MODEL)
@click.option("--data", type=_OUTPUT, metavar="FILE", help="Take the data of this experiment file.")
@click.option(
    "--split",
    type=click.Choice(["validation", "test"]),
    default="validation",
    show_default=True,
    help="Split to probe.",
)
@click.option(
    "--unimodal", is_flag=True, help="Train an encoder on each modality alone, too: the first MODEL's settings."
)
@click.option("--curve", is_flag=True, help="MODEL is a search: probe the best of both arms while they train.")
@click.option(
    "--every", type=click.IntRange(min=1), help="With --curve: probe after so many epochs; default: some 20 times."
)
@click.option("--seeds", type=click.IntRange(min=1), help="With --curve: number of seeds; default: the confirmation's.")
def probe(
    models: tuple[str, ...],
    data: Path | None,
    split: str,
    unimodal: bool,
    curve: bool,
    every: int | None,
    seeds: int | None,
) -> None:
    """Say how good each encoder of MODEL is by itself: a linear classifier on its frozen features.

    MODEL is the name or folder of a run that trained one model, or a checkpoint (best.pt). Several stand side by side.
    --unimodal trains what they are to be compared with, beside the first MODEL, and goes on where it was stopped.

    --curve is for a search: it trains the best configuration of each arm, and each encoder alone, with the
    confirmation's seeds, and probes the encoders as they train. Stopped at any point, the same command goes on.
    docs/probe.md says how to read what comes out.

    \b
        python -m search probe demo-best --unimodal
        python -m search probe plain modulated
        python -m search probe runs/demo/tune/0003/best.pt --split test
        python -m search probe demo --curve
    """
    _check_curve(curve, {"--every": every, "--seeds": seeds}, models, data, split, unimodal)
    if curve:
        _trace(models[0], every, seeds)
        return
    with _exit_codes():
        from ogmge.fit import NonFiniteMetric
        from ogmge.trainer import NonFiniteLoss
        from search.commands.probe import Ask, run

        try:
            run(Ask(models, data, split == "test", unimodal), RUNS, _console())
        except (NonFiniteLoss, NonFiniteMetric) as error:
            _fail(f"a training alone failed: {error}")


def _check_curve(
    curve: bool,
    own: Mapping[str, int | None],
    models: Sequence[str],
    data: Path | None,
    split: str,
    unimodal: bool,
) -> None:
    """Check that what is asked for goes together."""
    if not curve:
        if given := [option for option, value in own.items() if value is not None]:
            raise click.UsageError(f"only --curve takes {' and '.join(given)}: add it, or leave that out")
        return
    if len(models) > 1:
        raise click.UsageError(f"--curve is of one search, but got {', '.join(models)}")
    others = {"--data": data is not None, "--split test": split == "test", "--unimodal": unimodal}
    if given := [option for option, is_given in others.items() if is_given]:
        raise click.UsageError(
            "--curve uses the search's own data and validation split, and always trains encoders alone: leave "
            f"{' and '.join(given)} out"
        )


def _trace(run: str, every: int | None, seeds: int | None) -> None:
    with _exit_codes() as go_on:
        from search.commands.trace_probes import Ask, trace_probes
        from search.run.folder import find

        ended = trace_probes(find(run, RUNS), _console(), Ask(every, seeds))
        _end(ended.halted, ended.complete, ended.failure and f"there are no curves: {ended.failure}", go_on)


@main.command(short_help="Make the store of a data set from the publisher's files.")
@_file
@_assignments
def prepare(file: Path, assignments: tuple[str, ...]) -> None:
    """Make the store of FILE's data set from the publisher's files, on all cores.

    Stopped at any point and started again it goes on where it was. Clips that cannot be used are quarantined with the
    reason; more of them than `dataset.max_quarantined` end it with exit code 1.
    """
    with _exit_codes():
        from datasets.store.prepare import TooManyQuarantined
        from search.commands import prepare as preparing
        from search.experiment.load import load

        try:
            preparing.run(load(file, assignments), _console())
        except TooManyQuarantined as error:
            _fail(str(error))


@main.command(short_help="Say what of a data set is there, and draw a few samples.")
@_file
@_assignments
def check(file: Path, assignments: tuple[str, ...]) -> None:
    """Say what of FILE's data set is there, what is missing or torn apart, and draw a few samples.

    Exit code 1 where it cannot be trained on yet.
    """
    with _exit_codes():
        from search.commands import check as checking
        from search.experiment.load import load

        if not checking.check(load(file, assignments), RUNS / "sheets", _console()):
            sys.exit(FAILED)


@main.command(short_help="Write one page on a search: the verdict, what was spent, plots.")
@_run
@click.option("-o", "--output", type=_OUTPUT, help="The file; report.html in the run's folder.")
def report(run: str, output: Path | None) -> None:
    """Write one page on RUN: the verdict, what was searched and spent, and plots. It needs no network.

    RUN may still be running: the page is of what there is by now. A search writes it at its end, too.
    """
    with _exit_codes():
        from search.report.page import write_report
        from search.run.folder import find

        click.echo(f"{write_report(find(run, RUNS), output)}: open it in a browser")


@main.command(short_help="Open MLflow's page on a search.")
@_run
@click.option("--port", default=5000, show_default=True, help="Where; any other that is free, should it be taken.")
def ui(run: str, port: int) -> None:
    """Open MLflow's page on RUN, an experiment's name or its folder. To this machine only."""
    with _exit_codes():
        import yaml

        from search.console.notes import print_line
        from search.run.folder import find
        from search.tracking.ui import serve

        folder = find(run, RUNS)
        values: dict[str, Any] = yaml.safe_load((folder / "experiment.yaml").read_text(encoding="utf-8"))
        sys.exit(serve(folder, folder.parent, values["tracking"]["uri"], port, partial(print_line, _console())))
