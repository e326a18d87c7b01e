"""Schema of the experiment file: its keys, their bounds, defaults and descriptions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from datasets.store.remote import has_secret, whereabouts
from ogmge.config import TrialConfig
from ogmge.fit import Objective
from search.experiment.arms import Arm
from search.experiment.dimensions import Range
from search.experiment.messages import format_setting
from search.experiment.mistakes import UserError
from search.experiment.yaml_source import COMMAND_LINE, Dumper

SamplerName = Literal["tpe", "random", "grid", "qmc", "gp", "cmaes", "nsga2"]


class ExperimentError(UserError):
    """An invalid experiment, with one sentence for each error.

    Args:
        source: name of the experiment or its file.
        sentences: one sentence per error.
    """

    def __init__(self, source: str, sentences: Sequence[str]) -> None:
        self.source = source
        super().__init__(*sentences)

    @property
    def listing(self) -> tuple[str, Sequence[str]]:
        """Heading of a list of these errors, which names the file once, and its items; a single error names it itself.

        >>> ExperimentError("f.yaml", ["`a` is missing (f.yaml)", "`b` is odd (f.yaml, line 2)"]).listing
        ('2 errors in f.yaml:', ['`a` is missing', 'line 2: `b` is odd'])
        """
        items = [self._item(sentence) for sentence in self.sentences]
        if len(items) < 2 or items == list(self.sentences):  # those of a machine, for example, name no file
            return super().listing
        return f"{len(items)} errors in {self.source}:", items

    def _item(self, sentence: str) -> str:
        """Return a sentence with its place in front and without the name of the file."""
        place = rf"(?P<text>.*) \((?:{re.escape(self.source)}(?:, (?P<line>line \d+))?|(?P<command>{COMMAND_LINE}))\)"
        if (found := re.fullmatch(place, sentence, re.DOTALL)) is None:
            return sentence
        where = found["line"] or found["command"]
        return f"{where}: {found['text']}" if where else found["text"]

    def __reduce__(self) -> tuple[type[ExperimentError], tuple[str, Sequence[str]]]:
        return type(self), (self.source, self.sentences)  # workers raise it in other processes


class _Section(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


def _rising(rungs: tuple[int, ...]) -> tuple[int, ...]:
    if list(rungs) != sorted(set(rungs)) or not rungs or rungs[0] < 1:
        raise ValueError(f"expected rising numbers of epochs, each at least 1, but got {list(rungs)}")
    return rungs


class Scheduler(_Section):
    """Early stopping."""

    name: Literal["asha", "median", "none"] = "asha"
    """Rule of early stopping. `asha` stops the worse trials at fixed epochs, the rungs (Li et al., MLSys 2020).
    `median` stops trials that are worse than the median of the others (Golovin et al., KDD 2017). `none` stops no
    trial."""
    grace_epochs: int | None = Field(default=None, ge=1)
    """Number of epochs that each trial trains before it can be stopped, unless `rungs` names earlier epochs. A trial is
    also spared for this many epochs after its window opens. null means a third of the longest trial. Shorter grace
    periods stop good trials: see benchmarks/schedulers.md."""
    reduction_factor: int = Field(default=3, ge=2)
    """Factor between the epochs of successive ASHA rungs. At each rung, the best 1 / `reduction_factor` of the trials
    continue."""
    rungs: Annotated[tuple[int, ...], AfterValidator(_rising)] | None = None
    """Epochs after which ASHA compares trials, in rising order. null derives them: the first is `grace_epochs`, each
    further one is `reduction_factor` times the one before, and one follows each drop of the learning rate."""
    brackets: int = Field(default=1, ge=1, le=10)
    """Number of ASHA brackets. Each trial draws one of them and is compared within it; each bracket skips one more of
    the first rungs than the one before."""


class ResourceRequest(_Section):
    """Hardware for each trial."""

    cpu: Annotated[float, Field(gt=0)] | Literal["auto"] = 1.0
    """CPU cores per trial. `auto` measures which number gives the most epochs per hour on this machine. If trials share
    GPUs, `auto` gives each trial the same share of the machine's cores as of its GPUs."""
    gpu: Annotated[float, Field(ge=0)] | Literal["auto"] = 0.0
    """GPUs per trial. With a fraction, several trials run on one GPU, each limited to its share of the memory. `auto`
    runs 1, 2, 4, … copies of the heaviest configuration at the same time, as memory and cores permit, and chooses the
    number with the most epochs per hour; without a GPU it means 0."""


class Prefixes(_Section):
    """Storage of shared prefixes: the first epochs of a training, saved for other trials that begin with the same
    epochs."""

    max_gb: float = Field(default=20.0, gt=0)
    """Largest total size of the stored prefixes, in gigabytes. When it is reached, the prefixes that save the fewest
    epochs are deleted."""


