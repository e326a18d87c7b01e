"""Commands of `run_search.py` and `python -m search`: options, help texts, errors and exit codes.

Exit codes: 0 success, 1 the search or training failed, 2 invalid input, 75 Ray did not start, 130 interrupted.
"""

from __future__ import annotations

import logging
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, get_args

import click

import search.backend.environment  # noqa: F401, sets what Ray reads on import; must precede the user's modules
from search.backend.interrupt import INTERRUPTED, interruptible
from search.backend.limits import COMMAND_BYTES, address_space_fault
from search.cli.completion import assignments, runs
from search.cli.errors import Command, Group, command_line, refuse_command, typed_file
from search.cli.terminal import escape_output, loading, open_streams, say, tell_errors
from search.experiment.program import project
from search.experiment.start_command import as_argument

if TYPE_CHECKING:
    from rich.console import Console

    from search.experiment.schema import Experiment

open_streams()
escape_output()
RUNS = Path("runs")
_MODEL = runs(RUNS, "best.pt")
DONE, FAILED, MISTAKE = 0, 1, 2
RUN = f"{__name__}.run"  # key of the run's folder in the context
SAVED = "completed work is saved. Resume with:"
NOTHING = "nothing was trained or kept. Repeat with:"


def _fail(text: str) -> NoReturn:
    say(text)
    sys.exit(FAILED)


def _console() -> Console:
    from search.console.screen import Screen

    return Screen()


def _mistakes() -> tuple[type[Exception], ...]:
    """Return the base class of user errors in each package."""
    from datasets.registry import DatasetError
    from ogmge.checkpoint import CheckpointError
    from search.experiment.mistakes import UserError

    return UserError, DatasetError, CheckpointError


def _tell(error: Exception) -> None:
    from search.experiment.mistakes import UserError, name_file

    heading, sentences = error.listing if isinstance(error, UserError) else ("", [str(error)])
    tell_errors(heading, [name_file(sentence, typed_file()) for sentence in sentences])


@contextmanager
def _exit_codes(*more: str, keeps: str = SAVED) -> Iterator[str]:
    """Print user errors as sentences, turn every outcome into an exit code, and yield the command that resumes.

    Args:
        more: words to add to the command line for resuming.
        keeps: sentence shown on an interruption, before the resuming command.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.getLogger("datasets.store.cache").setLevel(logging.INFO)  # announces long downloads
    if fault := address_space_fault(COMMAND_BYTES):  # torch would abort
        say(fault)
        sys.exit(MISTAKE)
    go_on = command_line(*more)
    try:
        with interruptible(), loading():  # torch, Ray and MLflow
            yield go_on
    except KeyboardInterrupt:
        if more and not _has_kept():
            keeps, go_on = NOTHING, command_line()
        say(f"\ninterrupted; {keeps}\n  {go_on}")
        sys.exit(INTERRUPTED)
    except _mistakes() as error:  # evaluated late: two of these modules import torch
        _tell(error)
        sys.exit(getattr(error, "exit_code", MISTAKE))
    except Exception as error:
        _refuse_own_code(error)
        if not isinstance(error, OSError):
            raise
        _tell_of_disk(error, go_on)


def _load(file: Path, assignments: tuple[str, ...], *, only_trial: bool = False) -> Experiment:
    """Load the experiment of a run that can be resumed, and remember the run's folder."""
    from search.experiment.load import load

    experiment = load(file, assignments, only_trial=only_trial)
    click.get_current_context().meta[RUN] = RUNS / experiment.name
    return experiment


def _has_kept() -> bool:
    """Return whether the current command can be resumed with --resume."""
    context = click.get_current_context()
    run = context.meta.get(RUN)
    return bool(context.params["resume"]) if run is None else (run / "experiment.yaml").exists()


def _refuse_own_code(error: Exception) -> None:
    """Exit with a message if the user's own code raised the error."""
    from search.experiment.own_errors import describe, own_lines
    from search.run.disk import FULL

    is_full = isinstance(error, OSError) and error.errno in FULL
    if not is_full and own_lines(error):
        say(f"your own code raised {describe(error)}\nCorrect it and repeat the command")
        sys.exit(MISTAKE)


