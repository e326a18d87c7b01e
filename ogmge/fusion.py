"""Fusion heads: from a dict of features, one [B, D_u] a modality, to logits [B, K].

`concat`, `sum`, `film` and `gated` as in the OGM-GE paper (section 4.1), for two modalities or more. A head of one's
own is any factory `(dims: dict[str, int], classes: int) -> nn.Module` of the same kind.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class Concat(nn.Module):
    """f = W [phi_1; ...; phi_M] + b."""

    def __init__(self, dims: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.names = tuple(dims)
        self.widths = list(dims.values())
        self.linear = nn.Linear(sum(self.widths), classes)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """features: name -> [B, D_u]; returns logits [B, K]."""
        out: Tensor = self.linear(torch.cat([features[name] for name in self.names], dim=1))
        return out

    def unimodal_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """W_u phi_u + b / M (paper, section 3.2)."""
        weights = self.linear.weight.split(self.widths, dim=1)
        bias = self.linear.bias / len(self.names)
        return {name: linear(features[name], w, bias) for name, w in zip(self.names, weights, strict=True)}


class Sum(nn.Module):
    """f = sum over u of W_u phi_u + b_u."""

    def __init__(self, dims: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.linear = nn.ModuleDict({name: nn.Linear(dim, classes) for name, dim in dims.items()})

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """features: name -> [B, D_u]; returns logits [B, K]."""
        return torch.stack(list(self.unimodal_logits(features).values())).sum(dim=0)

    def unimodal_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """W_u phi_u + b_u: a bias for each modality, as in the authors' code."""
        return {name: linear(features[name]) for name, linear in self.linear.items()}


class Film(nn.Module):
    """Feature-wise linear modulation (Perez et al., AAAI 2018): the first modality scales and shifts the others.

    f = W [gamma_v(phi_1) * phi_v + beta_v(phi_1)]_v + b over the other modalities v; gamma and beta are linear.
    """

    def __init__(self, dims: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.first, *self.others = dims
        self.widths = [dims[name] for name in self.others]
        self.film = nn.Linear(dims[self.first], 2 * sum(self.widths))
        self.linear = nn.Linear(sum(self.widths), classes)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """features: name -> [B, D_u]; returns logits [B, K]."""
        gamma, beta = self.film(features[self.first]).chunk(2, dim=1)
        others = torch.cat([features[name] for name in self.others], dim=1)
        out: Tensor = self.linear(gamma * others + beta)
        return out


class Gated(nn.Module):
    """The first modality gates the others (Kiela et al., AAAI 2018).

    f = W [sigmoid(W_1 phi_1) * W_v phi_v]_v + b over the other modalities v; hidden width: the widest feature's.
    """

    def __init__(self, dims: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.first, *self.others = dims
        hidden = max(dims.values())
        self.hidden = nn.ModuleDict({name: nn.Linear(dim, hidden) for name, dim in dims.items()})
        self.linear = nn.Linear(hidden * len(self.others), classes)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """features: name -> [B, D_u]; returns logits [B, K]."""
        gate = torch.sigmoid(self.hidden[self.first](features[self.first]))
        gated = [gate * self.hidden[name](features[name]) for name in self.others]
        out: Tensor = self.linear(torch.cat(gated, dim=1))
        return out


FUSIONS = {"concat": Concat, "sum": Sum, "film": Film, "gated": Gated}
