"""Configuration of one training run: the section `trial` of an experiment file, and the argument of `Modulator`.

The classes are frozen dataclasses that need only the standard library. They check their values when created and raise
`ConfigError`, which reports all invalid fields at once.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, get_args

from ogmge import components

Method = Literal["none", "ogm", "ogm_ge"]
Precision = Literal["fp32", "bf16", "fp16"]

FUSION_NAMES = ("concat", "sum", "film", "gated")
ENCODER_NAMES = ("resnet18", "small_conv", "mlp")

STRICT = {"extra": "forbid", "strict": True}  # pydantic's settings for these classes

_BOUNDS = {  # bounds of numbers, named as in JSON Schema; the fields' metadata and the reference of all keys use them
    "minimum": (operator.ge, "of at least"),
    "exclusiveMinimum": (operator.gt, "above"),
    "maximum": (operator.le, "at most"),
    "exclusiveMaximum": (operator.lt, "below"),
}


@dataclass(frozen=True)
class Problem:
    """Invalid field of a configuration: its dotted path, the expected value in words, and the actual value."""

    path: str
    expected: str
    got: object

    def __str__(self) -> str:
        return f"`{self.path}` must be {self.expected}, but got {self.got!r}"


class ConfigError(ValueError):
    """Error: the configuration is invalid. `problems` lists all invalid fields."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, problems)))


_Rule = tuple[str, bool, str]  # name of a field, whether its value is valid, and what is expected


def _words(its: Field[Any]) -> str:
    """Return the bounds of a field in words. A float with a single bound must also be finite."""
    words = " and ".join(f"{_BOUNDS[name][1]} {bound}" for name, bound in its.metadata.items())
    one_sided = isinstance(its.default, float) and len(its.metadata) == 1
    return f"a finite number {words}" if one_sided else words.removeprefix("of ")


def _bounds(config: Any) -> Iterator[_Rule]:
    for its in (its for its in fields(config) if its.metadata):
        value = getattr(config, its.name)
        holds = all(_BOUNDS[name][0](value, bound) for name, bound in its.metadata.items())
        yield its.name, holds and math.isfinite(value), _words(its)


def _check(config: Any, *rules: _Rule, more: Sequence[Problem] = ()) -> None:
    """Raise `ConfigError` if a field is out of bounds or breaks a rule, or if there are `more` problems.

    The text of a rule takes precedence over that of a bound.
    """
    broken = {name: expected for name, holds, expected in (*_bounds(config), *rules) if not holds}
    problems = [Problem(name, broken[name], got) for name, got in vars(config).items() if name in broken]
    if problems or more:
        raise ConfigError([*problems, *more])