def _tell_of_disk(error: OSError, go_on: str) -> NoReturn:
    """Exit with a message about an error of the disk; raise any other error again."""
    from search.run import disk

    said = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, disk.DiskFailure):
        _end(said, False, None, go_on)
    if error.errno in disk.FULL:
        _fail(f"disk full ({said}); completed work is saved. Free some space and repeat:\n  {command_line()}")
    if not disk.is_of_disk(error):
        raise error
    say(disk.describe_error(error))
    sys.exit(MISTAKE if error.errno in disk.FIXES else FAILED)


_run = click.argument("run", shell_complete=runs(RUNS, "experiment.yaml"))
_file = click.argument("file", type=click.Path(path_type=Path))
_assignments = click.argument("assignments", metavar="[KEY=VALUE]...", nargs=-1, shell_complete=assignments)
_resumable = click.option("--resume", is_flag=True, help="Continue the stopped run of this name.")


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        found = project()
        click.echo(f"{found['name']} {found['version']}")
        context.exit()


_version_option = click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and exit."
)


@click.command("run_search.py", cls=Command)
@_file
@_assignments
@_resumable
@click.option(
    "--dry-run", is_flag=True, help="Estimate time, memory and disk from a few measured steps; start nothing."
)
@_version_option
def search_command(file: Path, assignments: tuple[str, ...], resume: bool, dry_run: bool) -> None:
    """Run the search that FILE describes: does OGM-GE help on your data, with which settings, and by how much?

    Trials run in two arms, the baseline and the modulated arm, with the same tuning effort. KEY=VALUE pairs override
    keys of FILE by dotted path (docs/keys.md lists all keys). A `trial` key set this way is no longer searched:

    \b
        run_search.py experiments/demo.yaml --dry-run
        run_search.py experiments/demo.yaml name=long search.trials=64
        run_search.py experiments/demo.yaml 'space.optimizer.lr=[1e-3,1e-2]'

    Results go to runs/NAME: report.html, best.yaml, trials.csv, and experiment.yaml with every default. MLflow has the
    metrics of each epoch (`python -m search ui NAME`). Ctrl-C stops; --resume continues at the interrupted epoch.

    Exit codes: 0 success, 1 the search failed, 2 invalid input, 75 Ray did not start, 130 interrupted.
    """
    refuse_command(str(file), assignments, main.commands)
    if dry_run and resume:
        raise click.UsageError("--dry-run estimates a whole search and cannot be combined with --resume")
    if dry_run:
        _plan(file, assignments)
        return
    with _exit_codes("--resume") as go_on:
        from search.commands.search import search

        outcome = search(_load(file, assignments), RUNS, _console(), resume=resume)
        failure = None if outcome.has_answer else f"the search failed: {outcome.failure}"
        _end(outcome.halted, outcome.complete, failure, go_on)
        if (sure := outcome.confirmed) is not None:
            _end(sure.halted, sure.complete, sure.failure and f"no verdict: {sure.failure}", go_on)


def _end(halted: str | None, complete: bool, failure: str | None, go_on: str) -> None:
    """Exit with a message if a run was halted, was interrupted or failed."""
    if halted:
        _fail(f"halted ({halted}); completed work is saved. Fix the cause and resume with:\n  {go_on}")
    if not complete:
        raise KeyboardInterrupt
    if failure:
        _fail(failure)


def _plan(file: Path, assignments: tuple[str, ...]) -> None:
    with _exit_codes(keeps="nothing was started. Repeat with:"):
        from search.commands.estimate import dry_run
        from search.experiment.load import load

        dry_run(load(file, assignments), RUNS, _console())
        click.echo(f"\nnext:  {command_line(without='--dry-run')}")


@click.group("python -m search", cls=Group)
@_version_option
def main() -> None:
    """Prepare data, confirm and report searches, and train and evaluate models.

    `run_search.py FILE` runs a search. `python -m search COMMAND --help` describes each command below. To complete
    commands and keys in bash: `source search/cli/completion.bash`.
    """


