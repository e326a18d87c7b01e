"""Inference with a trained model from its checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ogmge import checkpoint
from ogmge.batches import Batch, to_device
from ogmge.config import ConfigError, TrialConfig, config_from, select_modalities
from ogmge.factories import custom_factories
from ogmge.metrics import Tally
from ogmge.model import MultimodalClassifier, build_model
from ogmge.trainer import AUTOCAST


@dataclass(frozen=True)
class TrainedModel:
    """Model with the weights of one epoch.

    Args:
        model: model in evaluation mode.
        config: configuration of the trial that trained it.
        shapes: modality -> shape of one sample, for the modalities that the model uses.
        classes: class names, by class id.
        metrics: metrics of the epoch.
    """

    model: MultimodalClassifier
    config: TrialConfig
    shapes: Mapping[str, tuple[int, ...]]
    classes: Sequence[str]
    metrics: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities that the model uses."""
        return tuple(self.shapes)

    @torch.no_grad()
    def logits(self, x: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the fused logits [B, K], and name -> unimodal logits [B, K], in float32.

        Args:
            x: modality -> samples [B, *shape], on the model's device.
        """
        with self._autocast(x):
            fused, features = self.model({name: x[name].float() for name in self.names})
            unimodal = self.model.unimodal_logits(features)
        return fused.float(), {name: value.float() for name, value in unimodal.items()}

    @torch.no_grad()
    def features(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the features of each modality's encoder, name -> [B, D_u], in float32.

        Args:
            x: modality -> samples [B, *shape], on the model's device.
        """
        with self._autocast(x):
            found = {name: encoder(x[name].float()) for name, encoder in self.model.encoders.items()}
        return {name: value.float() for name, value in found.items()}

    def _autocast(self, x: Mapping[str, Tensor]) -> torch.autocast:
        precision = self.config.precision
        return torch.autocast(
            next(iter(x.values())).device.type, dtype=AUTOCAST[precision], enabled=precision != "fp32"
        )

    def mismatch(self, shapes: Mapping[str, tuple[int, ...]], classes: Sequence[str]) -> str | None:
        """Return why the model does not fit data of these shapes and classes; None if it does."""
        if list(classes) != list(self.classes):
            given = f"{_format_classes(classes)}{_first_difference(self.classes, classes)}"
            return f"it was trained on {_format_classes(self.classes)}, but the data have {given}"
        there = {name: tuple(shapes[name]) for name in self.shapes if name in shapes}
        return (
            None
            if there == self.shapes
            else f"it takes samples {_sizes(self.shapes)}, but the data have {_sizes(shapes)}"
        )


def tally_all(models: Sequence[TrainedModel], batches: Iterable[Batch], device: torch.device) -> list[Tally]:
    """Evaluate several models in one pass over the same batches; return the loss and accuracy of each.

    Args:
        models: models on the device.
        batches: batches; see `ogmge.fit.Data`.
        device: device of the models.
    """
    tallies = [Tally(model.names, device) for model in models]
    for batch in batches:
        there, target = to_device(batch, device)
        for model, tally in zip(models, tallies, strict=True):
            fused, unimodal = model.logits(there)
            tally.add(cross_entropy(fused, target), fused, unimodal, target)
    return tallies


def _shape(values: Iterable[object]) -> tuple[int, ...]:
    """Return the shape of a sample from a file that may come from anyone: positive whole numbers."""
    sizes = tuple(values)
    if not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"a sample's shape must consist of positive whole numbers, but is {list(sizes)}")
    return sizes  # type: ignore[return-value]


def _require_trusted(path: Path, config: TrialConfig, trusted: Collection[str]) -> None:
    if unknown := [name for name in custom_factories(config) if name not in trusted]:
        raise checkpoint.CheckpointError(
            f"{path} names code that is not built in: {', '.join(unknown)}. It is not imported, because a checkpoint "
            f"may come from anyone. If you know this code and trust it: "
            + " ".join(f"--trust {name}" for name in unknown)
            + " (in Python: `trusted=`)"
        )


def _sizes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())


def _first_difference(known: Sequence[str], given: Sequence[str]) -> str:
    pairs = enumerate(zip(known, given, strict=False))
    return next((f"; class {k} is {a} in the model, but {b} in the data" for k, (a, b) in pairs if a != b), "")


def _format_classes(classes: Sequence[str]) -> str:
    first = ", ".join(list(classes)[:5])
    return f"{len(classes)} classes ({first}{', …' if len(classes) > 5 else ''})"


def load(path: Path, device: torch.device | None = None, *, trusted: Collection[str] = ()) -> TrainedModel:
    """Load the model of a checkpoint `best.pt`.

    A checkpoint names the encoders and the fusion of its model. It may come from anyone, so names that are not built in
    are only imported if the caller trusts them.

    Args:
        path: file to load.
        device: device of the model, the CPU by default.
        trusted: custom encoders and fusions that may be imported, as `package.module:factory`.

    Raises:
        CheckpointError: if the file is missing or corrupt, contains no trained model, names a factory that is not in
            `trusted`, or its weights do not fit its configuration.
    """
    state = checkpoint.load(path)
    try:
        config = config_from(state["config"])
        shapes = {name: _shape(shape) for name, shape in state["shapes"].items()}
        _require_trusted(path, config, trusted)
        taken = select_modalities(config, shapes)
        # Pretrained weights are not loaded: their file may be gone, and the trained weights replace them anyway.
        model = build_model(replace(config, weights=None), shapes, len(state["classes"]))
        model.load_state_dict(state["model"])
    except checkpoint.CheckpointError:
        raise
    except KeyError as error:
        raise checkpoint.CheckpointError(
            f"{path} contains no trained model ({error} is missing): use the file best.pt of a run"
        ) from error
    except (ConfigError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise checkpoint.CheckpointError(f"{path}: its weights do not fit its configuration ({reason})") from error
    model.to(device or torch.device("cpu")).eval()
    return TrainedModel(model, config, taken, list(state["classes"]), dict(state["metrics"]))
