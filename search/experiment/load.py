"""An experiment file read and checked: its schema, its data set's options, its space, and what must agree."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from search.experiment.checks import disagreements
from search.experiment.dataset_options import dataset_faults
from search.experiment.messages import Fault, validate
from search.experiment.schema import Experiment, ExperimentError
from search.experiment.yaml_source import Document, DocumentError, format_path, override, read


def check(document: Document) -> Experiment:
    """The experiment that a document holds.

    Raises:
        ExperimentError: with a sentence for each mistake: path, what was expected, what came, file and line.
    """
    value, faults = validate(Experiment, document.value, {"name": "unnamed", "dataset": {}})
    dataset, more = dataset_faults(document.value.get("dataset"))
    faults += more
    if value is not None:
        value = value.model_copy(update={"dataset": dataset})
        faults += [(path, text) for path, text in disagreements(value) if path not in dict(faults)]
    if faults:
        raise _error(document, faults)
    assert isinstance(value, Experiment)
    return value


def _error(document: Document, faults: list[Fault]) -> ExperimentError:
    in_order = sorted(faults, key=lambda fault: document.line(fault[0]) or 0)
    sentences = [f"`{format_path(path)}` {text} ({document.where(path)})" for path, text in in_order]
    return ExperimentError(document.source, sentences)


def load(path: Path, assignments: Sequence[str] = ()) -> Experiment:
    """The experiment in a file, with `key=value` pairs put over it.

    Modules that it names are looked for beside it and in the working folder, after everything that is installed.

    Raises:
        ExperimentError: see `check`.
    """
    beside = (str(path.resolve().parent), os.getcwd())
    sys.path += [folder for folder in beside if folder not in sys.path]
    try:
        document = read(path)
        override(document, assignments)
    except DocumentError as error:
        raise ExperimentError(str(path), str(error).splitlines()) from error
    return check(document)