@main.command(short_help="Retrain the best of each arm with fresh seeds; give the verdict.")
@_run
@_assignments
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    help="Number of fresh seeds per arm.  [default: the file's `confirm.seeds`, or 10]",
)
@click.option(
    "--sequential", is_flag=True, help="Add seeds until the result is clear, --seeds is reached or the budget is spent."
)
@click.option("--test", is_flag=True, help="At the end, evaluate all models on the test split, once.")
def confirm(run: str, assignments: tuple[str, ...], seeds: int | None, sequential: bool, test: bool) -> None:
    """Train the best configuration of each arm of RUN again with fresh seeds, in pairs, and decide whether OGM-GE
    helps.

    RUN is an experiment's name or its folder. KEY=VALUE pairs can change where trials run (`search.address`,
    `search.resources`) and the budget. After a stop, repeat the same command to continue. docs/verdict.md explains how
    to read the verdict, docs/statistics.md how often it is wrong.

    \b
        python -m search confirm vggsound
        python -m search confirm vggsound --seeds 20 --test
        python -m search confirm vggsound --sequential search.budget.hours=100
    """
    with _exit_codes() as go_on:
        from search.commands.confirm import Ask, confirm_run
        from search.run.folder import find

        ended = confirm_run(find(run, RUNS), assignments, _console(), Ask(seeds, sequential, test))
        _end(ended.halted, ended.complete, ended.failure and f"no verdict: {ended.failure}", go_on)


_OUTPUT = click.Path(dir_okay=False, path_type=Path)


@main.command(short_help="Write the best configuration, or all trials for Optuna, to a file.")
@_run
@click.option(
    "-o",
    "--output",
    type=_OUTPUT,
    help="File to write.  [default: best.yaml in the current folder; with --optuna, optuna.log in the run's folder]",
)
@click.option("--trial", type=click.IntRange(min=0), help="Number of the trial to export instead of the best.")
@click.option("--optuna", is_flag=True, help="Write all trials as two Optuna studies instead, one for each arm.")
def export(run: str, output: Path | None, trial: int | None, optuna: bool) -> None:
    """Write the best configuration of RUN as an experiment file that is ready to train.

    After a confirmation this is the better of the two confirmed configurations, otherwise the best of the search.

    --optuna writes both arms as Optuna studies instead, for tools such as optuna-dashboard. This also works while RUN
    is still running. docs/optuna.md explains what is in them.

    \b
        python -m search export demo
        python -m search export demo --trial 7 -o seven.yaml
        python -m search export demo --optuna
    """
    if optuna and trial is not None:
        raise click.UsageError("remove --trial: --optuna writes all trials")
    with _exit_codes():
        from search.report.export import export_run, export_studies
        from search.run.folder import RunFolder, find
        from search.verdict.next_step import next_training

        folder = find(run, RUNS)
        file = output or (RunFolder(folder).optuna if optuna else Path("best.yaml"))
        click.echo(export_studies(folder, file) if optuna else export_run(folder, file, trial))
        dashboard = f"uvx optuna-dashboard {shlex.quote(as_argument(file))}"
        click.echo(f"\nnext:  {dashboard if optuna else next_training(file)}")


@main.command(short_help="Train one configuration and register the model.")
@_file
@_assignments
@_resumable
@click.option(
    "--workers", type=click.IntRange(min=1), help="Number of training processes.  [default: one per GPU, or 1]"
)
@click.option("--all-data", is_flag=True, help="Also train on the validation samples.")
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Stop after this many epochs; the schedule stays that of `trial.epochs`.",
)
@click.option("--no-test", is_flag=True, help="Do not evaluate on the test split.")
def train(
    file: Path,
    assignments: tuple[str, ...],
    resume: bool,
    workers: int | None,
    all_data: bool,
    epochs: int | None,
    no_test: bool,
) -> None:
    """Train the `trial` of FILE, such as a search's best.yaml, in the folder runs/NAME.

    Keys that only a search uses, such as `space`, are ignored. At the end the model is evaluated on the test split,
    once, and registered in MLflow as `models:/NAME@champion`. With --all-data no validation samples are left to choose
    the best epoch. Training then stops at the median best epoch of the confirmation, which best.yaml records.

    \b
        python -m search train runs/demo/best.yaml
        python -m search train runs/demo/best.yaml name=all --all-data --workers 4
        python -m search train experiments/demo.yaml name=plain \\
            trial.modulation.method=none
    """
    with _exit_codes("--resume"):
        from ogmge.fit import NonFiniteMetric
        from ogmge.trainer import NonFiniteLoss
        from search.backend.ddp import TrainingFailed
        from search.commands import train as final

        changed = [key for key, _, _ in map(methodcaller("partition", "="), assignments) if re.match(r"trial\b", key)]
        how = final.How(resume, workers, all_data, epochs, not no_test, set(changed) <= {"trial.seed"})
        try:
            final.train(_load(file, assignments, only_trial=True), RUNS, _console(), how)
        except (NonFiniteLoss, NonFiniteMetric, TrainingFailed) as error:
            _fail(str(error))


