"""Loading of experiment files: checks the schema, the data set's options, the space, and how they fit together."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from search.experiment.checks import disagreements
from search.experiment.dataset_options import dataset_faults
from search.experiment.messages import Fault, validate
from search.experiment.own_code import code_in, is_own
from search.experiment.schema import Experiment, ExperimentError, for_training
from search.experiment.yaml_source import Document, DocumentError, format_path, override, read


def check(document: Document, *, only_trial: bool = False) -> Experiment:
    """Return the experiment that a document describes.

    Args:
        document: experiment file.
        only_trial: whether to train `trial` only; what only a search uses is then ignored, and may contradict it.

    Raises:
        ExperimentError: if the document is invalid. Each error has a sentence with its key, what was expected, what
            was given, and the file and line.
    """
    value, faults = validate(Experiment, document.value, {"name": "unnamed", "dataset": {}})
    dataset, more = dataset_faults(document.value.get("dataset"))
    faults += more
    if value is not None:
        value = value.model_copy(update={"dataset": dataset})
        value = for_training(value) if only_trial else value
        faults += [(path, text) for path, text in disagreements(value) if path not in dict(faults)]
    if faults:
        raise _error(document, faults)
    assert isinstance(value, Experiment)
    return value


def _error(document: Document, faults: list[Fault]) -> ExperimentError:
    in_order = sorted(faults, key=lambda fault: document.line(fault[0]) or 0)
    sentences = [f"`{format_path(path)}` {text} ({document.where(path)})" for path, text in in_order]
    return ExperimentError(document.source, sentences)


def load(path: Path, assignments: Sequence[str] = (), *, only_trial: bool = False) -> Experiment:
    """Load the experiment in a file, with `key=value` pairs as overrides.

    With `only_trial`, what only a search uses is ignored; see `check`.

    Modules that the file names are imported from what is installed, then from the file's folder and the working folder.
    An experiment file is therefore code. A user names it knowingly, but not the copy in the folder of a run: the copy
    of another user may not name code, and nothing is imported from its folder.

    Raises:
        ExperimentError: if the file is unreadable or invalid, see `check`; or if it is another user's copy and names
            code.
    """
    document = read_unchecked(path)
    is_foreign = path.name == "experiment.yaml" and not is_own(path)
    if is_foreign and (named := code_in(document.value)):
        raise ExperimentError(str(path), [_foreign(path, named)])
    folders = [os.getcwd()] if is_foreign else [str(path.resolve().parent), os.getcwd()]
    sys.path += [folder for folder in folders if folder not in sys.path]
    try:
        override(document, assignments)
    except DocumentError as error:
        raise ExperimentError(str(path), str(error).splitlines()) from error
    return check(document, only_trial=only_trial)


def read_unchecked(path: Path) -> Document:
    """Read the YAML of an experiment file, without a check of what it says.

    Raises:
        ExperimentError: if the file is unreadable, or not a YAML mapping.
    """
    try:
        return read(path)
    except DocumentError as error:
        sentences = str(error).splitlines()
        raise ExperimentError(str(path), [_corrupt(path, sentences)] if _is_copy(path) else sentences) from error


def _foreign(path: Path, named: Sequence[str]) -> str:
    return (
        f"{path} belongs to another user and names code that would be imported: {', '.join(named)}. If you trust this "
        f"code, copy {path.parent} to a folder of your own, and its modules to your working folder"
    )


def _is_copy(path: Path) -> bool:
    """Return whether a file is the copy of an experiment in the folder of a run, which no user has written."""
    return path.name == "experiment.yaml" and any((path.parent / name).exists() for name in ("run.json", "tune"))


def _corrupt(path: Path, sentences: Sequence[str]) -> str:
    return (
        f"{path} (the run's copy of its experiment file) is corrupt: {'; '.join(sentences)}. Delete it and repeat the "
        "run's original command with --resume, which writes it again"
    )
