"""Unimodal logits: what a fusion head predicts from each modality alone.

For an additive head these are the paper's (Peng et al., CVPR 2022, section 3.2). For any other head they are the main
effect of the modality around the mean of the features: the first-order part of the head's functional ANOVA. Shapley
values divide the constant among the modalities. Setting the other features to zero would not work, because a gated head
with its gate at zero is a different model.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, combinations
from math import comb
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ogmge.devices import kept_rng, widest_float

Head = Callable[[dict[str, Tensor]], Tensor]

MOMENTUM = 0.1  # weight of a new batch in the running means
EXACT_UP_TO = 6  # modalities with exact Shapley values (64 sets); for more, orders are sampled
ORDERS = 16  # sampled orders of the modalities
PREFIX = "mean_"  # of the buffers' names


@runtime_checkable
class Additive(Protocol):
    """Head that is a sum over its modalities and computes their unimodal logits itself."""

    def unimodal_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return unimodal logits, name -> [B, K], that add up to the fused logits; from name -> [B, D_u]."""


class FeatureMeans(nn.Module):
    """Running mean of each modality's features over the training batches of all ranks.

    The first batch sets the means; each further batch counts with a weight of 0.1. As a submodule of your model, the
    means are part of its state dict. Loading a state dict without means leaves them unchanged.

    Args:
        process_group: ranks over which the means are taken; None for the default group, if there is one.
    """

    batches: Tensor

    def __init__(self, process_group: dist.ProcessGroup | None = None) -> None:
        super().__init__()
        self._group = process_group
        self.register_buffer("batches", torch.zeros(()))

    def mean(self, name: str, like: Tensor) -> Tensor:
        """Return a modality's mean [D_u], or zeros before the first batch.

        Args:
            name: name of the modality.
            like: features [B, D_u], which determine the shape, dtype and device of the mean.
        """
        shape = like.shape[1:]
        return self._of(name).to(like) if self._has(name, shape) else like.new_zeros(shape)

    def _of(self, name: str) -> Tensor:
        return self.get_buffer(PREFIX + name)

    def _has(self, name: str, shape: torch.Size) -> bool:
        return PREFIX + name in self._buffers and self._of(name).shape == shape

    @torch.no_grad()
    def update(self, features: Mapping[str, Tensor]) -> None:
        """Update the means with a training batch. Under `torch.distributed`, all ranks must call it together.

        Args:
            features: name -> [B, D_u].
        """
        batch = self._batch_means({name: f.detach() for name, f in features.items()})
        if not all(self._has(name, mean.shape) for name, mean in batch.items()):  # new modality, or new shape
            self.batches = torch.zeros((), device=next(iter(batch.values())).device)
            for name, mean in batch.items():
                self.register_buffer(PREFIX + name, torch.zeros_like(mean))
        weight = torch.where(self.batches == 0, 1.0, MOMENTUM)
        for name, mean in batch.items():
            self._of(name).lerp_(mean, weight.to(mean.dtype))
        self.batches += 1

    def _batch_means(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean of a batch over all ranks, name -> [D_u], in float32 or float64."""
        whole = {name: f if f.dtype == torch.float64 else f.float() for name, f in features.items()}
        if not (dist.is_available() and dist.is_initialized()):
            return {name: f.mean(dim=0) for name, f in whole.items()}
        sums = [f.sum(dim=0) for f in whole.values()]
        count = sums[0].new_full((1,), len(next(iter(whole.values()))))
        flat = torch.cat([count, *(s.flatten() for s in sums)])
        dist.all_reduce(flat, group=self._group)
        parts = (flat[1:] / flat[0]).split([s.numel() for s in sums])
        return {name: part.view(s.shape) for name, part, s in zip(whole, parts, sums, strict=True)}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load the means and register a buffer for each new modality; checkpoints of older versions have no means."""
        if prefix + "batches" not in state_dict:
            return
        for key, value in state_dict.items():
            if key.startswith(prefix + PREFIX):
                self.register_buffer(key.removeprefix(prefix), torch.zeros_like(value, device=self.batches.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


# ---- the head ----

# Means of the heads for which the caller passes none, by the head's module (or function) and method name.
_MEANS: WeakKeyDictionary[Any, dict[str, FeatureMeans]] = WeakKeyDictionary()


def _module_of(head: Head) -> nn.Module | None:
    """Return the module that a head is or is a method of; None for any other callable."""
    owner = getattr(head, "__self__", head)
    return owner if isinstance(owner, nn.Module) else None


def _means_of(head: Head) -> FeatureMeans:
    """Return the means kept for a head as long as it exists; new means if it cannot be weakly referenced."""
    module = _module_of(head)
    try:
        own = _MEANS.setdefault(head if module is None else module, {})
    except TypeError:
        return FeatureMeans()
    return own.setdefault(getattr(head, "__name__", ""), FeatureMeans())


@contextmanager
def _in_eval_mode(module: nn.Module | None, device: torch.device) -> Iterator[None]:
    """Switch to eval mode, then restore each module's mode and the random number generators."""
    modes = {m: m.training for m in (module.modules() if module is not None else ())}
    with kept_rng(device):
        try:
            for m in modes:
                m.training = False
            yield
        finally:
            for m, mode in modes.items():
                m.training = mode


def _in_dtype_of(module: nn.Module | None, feature: Tensor) -> Tensor:
    """Return `feature` in the dtype of the head's parameters, because autocast may have left it in half precision."""
    if not feature.is_floating_point() or torch.is_autocast_enabled(feature.device.type):
        return feature
    parameter = next(module.parameters(), None) if module is not None else None
    return feature if parameter is None else feature.to(parameter.dtype)


def _is_training(head: Head) -> bool:
    """Return True if the head is in training mode; for a head that is not a module, if gradients are enabled."""
    module = _module_of(head)
    return torch.is_grad_enabled() if module is None else module.training


# ---- the logits ----


def _gains(modalities: int) -> Iterator[tuple[int, frozenset[int], float]]:
    """Yield (u, modalities before u, weight); the Shapley share of u is the weighted sum of what u adds to them.

    Exact for up to six modalities, otherwise the mean over sampled orders of the modalities.
    """
    everyone = frozenset(range(modalities))
    if modalities <= EXACT_UP_TO:
        for before in map(frozenset, _subsets(modalities)):
            weight = 1 / (modalities * comb(modalities - 1, len(before)))
            yield from ((u, before, weight) for u in everyone - before)
        return
    draw = random.Random(0)
    for order in (draw.sample(sorted(everyone), modalities) for _ in range(ORDERS)):
        yield from ((u, frozenset(order[:place]), 1 / ORDERS) for place, u in enumerate(order))


def _subsets(modalities: int) -> Iterator[tuple[int, ...]]:
    """Yield all proper subsets of the modalities."""
    return chain.from_iterable(combinations(range(modalities), size) for size in range(modalities))


def _shapley_terms(modalities: int) -> dict[frozenset[int], list[float]]:
    """Map each set of present modalities to the weight of its logits in each modality's Shapley share.

    >>> _shapley_terms(2)[frozenset({0})]
    [0.5, -0.5]
    """
    terms: dict[frozenset[int], list[float]] = defaultdict(lambda: [0.0] * modalities)
    for u, before, weight in _gains(modalities):
        terms[before | {u}][u] += weight
        terms[before][u] -= weight
    return terms


@lru_cache(maxsize=16)
def _constants(modalities: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return sets of modalities, bool [R, M], and the weights of their logits in each modality's constant, [R, M].

    The modalities of a set are at their mean, the others absent. A modality's constant is
    f(none) / M + its Shapley share - f(all).
    """
    terms, everyone = _shapley_terms(modalities), range(modalities)
    for u in everyone:
        terms[frozenset()][u] += 1 / modalities
        terms[frozenset(everyone)][u] -= 1.0
    sets = [[u in present for u in everyone] for present in terms]
    return torch.tensor(sets, device=device), torch.tensor(
        list(terms.values()), dtype=widest_float(device), device=device
    )


def _main_effects(
    head: Head, features: dict[str, Tensor], means: FeatureMeans, absent: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the main effects, name -> [B, K], from a single pass of the head.

    The rows of the pass are the samples of each modality with the others at their mean, then the sets of `_constants`.
    """
    first = next(iter(features.values()))
    sets, weights = _constants(len(features), first.device)
    joined = {}
    for place, (name, feature) in enumerate(features.items()):
        mean = means.mean(name, feature)
        nothing = absent[name].detach().to(mean).expand_as(mean) if name in absent else torch.zeros_like(mean)
        blocks = [feature if other == name else mean.expand_as(feature) for other in features]
        is_present = sets[:, place].view(-1, *[1] * mean.ndim)
        joined[name] = torch.cat([*blocks, torch.where(is_present, mean, nothing)])
    logits = head(joined)
    batch = len(first) * len(features)
    exact = torch.promote_types(logits.dtype, torch.float32)  # and no matmul below: autocast would round it
    constants = (weights.to(exact)[:, :, None] * logits[batch:, None].to(exact)).sum(dim=0)  # [M, K]
    effects = logits[:batch].unflatten(0, (len(features), len(first)))  # [M, B, K]
    unimodal = (effects + constants[:, None]).to(logits.dtype).unbind()
    return dict(zip(features, unimodal, strict=True))


def unimodal_logits(
    head: Head,
    features: Mapping[str, Tensor],
    means: FeatureMeans | None = None,
    *,
    absent: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the logits of each modality u alone, for any head f and M modalities:

        z_u(x) = f(x_u, m_others) - f(m) + share_u

    m are the running means of the features. share_u is the Shapley share of u in f(m), relative to no features at all.
    For an additive head (sum, concat) z_u equals the paper's W_u phi_u + b/M (section 3.2), and the z_u add up to the
    fused logits. z_u does not depend on the other modalities' samples. If the head has a method `unimodal_logits` (see
    `Additive`), its result is returned instead.

    A head in training mode updates its means with the batch; a head that is not a module does so while gradients are
    enabled. In evaluation mode the result for a sample does not depend on the rest of the batch. The head runs once, on
    at most M B + 2^M detached rows, in eval mode and without gradients. Its modes and the random number generators are
    restored.

    Args:
        head: callable from a dict of features to logits [B, K]; a module, a module's method or a function.
        features: name -> [B, D_u], or any other shape with the batch first.
        means: running means of the head, to save them in a checkpoint. By default they are kept as long as the head
            exists.
        absent: name -> stand-in for missing features, [D_u]; zeros by default.

    Returns:
        name -> [B, K], in the order of `features`.

    Raises:
        ValueError: if `features` is empty, or if `absent` names an unknown modality.

    >>> head = lambda x: x["audio"] + 2 * x["visual"] + 1.0
    >>> unimodal_logits(head, {"audio": torch.ones(1, 1), "visual": torch.ones(1, 1)})
    {'audio': tensor([[1.5000]]), 'visual': tensor([[2.5000]])}
    """
    absent = absent or {}
    _check_names(features, absent)
    is_training, module = _is_training(head), _module_of(head)
    with torch.no_grad(), _in_eval_mode(module, next(iter(features.values())).device):
        present = {name: _in_dtype_of(module, feature.detach()) for name, feature in features.items()}
        if len(present) == 1:
            return dict.fromkeys(present, head(present))
        if isinstance(head, Additive):
            return head.unimodal_logits(present)
        if means is None:
            means = _means_of(head)
        if is_training:
            means.update(features)
        return _main_effects(head, present, means, absent)


def _check_names(features: Mapping[str, Tensor], absent: Mapping[str, Tensor]) -> None:
    if not features:
        raise ValueError("`features` must contain at least one modality, but is empty")
    if unknown := sorted(set(absent) - set(features)):
        raise ValueError(f"`absent` names {unknown}, but the modalities in `features` are {sorted(features)}")
