"""`python -m search probe MODEL...`: from checkpoints to a table, `probe.json` and `probe.png`."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path

import torch
from rich.console import Console

from datasets.registry import DatasetError
from ogmge.batches import Batch
from ogmge.fit import BEST, Data
from ogmge.inference import TrainedModel
from ogmge.linear_probe import Right, extract_features, fit_probes, right
from search.console.notes import print_line, print_note
from search.console.probe_table import table
from search.experiment.load import load as load_experiment
from search.experiment.own_code import named_factories
from search.models import unimodal as alone
from search.models.evaluation import Split
from search.models.linear_probe import ALONE, Encoder, Report, Row, accuracy, chance, document, encoders, notes
from search.models.lookup import Model, ModelError, checkpoint_of, default_device, load
from search.models.probe_data import data_for
from search.models.probe_plot import draw
from search.run.disk import explain_errors, require_writable
from search.run.folder import RunFolder, lock_folder, write
from search.run.test_log import read_test

Note = Callable[[str], None]


@dataclass(frozen=True)
class Ask:
    """Options of linear probing.

    Args:
        models: names, folders or checkpoints of the models.
        data: experiment file that names the data; None means those that the models were trained on.
        test: whether to evaluate on the test split instead of the validation split.
        unimodal: whether to train an encoder on each modality alone, with the settings of the first model.
        trust: custom encoders and fusions that may be imported although only a checkpoint names them.
    """

    models: tuple[str, ...]
    data: Path | None
    test: bool
    unimodal: bool
    trust: tuple[str, ...] = ()

    @property
    def split(self) -> Split:
        return "test" if self.test else "validation"


def run(ask: Ask, runs: Path, console: Console) -> None:
    """Probe the encoders of models, and write the results to the folder `probe` next to the first model.

    Raises:
        ModelError, CheckpointError, ExperimentError, DatasetError, FolderError: for errors of the user, found before
            anything is trained.
        NonFiniteLoss, NonFiniteMetric: if training on one modality diverges.
    """
    models = _load_all(ask.models, runs, {*ask.trust, *_named_in(ask.data)})
    torch.set_num_threads(_threads(models[0]))
    data = data_for(models, ask.data)
    _check_data(models, data, ask)
    folder = models[0].file.parent / "probe"
    _prepare_folder(folder, models[0].trained.names if ask.unimodal else ())
    with lock_folder(RunFolder(folder)):
        tell, note = partial(print_line, console), partial(print_note, console)
        singles = alone.train(models[0], data, folder, default_device(), tell, note) if ask.unimodal else []
        report = _probe(models, singles, data, folder, ask.split, note)
        write(folder / "probe.json", json.dumps(document(report), indent=2) + "\n")
        draw(report, folder / "probe.png")
    console.print("", table(report), sep="\n")
    for text in notes(report):
        note(text)
    tell(f"\nnumbers         {folder / 'probe.json'}\nplot            {folder / 'probe.png'}")


def _prepare_folder(folder: Path, modalities: Iterable[str]) -> None:
    """Create the folder of the results, and check that all files in it can be written."""
    with explain_errors():
        folder.mkdir(exist_ok=True)
    require_writable(folder, folder / "probe.json", folder / "probe.png")
    for name in modalities:
        require_writable(folder / name, folder / name / BEST)


def _load_all(names: Sequence[str], runs: Path, trusted: Collection[str]) -> list[Model]:
    if len(set(names)) < len(names):
        raise ModelError(f"expected each model once, but got {', '.join(names)}")
    return [load(name, checkpoint_of(name, runs), default_device(), trusted) for name in names]


def _named_in(file: Path | None) -> set[str]:
    return set() if file is None else named_factories(load_experiment(file))


def _threads(model: Model) -> int:
    """Return the number of threads: the cores of a trial in the model's run if its file fixes them, otherwise one.

    One thread per core of the machine is slow: threads wait for each other after each small product, and for any other
    process that keeps a core busy. A fit took thirty times as long.
    """
    cpu = model.experiment.search.resources.cpu if model.experiment is not None else 1.0
    return 1 if cpu == "auto" else max(1, int(cpu))


def _check_data(models: Sequence[Model], data: Data, ask: Ask) -> None:
    if ask.test and not hasattr(data, "test"):
        raise DatasetError("this data set has no test split: remove --split test")
    if ask.unimodal:
        alone.check(models[0], data)


def _probe(
    models: Sequence[Model], singles: Sequence[TrainedModel], data: Data, folder: Path, split: Split, note: Note
) -> Report:
    """Fit a linear probe to the features of each encoder of each model, and evaluate all of them on one split."""
    files = [model.file for model in models] + [folder / single.names[0] / BEST for single in singles]
    trained = [*(model.trained for model in models), *singles]
    size, classes, device = trained[0].config.batch_size, len(data.classes), default_device()
    try:
        features, y = extract_features(trained, data.train(batch_size=size, seed=0, epoch=0), device)
        probes = list(map(partial(fit_probes, y=y, classes=classes), features))
        batches, line = _batches(models, data, size, split, note)
        held_out, target = extract_features(trained, batches, device)
    except ValueError as error:
        raise ModelError(f"these encoders cannot be probed: {error}") from error
    answers = list(map(right, trained, probes, held_out, repeat(target)))
    rows = _rows(models, singles, list(map(encoders, files, probes, answers)), answers)
    return Report(split, len(target), len(y), classes, chance(target), rows, line)


def _rows(
    models: Sequence[Model],
    singles: Sequence[TrainedModel],
    probed: Sequence[Mapping[str, Encoder]],
    answers: Sequence[Right],
) -> list[Row]:
    """Return a row for each model, and one row for all unimodal encoders."""
    rows = [
        Row(model.name, model.trained.config.modulation, accuracy(answer.fused), own)
        for model, answer, own in zip(models, answers, probed, strict=False)
    ]
    if singles:
        together = {name: encoder for own in probed[len(models) :] for name, encoder in own.items()}
        rows.append(Row(ALONE, singles[0].config.modulation, None, together))
    return rows


def _batches(
    models: Sequence[Model], data: Data, size: int, split: Split, note: Note
) -> tuple[Iterable[Batch], Mapping[str, str] | None]:
    """Return the batches of the evaluation split; a reading of the test split is logged in the run of each model."""
    if split == "validation":
        return data.validation(batch_size=size), None
    reason = f"linear probes of {', '.join(model.name for model in models)}"
    runs = {model.folder.path: model.folder for model in models}
    return [read_test(data, run, reason, size, note) for run in runs.values()][-1]
