"""`python -m search evaluate MODEL`, from a name to files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

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
from search.models.lookup import Model, ModelError, checkpoint_of, load, run_of
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


def evaluate(model: str, runs: Path, console: Console, ask: Ask) -> Result:
    """Evaluates a model, shows what came of it, and leaves all of it in files.

    Args:
        model: a training's name or folder, or a checkpoint's file.
        runs: folder of the runs.
        console: where it is shown.
        ask: see `Ask`.

    Raises:
        ModelError, CheckpointError, ExperimentError, DatasetError, FolderError: mistakes of whoever asks, found before
            the test split is read where they can be.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    file = checkpoint_of(model, runs)
    other = None if ask.against is None else checkpoint_of(ask.against, runs)
    run = run_of(file)
    source = ask.data or (run.experiment if run is not None else None)
    experiment = None if source is None else _experiment(source, ask.assignments)  # its folder may hold the encoders
    named = ((model, file), (ask.against, other))
    models = [load(name, one, device) for name, one in named if name is not None and one is not None]
    if experiment is None:
        raise ModelError(
            f"{file} does not say which data it is of, and there is no experiment.yaml in its folder or above it: name "
            "an experiment file that does, --data FILE"
        )
    section = experiment.dataset if ask.data is not None else models[0].dataset(experiment.dataset)
    data = open_data(section)
    for one in models:
        if why := one.trained.mismatch(data.shapes, data.classes):
            raise ModelError(f"{one.file} is of other data than {source}: {why} (--data FILE names others)")
    fingerprint = fingerprint_of(data)
    if ask.data is None and not ask.assignments:
        require_unchanged(
            models[0].fingerprint(experiment.dataset),
            fingerprint,
            f"the run in {models[0].folder.path} began",
            f"so that the {ask.split} split may hold what it was trained on: put the data back, or name those you mean "
            "(--data FILE, dataset.…=…)",
        )
    output = _writable(ask.output or file.parent)
    batches, read = _read(data, models, ask.split, console)
    found = _evaluate_all(models, batches, ask.split, device, console)
    result = Result(
        of=found[0],
        against=found[1] if len(found) > 1 else None,
        split=ask.split,
        classes=data.classes,
        dataset=section,
        fingerprint=fingerprint,
        read=read,
        notes=_notes(models, ask.split, experiment.dataset, fingerprint),
    )
    try:
        write_files(result, output)
    except OSError as error:
        raise _unwritable(output, error) from error
    print_result(console, result, output)
    return result


def _experiment(source: Path, assignments: Sequence[str]) -> Experiment:
    """The file's, with changes of its data.

    Raises:
        ModelError: the changes are of something else.
        ExperimentError: see `search.validation.load`.
    """
    for text in assignments:
        if text.partition("=")[0].partition(".")[0] != "dataset":
            raise ModelError(
                f"{text!r} changes nothing here: a model is what its checkpoint says, and only `dataset` can be "
                "changed (dataset.store=FOLDER)"
            )
    return load_experiment(source, assignments)


def _notes(models: Sequence[Model], split: Split, section: Mapping[str, Any], fingerprint: str) -> list[str]:
    """What to bear in mind with the numbers."""
    known = dict.fromkeys((model.folder.path, model.fingerprint(section)) for model in models)
    notes = [
        f"these are not the data that the run in {path} began with (fingerprint {then} then, {fingerprint} now)"
        for path, then in known
        if UNKNOWN not in (then, fingerprint) and then != fingerprint
    ]
    if split == "validation":
        notes.append("the epoch of the weights was chosen by this very split, which flatters them")
    if len(models) > 1:
        notes.append(
            "these are two trainings: how far they differ with other seeds, and whether it is the modulation that "
            "makes the difference, `python -m search confirm` tells"
        )
    return notes


def _writable(folder: Path) -> Path:
    """The folder, made where it is missing, before anything is read."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise ModelError(f"{folder} cannot be written to: take another folder, -o FOLDER")
    return folder


def _unwritable(folder: Path, error: OSError) -> Exception:
    if error.errno in FULL:
        return error
    return ModelError(f"{folder} cannot be written to ({error.strerror}): take another folder, -o FOLDER")


def _read(
    data: Data, models: Sequence[Model], split: Split, console: Console
) -> tuple[Iterable[Batch], dict[str, str] | None]:
    """The split's batches, and the line on record where it is the test split."""
    model, *others = models
    size = model.trained.config.batch_size
    if split == "validation":
        return data.validation(batch_size=size), None
    reason = " against ".join(["evaluate " + str(model.file), *(str(other.file) for other in others)])
    elsewhere = [o.folder for o in others if o.folder.path.resolve() != model.folder.path.resolve()]
    try:
        for folder in elsewhere:
            tell_earlier(folder, partial(print_note, console), f"the run in {folder.path}")
        batches, line = read_test(data, model.folder, reason, size, partial(print_note, console))
        for folder in elsewhere:
            record(folder, line)
    except DatasetError as error:
        raise ModelError(f"{error}; `--split validation` reads none") from error
    except OSError as error:
        if error.errno in FULL:
            raise
        raise ModelError(
            f"{error.filename} cannot be written ({error.strerror}), and each reading of a test split must be on "
            "record: let it be written to"
        ) from error
    return batches, line


def _evaluate_all(
    models: Sequence[Model], batches: Iterable[Batch], split: Split, device: torch.device, console: Console
) -> list[ModelEvaluation]:
    """All models on the same batches.

    Raises:
        ModelError: a model's answers have no score.
    """
    every = [(model, Answers(model.trained.names, len(model.trained.classes))) for model in models]
    done = 0
    with console.status("evaluating") as status:
        for x, y in batches:
            there, target = {name: value.to(device) for name, value in x.items()}, y.to(device)
            for model, answers in every:
                answers.add(*model.trained.logits(there), target)
            done += len(y)
            status.update(f"evaluating: {done:,} examples")
    found = []
    for model, answers in every:
        try:
            found.append(ModelEvaluation(model, answers.evaluation()))
        except Unscorable as error:
            raise ModelError(f"{model.file}, {split} split: {error}") from error
    return found
