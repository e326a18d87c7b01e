"""Fusion heads: modules from a dict of features, [B, D_u] for each modality u, to logits [B, K].

`concat`, `sum`, `film` and `gated` are those of the OGM-GE paper (section 4.1), for two or more modalities. A custom
head is a factory `(dims: dict[str, int], classes: int) -> nn.Module`, named as `package.module:factory`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class Concat(nn.Module):
    """Linear layer on the concatenated features: f = W [phi_1; ...; phi_M] + b.

    Args:
        dims: name -> width D_u of its features.
        classes: number of classes, K.
    """

    def __init__(self, dims: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.names = tuple(dims)
        self.widths = list(dims.values())
        self.linear = nn.Linear(sum(self.widths), classes)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits [B, K] from name -> features [B, D_u]."""
        out: Tensor = self.linear(torch.cat([features[name] for name in self.names], dim=1))
        return out

    def unimodal_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return W_u phi_u + b / M (paper, section 3.2): name -> [B, K]."""
        weights = self.linear.weight.split(self.widths, dim=1)
        bias = self.linear.bias / len(self.names)
        return {name: linear(features[name], w, bias) for name, w in zip(self.names, weights, strict=True)}


class Sum(nn.Module):
    """Sum of one linear layer per modality: f = sum over u of W_u phi_u + b_u.

    Args:
        dims: name -> width D_u of its features.
        classes: number of classes, K.
    """

    def __init__(self, dims: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.linear = nn.ModuleDict({name: nn.Linear(dim, classes) for name, dim in dims.items()})

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits [B, K] from name -> features [B, D_u]."""
        return torch.stack(list(self.unimodal_logits(features).values())).sum(dim=0)

    def unimodal_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return W_u phi_u + b_u, with one bias per modality as in the authors' code: name -> [B, K]."""
        return {name: linear(features[name]) for name, linear in self.linear.items()}


class Film(nn.Module):
    """Feature-wise linear modulation (Perez et al., AAAI 2018): the first modality scales and shifts the others.

    f = W [gamma_v(phi_1) * phi_v + beta_v(phi_1)]_v + b over the other modalities v; gamma and beta are linear.

    Args:
        dims: name -> width D_u of its features, two modalities or more.
        classes: number of classes, K.
    """

    def __init__(self, dims: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.first, *self.others = dims
        self.widths = [dims[name] for name in self.others]
        self.film = nn.Linear(dims[self.first], 2 * sum(self.widths))
        self.linear = nn.Linear(sum(self.widths), classes)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits [B, K] from name -> features [B, D_u]."""
        gamma, beta = self.film(features[self.first]).chunk(2, dim=1)
        others = torch.cat([features[name] for name in self.others], dim=1)
        out: Tensor = self.linear(gamma * others + beta)
        return out


class Gated(nn.Module):
    """Gated fusion (Kiela et al., AAAI 2018): the first modality gates the others.

    f = W [sigmoid(W_1 phi_1) * W_v phi_v]_v + b over the other modalities v. The hidden width is the largest D_u.

    Args:
        dims: name -> width D_u of its features, two modalities or more.
        classes: number of classes, K.
    """

    def __init__(self, dims: Mapping[str, int], classes: int) -> None:
        super().__init__()
        self.first, *self.others = dims
        hidden = max(dims.values())
        self.hidden = nn.ModuleDict({name: nn.Linear(dim, hidden) for name, dim in dims.items()})
        self.linear = nn.Linear(hidden * len(self.others), classes)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits [B, K] from name -> features [B, D_u]."""
        gate = torch.sigmoid(self.hidden[self.first](features[self.first]))
        gated = [gate * self.hidden[name](features[name]) for name in self.others]
        out: Tensor = self.linear(torch.cat(gated, dim=1))
        return out


FUSIONS = {"concat": Concat, "sum": Sum, "film": Film, "gated": Gated}
