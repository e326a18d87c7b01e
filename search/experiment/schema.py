"""The experiment file's schema: what may stand in it, and what each key means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from datasets.store.remote import whereabouts
from ogmge.config import TrialConfig
from ogmge.fit import Objective
from search.experiment.arms import Arm
from search.experiment.dimensions import Range
from search.experiment.mistakes import UserError
from search.experiment.yaml_source import Dumper

SamplerName = Literal["tpe", "random", "grid", "qmc", "gp", "cmaes", "nsga2"]


class ExperimentError(UserError):
    """An experiment that cannot be run as it is written: one sentence for each mistake."""

    def __init__(self, source: str, sentences: Sequence[str]) -> None:
        self.source = source
        super().__init__(*sentences)

    def __reduce__(self) -> tuple[type[ExperimentError], tuple[str, Sequence[str]]]:
        return type(self), (self.source, self.sentences)  # a worker raises it, too


class _Section(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


def _rising(rungs: tuple[int, ...]) -> tuple[int, ...]:
    if list(rungs) != sorted(set(rungs)) or not rungs or rungs[0] < 1:
        raise ValueError(f"epochs of at least 1, each larger than the one before, but got {list(rungs)}")
    return rungs


class Scheduler(_Section):
    """Early stopping."""

    name: Literal["asha", "median", "none"] = "asha"
    """`asha` stops the worse trials at rungs (Li et al., MLSys 2020); `median` those that fall behind half of the
    others (Golovin et al., KDD 2017); `none` trains all to the end."""
    grace_epochs: int | None = Field(default=None, ge=1)
    """No trial is stopped before it has trained this many epochs, nor in this many after its window opened; null is a
    third of the longest trial. Sooner is a poor guide: see benchmarks/schedulers.md."""
    reduction_factor: int = Field(default=3, ge=2)
    """One trial in this many goes on at each rung of ASHA; rungs are this factor apart."""
    rungs: Annotated[tuple[int, ...], AfterValidator(_rising)] | None = None
    """After how many epochs ASHA compares, each more than the one before; null is the grace, then a factor apart, and
    after a drop of the rate."""
    brackets: int = Field(default=1, ge=1, le=10)
    """ASHA's brackets, of which a trial draws one; each skips one rung more at the start."""


class ResourceRequest(_Section):
    """What one trial gets."""

    cpu: Annotated[float, Field(gt=0)] | Literal["auto"] = 1.0
    """Cores. `auto` measures how many make the most epochs an hour of this machine; where trials take a part of a GPU,
    it is that part of the machine's."""
    gpu: Annotated[float, Field(ge=0)] | Literal["auto"] = 0.0
    """GPUs; a fraction packs several trials on one and holds each to its share of the memory. `auto` trains the
    heaviest configuration once, twice, four times … at the same time, as far as memory and cores go, and takes what
    makes the most epochs an hour; 0 where there is no GPU."""


class Prefixes(_Section):
    """Shared prefixes: the first epochs of trainings, stored for the trials that share them."""

    max_gb: float = Field(default=20.0, gt=0)
    """Gigabytes of all that are stored at a time; beyond it, those that save the least are dropped."""


class Budget(_Section):
    """What a search may spend; null is no limit. Once one of these is spent, no trial goes on past its next report."""

    hours: float | None = Field(default=None, gt=0)
    """Hours of wall time, over all sessions of a search that is resumed."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """Hours of training x `search.resources.gpu`, over all trials."""
    epochs: int | None = Field(default=None, ge=1)
    """Epochs that are trained, of all trials together; one that several trials share counts once."""


Mode = Literal["max", "min"]
# any value: what is wrong with each is said by `search.experiment.first`, so that one mistake hides no other
_Configuration = Annotated[Any, WithJsonSchema({"type": "object"})]


def _different(metrics: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if not isinstance(metrics, str) and (not metrics or len(set(metrics)) < len(metrics)):
        raise ValueError(f"at least one metric, and each once, but got {list(metrics)}")
    return metrics


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError(f"each search once, but got {list(names)}")
    return names


def _address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if address not in ("local", "auto") and not (
        re.fullmatch(r"[\w.-]+", host) and port.isdecimal() and int(port) < 2**16
    ):
        raise ValueError(f"{address!r} is none of `local`, `auto`, and host:port of a Ray cluster's head")
    return address


def _storage(where: str | None) -> str | None:
    if where is not None:
        whereabouts(where)
    return where


class Search(_Section):
    """How the space is searched."""

    metric: Annotated[str | tuple[str, ...], AfterValidator(_different)] = "val/accuracy"
    """What is optimised: that of a trial's best epoch. Of several in a list the first says which epoch is a trial's
    best, which trial an arm's, and who is stopped early; the sampler looks for trade-offs between all of them."""
    mode: Mode | tuple[Mode, ...] = "max"
    """Whether more or less of it is better; a list where that is not the same for all of them."""
    trials: int = Field(default=16, ge=2)
    """Trials of both arms together."""
    baseline_share: float = Field(default=0.5, gt=0, lt=1)
    """The part of the trials that train without modulation."""
    first: tuple[_Configuration, ...] = ()
    """Configurations known to be good, which both arms try right after the experiment's own `trial`: for each a mapping
    from dotted paths into `trial` to values; all else is as in `trial`. One may lie outside the space."""
    learn_from: Annotated[tuple[str, ...], AfterValidator(_distinct)] = ()
    """Earlier searches, each by its name or folder, on the same data and with the same metric: the sampler knows the
    results of those of their trials that the space holds. None of them counts as a trial of this search."""
    transfer: float = Field(default=0.5, ge=0, le=1)
    """The part of an arm's trials that take their shared settings (all but the modulation) from the best trial of the
    other arm so far, see docs/arms.md; 0 searches the arms apart."""
    sampler: SamplerName = "tpe"
    """Optuna's sampler; `grid` tries every configuration of a finite space in an order drawn at random."""
    scheduler: Scheduler = Scheduler()
    seed: int = Field(default=0, ge=0)
    """What the sampler draws from."""
    resources: ResourceRequest = ResourceRequest()
    budget: Annotated[
        Budget, BeforeValidator(lambda value: {} if value is None else value, json_schema_input_type=Budget | None)
    ] = Budget()
    address: Annotated[str, AfterValidator(_address)] = "local"
    """Address of a Ray cluster's head, host:port; `auto` is $RAY_ADDRESS, which a job (`ray job submit`) has; `local`
    starts a Ray of its own on this machine."""
    storage: Annotated[str | None, AfterValidator(_storage)] = None
    """Path or URI of a folder for the trials' checkpoints that all nodes see; null is the folder of the run."""

    share_prefixes: bool = True
    """Whether epochs that several trials share are trained only once: on a CPU to the same bits, see
    docs/sharing.md. Before its window opens a modulated trial is an unmodulated one."""
    prefixes: Prefixes = Prefixes()

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """`metric` and `mode`, pair by pair."""
        metrics = (self.metric,) if isinstance(self.metric, str) else self.metric
        modes: tuple[Mode, ...] = (self.mode,) * len(metrics) if isinstance(self.mode, str) else self.mode
        return tuple(map(Objective, metrics, modes))

    @property
    def objective(self) -> Objective:
        """The first of them, by which a trial's epochs and an arm's trials are ranked."""
        return self.objectives[0]


