"""The experiment file: its schema, and sentences for everything that is wrong with one, all at once."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import inspect
import json
import os
import re
import sys
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PydanticUndefinedAnnotation,
    PydanticUserError,
    Tag,
    TypeAdapter,
    ValidationError,
)

from datasets import registry
from ogmge.config import ConfigError, TrialConfig
from search import samplers
from search import space as spaces
from search.document import Document, DocumentError, Dumper, Place, dotted, override, read


class ExperimentError(ValueError):
    """An experiment that cannot be run as it is written: one sentence for each mistake."""

    def __init__(self, source: str, sentences: Sequence[str]) -> None:
        self.source, self.sentences = source, tuple(sentences)
        super().__init__("\n".join(sentences))


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


def _rising(rungs: tuple[int, ...]) -> tuple[int, ...]:
    if list(rungs) != sorted(set(rungs)) or not rungs or rungs[0] < 1:
        raise ValueError(f"epochs of at least 1, each larger than the one before, but got {list(rungs)}")
    return rungs


class Scheduler(_Section):
    """Early stopping."""

    name: Literal["asha", "median", "none"] = "asha"
    """`asha` stops the worse trials at rungs (Li et al., MLSys 2020); `median` those that fall behind half of the
    others (Golovin et al., KDD 2017); `none` trains all to the end."""
    grace_epochs: int = Field(default=1, ge=1)
    """No trial is stopped before it has trained this many epochs, nor in this many after its window opened."""
    reduction_factor: int = Field(default=3, ge=2)
    """One trial in so many goes on at each rung of ASHA; rungs are this factor apart."""
    rungs: Annotated[tuple[int, ...], AfterValidator(_rising)] | None = None
    """After how many epochs ASHA compares; null is the grace, then a factor apart, and after a drop of the rate."""
    brackets: int = Field(default=1, ge=1, le=10)
    """Of how many a trial draws one; in each, one rung more is left out at the begin."""


class Resources(_Section):
    """What one trial gets."""

    cpu: float = Field(default=1, gt=0)
    """Cores."""
    gpu: float = Field(default=0, ge=0)
    """GPUs; a fraction packs several trials on one and holds each to its share of the memory."""


class Budget(_Section):
    """What a search may spend; null is no limit. Once one of these is spent, no trial goes on past its next report."""

    hours: float | None = Field(default=None, gt=0)
    """Of wall time, over all sessions of a search that is resumed."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Seconds of training x `search.resources.gpu`, over all trials."""
    epochs: int | None = Field(default=None, ge=1)
    """Of all trials together."""


def _address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if address != "local" and not (re.fullmatch(r"[\w.-]+", host) and port.isdecimal() and int(port) < 2**16):
        raise ValueError(f"{address!r} is neither `local` nor host:port of a Ray cluster's head")
    return address


class Search(_Section):
    """How the space is searched."""

    metric: str = "val/accuracy"
    """What is optimised: that of a trial's best epoch."""
    mode: Literal["max", "min"] = "max"
    """Whether more or less of it is better."""
    trials: int = Field(default=16, ge=2)
    """Trials of both arms together."""
    baseline_share: float = Field(default=0.5, gt=0, lt=1)
    """The part of them that trains without modulation."""
    sampler: samplers.Name = "tpe"
    """Optuna's sampler; `grid` tries every configuration of a finite space in an order drawn at random."""
    scheduler: Scheduler = Scheduler()
    seed: int = Field(default=0, ge=0)
    """Of the sampler."""
    resources: Resources = Resources()
    budget: Annotated[Budget, BeforeValidator(lambda value: {} if value is None else value)] = Budget()
    address: Annotated[str, AfterValidator(_address)] = "local"
    """Of a Ray cluster's head, host:port; `local` starts a Ray of its own on this machine."""


class Tracking(_Section):
    """Where MLflow records."""

    uri: str | None = None
    """MLflow's tracking URI; null is `mlflow.db` (SQLite) in the folder of the runs."""
    checkpoints: Literal["best", "none"] = "best"
    """`best` uploads the weights of each trial's best epoch as an artifact."""


_Entry = Annotated[
    Annotated[list[Any], Tag("choices")] | Annotated[spaces.Range, Tag("range")],
    Discriminator(lambda value: "range" if isinstance(value, dict | spaces.Range) else "choices"),
]


def _safe_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError(
            f"{name!r} is to be a folder's name: letters, digits, dots, dashes and underscores, 100 at most"
        )
    return name


class Experiment(_Section):
    """A whole experiment file."""

    name: Annotated[str, AfterValidator(_safe_name)]
    """Of the experiment, and of its folder under `runs/`."""
    dataset: dict[str, Any]
    """What is trained on: the `name` of a data set and its options."""
    trial: TrialConfig = Field(default_factory=TrialConfig)
    space: dict[str, _Entry] = Field(default_factory=dict)
    """Dotted path into `trial` -> a list of choices, or a range."""
    search: Search = Search()
    tracking: Tracking = Tracking()