class Budget(_Section):
    """Limits of what a search may spend; null means no limit. When a limit is reached, each trial stops after its
    current epoch."""

    hours: float | None = Field(default=None, gt=0)
    """Wall time in hours, summed over all sessions of a resumed search."""
    gpu_hours: float | None = Field(default=None, gt=0)
    """GPU-hours: hours of training times `search.resources.gpu`, summed over all trials."""
    epochs: int | None = Field(default=None, ge=1)
    """Total number of epochs trained by all trials; a shared epoch counts once."""


Mode = Literal["max", "min"]
# any value: `search.experiment.first` checks each entry and reports all errors at once
_Configuration = Annotated[Any, WithJsonSchema({"type": "object"})]


def _different(metrics: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if not isinstance(metrics, str) and (not metrics or len(set(metrics)) < len(metrics)):
        raise ValueError(f"expected at least one metric and none twice, but got {format_setting(metrics)}")
    return metrics


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError(f"expected each search once, but got {format_setting(names)}")
    return names


def _address(address: str) -> str:
    host, _, port = address.rpartition(":")
    if address not in ("local", "auto") and not (
        re.fullmatch(r"[\w.-]+", host) and port.isdecimal() and int(port) < 2**16
    ):
        raise ValueError(f"expected `local`, `auto`, or host:port of a Ray cluster's head, but got {address!r}")
    return address


def _storage(where: str | None) -> str | None:
    if where is not None:
        whereabouts(where)
    return where


def _tracking_uri(uri: str | None) -> str | None:
    if uri is not None and has_secret(uri):
        raise ValueError(
            "a password in the URI would be stored with the run; for an MLflow server, set MLFLOW_TRACKING_USERNAME "
            "and MLFLOW_TRACKING_PASSWORD, and for a database use its password file (such as ~/.pgpass)"
        )
    return uri


class Search(_Section):
    """How trials are chosen, stopped and run."""

    metric: Annotated[str | tuple[str, ...], AfterValidator(_different)] = "val/accuracy"
    """Metric to optimise, taken at a trial's best epoch. With a list, the first metric determines the best epoch of a
    trial, the best trial of an arm and early stopping; the sampler seeks trade-offs between all of them."""
    mode: Mode | tuple[Mode, ...] = "max"
    """Direction of `metric`: `max` if higher is better, `min` if lower is better; a list gives one direction per
    metric."""
    trials: int = Field(default=16, ge=2)
    """Total number of trials of both arms."""
    baseline_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the trials that belong to the baseline arm, which trains without modulation."""
    first: tuple[_Configuration, ...] = ()
    """Configurations that both arms try right after the recipe, such as settings known to be good. Each is a mapping
    from dotted paths into `trial` to values; all other settings are those of `trial`. They may lie outside the
    space."""
    learn_from: Annotated[tuple[str, ...], AfterValidator(_distinct)] = ()
    """Names or folders of earlier searches with the same data and metric. The sampler learns from those of their trials
    that lie in this search's space. They do not count as trials of this search."""
    transfer: float = Field(default=0.5, ge=0, le=1)
    """Share of an arm's trials that copy their shared settings (all but the modulation) from the best trial of the
    other arm so far; 0 searches the arms independently. See docs/arms.md."""
    sampler: SamplerName = "tpe"
    """Optuna sampler that proposes configurations; `grid` tries every configuration of a finite space in random
    order."""
    scheduler: Scheduler = Scheduler()
    seed: int = Field(default=0, ge=0)
    """Random seed of the sampler."""
    resources: ResourceRequest = ResourceRequest()
    budget: Annotated[
        Budget, BeforeValidator(lambda value: {} if value is None else value, json_schema_input_type=Budget | None)
    ] = Budget()
    address: Annotated[str, AfterValidator(_address)] = "local"
    """Where trials run: `local` starts Ray on this machine, host:port joins the Ray cluster with that head, and `auto`
    joins the one that $RAY_ADDRESS names, which `ray job submit` sets."""
    storage: Annotated[str | None, AfterValidator(_storage)] = None
    """Path or URI of a folder for the trials' checkpoints that all nodes can access; null means the folder of the
    run."""

    share_prefixes: bool = True
    """Whether epochs that several trials have in common are trained only once. Until its window opens, a modulated
    trial equals an unmodulated one. On a CPU, results are bit for bit the same as without sharing; see
    docs/sharing.md."""
    prefixes: Prefixes = Prefixes()

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Pairs of `metric` and `mode`."""
        metrics = (self.metric,) if isinstance(self.metric, str) else self.metric
        modes: tuple[Mode, ...] = (self.mode,) * len(metrics) if isinstance(self.mode, str) else self.mode
        return tuple(map(Objective, metrics, modes))

    @property
    def objective(self) -> Objective:
        """First objective, which ranks the epochs of a trial and the trials of an arm."""
        return self.objectives[0]


class Confirm(_Section):
    """Confirmation: trains the best configuration of each arm with fresh seeds and gives the verdict."""

    seeds: int = Field(default=10, ge=2)
    """Number of fresh seeds per arm; with fewer than 6, the exact sign-flip test cannot reach p < 0.05."""

    @property
    def trainings(self) -> int:
        """Largest number of trainings: a pair per seed, plus an ablation if the pairs show a difference."""
        return 3 * self.seeds


FEWEST_SEEDS = 3  # of a prediction that says something


class Provenance(_Section):
    """Source and known performance of an exported configuration."""

    run: str
    """Name of the search."""
    trial: int
    """Number of the trial in that search."""
    arm: Arm
    """Arm of the trial."""
    metric: str
    """Metric that ranked the trials."""
    value: float
    """Value of the metric: the mean over `seeds` fresh seeds, or the result of one training of the search."""
    seeds: int
    """Number of trainings behind `value`."""
    prediction: tuple[float, float] | None
    """Interval that contains the result of one more training with a probability of 95 %; null after a single
    training."""
    epochs: int
    """Number of epochs until the best one; the median over the trainings."""
    verdict: str | None
    """Verdict of the confirmation; null without one."""
    fingerprint: str
    """Fingerprint of the search's data, including its validation split."""
    split_seed: int | None = None
    """Seed of the search's validation split, which chose the configuration, if `dataset.split_seed` is a fresh one."""
    versions: dict[str, str]
    """Versions of Python and of the packages."""

    @property
    def expected_range(self) -> tuple[float, float] | None:
        """`prediction` within what the metric can be; None with so few seeds that it says nothing."""
        if self.prediction is None or self.seeds < FEWEST_SEEDS:
            return None
        low, high = self.prediction
        return (max(0.0, low), min(1.0, high)) if "accuracy" in self.metric else (low, high)


class Tracking(_Section):
    """Tracking of trials and trainings with MLflow."""

    uri: Annotated[str | None, AfterValidator(_tracking_uri)] = None
    """Tracking URI of MLflow, without a password; null means the SQLite file `mlflow.db` in the folder of all runs."""
    checkpoints: Literal["best", "none"] = "best"
    """Weights to upload as MLflow artifacts: `best` uploads those of each trial's best epoch, `none` uploads none."""
    system_metrics: bool = False
    """Whether MLflow records the load of the machine that runs the command, every 10 s."""


_Entry = Annotated[
    Annotated[list[Any], Tag("choices")] | Annotated[Range, Tag("range")],
    Discriminator(
        lambda value: {list: "choices", dict: "range", Range: "range"}.get(type(value)),
        custom_error_type="no_entry",
        custom_error_message="no entry",
    ),
]


_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"


_RESERVED = ("mlflow.db", "mlartifacts", "sheets")  # beside the folders of the runs


def _safe_name(name: str) -> str:
    if name.startswith(_RESERVED):
        raise ValueError(f"{name!r} is reserved for a file or folder in runs/ (as are {', '.join(_RESERVED)})")
    if not re.fullmatch(_NAME, name):
        raise ValueError(
            "expected at most 100 letters, digits, dots, dashes and underscores, the first a letter or digit, but got "
            f"{format_setting(name)}"
        )
    return name


class Experiment(_Section):
    """One experiment file: the data, the training, what to search, and how."""

    name: Annotated[str, AfterValidator(_safe_name), Field(json_schema_extra={"pattern": f"^{_NAME}$"})]
    """Name of the experiment and of its folder under `runs/`: at most 100 letters, digits, dots, dashes and
    underscores, the first a letter or digit."""
    dataset: dict[str, Any]
    """Data to train on: the `name` of a data set, and its options."""
    trial: TrialConfig = Field(default_factory=TrialConfig)
    """The values here are the recipe; each key can be searched."""
    space: dict[str, _Entry] = Field(default_factory=dict)
    """What to search: each key is a dotted path into `trial`, each value a list of choices or a range."""
    search: Search = Search()
    confirm: Confirm | None = None
    """If given, the search ends with a confirmation; null leaves it to `python -m search confirm`."""
    tracking: Tracking = Tracking()
    modules: tuple[str, ...] = ()
    """Folders in which the modules of your own code are searched first. Files that the program writes name the folders
    in which it found them."""
    origin: Provenance | None = None
    """Written by `python -m search export`; do not edit."""


USED_BY_TRAINING = ("metric", "mode", "resources", "address", "storage")  # keys of `search` that `train` uses too


def for_training(experiment: Experiment) -> Experiment:
    """Return an experiment that trains the same `trial`, without what only a search uses."""
    search = Search().model_copy(update={key: getattr(experiment.search, key) for key in USED_BY_TRAINING})
    return experiment.model_copy(update={"space": {}, "search": search, "confirm": None})


def as_values(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment as plain values, with all defaults."""
    values: dict[str, Any] = experiment.model_dump(mode="json", exclude_none=False)
    for entry in values["space"].values():
        if isinstance(entry, dict) and entry["step"] is None:
            del entry["step"]
    return values


def to_yaml(values: dict[str, Any]) -> str:
    """Format plain values as YAML, in their order."""
    text: str = yaml.dump(
        values, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None
    )
    return text
