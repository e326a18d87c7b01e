"""Loading of experiment files: checks the schema, the data set's options, the space, and how they fit together."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from search.experiment.checks import disagreements
from search.experiment.dataset_options import dataset_faults
from search.experiment.messages import Fault, validate
from search.experiment.own_code import code_in, hidden_modules, is_own, module_folders, search_first
from search.experiment.paths import absolute, base_folder, change_paths
from search.experiment.schema import Experiment, ExperimentError, for_training
from search.experiment.yaml_source import Document, DocumentError, Place, format_path, override, read


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
    parts = [(path, *text.partition("\n")) for path, text in in_order]  # lines of code follow the sentence
    sentences = [f"`{format_path(path)}` {said} ({document.where(path)}){end}{code}" for path, said, end, code in parts]
    return ExperimentError(document.source, sentences)


def load(path: Path, assignments: Sequence[str] = (), *, only_trial: bool = False) -> Experiment:
    """Load the experiment in a file, with `key=value` pairs as overrides.

    With `only_trial`, what only a search uses is ignored; see `check`.

    Relative paths are relative to the file's folder, those of the pairs to the working folder. Modules that the file
    names are imported from the folders of `modules`, then from the file's folder, the working folder, and what is
    installed; the experiment's `modules` names the folders that hold them. An experiment file is therefore code. A user
    names it knowingly, but not the copy in the folder of a run: the copy of another user may not name code, and nothing
    is imported from its folder. A file of another user never says where modules are.

    Raises:
        ExperimentError: if the file is unreadable or invalid, see `check`; or if it is another user's and names code,
            and is a copy or says where modules are.
    """
    document = read_unchecked(path)
    is_foreign = not is_own(path)
    if is_foreign:
        _forget_modules(document, path)
    base = base_folder(document.value, path)
    try:
        override(document, assignments)
    except DocumentError as error:
        raise ExperimentError(str(path), str(error).split("\n")) from error
    beside = [] if is_foreign and _is_copy_name(path) else [str(path.resolve().parent)]
    names = _find_modules(document, [*_module_folders(document, base), *beside, os.getcwd()])
    change_paths(document.value, partial(_resolve, document, base))
    experiment = check(document, only_trial=only_trial)
    modules = dict.fromkeys([*experiment.modules, *module_folders(names)])
    return experiment.model_copy(update={"modules": tuple(modules)})


def _resolve(document: Document, base: Path, place: Place, path: str) -> str:
    """Return a path of a document as an absolute path."""
    return absolute(path, Path.cwd() if document.line(place) == 0 else base)


def _module_folders(document: Document, base: Path) -> list[str]:
    """Make the folders in `modules` absolute; return those that are text."""
    given = document.value.get("modules")
    if not isinstance(given, list):
        return []
    for number, folder in enumerate(given):
        if isinstance(folder, str):
            given[number] = _resolve(document, base, ("modules", number), os.path.expanduser(folder))
    return [folder for folder in given if isinstance(folder, str)]


def _find_modules(document: Document, folders: Sequence[str]) -> list[str]:
    """Search the folders first for modules that a document names; return the names of its code.

    Raises:
        ExperimentError: if a module in these folders is hidden by another one of the same name.
    """
    names = code_in(document.value)
    if names:
        search_first(folders)
    elif folders[-1] not in sys.path:
        sys.path.append(folders[-1])  # the working folder, for code that the command line trusts
    if hidden := hidden_modules(names, folders):
        raise ExperimentError(document.source, hidden)
    return names


def _forget_modules(document: Document, path: Path) -> None:
    """Remove `modules` from the file of another user.

    Raises:
        ExperimentError: if the file names code, and is the copy of a run or says where the code is.
    """
    named, modules = code_in(document.value), document.value.pop("modules", None)
    if named and (modules or _is_copy_name(path)):
        raise ExperimentError(str(path), [_foreign(path, named)])


def read_unchecked(path: Path) -> Document:
    """Read the YAML of an experiment file, without a check of what it says.

    Raises:
        ExperimentError: if the file is unreadable, or not a YAML mapping.
    """
    try:
        return read(path)
    except DocumentError as error:
        sentences = str(error).split("\n")
        raise ExperimentError(str(path), [_corrupt(path, sentences)] if _is_copy(path) else sentences) from error


def _foreign(path: Path, named: Sequence[str]) -> str:
    copied = path.parent if _is_copy_name(path) else "the file"
    return (
        f"{path} belongs to another user and names code that would be imported: {', '.join(named)}. If you trust this "
        f"code, copy {copied} to a folder of your own, and its modules to your working folder"
    )


def _is_copy_name(path: Path) -> bool:
    return path.name == "experiment.yaml"


def _is_copy(path: Path) -> bool:
    """Return whether a file is the copy of an experiment in the folder of a run, which no user has written."""
    return _is_copy_name(path) and any((path.parent / name).exists() for name in ("run.json", "tune"))


def _corrupt(path: Path, sentences: Sequence[str]) -> str:
    return (
        f"{path} (the run's copy of its experiment file) is corrupt: {'; '.join(sentences)}. Delete it and repeat the "
        "run's original command with --resume, which writes it again"
    )
