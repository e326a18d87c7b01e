"""`python -m search evaluate MODEL`: from the name of a model to tables and files."""

from __future__ import annotations

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
from ogmge.batches import Batch, to_device
from ogmge.evaluation import Answers, Unscorable
from ogmge.fit import Data
from search.console.evaluation_table import print_result
from search.console.notes import print_note
from search.experiment.load import load as load_experiment
from search.experiment.own_code import named_factories
from search.experiment.schema import Experiment
from search.models.evaluation import ModelEvaluation, Result, Split
from search.models.evaluation_files import FILES, write_files
from search.models.lookup import Model, ModelError, checkpoint_of, default_device, load, run_of
from search.run.disk import FULL, PlaceError, explain_errors, require_own_links, require_writable
from search.run.folder import UNKNOWN, require_unchanged
from search.run.open_data import fingerprint_of, open_data
from search.run.test_log import read_test, record, tell_earlier


@dataclass(frozen=True)
class Ask:
    """Options of an evaluation.

    Args:
        split: split to evaluate on.
        data: experiment file that names the data; None means that of the model's run.
        assignments: `key=value` pairs that override the `dataset` of that file.
        against: second model to evaluate and compare with.
        output: folder of the files; None means that of the checkpoint.
        trust: custom encoders and fusions that may be imported although only a checkpoint names them.
    """

    split: Split = "test"
    data: Path | None = None
    assignments: Sequence[str] = ()
    against: str | None = None
    output: Path | None = None
    trust: Sequence[str] = ()

    @property
    def names_data(self) -> bool:
        """Whether the options name the data, which may then differ from those of the model's run."""
        return self.data is not None or bool(self.assignments)