def resolved(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain values, every default written out."""
    values: dict[str, Any] = experiment.model_dump(mode="json", exclude_none=False)
    for entry in values["space"].values():
        if isinstance(entry, dict) and entry["step"] is None:
            del entry["step"]
    return values


def to_yaml(values: dict[str, Any]) -> str:
    """Plain values as YAML, in their order."""
    text: str = yaml.dump(
        values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None
    )
    return text


# ---- sentences ----


def _shown(value: Any) -> str:
    """A value as the file would have it, cut where it is long."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def nearest(name: str, known: Sequence[str]) -> str:
    """ "; did you mean `x`?", or the names there are."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean `{close[0]}`?"
    return f": expected one of {', '.join(known)}" if known else ": there are none"


def _fields(kind: Any) -> dict[str, Any]:
    """Field names and types of a pydantic model or dataclass; of a union, its first such member."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return typing.get_type_hints(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType, Annotated):
        return next((found for member in typing.get_args(kind) if (found := _fields(member))), {})
    return {}


def _known(kind: Any, path: Place) -> list[str]:
    """The keys that may stand where the last part of `path` does."""
    for part in path[:-1]:
        fields = _fields(kind)
        args = typing.get_args(kind)
        kind = fields[str(part)] if part in fields else (args[1] if typing.get_origin(kind) is dict else None)
    return [name for name in _fields(kind) if not name.startswith("__")]


def _place(location: Sequence[str | int], raw: Any, *, missing: bool) -> Place:
    """pydantic's location as a path into the document: without the names of union members."""
    path: list[str | int] = []
    for index, part in enumerate(location):
        inside = part in (raw if isinstance(raw, dict) else range(len(raw)) if isinstance(raw, list) else ())
        if inside:
            raw = raw[part]
            path.append(part)
        elif missing and index == len(location) - 1:
            path.append(part)
    return tuple(path)


_Fault = tuple[Place, str]  # path, and what to say of it: "must be …, but got …"


def _faults(error: ValidationError, kind: Any, raw: dict[str, Any]) -> list[_Fault]:
    found: dict[Place, list[str]] = {}
    values: dict[Place, Any] = {}
    for item in error.errors():
        path = _place(item["loc"], raw, missing=item["type"] == "missing")
        cause = item.get("ctx", {}).get("error")
        if item["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            found.setdefault(path, []).append("is no known key" + nearest(str(path[-1]), _known(kind, path)))
        elif item["type"] == "missing":
            found.setdefault(path, []).append("is missing")
        elif isinstance(cause, ConfigError):
            for problem in cause.problems:
                inner = (*path, *problem.path.split("."))
                found.setdefault(inner, []).append(f"must be {problem.expected}")
                values[inner] = problem.got
        elif cause is not None:
            found.setdefault(path, []).append(f"is wrong: {cause}")
        else:
            entry = len(path) == 2 and path[0] == "space"
            expected = "must be a list of choices or a range {low, high}" if entry else _expectation(item["msg"])
            found.setdefault(path, []).append(expected)
            values[path] = item["input"]
    return [
        (path, _joined(texts) + (f", but got {_shown(values[path])}" if path in values else ""))
        for path, texts in found.items()
        if not any(p[: len(path)] == path and p != path for p in found)  # of a union, the member that was meant
    ]


def _joined(texts: list[str]) -> str:
    """Expectations of a union's members as one: "must be a string or a mapping"."""
    text = " or ".join([texts[0], *(t.removeprefix("must be ") for t in dict.fromkeys(texts[1:]))])
    return re.sub("a whole number or a (finite )?number", r"a \1number", text)


_WORDS = {
    "a integer": "a whole number",
    "a array": "a list",
    "an object": "a mapping",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
}


def _expectation(message: str) -> str:
    """pydantic's sentence in the words of a YAML file."""
    plain = re.sub(r"^Input should be |valid |, unable to .*| after validation.*", "", message)
    plain = re.sub(r"^(Tuple|List|Set) should have", "a list of", plain)
    for theirs, ours in _WORDS.items():
        plain = plain.replace(theirs, ours)
    return f"must be {plain}"


def _validated(kind: Any, raw: dict[str, Any], stand_ins: dict[str, Any] | None = None) -> tuple[Any, list[_Fault]]:
    """`raw` as a `kind`, and everything wrong with it.

    What is wrong is taken out (`stand_ins` take the place of what must be there) and the rest is looked at again, so
    that one mistake does not hide another. The value is None only where nothing is left to look at.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    missing: list[_Fault] = [((key,), "is missing") for key in stand_ins or {} if key not in raw]
    faults: dict[Place, str] = dict(missing)
    rest = Document("", copy.deepcopy(raw))
    while True:
        rest.value = {**(stand_ins or {}), **rest.value}
        try:
            return adapter.validate_json(json.dumps(rest.value, default=str)), list(faults.items())
        except ValidationError as error:
            found = _faults(error, kind, rest.value)
        culprits = [_culprit(path, rest.value) for path, _ in found]
        faults |= {path: text for path, text in found if _own(path, rest.value, raw, faults)}
        if () in culprits:
            return None, list(faults.items())
        for culprit in culprits:
            rest.remove(culprit)


def _there(values: dict[str, Any], path: Place) -> bool:
    try:
        Document("", values).get(path)
    except KeyError:
        return False
    return True


def _own(path: Place, rest: dict[str, Any], raw: dict[str, Any], faults: dict[Place, str]) -> bool:
    """Whether a fault is the file's own, not a consequence of a value that was taken out.

    What is at fault and not there is missing, or a default at odds with what the file says beside it.
    """
    beside = any(p[:-1] == path[:-1] for p in faults)
    return _there(rest, path) or not (_there(raw, path) or beside)


def _culprit(path: Place, rest: dict[str, Any]) -> Place:
    """What to take out for a fault at `path`: that, or the nearest thing around it that is there and no list's item."""
    while path and (isinstance(path[-1], int) or not _there(rest, path)):
        path = path[:-1]
    return path


# ---- the data set's and the space's part ----


def _dataset_faults(options: dict[str, Any]) -> tuple[dict[str, Any], list[_Fault]]:
    """The data set's options with its defaults, and what is wrong with them."""
    name = options.get("name")
    if not isinstance(name, str):
        return options, [
            (
                ("dataset", "name"),
                f"must be {', '.join(registry.BUILT_IN)} or package.module:Class, but got {_shown(name)}",
            )
        ]
    try:
        kind = registry.find(name)
    except LookupError as error:
        close = difflib.get_close_matches(name, list(registry.BUILT_IN), n=1)
        hint = f"; did you mean `{close[0]}`?" if close else ""
        return options, [(("dataset", "name"), f"must be {error}, but got {name!r}{hint}")]
    own = options if name in registry.BUILT_IN else {k: v for k, v in options.items() if k != "name"}
    values, faults = _options(kind, own)
    full = {"name": name} | values | {"name": name}
    return json.loads(json.dumps(full, default=str)), [(("dataset", *path), text) for path, text in faults]


def _options(kind: type, own: dict[str, Any]) -> tuple[dict[str, Any], list[_Fault]]:
    """What a data set's class makes of its options, and what is wrong with them."""
    faults = dict(_signature_faults(kind, own))
    if not dataclasses.is_dataclass(kind):
        return own, list(faults.items())
    try:
        value, more = _validated(kind, own)
    except (PydanticUserError, PydanticUndefinedAnnotation):  # a field's type is none that a file can hold
        return own, list(faults.items())
    return own if value is None else dataclasses.asdict(value), list((faults | dict(more)).items())


def _signature_faults(kind: type, own: dict[str, Any]) -> list[_Fault]:
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
    faults: list[_Fault] = [((k,), "is no known key" + nearest(k, list(parameters))) for k in unknown]
    return faults + [((k,), "is missing") for k in missing]


def _space_faults(space: dict[str, spaces.Entry], trial: TrialConfig) -> list[_Fault]:
    faults: list[_Fault] = []
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


def _rung_faults(experiment: Experiment) -> list[_Fault]:
    how, longest = experiment.search.scheduler, spaces.most_epochs(experiment.space, experiment.trial)
    place = ("search", "scheduler")
    if how.name != "asha":
        given = (("rungs", how.rungs is not None), ("brackets", how.brackets > 1))
        return [((*place, option), f"is asha's, and `name` is {how.name}") for option, there in given if there]
    if how.rungs is not None and how.rungs[-1] >= longest:
        return [((*place, "rungs"), f"must lie before the last of {longest} epochs, but got {list(how.rungs)}")]
    return []


def _sampler_faults(name: samplers.Name, space: dict[str, spaces.Entry], trial: TrialConfig) -> list[_Fault]:
    """What the sampler cannot do with the sound part of the space. All of the baseline's is in the modulated arm's."""
    known = spaces.paths(trial)
    sound = {p: e for p, e in space.items() if p in known and not spaces.entry_problems(trial, p, e)}
    searched = spaces.dimensions(sound, trial, modulated=bool(spaces.methods(sound, trial)))
    refused = samplers.refusal(name, searched)
    return [(("search", "sampler"), refused)] if refused else []


def _budget_faults(search: Search) -> list[_Fault]:
    hours = search.budget.gpu_hours
    if hours is None or search.resources.gpu:
        return []
    return [(("search", "budget", "gpu_hours"), f"must be null where `search.resources.gpu` is 0, but got {hours:g}")]


def check(document: Document) -> Experiment:
    """The experiment that a document holds.

    Raises:
        ExperimentError: with a sentence for each mistake: path, what was expected, what came, file and line.
    """
    value, faults = _validated(Experiment, document.value, {"name": "unnamed", "dataset": {}})
    options = document.value.get("dataset")
    if isinstance(options, dict):
        full, more = _dataset_faults(options)
        faults += more
        if value is not None:
            value = value.model_copy(update={"dataset": full})
    if value is not None:
        more = _space_faults(value.space, value.trial) or _rung_faults(value)
        more += _sampler_faults(value.search.sampler, value.space, value.trial) + _budget_faults(value.search)
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
