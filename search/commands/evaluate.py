"""`python -m search evaluate MODEL`, from a name to files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from datasets.registry import DatasetError
from ogmge.evaluation import Answers, Unscorable
from ogmge.fit import Data
from ogmge.trainer import Batch
from search.console.evaluation_table import print_result
from search.console.notes import print_note
from search.experiment.load import load as load_experiment
from search.experiment.schema import Experiment
from search.models.evaluation import ModelEvaluation, Result, Split
from search.models.evaluation_files import write_files
from search.models.lookup import Model, ModelError, checkpoint_of, default_device, load, run_of
from search.run.folder import FULL, UNKNOWN, require_unchanged
from search.run.open_data import fingerprint_of, open_data
from search.run.test_log import read_test, record, tell_earlier


@dataclass(frozen=True)
class Ask:
    """What is asked of a model.

    Args:
        split: that it answers.
        data: an experiment file that names the data; None is that of the model's run.
        assignments: `key=value`, put over that file's `dataset`.
        against: another model, of which the same is asked.
        output: folder of the files; None is that of the checkpoint.
    """

    split: Split = "test"
    data: Path | None = None
    assignments: Sequence[str] = ()
    against: str | None = None
    output: Path | None = None

    @property
    def names_data(self) -> bool:
        """Whether the data are others than those of the model's run, or may be."""
        return self.data is not None or bool(self.assignments)


def evaluate(model: str, runs: Path, console: Console, ask: Ask) -> Result:
    """Evaluate a model, show what came of it, and leave all of it in files.

    Args:
        model: a training's name or folder, or a checkpoint's file.
        runs: folder of the runs.
        console: where it is shown.
        ask: see `Ask`.

    Raises:
        ModelError, CheckpointError, ExperimentError, DatasetError, FolderError: the user's mistakes, found before the
            test split is read where they can be.
    """
    models, source, experiment = _load(model, runs, ask)
    section, data, fingerprint = _open(models, source, experiment, ask)
    output = _prepare_folder(ask.output or models[0].file.parent)
    batches, read = _read(data, models, ask.split, console)
    of, *others = _evaluate_all(models, batches, ask.split, console)
    result = Result(
        of=of,
        against=others[0] if others else None,
        split=ask.split,
        classes=data.classes,
        dataset=section,
        fingerprint=fingerprint,
        read=read,
        notes=_notes(models, ask.split, experiment.dataset, fingerprint),
    )
    with _explain_unwritable(output):
        write_files(result, output)
    print_result(console, result, output)
    return result


def _load(model: str, runs: Path, ask: Ask) -> tuple[list[Model], Path, Experiment]:
    """Return the models, and the experiment that says which data they are evaluated on, with its file."""
    names = [model, *filter(None, [ask.against])]
    files = [checkpoint_of(name, runs) for name in names]
    run = run_of(files[0])
    source = ask.data if run is None else ask.data or run.experiment
    # before the models: its folder may hold their encoders
    experiment = None if source is None else _experiment(source, ask.assignments)
    models = list(map(load, names, files, repeat(default_device())))
    if source is None or experiment is None:
        raise ModelError(
            f"{files[0]} does not say which data it is of, and there is no experiment.yaml in its folder or above it: "
            "name an experiment file that does, --data FILE"
        )
    return models, source, experiment


def _open(
    models: Sequence[Model], source: Path, experiment: Experiment, ask: Ask
) -> tuple[Mapping[str, Any], Data, str]:
    """Return the section of the data that the models are evaluated on, the data, and their fingerprint."""
    model, given = models[0], experiment.dataset
    section = given if ask.data is not None else model.dataset(given)
    data = open_data(section)
    for one in models:
        if why := one.trained.mismatch(data.shapes, data.classes):
            raise ModelError(f"{one.file} is of other data than {source}: {why} (--data FILE names others)")
    fingerprint = fingerprint_of(data)
    if not ask.names_data:
        require_unchanged(
            model.fingerprint(given),
            fingerprint,
            f"the run in {model.folder.path} began",
            f"so that the {ask.split} split may hold what it was trained on: put the data back, or name those you mean "
            "(--data FILE, dataset.…=…)",
        )
    return section, data, fingerprint