Split = Literal["test", "validation"]
_FOLDER = click.Path(file_okay=False, path_type=Path)
_trust = click.option(
    "--trust",
    metavar="MODULE:NAME",
    multiple=True,
    help="Custom encoder or fusion to import although only the checkpoint names it; repeatable.",
)


@main.command(short_help="Evaluate a model on the test split, class by class.")
@click.argument("model", shell_complete=_MODEL)
@_assignments
@click.option(
    "--split", type=click.Choice(get_args(Split)), default="test", show_default=True, help="Split to evaluate."
)
@click.option("--data", type=_OUTPUT, help="Experiment file that names the data.  [default: that of the model's run]")
@click.option(
    "--against",
    metavar="MODEL",
    shell_complete=_MODEL,
    help="Second model with the same classes, to compare with.",
)
@click.option("-o", "--output", type=_FOLDER, help="Folder to write to.  [default: that of the checkpoint]")
@_trust
def evaluate(
    model: str,
    assignments: tuple[str, ...],
    split: Split,
    data: Path | None,
    against: str | None,
    output: Path | None,
    trust: tuple[str, ...],
) -> None:
    """Evaluate MODEL on the test split: fused accuracy, unimodal accuracies, and the accuracy of each class.

    MODEL is the name or folder of a training, a checkpoint, or `models:/NAME@champion`. Its run names the data;
    KEY=VALUE pairs can change them (`dataset.store`). Each use of the test split is logged in test_readings.jsonl.
    docs/evaluate.md explains the numbers.

    \b
        python -m search evaluate demo-best
        python -m search evaluate demo-best --against plain
        python -m search evaluate runs/demo/tune/0003/best.pt --split validation
        python -m search evaluate mine.pt --data experiments/demo.yaml -o mine
    """
    with _exit_codes():
        from search.commands.evaluate import Ask
        from search.commands.evaluate import evaluate as evaluate_model

        evaluate_model(model, RUNS, _console(), Ask(split, data, assignments, against, output, trust))


