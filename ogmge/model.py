"""Multimodal classifier: an encoder for each modality and a fusion head."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ogmge import components
from ogmge.batch_norm import smallest_batch, watch_batch_norm
from ogmge.components import Component
from ogmge.config import ConfigError, Problem, TrialConfig, select_modalities
from ogmge.encoders import build_encoder, initialise, per_modality
from ogmge.factories import call_factory, say_error
from ogmge.fusion import FUSIONS
from ogmge.unimodal import FeatureMeans, unimodal_logits

NAME_LENGTH = 60  # characters of a modality's name; with the bytes of UTF-8, it must be the name of a file


class MultimodalClassifier(nn.Module):
    """Classifier with one encoder per modality and a fusion head.

    Args:
        encoders: name -> module from samples [B, *shape] to features [B, D_u].
        head: module from a dict of features to logits [B, K].
        smallest_batch: smallest number of samples that the model can be trained on; see `ogmge.batch_norm`.
    """

    def __init__(self, encoders: Mapping[str, nn.Module], head: nn.Module, smallest_batch: int = 1) -> None:
        super().__init__()
        self.smallest_batch = smallest_batch
        self.encoders = nn.ModuleDict(dict(encoders))
        self.head = head
        self.means = FeatureMeans()

    def unimodal_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return unimodal logits, name -> [B, K], from features, name -> [B, D_u]; see `ogmge.unimodal_logits`."""
        return unimodal_logits(self.head, features, self.means)

    def forward(self, x: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the fused logits [B, K] and the features they are computed from, name -> [B, D_u]."""
        features = {name: encoder(x[name]) for name, encoder in self.encoders.items()}
        return self.head(features), features


def _seed(seed: int, part: str) -> int:
    """Derive a separate seed for a part of the model, so its initial weights do not depend on the other parts."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{part}".encode(), digest_size=8).digest()) >> 1


def _build_head(component: Component, dims: dict[str, int], classes: int) -> nn.Module:
    name = component.name
    if name not in FUSIONS:
        return _build_own_head(component, dims, classes)
    if len(dims) < 2 and name in ("film", "gated"):
        raise ConfigError([Problem("fusion", "concat or sum for one modality", name)])
    return initialise(FUSIONS[name](dims, classes))


def _build_own_head(component: Component, dims: dict[str, int], classes: int) -> nn.Module:
    try:
        head: nn.Module = call_factory(component, dims, classes)
        with torch.no_grad():
            logits = head.eval()({u: torch.zeros(2, dim) for u, dim in dims.items()})
    except Exception as error:  # a custom factory may raise any exception
        expected = f"a factory (dims, classes) -> module ({say_error(error)})"
        raise ConfigError([Problem("fusion", expected, str(component))]) from error
    if tuple(logits.shape) != (2, classes):
        raise ConfigError(
            [Problem("fusion", f"a head that returns logits [B, {classes}]", f"{component}: {list(logits.shape)}")]
        )
    return head.train()


def _encoders(config: TrialConfig, names: tuple[str, ...], every: tuple[str, ...]) -> dict[str, Any]:
    """Return the encoder of each modality, as in the configuration."""
    if components.is_component(config.encoder):
        return dict.fromkeys(names, config.encoder)
    return per_modality(config.encoder, names, every, "encoder")


def _require_usable_names(names: Iterable[str]) -> None:
    """Raise `ConfigError` for names of modalities that cannot be those of modules and folders, too."""
    modules = nn.ModuleDict()

    def is_usable(name: str) -> bool:
        is_taken = hasattr(modules, name) or bool({*"./"} & {*name})
        return 0 < len(name) <= NAME_LENGTH and name.isprintable() and not is_taken

    if odd := [name for name in names if not is_usable(name)]:
        need = (
            f"names of 1 to {NAME_LENGTH} printable characters without `.` and `/`, and not those of PyTorch's methods"
        )
        raise ConfigError([Problem("modalities", need, odd)])


def build_model(config: TrialConfig, shapes: Mapping[str, tuple[int, ...]], classes: int) -> MultimodalClassifier:
    """Build the model of a trial, with initial weights drawn from `config.seed`.

    Each encoder and the head have separate seeds derived from it. Trials with the same seed therefore start with the
    same encoders, whatever their fusion. The global random number generator does not change.

    Args:
        config: configuration of the trial.
        shapes: modality -> shape of one sample, without the batch, for all modalities of the data. The model has
            encoders for the ones that the trial selects.
        classes: number of classes, K.

    Raises:
        ConfigError: if an encoder, its weights or the fusion are not available or do not fit the data, or if the
            selected modalities are invalid (`select_modalities`).
    """
    taken, every = select_modalities(config, shapes), tuple(shapes)
    _require_usable_names(taken)
    kinds = _encoders(config, tuple(taken), every)
    weights = per_modality(config.weights, tuple(taken), every, "weights")
    encoders: dict[str, nn.Module] = {}
    dims: dict[str, int] = {}
    with torch.random.fork_rng(devices=[]), watch_batch_norm() as watched:
        for name, shape in taken.items():
            torch.manual_seed(_seed(config.seed, f"encoder/{name}"))
            encoders[name], dims[name] = build_encoder(kinds[name], tuple(shape), weights[name])
        torch.manual_seed(_seed(config.seed, "head"))
        head = _build_head(components.parse(config.fusion), dims, classes)
    return MultimodalClassifier(encoders, head, smallest_batch(watched))