def _experiment(source: Path, assignments: Sequence[str]) -> Experiment:
    """Load the experiment of a file, with changes of its data.

    Raises:
        ModelError: the changes are of something else.
        ExperimentError: see `search.experiment.load`.
    """
    for text in assignments:
        if text.partition("=")[0].partition(".")[0] != "dataset":
            raise ModelError(
                f"{text!r} changes nothing here: a model is what its checkpoint says, and only `dataset` can be "
                "changed (dataset.store=FOLDER)"
            )
    return load_experiment(source, assignments)


def _notes(models: Sequence[Model], split: Split, section: Mapping[str, Any], fingerprint: str) -> list[str]:
    """Return what to bear in mind with the numbers."""
    notes = _notes_on_data(models, section, fingerprint)
    if split == "validation":
        notes.append("the epoch of the weights was chosen by this very split, which flatters them")
    if len(models) > 1:
        notes.append(
            "these are two trainings: how far they differ with other seeds, and whether it is the modulation that "
            "makes the difference, `python -m search confirm` tells"
        )
    return notes


def _notes_on_data(models: Sequence[Model], section: Mapping[str, Any], fingerprint: str) -> list[str]:
    """Return which runs began with other data, as far as both are known."""
    began = {(model.folder.path, model.fingerprint(section)): None for model in models}
    return [
        f"these are not the data that the run in {path} began with (fingerprint {then} then, {fingerprint} now)"
        for path, then in began
        if len({UNKNOWN, then, fingerprint}) == 3
    ]


def _prepare_folder(folder: Path) -> Path:
    """Return the folder, made where it is missing, before anything is read."""
    with _explain_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise ModelError(f"{folder} cannot be written to: take another folder, -o FOLDER")
    return folder


def _read(
    data: Data, models: Sequence[Model], split: Split, console: Console
) -> tuple[Iterable[Batch], dict[str, str] | None]:
    """Return the split's batches, and the line on record where it is the test split."""
    size = models[0].trained.config.batch_size
    if split == "validation":
        return data.validation(batch_size=size), None
    reason = f"evaluate {' against '.join(str(model.file) for model in models)}"
    folder, *others = {model.folder.path.resolve(): model.folder for model in models}.values()
    note = partial(print_note, console)
    with _explain_unreadable():
        for other in others:
            tell_earlier(other, note, f"the run in {other.path}")
        batches, line = read_test(data, folder, reason, size, note)
        for other in others:
            record(other, line)
    return batches, line


@contextmanager
def _explain_unreadable() -> Iterator[None]:
    """Say why a test split cannot be read."""
    try:
        yield
    except DatasetError as error:
        raise ModelError(f"{error}; `--split validation` reads none") from error
    except OSError as error:
        if error.errno in FULL:
            raise
        raise ModelError(
            f"{error.filename} cannot be written ({error.strerror}), and each reading of a test split must be on "
            "record: let it be written to"
        ) from error


@contextmanager
def _explain_unwritable(folder: Path) -> Iterator[None]:
    """Say that a folder cannot be written to, unless the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise
        raise ModelError(f"{folder} cannot be written to ({error.strerror}): take another folder, -o FOLDER") from error


def _evaluate_all(
    models: Sequence[Model], batches: Iterable[Batch], split: Split, console: Console
) -> list[ModelEvaluation]:
    """Evaluate all models on the same batches.

    Raises:
        ModelError: a model's answers have no score.
    """
    answers = [Answers(model.trained.names, len(model.trained.classes)) for model in models]
    done = 0
    with console.status("evaluating") as status:
        for x, y in batches:
            _answer(models, answers, x, y)
            done += len(y)
            status.update(f"evaluating: {done:,} examples")
    return list(map(_score, models, answers, repeat(split)))


def _answer(models: Sequence[Model], answers: Sequence[Answers], x: Mapping[str, Tensor], y: Tensor) -> None:
    """Add what each model answers to a batch."""
    device = default_device()
    there, target = {name: value.to(device) for name, value in x.items()}, y.to(device)
    for model, own in zip(models, answers, strict=True):
        own.add(*model.trained.logits(there), target)


def _score(model: Model, answers: Answers, split: Split) -> ModelEvaluation:
    try:
        return ModelEvaluation(model, answers.evaluation())
    except Unscorable as error:
        raise ModelError(f"{model.file}, {split} split: {error}") from error