def evaluate(model: str, runs: Path, console: Console, ask: Ask) -> Result:
    """Evaluate a model, print the result and write it to files.

    Args:
        model: name or folder of a training, or file of a checkpoint.
        runs: folder of the runs.
        console: console to print on.
        ask: options of the evaluation.

    Raises:
        ModelError, CheckpointError, ExperimentError, DatasetError, FolderError: for errors of the user, found before
            the test split is read if possible.
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
    with _explain_unwritable():
        write_files(result, output)
    print_result(console, result, output)
    return result


def _load(model: str, runs: Path, ask: Ask) -> tuple[list[Model], Path, Experiment]:
    """Return the models, the experiment file that names the data, and the experiment in it."""
    names = [model, *filter(None, [ask.against])]
    files = [checkpoint_of(name, runs) for name in names]
    run = run_of(files[0])
    source = ask.data if run is None else ask.data or run.experiment
    # loaded before the models, because the modules of their encoders may be in its folder
    experiment = None if source is None else _experiment(source, ask.assignments)
    named = named_factories(experiment) if experiment is not None and ask.data is not None else set()
    models = list(map(load, names, files, repeat(default_device()), repeat({*ask.trust, *named})))
    if source is None or experiment is None:
        raise ModelError(
            f"the data of {files[0]} are unknown: there is no experiment.yaml in its folder or above it; name an "
            "experiment file with the data: --data FILE"
        )
    return models, source, experiment


def _open(
    models: Sequence[Model], source: Path, experiment: Experiment, ask: Ask
) -> tuple[Mapping[str, Any], Data, str]:
    """Return the `dataset` section for the evaluation, its data, and their fingerprint."""
    model, given = models[0], experiment.dataset
    section = given if ask.data is not None else model.dataset(given)
    data = open_data(section)
    for one in models:
        if why := one.trained.mismatch(data.shapes, data.classes):
            raise ModelError(f"{one.file} does not fit the data of {source}: {why}; name other data with --data FILE")
    fingerprint = fingerprint_of(data)
    if not ask.names_data:
        require_unchanged(
            model.fingerprint(given),
            fingerprint,
            f"the run in {model.folder.path} began",
            f"so the {ask.split} split may contain training samples of the model: restore the data, or name the data "
            "to use (--data FILE or dataset.…=…)",
        )
    return section, data, fingerprint


def _experiment(source: Path, assignments: Sequence[str]) -> Experiment:
    """Load an experiment file with overrides of its `dataset`.

    Raises:
        ModelError: if an override is for another section.
        ExperimentError: as in `search.experiment.load`.
    """
    for text in assignments:
        if text.partition("=")[0].partition(".")[0] != "dataset":
            raise ModelError(
                f"{text!r} cannot be used here: the checkpoint determines the model, and only `dataset` can be changed "
                "(such as dataset.store=FOLDER)"
            )
    return load_experiment(source, assignments)


def _notes(models: Sequence[Model], split: Split, section: Mapping[str, Any], fingerprint: str) -> list[str]:
    """Return notes on how to read the numbers."""
    notes = _notes_on_data(models, section, fingerprint)
    if split == "validation":
        notes.append("these numbers are too high: this split was also used to choose the epoch of the weights")
    if len(models) > 1:
        notes.append(
            "this compares two single trainings; `python -m search confirm` shows how much they vary with the seed, "
            "and whether the modulation causes the difference"
        )
    return notes


def _notes_on_data(models: Sequence[Model], section: Mapping[str, Any], fingerprint: str) -> list[str]:
    """Return a note for each run that is known to have begun with other data."""
    began = {(model.folder.path, model.fingerprint(section)): None for model in models}
    return [
        f"the data differ from those of the run in {path} (fingerprint {then} then, {fingerprint} now)"
        for path, then in began
        if len({UNKNOWN, then, fingerprint}) == 3
    ]


def _prepare_folder(folder: Path) -> Path:
    """Create the folder if it is missing, before any data are read, and return it."""
    with _explain_unwritable():
        folder.mkdir(parents=True, exist_ok=True)
        require_own_links(folder)
        require_writable(folder, *(folder / name for name in FILES))
    return folder


def _read(
    data: Data, models: Sequence[Model], split: Split, console: Console
) -> tuple[Iterable[Batch], dict[str, str] | None]:
    """Return the split's batches, and the logged line if it is the test split."""
    size = models[0].trained.config.batch_size
    if split == "validation":
        return data.validation(batch_size=size), None
    reason = f"evaluate {' against '.join(str(model.file) for model in models)}"
    folder, *others = {model.folder.path.resolve(): model.folder for model in models}.values()
    note = partial(print_note, console)
    with _explain_unreadable():
        for other in others:
            tell_earlier(other, note)
        batches, line = read_test(data, folder, reason, size, note)
        for other in others:
            record(other, line)
    return batches, line


@contextmanager
def _explain_unreadable() -> Iterator[None]:
    """Explain why a test split cannot be read."""
    try:
        yield
    except DatasetError as error:
        raise ModelError(f"{error}; `--split validation` works without one") from error
    except OSError as error:
        if error.errno in FULL:
            raise
        raise ModelError(
            f"cannot write {error.filename} ({error.strerror}), but each reading of a test split must be logged there: "
            "make the file writable"
        ) from error


@contextmanager
def _explain_unwritable() -> Iterator[None]:
    """Explain that a folder cannot be written to; a full disk raises the original error."""
    try:
        with explain_errors():
            yield
    except PlaceError as error:
        raise ModelError(*(f"{text} with -o FOLDER" for text in error.sentences)) from error


def _evaluate_all(
    models: Sequence[Model], batches: Iterable[Batch], split: Split, console: Console
) -> list[ModelEvaluation]:
    """Evaluate all models on the same batches.

    Raises:
        ModelError: if a model's outputs cannot be scored.
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
    """Add each model's outputs for a batch."""
    there, target = to_device((x, y), default_device())
    for model, own in zip(models, answers, strict=True):
        own.add(*model.trained.logits(there), target)


def _score(model: Model, answers: Answers, split: Split) -> ModelEvaluation:
    try:
        return ModelEvaluation(model, answers.evaluation())
    except Unscorable as error:
        raise ModelError(f"{model.file}, {split} split: {error}") from error
