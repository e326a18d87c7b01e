"""`python -m search probe`: from checkpoints to a table, `probe.json` and `probe.png`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.text import Text

from datasets.registry import DatasetError
from ogmge.fit import BEST
from ogmge.inference import TrainedModel
from ogmge.linear_probe import extract_features, fit, right
from ogmge.trainer import Batch
from search.console.notes import print_line, print_note
from search.console.probe_table import table
from search.models import unimodal as alone
from search.models.linear_probe import ALONE, Report, Row, accuracy, chance, document, encoders, notes
from search.models.lookup import Model, ModelError, checkpoint_of, load
from search.models.probe_data import data_for
from search.models.probe_plot import draw
from search.run.folder import RunFolder, lock_folder, write
from search.run.test_log import read_test


@dataclass(frozen=True)
class Ask:
    """What is asked for.

    Args:
        models: as people call them.
        data: an experiment file to take the data from; None for those that the models were trained on.
        test: judge by the test split, and not by the validation split.
        unimodal: train an encoder on each modality alone, with the settings of the first model.
    """

    models: tuple[str, ...]
    data: Path | None
    test: bool
    unimodal: bool


def run(ask: Ask, runs: Path, console: Console) -> None:
    """Probes the encoders of models, and leaves what was found in the folder `probe` beside the first of them.

    Raises:
        ModelError, CheckpointError, ExperimentError, DatasetError, FolderError: mistakes of whoever asks, found
            before anything is trained.
        NonFiniteLoss, NonFiniteMetric: a training alone diverged.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if len(set(ask.models)) < len(ask.models):
        raise ModelError(f"each model is to be named once, but got {', '.join(ask.models)}")
    models = [load(what, checkpoint_of(what, runs), device) for what in ask.models]
    data: Any = data_for(models, ask.data)
    if ask.test and not hasattr(data, "test"):
        raise DatasetError("this data set has no test split: leave --split test out")
    if ask.unimodal:
        alone.check(models[0], data)
    folder = models[0].file.parent / "probe"
    folder.mkdir(exist_ok=True)
    with lock_folder(RunFolder(folder)):
        tell, note = partial(print_line, console), partial(print_note, console)
        singles = alone.train(models[0], data, folder, device, tell, note) if ask.unimodal else []
        report = _probe(models, singles, data, folder, ask, console)
        write(folder / "probe.json", json.dumps(document(report), indent=2) + "\n")
        draw(report, folder / "probe.png")
    console.print()
    console.print(table(report))
    for text in notes(report):
        print_note(console, text)
    console.print(
        Text(f"\nnumbers         {folder / 'probe.json'}\nplot            {folder / 'probe.png'}"), soft_wrap=True
    )


def _probe(
    models: Sequence[Model], singles: Sequence[TrainedModel], data: Any, folder: Path, ask: Ask, console: Console
) -> Report:
    every = [*(model.trained for model in models), *singles]
    files = [*(model.file for model in models), *(folder / single.names[0] / BEST for single in singles)]
    size, device = models[0].trained.config.batch_size, next(every[0].model.parameters()).device
    try:
        training, y = extract_features(every, data.train(batch_size=size, seed=0, epoch=0), device)
        probes = [{name: fit(value, y, len(data.classes)) for name, value in found.items()} for found in training]
        batches, line = _batches(models, data, size, ask, console)
        held, target = extract_features(every, batches, device)
    except ValueError as error:
        raise ModelError(f"these encoders cannot be probed: {error}") from error
    answers = [right(*one, target) for one in zip(every, probes, held, strict=True)]
    found = [encoders(*one) for one in zip(files, probes, answers, strict=True)]
    rows = [
        Row(model.name, model.trained.config.modulation, accuracy(answer.fused), of)
        for model, answer, of in zip(models, answers, found, strict=False)
    ]
    if singles:
        together = {name: encoder for of in found[len(models) :] for name, encoder in of.items()}
        rows.append(Row(ALONE, singles[0].config.modulation, None, together))
    split = "test" if ask.test else "validation"
    return Report(split, len(target), len(y), len(data.classes), chance(target), rows, line)


def _batches(
    models: Sequence[Model], data: Any, size: int, ask: Ask, console: Console
) -> tuple[Iterable[Batch], Mapping[str, str] | None]:
    """Those of the split to judge by; a reading of the test split is put on record for the run of each model."""
    if not ask.test:
        return data.validation(batch_size=size), None
    reason = f"linear probes of {', '.join(model.name for model in models)}"
    runs = {model.folder.path: model.folder for model in models}
    found = [read_test(data, run, reason, size, partial(print_note, console)) for run in runs.values()]
    return found[-1]