@main.command(short_help="Measure how good each encoder of a model is on its own.")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, shell_complete=_MODEL)
@click.option(
    "--data",
    type=_OUTPUT,
    metavar="FILE",
    help="Experiment file that names the data.  [default: that of the model's run]",
)
@click.option(
    "--split",
    type=click.Choice(["validation", "test"]),
    default="validation",
    show_default=True,
    help="Split to probe.",
)
@click.option(
    "--unimodal", is_flag=True, help="Also train an encoder on each modality alone, with the first MODEL's settings."
)
@click.option("--curve", is_flag=True, help="Treat MODEL as a search; probe the best of each arm during training.")
@click.option(
    "--every",
    type=click.IntRange(min=1),
    help="With --curve: epochs between two probes.  [default: about 20 probes per training]",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), help="With --curve: number of seeds.  [default: that of the confirmation]"
)
@_trust
def probe(
    models: tuple[str, ...],
    data: Path | None,
    split: str,
    unimodal: bool,
    curve: bool,
    every: int | None,
    seeds: int | None,
    trust: tuple[str, ...],
) -> None:
    """Fit a linear classifier to the frozen features of each encoder of MODEL: how good is the encoder on its own?

    MODEL is the name or folder of a run that trained one model, or a checkpoint (best.pt). Several models are shown
    side by side. --unimodal adds encoders trained on one modality for comparison, stored next to the first MODEL.

    --curve takes a search instead. It retrains the best of each arm and each encoder alone, with the confirmation's
    seeds, and probes the encoders during training. After a stop, repeat the same command to continue. docs/probe.md
    explains the results.

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
            run(Ask(models, data, split == "test", unimodal, trust), RUNS, _console())
        except (NonFiniteLoss, NonFiniteMetric) as error:
            _fail(f"training on one modality failed: {error}")


def _check_curve(
    curve: bool,
    own: Mapping[str, int | None],
    models: Sequence[str],
    data: Path | None,
    split: str,
    unimodal: bool,
) -> None:
    """Check that the options of `probe` fit together."""
    if not curve:
        if given := [option for option, value in own.items() if value is not None]:
            raise click.UsageError(f"{' and '.join(given)} can only be used together with --curve")
        return
    if len(models) > 1:
        raise click.UsageError(f"--curve takes one search, but got {len(models)}: {', '.join(models)}")
    others = {"--data": data is not None, "--split test": split == "test", "--unimodal": unimodal}
    if given := [option for option, is_given in others.items() if is_given]:
        raise click.UsageError(
            f"remove {' and '.join(given)}: --curve uses the search's own data and validation split, and always trains "
            "unimodal encoders"
        )


def _trace(run: str, every: int | None, seeds: int | None) -> None:
    with _exit_codes() as go_on:
        from search.commands.trace_probes import Ask, trace_probes
        from search.run.folder import find

        ended = trace_probes(find(run, RUNS), _console(), Ask(every, seeds))
        _end(ended.halted, ended.complete, ended.failure and f"no curves: {ended.failure}", go_on)


@main.command(short_help="Build the store of a data set from the publisher's files.")
@_file
@_assignments
def prepare(file: Path, assignments: tuple[str, ...]) -> None:
    """Build the store of FILE's data set from the publisher's files, on all cores.

    After a stop, repeat the same command to continue. Unusable clips are quarantined, each with its reason. If their
    share exceeds `dataset.max_quarantined`, the command fails with exit code 1.
    """
    with _exit_codes():
        from datasets.store.prepare import PreparationHalted, TooManyQuarantined
        from search.commands import prepare as preparing
        from search.experiment.load import load

        try:
            preparing.run(load(file, assignments), _console())
        except (PreparationHalted, TooManyQuarantined) as error:
            _fail(str(error))


@main.command(short_help="Check whether a data set is complete, and draw some samples.")
@_file
@_assignments
def check(file: Path, assignments: tuple[str, ...]) -> None:
    """Check FILE's data set: count its clips, list what is missing or shared between splits, and draw some samples.

    Exit code 1 means that the data set cannot be trained on yet.
    """
    with _exit_codes():
        from search.commands import check as checking
        from search.experiment.load import load

        if not checking.check(load(file, assignments), RUNS / "sheets", _console(), typed_file()):
            sys.exit(FAILED)


@main.command(short_help="Write the HTML report of a search: verdict, effort and plots.")
@_run
@click.option("-o", "--output", type=_OUTPUT, help="File to write.  [default: report.html in the run's folder]")
def report(run: str, output: Path | None) -> None:
    """Write the report of RUN, one HTML page: the verdict, what was searched and spent, and plots.

    RUN is an experiment's name or its folder. The page works offline. It can be written while RUN is still running,
    and a search writes it at its end.
    """
    with _exit_codes():
        from search.report.page import write_report
        from search.run.folder import find

        click.echo(f"report written to {write_report(find(run, RUNS), output)}: open it in a browser")


@main.command(short_help="Open a search in the MLflow UI.")
@_run
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=5000,
    show_default=True,
    help="Port of the MLflow server; if it is in use, or 0, another one is chosen.",
)
def ui(run: str, port: int) -> None:
    """Open RUN in the MLflow UI. The server accepts connections from this machine only.

    RUN is an experiment's name or its folder.
    """
    with _exit_codes():
        from search.console.notes import print_line
        from search.experiment.load import read_unchecked
        from search.run.folder import find
        from search.tracking.ui import serve

        folder = find(run, RUNS)
        values = read_unchecked(folder / "experiment.yaml").value
        sys.exit(serve(folder, folder.parent, values["tracking"]["uri"], port, partial(print_line, _console())))
