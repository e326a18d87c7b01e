"""One training run as data: what `trial` holds in an experiment file, and what `Modulator` takes.

Plain frozen dataclasses, checked when they are made, so that they work with nothing but the standard library. A value
that cannot be raises `ConfigError`, which names every wrong field at once.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, get_args

Method = Literal["none", "ogm", "ogm_ge"]
Precision = Literal["fp32", "bf16", "fp16"]

FUSION_NAMES = ("concat", "sum", "film", "gated")
ENCODER_NAMES = ("resnet18", "small_conv", "mlp")

STRICT = {"extra": "forbid", "strict": True}  # how a schema validator is to read these classes

_BOUNDS = {  # of a number, in its field's metadata and as JSON Schema names them: the reference of all keys reads them
    "minimum": (operator.ge, "of at least"),
    "exclusiveMinimum": (operator.gt, "above"),
    "maximum": (operator.le, "at most"),
    "exclusiveMaximum": (operator.lt, "below"),
}


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration: the field's dotted path, what was expected, what came."""

    path: str
    expected: str
    got: object

    def __str__(self) -> str:
        return f"`{self.path}` must be {self.expected}, but got {self.got!r}"


class ConfigError(ValueError):
    """A configuration that cannot be: `problems` lists every field that is wrong."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, problems)))


_Rule = tuple[str, bool, str]  # a field, whether it is as it must be, and what it must be


def _words(its: Field[Any]) -> str:
    """The bounds of a field in words. Where there is one, a float has to be finite as well."""
    words = " and ".join(f"{_BOUNDS[name][1]} {bound}" for name, bound in its.metadata.items())
    one_sided = isinstance(its.default, float) and len(its.metadata) == 1
    return f"a finite number {words}" if one_sided else words.removeprefix("of ")


def _bounds(config: Any) -> Iterator[_Rule]:
    for its in (its for its in fields(config) if its.metadata):
        value = getattr(config, its.name)
        holds = all(_BOUNDS[name][0](value, bound) for name, bound in its.metadata.items())
        yield its.name, holds and math.isfinite(value), _words(its)


def _check(config: Any, *rules: _Rule) -> None:
    """Raise `ConfigError` for each field that is out of its bounds or breaks a rule, which then has the word."""
    broken = {name: expected for name, holds, expected in (*_bounds(config), *rules) if not holds}
    if broken:
        raise ConfigError([Problem(name, broken[name], got) for name, got in vars(config).items() if name in broken])


@dataclass(frozen=True)
class Modulation:
    """On-the-fly gradient modulation (Peng et al., CVPR 2022, arXiv 2203.15332) and when it acts.

    Args:
        method: `none` leaves the gradients alone, `ogm` scales the leading encoders' (paper, eq. 10), `ogm_ge` also
            adds Gaussian noise with the gradient's own standard deviation (paper, eq. 12).
        alpha: strength of the scaling, k = 1 - tanh(alpha * ratio); at least 0, and 0 scales nothing.
        start: first epoch of the window, counted from 0.
        end: last epoch of the window, itself included.
        parameters: `conv` touches the encoders' 4-D weights only, as the authors' code does; `all` every encoder
            parameter of two or more dimensions, which is what transformers and MLPs need.
        apply: `gradient` edits `.grad` before the optimizer, as in the paper; `update` scales what the optimizer did,
            for Adam-like optimizers, which would divide a constant factor of the gradient away again.

    Raises:
        ConfigError: a negative or non-finite alpha, a negative epoch, a start after the end.
    """

    __pydantic_config__ = STRICT

    method: Method = "ogm_ge"
    alpha: float = field(default=0.1, metadata={"minimum": 0})
    start: int = field(default=0, metadata={"minimum": 0})
    end: int = field(default=50, metadata={"minimum": 0})
    parameters: Literal["conv", "all"] = "conv"
    apply: Literal["gradient", "update"] = "gradient"

    def __post_init__(self) -> None:
        _check(
            self,
            ("method", self.method in get_args(Method), "none, ogm or ogm_ge"),
            ("end", self.end >= self.start, f"at least `start` ({self.start})"),
            ("parameters", self.parameters in ("conv", "all"), "conv or all"),
            ("apply", self.apply in ("gradient", "update"), "gradient or update"),
        )

    def active(self, epoch: int) -> bool:
        """Whether gradients are modulated in `epoch`, counted from 0; both ends of the window are in it."""
        return self.method != "none" and self.start <= epoch <= self.end


@dataclass(frozen=True)
class Optimizer:
    """The optimizer.

    Args:
        name: `sgd`, `adam` or `adamw`, as torch has them.
        lr: the learning rate at full height, which the schedule goes down from.
        momentum: SGD's momentum, and the first beta of Adam and AdamW (the second is 0.999).
        weight_decay: this times a weight is added to its gradient (`sgd`, `adam`), or, times the learning rate, taken
            off the weight (`adamw`).

    Raises:
        ConfigError: a rate of 0 or less, a momentum outside [0, 1), a negative or non-finite decay.
    """

    __pydantic_config__ = STRICT

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: float = field(default=1e-3, metadata={"exclusiveMinimum": 0})
    momentum: float = field(default=0.9, metadata={"minimum": 0, "exclusiveMaximum": 1})
    weight_decay: float = field(default=1e-4, metadata={"minimum": 0})

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the epochs.

    Args:
        name: `step` multiplies the rate by `gamma` at each epoch of `milestones`; `cosine` takes it from the full rate
            towards 0 at the end of training; `constant` leaves it.
        milestones: the epochs, above 0, at which `step` lowers the rate; one or more where the schedule is `step`.
        gamma: what `step` multiplies the rate by.

    Raises:
        ConfigError: an epoch of 0 or less, a gamma outside (0, 1], `step` without milestones.
    """

    __pydantic_config__ = STRICT

    name: Literal["step", "cosine", "constant"] = "constant"
    milestones: tuple[int, ...] = ()
    gamma: float = field(default=0.1, metadata={"exclusiveMinimum": 0, "maximum": 1})

    def __post_init__(self) -> None:
        needed = self.name == "step"
        _check(
            self,
            ("milestones", all(epoch > 0 for epoch in self.milestones), "epochs above 0"),
            ("milestones", bool(self.milestones) or not needed, "one epoch or more where the schedule is `step`"),
        )

    def rate(self, base: float, epoch: int, epochs: int) -> float:
        """The learning rate of `epoch` (from 0) of `epochs`, where `base` is the optimizer's."""
        if self.name == "step":
            return base * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)
        if self.name == "cosine":
            return base * 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
        return base


