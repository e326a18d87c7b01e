"""One training run as data: what `trial` holds in an experiment file, and what `Modulator` takes.

Plain frozen dataclasses, checked when they are made, so that they work with nothing but the standard library. A value
that cannot be raises `ConfigError`, which names every wrong field at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Method = Literal["none", "ogm", "ogm_ge"]
Precision = Literal["fp32", "bf16", "fp16"]

FUSION_NAMES = ("concat", "sum", "film", "gated")
ENCODER_NAMES = ("resnet18", "small_conv", "mlp")

STRICT = {"extra": "forbid", "strict": True}  # how a schema validator is to read these classes


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


def _require(*checks: tuple[bool, str, str, object]) -> None:
    problems = [Problem(path, expected, got) for holds, path, expected, got in checks if not holds]
    if problems:
        raise ConfigError(problems)


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
    alpha: float = 0.1
    start: int = 0
    end: int = 50
    parameters: Literal["conv", "all"] = "conv"
    apply: Literal["gradient", "update"] = "gradient"

    def __post_init__(self) -> None:
        _require(
            (self.method in ("none", "ogm", "ogm_ge"), "method", "none, ogm or ogm_ge", self.method),
            (math.isfinite(self.alpha) and self.alpha >= 0, "alpha", "a finite number of at least 0", self.alpha),
            (self.start >= 0, "start", "an epoch of at least 0", self.start),
            (self.end >= self.start, "end", f"at least `start` ({self.start})", self.end),
            (self.parameters in ("conv", "all"), "parameters", "conv or all", self.parameters),
            (self.apply in ("gradient", "update"), "apply", "gradient or update", self.apply),
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
    lr: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        _require(
            (math.isfinite(self.lr) and self.lr > 0, "lr", "a finite number above 0", self.lr),
            (0 <= self.momentum < 1, "momentum", "at least 0 and below 1", self.momentum),
            (
                math.isfinite(self.weight_decay) and self.weight_decay >= 0,
                "weight_decay",
                "a finite number of at least 0",
                self.weight_decay,
            ),
        )


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
    gamma: float = 0.1

    def __post_init__(self) -> None:
        _require(
            (all(m > 0 for m in self.milestones), "milestones", "epochs above 0", list(self.milestones)),
            (0 < self.gamma <= 1, "gamma", "above 0 and at most 1", self.gamma),
            (
                self.name != "step" or len(self.milestones) > 0,
                "milestones",
                "one epoch or more where the schedule is `step`",
                list(self.milestones),
            ),
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

    epochs: int = 100
    batch_size: int = 64
    accumulate: int = 1
    encoder: str | dict[str, str] = "resnet18"
    weights: str | dict[str, str | None] | None = None
    modalities: tuple[str, ...] | None = None
    fusion: str = "concat"
    modulation: Modulation = field(default_factory=Modulation)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)
    precision: Precision = "fp32"
    deterministic: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        encoders = self.encoder.values() if isinstance(self.encoder, dict) else [self.encoder]
        chosen = self.modalities
        _require(
            (
                all(name in ENCODER_NAMES or ":" in name for name in encoders),
                "encoder",
                f"{', '.join(ENCODER_NAMES)}, torchvision:NAME or package.module:factory",
                self.encoder,
            ),
            (
                chosen is None or (len(chosen) > 0 and len(set(chosen)) == len(chosen)),
                "modalities",
                "null, or one name or more, each once",
                list(chosen or ()),
            ),
            (
                self.fusion in FUSION_NAMES or ":" in self.fusion,
                "fusion",
                f"{', '.join(FUSION_NAMES)} or package.module:factory",
                self.fusion,
            ),
            (self.epochs >= 1, "epochs", "at least 1", self.epochs),
            (self.batch_size >= 1, "batch_size", "at least 1", self.batch_size),
            (
                1 <= self.accumulate <= max(1, self.batch_size),
                "accumulate",
                f"from 1 to `batch_size` ({self.batch_size})",
                self.accumulate,
            ),
            (self.seed >= 0, "seed", "at least 0", self.seed),
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
    there, named = list(shapes), list(shapes) if config.modalities is None else list(config.modalities)
    taken = [name for name in there if name in named]
    _require(
        (set(named) <= set(there), "modalities", f"of the data's, {', '.join(there)}", named),
        (
            len(named) > 1 or config.modulation.method == "none",
            "modalities",
            "two or more, or else `modulation.method` none (one alone has nothing to be balanced with)",
            named,
        ),
    )
    return {name: shapes[name] for name in taken}
