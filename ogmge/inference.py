"""A trained model from its checkpoint, ready to answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ogmge import checkpoint
from ogmge.config import ConfigError, TrialConfig, config_from, select_modalities
from ogmge.metrics import Tally
from ogmge.model import MultimodalClassifier, build_model
from ogmge.trainer import AUTOCAST, Batch


@dataclass(frozen=True)
class TrainedModel:
    """A model with the weights of an epoch.

    Args:
        model: in evaluation mode.
        config: the trial that it was trained by.
        shapes: modality -> shape of one sample, of the modalities that it takes.
        classes: names, by id.
        metrics: of the epoch.
    """

    model: MultimodalClassifier
    config: TrialConfig
    shapes: Mapping[str, tuple[int, ...]]
    classes: Sequence[str]
    metrics: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities that it takes."""
        return tuple(self.shapes)

    @torch.no_grad()
    def logits(self, x: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Fused [B, K], and of each modality alone [B, K], in float32.

        Args:
            x: modality -> [B, *shape], on the model's device.
        """
        with self._autocast(x):
            fused, features = self.model({name: x[name] for name in self.names})
            unimodal = self.model.unimodal_logits(features)
        return fused.float(), {name: value.float() for name, value in unimodal.items()}

    @torch.no_grad()
    def features(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of each modality [B, D_u], in float32: what its encoder makes of it.

        Args:
            x: modality -> [B, *shape], on the model's device.
        """
        with self._autocast(x):
            found = {name: encoder(x[name]) for name, encoder in self.model.encoders.items()}
        return {name: value.float() for name, value in found.items()}

    def _autocast(self, x: Mapping[str, Tensor]) -> torch.autocast:
        precision = self.config.precision
        return torch.autocast(
            next(iter(x.values())).device.type, dtype=AUTOCAST[precision], enabled=precision != "fp32"
        )

    def mismatch(self, shapes: Mapping[str, tuple[int, ...]], classes: Sequence[str]) -> str | None:
        """Why it cannot answer for data of these shapes and classes; None where it can."""
        if list(classes) != list(self.classes):
            given = f"{_format_classes(classes)}{_first_difference(self.classes, classes)}"
            return f"it knows {_format_classes(self.classes)}, but the data have {given}"
        there = {name: tuple(shapes[name]) for name in self.shapes if name in shapes}
        return None if there == self.shapes else f"it takes {_sizes(self.shapes)}, but the data are {_sizes(shapes)}"


def tally_all(models: Sequence[TrainedModel], batches: Iterable[Batch], device: torch.device) -> list[Tally]:
    """What each model makes of the same batches, which are gone through once.

    Args:
        models: on the device.
        batches: see `ogmge.fit.Data`.
        device: where they answer.
    """
    tallies = [Tally(model.names, device) for model in models]
    for x, y in batches:
        there, target = {name: value.to(device) for name, value in x.items()}, y.to(device)
        for model, tally in zip(models, tallies, strict=True):
            fused, unimodal = model.logits(there)
            tally.add(cross_entropy(fused, target), fused, unimodal, target)
    return tallies


def _sizes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())


def _first_difference(known: Sequence[str], given: Sequence[str]) -> str:
    pairs = enumerate(zip(known, given, strict=False))
    return next((f", and {k} is {a} to it, but {b} in the data" for k, (a, b) in pairs if a != b), "")


def _format_classes(classes: Sequence[str]) -> str:
    first = ", ".join(list(classes)[:5])
    return f"{len(classes)} classes ({first}{', …' if len(classes) > 5 else ''})"


def load(path: Path, device: torch.device | None = None) -> TrainedModel:
    """The model of a checkpoint `best.pt`, on the CPU by default.

    Raises:
        CheckpointError: it cannot be read, is no model's, or its weights do not fit what it says it is.
    """
    state = checkpoint.load(path)
    try:
        config = config_from(state["config"])
        shapes = {name: tuple(shape) for name, shape in state["shapes"].items()}
        taken = select_modalities(config, shapes)
        # the first weights need not be there any more: others come over them
        model = build_model(replace(config, weights=None), shapes, len(state["classes"]))
        model.load_state_dict(state["model"])
    except KeyError as error:
        raise checkpoint.CheckpointError(
            f"{path} holds no trained model ({error} is missing): best.pt of a run does"
        ) from error
    except (ConfigError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise checkpoint.CheckpointError(f"{path}: its weights do not fit its model ({reason})") from error
    model.to(device or torch.device("cpu")).eval()
    return TrainedModel(model, config, taken, list(state["classes"]), dict(state["metrics"]))