@dataclass(frozen=True)
class TrialConfig:
    """One training run.

    Args:
        epochs: passes over the training set.
        batch_size: samples in one optimizer step, over all processes and micro-batches together.
        accumulate: micro-batches that one step is made of; the scores and gradients are summed over them.
        encoder: what makes features of a modality's samples: a name (`resnet18`, `small_conv`, `mlp`),
            `torchvision:NAME`, `package.module:factory`, or one of these for each modality.
        weights: what the encoders start from: null is new ones; a torchvision weights name (`DEFAULT`,
            `IMAGENET1K_V1`), the path of a state dict, or one of these for each modality.
        modalities: names of those that are trained on; null is all that the data have. One alone is a baseline to
            compare with: it has nothing to be balanced with, and is trained without modulation.
        fusion: the head that makes logits of all features: `concat`, `sum`, `film`, `gated` or
            `package.module:factory`.
        precision: what is computed in: `fp32`, or autocast to `bf16` or `fp16` (the latter with a gradient scaler).
        deterministic: whether to take algorithms that give the same bits each time, where torch has them (it warns of
            the others); on a GPU they are slower, on a CPU they are what is taken anyway.
        seed: what the initial weights, the order of the data and the noise are drawn from.
    """

    __pydantic_config__ = STRICT

    epochs: int = field(default=100, metadata={"minimum": 1})
    batch_size: int = field(default=64, metadata={"minimum": 1})
    accumulate: int = field(default=1, metadata={"minimum": 1})
    encoder: str | dict[str, str] = "resnet18"
    weights: str | dict[str, str | None] | None = None
    modalities: tuple[str, ...] | None = None
    fusion: str = "concat"
    modulation: Modulation = field(default_factory=Modulation)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    precision: Precision = "fp32"
    deterministic: bool = False
    seed: int = field(default=0, metadata={"minimum": 0})

    def __post_init__(self) -> None:
        encoders = self.encoder.values() if isinstance(self.encoder, dict) else [self.encoder]
        own, chosen = "package.module:factory", self.modalities
        _check(
            self,
            (
                "encoder",
                all(name in ENCODER_NAMES or ":" in name for name in encoders),
                f"{', '.join(ENCODER_NAMES)}, torchvision:NAME or {own}",
            ),
            (
                "modalities",
                chosen is None or 0 < len(chosen) == len(set(chosen)),
                "null, or one name or more, each once",
            ),
            ("fusion", self.fusion in FUSION_NAMES or ":" in self.fusion, f"{', '.join(FUSION_NAMES)} or {own}"),
            ("accumulate", self.accumulate <= max(1, self.batch_size), f"from 1 to `batch_size` ({self.batch_size})"),
        )


def config_from(values: Mapping[str, Any]) -> TrialConfig:
    """The trial that `dataclasses.asdict` made these values of.

    Raises:
        TypeError, ConfigError: they are of another version, or were changed.
    """
    parts = {"modulation": Modulation, "optimizer": Optimizer, "schedule": Schedule}
    return TrialConfig(**{name: parts[name](**value) if name in parts else value for name, value in values.items()})


def select_modalities(config: TrialConfig, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The modalities that a trial takes, out of those of the data and in their order: name -> shape of one sample.

    Raises:
        ConfigError: a name that the data do not have, or a single modality that is to be modulated. OGM would do
            nothing with it (the discrepancy ratio of one modality is 1), OGM-GE would add noise and balance nothing.
    """
    named = list(config.modalities or shapes)
    needs = []
    if not set(named) <= shapes.keys():
        needs.append(f"of the data's, {', '.join(shapes)}")
    if len(named) < 2 and config.modulation.method != "none":
        needs.append("two or more, or else `modulation.method` none (one alone has nothing to be balanced with)")
    if needs:
        raise ConfigError([Problem("modalities", need, named) for need in needs])
    return {name: shapes[name] for name in shapes if name in named}