class Confirm(_Section):
    """Fresh seeds for the best configuration of each arm, from which the verdict comes."""

    seeds: int = Field(default=10, ge=2)
    """Trainings of each arm; with fewer than 6 an exact sign-flip test cannot reach p < 0.05."""

    @property
    def trainings(self) -> int:
        """At most: a pair for each seed, and an ablation where the pairs make a claim."""
        return 3 * self.seeds


class Provenance(_Section):
    """Where an exported configuration came from, and what it is known to reach."""

    run: str
    """The search's name."""
    trial: int
    """The configuration's number in that search."""
    arm: Arm
    """Whether it trains without modulation, or with it."""
    metric: str
    """What the search ranked by."""
    value: float
    """What it reaches of that: the mean over `seeds` fresh seeds, or what one training of the search reached."""
    seeds: int
    """How many trainings that is the mean of."""
    prediction: tuple[float, float] | None
    """Between these one more training comes out, in 95 %; null where it was trained once."""
    epochs: int
    """Epochs to the best one, in the median."""
    verdict: str | None
    """The confirmation's word, where it was confirmed."""
    fingerprint: str
    """Fingerprint of the data."""
    versions: dict[str, str]
    """Versions of Python and the packages."""


class Tracking(_Section):
    """Where MLflow records."""

    uri: str | None = None
    """MLflow's tracking URI; null is `mlflow.db` (SQLite) in the folder of the runs."""
    checkpoints: Literal["best", "none"] = "best"
    """`best` uploads the weights of each trial's best epoch as an artifact."""
    system_metrics: bool = False
    """Whether the run of a search or a training in MLflow has, every 10 s, how busy the machine is on which the command
    runs."""


_Entry = Annotated[
    Annotated[list[Any], Tag("choices")] | Annotated[Range, Tag("range")],
    Discriminator(
        lambda value: {list: "choices", dict: "range", Range: "range"}.get(type(value)),
        custom_error_type="no_entry",
        custom_error_message="no entry",
    ),
]


_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


def _safe_name(name: str) -> str:
    if not re.fullmatch(_NAME, name):
        raise ValueError(
            f"{name!r} is to be a folder's name: letters, digits, dots, dashes and underscores, 100 at most"
        )
    return name


class Experiment(_Section):
    """A whole experiment file."""

    name: Annotated[str, AfterValidator(_safe_name), Field(json_schema_extra={"pattern": f"^{_NAME}$"})]
    """Name of the experiment, and of its folder under `runs/`: letters, digits, dots, dashes and underscores, 100 at
    most, the first a letter or digit."""
    dataset: dict[str, Any]
    """What is trained on: the `name` of a data set and its options."""
    trial: TrialConfig = Field(default_factory=TrialConfig)
    """Whatever stands here can be searched."""
    space: dict[str, _Entry] = Field(default_factory=dict)
    """Dotted path into `trial` -> a list of choices, or a range."""
    search: Search = Search()
    confirm: Confirm | None = None
    """Where it is given, the search confirms its best configurations when it is done; null leaves that to `python -m
    search confirm`."""
    tracking: Tracking = Tracking()
    origin: Provenance | None = None
    """Written by `python -m search export`, never by hand."""


def as_values(experiment: Experiment) -> dict[str, Any]:
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