@dataclass(frozen=True)
class Modulation:
    """On-the-fly gradient modulation (Peng et al., CVPR 2022, arXiv 2203.15332) and the window in which it acts.

    Args:
        method: `none` does not change the gradients. `ogm` scales down the gradients of the leading encoders (paper,
            eq. 10). `ogm_ge` also adds Gaussian noise with the standard deviation of each gradient (paper, eq. 12).
        alpha: strength of the scaling, k = 1 - tanh(alpha * ratio); at least 0. With 0 nothing is scaled.
        start: first epoch of the window, counted from 0.
        end: last epoch of the window, counted from 0 and included in it.
        parameters: parameters to modulate. `conv` selects the encoders' 4-D (convolution) weights, as the authors' code
            does. `all` selects every encoder parameter with two or more dimensions; transformers and MLPs need it.
        apply: `gradient` changes the gradients before the optimizer's step, as in the paper. `update` scales the
            optimizer's update instead; use it with Adam-like optimizers, which cancel a constant factor of the
            gradient.

    Raises:
        ConfigError: if alpha is negative or not finite, if an epoch is negative, or if the window starts after its end.
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
        """Return True if gradients are modulated in `epoch`, counted from 0. The window includes both ends."""
        return self.method != "none" and self.start <= epoch <= self.end


@dataclass(frozen=True)
class Optimizer:
    """Optimizer of a trial.

    Args:
        name: `sgd`, `adam` or `adamw`, as implemented in PyTorch.
        lr: initial learning rate, before the schedule lowers it.
        momentum: momentum of SGD, or the first beta of Adam and AdamW (the second is 0.999).
        weight_decay: strength of the weight decay. `sgd` and `adam` add it to the gradient (L2 penalty); `adamw`
            applies it to the weights directly (decoupled).

    Raises:
        ConfigError: if the learning rate is not above 0, the momentum not in [0, 1), or the decay negative or not
            finite.
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
    """Learning-rate schedule.

    Args:
        name: `step` multiplies the learning rate by `gamma` at each milestone. `cosine` lowers it along a half cosine
            towards 0 at the end of training. `constant` does not change it.
        milestones: epochs at which `step` lowers the learning rate, above 0; at least one if `name` is `step`.
        gamma: factor by which `step` multiplies the learning rate.

    Raises:
        ConfigError: if a milestone is not above 0, if gamma is not in (0, 1], or if `step` has no milestones.
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
            ("milestones", bool(self.milestones) or not needed, "at least one epoch if the schedule is `step`"),
        )

    def rate(self, base: float, epoch: int, epochs: int) -> float:
        """Return the learning rate of an epoch.

        Args:
            base: initial learning rate.
            epoch: epoch, counted from 0.
            epochs: total number of epochs.
        """
        if self.name == "step":
            return base * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)
        if self.name == "cosine":
            return base * 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
        return base


@dataclass(frozen=True)
class TrialConfig:
    """Configuration of one training run.

    Args:
        epochs: number of passes over the training set.
        batch_size: number of samples per optimizer step, over all processes and micro-batches. A model whose batch norm
            sees one value per sample needs at least 2, per process on a CPU; a smaller last batch of an epoch is
            skipped.
        accumulate: number of micro-batches per optimizer step. Their gradients are summed before the step. If the model
            needs at least 2 samples (see `batch_size`), so does each micro-batch, and there may be fewer.
        encoder: encoder that computes the features of a modality: `resnet18`, `small_conv`, `mlp`, `torchvision:NAME`,
            `package.module:factory`, `{name: package.module:factory}` with keyword arguments of the factory, or a
            mapping with one of these for each modality.
        weights: initial weights of the encoders. Null initialises them randomly; otherwise the name of torchvision
            weights (`DEFAULT`, `IMAGENET1K_V1`), the path of a state dict, or a mapping with one of these for each
            modality.
        modalities: names of the modalities to train on; null for all modalities of the data. A single modality has
            nothing to be balanced against: set `modulation.method` to `none`.
        fusion: head that computes the logits from all features: `concat`, `sum`, `film`, `gated`,
            `package.module:factory`, or `{name: package.module:factory}` with keyword arguments of the factory.
        precision: numeric precision: `fp32`, or autocast to `bf16` or `fp16` (`fp16` with a gradient scaler).
        deterministic: whether to use deterministic algorithms. PyTorch warns of operators that have none. They are
            slower on a GPU and make no difference on a CPU.
        seed: seed of the initial weights, the order of the data and the noise.

    Raises:
        ConfigError: if a number is out of bounds, a name is unknown, a modality is named twice, or `accumulate` is
            above `batch_size`.
    """

    __pydantic_config__ = STRICT

    epochs: int = field(default=100, metadata={"minimum": 1})
    batch_size: int = field(default=64, metadata={"minimum": 1})
    accumulate: int = field(default=1, metadata={"minimum": 1})
    encoder: str | dict[str, Any] = "resnet18"
    weights: str | dict[str, str | None] | None = None
    modalities: tuple[str, ...] | None = None
    fusion: str | dict[str, Any] = "concat"
    modulation: Modulation = field(default_factory=Modulation)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    precision: Precision = "fp32"
    deterministic: bool = False
    seed: int = field(default=0, metadata={"minimum": 0})

    def __post_init__(self) -> None:
        chosen = self.modalities
        _check(
            self,
            (
                "modalities",
                chosen is None or 0 < len(chosen) == len(set(chosen)),
                "null, or at least one name, each only once",
            ),
            ("accumulate", self.accumulate <= max(1, self.batch_size), f"from 1 to `batch_size` ({self.batch_size})"),
            more=_component_problems(self),
        )


def _component_problems(config: TrialConfig) -> list[Problem]:
    """Return a problem for each encoder or fusion that is unknown, or that is no text and no mapping with a name."""
    known = {"encoder": (*ENCODER_NAMES, "torchvision:NAME"), "fusion": FUSION_NAMES}
    given = components.places(config.encoder, config.fusion)
    expected = {path: components.problem(value, known[path[0]]) for path, value in given.items()}
    return [Problem(".".join(path), text, given[path]) for path, text in expected.items() if text]


def config_from(values: Mapping[str, Any]) -> TrialConfig:
    """Return the `TrialConfig` from the values that `dataclasses.asdict` made of it.

    Raises:
        TypeError: if a field is unknown.
        ConfigError: if a value is invalid.
    """
    parts = {"modulation": Modulation, "optimizer": Optimizer, "schedule": Schedule}
    return TrialConfig(**{name: parts[name](**value) if name in parts else value for name, value in values.items()})


def select_modalities(config: TrialConfig, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the modalities that a trial uses, in the order of the data: name -> shape of one sample.

    Args:
        config: configuration of the trial.
        shapes: name -> shape of one sample, for all modalities of the data.

    Raises:
        ConfigError: if the data do not have a modality, or if the modulation of a single modality is on. OGM would have
            no effect on it (its discrepancy ratio is 1), and OGM-GE would only add noise.
    """
    named = list(config.modalities or shapes)
    needs = []
    if not set(named) <= shapes.keys():
        needs.append(f"among the modalities of the data ({', '.join(shapes)})")
    if len(named) < 2 and config.modulation.method != "none":
        needs.append("at least two, or `modulation.method` none (a single modality has nothing to be balanced against)")
    if needs:
        raise ConfigError([Problem("modalities", need, named) for need in needs])
    return {name: shapes[name] for name in shapes if name in named}
