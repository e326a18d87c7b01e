"""An experiment file read and checked: its schema, its data set's options, its space, and what must agree."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import PydanticUndefinedAnnotation, PydanticUserError

from datasets import registry
from ogmge.config import TrialConfig
from search.experiment import space as spaces
from search.experiment.messages import Fault, hint, nearest, shown, validated
from search.experiment.schema import Experiment, ExperimentError, Search
from search.experiment.yaml_source import Document, DocumentError, dotted, override, read
from search.tuner import samplers
from search.tuner.pruners.pruner import rungs_of


def _dataset_faults(options: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """The data set's options with its defaults, and what is wrong with them."""
    name = options.get("name")
    if not isinstance(name, str):
        return options, [
            (
                ("dataset", "name"),
                f"must be {', '.join(registry.BUILT_IN)} or package.module:Class, but got {shown(name)}",
            )
        ]
    try:
        kind = registry.find(name)
    except LookupError as error:
        like = hint(name, list(registry.BUILT_IN))
        return options, [(("dataset", "name"), f"must be {error}, but got {name!r}{like}")]
    own = options if name in registry.BUILT_IN else {k: v for k, v in options.items() if k != "name"}
    values, faults = _options(kind, own)
    full = {"name": name} | values | {"name": name}
    return json.loads(json.dumps(full, default=str)), [(("dataset", *path), text) for path, text in faults]


def _options(kind: type, own: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """What a data set's class makes of its options, and what is wrong with them."""
    faults = dict(_signature_faults(kind, own))
    if not dataclasses.is_dataclass(kind):
        return own, list(faults.items())
    try:
        value, more = validated(kind, own)
    except (PydanticUserError, PydanticUndefinedAnnotation):  # a field's type is none that a file can hold
        return own, list(faults.items())
    return own if value is None else dataclasses.asdict(value), list((faults | dict(more)).items())


def _signature_faults(kind: type, own: dict[str, Any]) -> list[Fault]:
    """What a class says of its options by its signature."""
    try:
        every = inspect.signature(kind).parameters.values()
    except ValueError:  # it is written in C
        return []
    if any(p.kind is p.VAR_KEYWORD for p in every):
        return []
    parameters = {p.name: p for p in every if p.kind is not p.VAR_POSITIONAL}
    unknown = [k for k in own if k not in parameters]
    missing = [k for k, p in parameters.items() if p.default is p.empty and k not in own]
    faults: list[Fault] = [((k,), "is no known key" + nearest(k, list(parameters))) for k in unknown]
    return faults + [((k,), "is missing") for k in missing]


def _space_faults(space: dict[str, spaces.Entry], trial: TrialConfig) -> list[Fault]:
    faults: list[Fault] = []
    known = spaces.paths(trial)
    for path, entry in space.items():
        if path not in known:
            faults.append((("space", path), "is no path into `trial`" + nearest(path, known)))
            continue
        faults += [(("space", path, *p), f"must be {text}") for p, text in spaces.entry_problems(trial, path, entry)]
    if faults or not space:
        return faults
    if clashes := spaces.clashes(space, trial):
        return [(("space", path), f"must be {text}") for path, text in clashes]
    if not spaces.methods(space, trial):
        return [(("space", spaces.METHOD), "leaves nothing to compare with: name `ogm` or `ogm_ge` here or in `trial`")]
    if not spaces.windows(space, trial):
        return [
            (
                ("space", spaces.START),
                f"leaves no window that opens: no start is at most its end and below {trial.epochs} epochs",
            )
        ]
    return []


def _rung_faults(experiment: Experiment) -> list[Fault]:
    how, longest = experiment.search.scheduler, spaces.most_epochs(experiment.space, experiment.trial)
    place = ("search", "scheduler")
    if how.name != "asha":
        given = (("rungs", how.rungs is not None), ("brackets", how.brackets > 1))
        return [((*place, option), f"is asha's, and `name` is {how.name}") for option, there in given if there]
    if how.rungs is not None and how.rungs[-1] >= longest:
        return [((*place, "rungs"), f"must lie before the last of {longest} epochs, but got {list(how.rungs)}")]
    rungs = rungs_of(experiment)
    if how.brackets > max(1, len(rungs)):
        most = f"at most {max(1, len(rungs))}, the number of rungs (after {rungs} epochs)"
        text = f"must be {most}, as in one more no trial would ever be compared, but got {how.brackets}"
        return [((*place, "brackets"), text)]
    return []


def _mode_faults(search: Search) -> list[Fault]:
    metrics = 1 if isinstance(search.metric, str) else len(search.metric)
    if isinstance(search.mode, str) or len(search.mode) == metrics:
        return []
    expected = f"max, min, or a list with one of them for each of {metrics} metrics"
    return [(("search", "mode"), f"must be {expected}, but got {list(search.mode)}")]


def _sampler_faults(search: Search, space: dict[str, spaces.Entry], trial: TrialConfig) -> list[Fault]:
    """What the sampler cannot do with the sound part of the space. All of the baseline's is in the modulated arm's."""
    known = spaces.paths(trial)
    sound = {p: e for p, e in space.items() if p in known and not spaces.entry_problems(trial, p, e)}
    searched = spaces.dimensions(sound, trial, modulated=bool(spaces.methods(sound, trial)))
    refused = samplers.refusal(search.sampler, searched, several=len(search.objectives) > 1)
    return [(("search", "sampler"), refused)] if refused else []


def _budget_faults(experiment: Experiment) -> list[Fault]:
    search, confirm = experiment.search, experiment.confirm
    place = ("search", "budget")
    hours, epochs = search.budget.gpu_hours, search.budget.epochs
    faults: list[Fault] = []
    if hours is not None and not search.resources.gpu:
        faults.append(((*place, "gpu_hours"), f"must be null where `search.resources.gpu` is 0, but got {hours:g}"))
    if epochs is not None and confirm is not None:
        each = spaces.most_epochs(experiment.space, experiment.trial)
        aside = confirm.trainings * each
        if epochs <= aside:
            takes = f"{confirm.trainings} x {each} = {aside}"
            faults.append(((*place, "epochs"), f"must be more than the confirmation's {takes}, but got {epochs}"))
    return faults


def check(document: Document) -> Experiment:
    """The experiment that a document holds.

    Raises:
        ExperimentError: with a sentence for each mistake: path, what was expected, what came, file and line.
    """
    value, faults = validated(Experiment, document.value, {"name": "unnamed", "dataset": {}})
    options = document.value.get("dataset")
    if isinstance(options, dict):
        full, more = _dataset_faults(options)
        faults += more
        if value is not None:
            value = value.model_copy(update={"dataset": full})
    if value is not None:
        more = _space_faults(value.space, value.trial) or _rung_faults(value)
        more += _sampler_faults(value.search, value.space, value.trial)
        more += _budget_faults(value) + _mode_faults(value.search)
        faults += [(path, text) for path, text in more if path not in dict(faults)]
    if faults:
        faults.sort(key=lambda fault: document.line(fault[0]) or 0)
        sentences = [f"`{dotted(path)}` {text} ({document.where(path)})" for path, text in faults]
        raise ExperimentError(document.source, sentences)
    assert isinstance(value, Experiment)
    return value


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
