"""A multimodal classifier: an encoder for each modality and a fusion head."""

from __future__ import annotations

import hashlib
import pkgutil
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ogmge.config import ConfigError, Problem, TrialConfig, select_modalities
from ogmge.encoders import build_encoder, initialise, per_modality
from ogmge.fusion import FUSIONS
from ogmge.unimodal import FeatureMeans, unimodal_logits


class MultimodalClassifier(nn.Module):
    """Logits from named modalities.

    Args:
        encoders: name -> module from [B, *shape] to [B, D_u].
        head: module from a dict of features to logits [B, K].
    """

    def __init__(self, encoders: Mapping[str, nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(dict(encoders))
        self.head = head
        self.means = FeatureMeans()

    def unimodal_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What each modality alone says, [B, K], from its features; see `ogmge.unimodal_logits`."""
        return unimodal_logits(self.head, features, self.means)

    def forward(self, x: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the fused logits [B, K], and the features they were made of, name -> [B, D_u]."""
        features = {name: encoder(x[name]) for name, encoder in self.encoders.items()}
        return self.head(features), features


def _seed(seed: int, part: str) -> int:
    """A seed of its own for each part, so that a part starts the same whatever the others are."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{part}".encode(), digest_size=8).digest()) >> 1


def _build_head(name: str, dims: dict[str, int], classes: int) -> nn.Module:
    if name not in FUSIONS:
        return _build_own_head(name, dims, classes)
    if len(dims) < 2 and name in ("film", "gated"):
        raise ConfigError([Problem("fusion", "concat or sum where there is one modality", name)])
    return initialise(FUSIONS[name](dims, classes))


def _build_own_head(name: str, dims: dict[str, int], classes: int) -> nn.Module:
    try:
        head: nn.Module = pkgutil.resolve_name(name)(dims, classes)
        with torch.no_grad():
            logits = head.eval()({u: torch.zeros(2, dim) for u, dim in dims.items()})
    except Exception as error:  # a factory is a user's code and may raise anything
        raise ConfigError([Problem("fusion", f"a factory (dims, classes) -> module ({error})", name)]) from error
    if tuple(logits.shape) != (2, classes):
        raise ConfigError([Problem("fusion", f"a head to logits [B, {classes}]", f"{name}: {list(logits.shape)}")])
    return head.train()


def build_model(config: TrialConfig, shapes: Mapping[str, tuple[int, ...]], classes: int) -> MultimodalClassifier:
    """The model of a trial, its weights drawn from `config.seed`; the global generator is left as it was.

    Each encoder and the head draw from seeds of their own: two trials with one seed start with the same encoders,
    whatever their fusion.

    Args:
        shapes: modality -> shape of one sample, without the batch: all that the data have. The model has encoders for
            those that the trial selects.
        classes: K.

    Raises:
        ConfigError: an encoder, weights or a fusion that are not available or do not fit the data; and see
            `select_modalities`.
    """
    taken, every = select_modalities(config, shapes), tuple(shapes)
    kinds = per_modality(config.encoder, tuple(taken), every, "encoder")
    weights = per_modality(config.weights, tuple(taken), every, "weights")
    encoders: dict[str, nn.Module] = {}
    dims: dict[str, int] = {}
    with torch.random.fork_rng(devices=[]):
        for name, shape in taken.items():
            torch.manual_seed(_seed(config.seed, f"encoder/{name}"))
            encoders[name], dims[name] = build_encoder(str(kinds[name]), tuple(shape), weights[name])
        torch.manual_seed(_seed(config.seed, "head"))
        return MultimodalClassifier(encoders, _build_head(config.fusion, dims, classes))
