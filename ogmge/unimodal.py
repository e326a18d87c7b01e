"""What each modality alone says through a fusion head: its unimodal logits.

For an additive head these are the paper's (Peng et al., CVPR 2022, section 3.2). For any other they are its main
effect around the mean of the features: the first-order part of the head's functional ANOVA, with the constant shared
out by Shapley values. Features at zero would not do there: a gate that is closed at zero makes another model.
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

Head = Callable[[dict[str, Tensor]], Tensor]

MOMENTUM = 0.1  # of a batch, in the running means
EXACT_UP_TO = 6  # modalities, which make 64 sets; of more some orders are drawn
ORDERS = 16
PREFIX = "mean_"  # of a buffer's name


@runtime_checkable
class Additive(Protocol):
    """A head that is a sum over its modalities may say itself what each of them says."""

    def unimodal_logits(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """name -> [B, D_u] to name -> [B, K], which add up to the fused logits."""


class FeatureMeans(nn.Module):
    """Running means of each modality's features over the batches that are trained on, those of all ranks together.

    The first batch counts in full, each further one with a tenth. As a part of a model it is in the checkpoints; one
    that was loaded from a checkpoint without it is empty.

    Args:
        process_group: of the ranks; None is the default group where there is one.
    """

    batches: Tensor

    def __init__(self, process_group: dist.ProcessGroup | None = None) -> None:
        super().__init__()
        self._group = process_group
        self.register_buffer("batches", torch.zeros(()))

    def mean(self, name: str, like: Tensor) -> Tensor:
        """A modality's mean: zeros before the first batch.

        Args:
            name: of the modality.
            like: features [B, D_u]; the mean is [D_u], of their type, on their device.
        """
        shape = like.shape[1:]
        return self._of(name).to(like) if self._has(name, shape) else like.new_zeros(shape)

    def _of(self, name: str) -> Tensor:
        return self.get_buffer(PREFIX + name)

    def _has(self, name: str, shape: torch.Size) -> bool:
        return PREFIX + name in self._buffers and self._of(name).shape == shape

    @torch.no_grad()
    def update(self, features: Mapping[str, Tensor]) -> None:
        """Take in a batch: name -> [B, D_u]. All ranks call it together."""
        batch = self._batch_means({name: f.detach() for name, f in features.items()})
        if not all(self._has(name, mean.shape) for name, mean in batch.items()):  # new, or of another shape
            self.batches = torch.zeros((), device=next(iter(batch.values())).device)
            for name, mean in batch.items():
                self.register_buffer(PREFIX + name, torch.zeros_like(mean))
        weight = torch.where(self.batches == 0, 1.0, MOMENTUM)
        for name, mean in batch.items():
            self._of(name).lerp_(mean, weight.to(mean.dtype))
        self.batches += 1

    def _batch_means(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """name -> [D_u], in single precision or better."""
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
        """Modalities that are not known yet are added; a checkpoint without any is one from before there were means."""
        if prefix + "batches" not in state_dict:
            return
        for key, value in state_dict.items():
            if key.startswith(prefix + PREFIX):
                self.register_buffer(key.removeprefix(prefix), torch.zeros_like(value, device=self.batches.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


# ---- the head ----

_MEANS: WeakKeyDictionary[Any, dict[str, FeatureMeans]] = WeakKeyDictionary()  # of heads that were given none


def _module_of(head: Head) -> nn.Module | None:
    """The module that a head is, or is a method of; None for any other callable."""
    owner = getattr(head, "__self__", head)
    return owner if isinstance(owner, nn.Module) else None


def _means_of(head: Head) -> FeatureMeans:
    """Those that go with a head, as long as it lives; new ones each time for what cannot be referred to weakly."""
    module = _module_of(head)
    try:
        own = _MEANS.setdefault(head if module is None else module, {})
    except TypeError:
        return FeatureMeans()
    return own.setdefault(getattr(head, "__name__", ""), FeatureMeans())


@contextmanager
def _in_eval_mode(module: nn.Module | None, device: torch.device) -> Iterator[None]:
    """Eval mode, put back afterwards module by module; so are the random number generators."""
    modes = {m: m.training for m in (module.modules() if module is not None else ())}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            for m in modes:
                m.training = False
            yield
        finally:
            for m, mode in modes.items():
                m.training = mode


def _in_dtype_of(module: nn.Module | None, feature: Tensor) -> Tensor:
    """`feature` as the head's parameters want it: what autocast left in half precision meets them in their own."""
    if not feature.is_floating_point() or torch.is_autocast_enabled(feature.device.type):
        return feature
    parameter = next(module.parameters(), None) if module is not None else None
    return feature if parameter is None else feature.to(parameter.dtype)


def _is_training(head: Head) -> bool:
    """Whether a batch is one to learn from: by the head's mode, or by the gradients where it is no module."""
    module = _module_of(head)
    return torch.is_grad_enabled() if module is None else module.training


# ---- what is asked of it ----


def _gains(modalities: int) -> Iterator[tuple[int, frozenset[int], float]]:
    """(u, those before it, weight) of what u adds to them: the Shapley share of u is the sum over its gains.

    Exact for up to six modalities; of more, the mean over some orders in which they come.
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
    """All but the whole."""
    return chain.from_iterable(combinations(range(modalities), size) for size in range(modalities))


def _shapley_terms(modalities: int) -> dict[frozenset[int], list[float]]:
    """Sets of modalities that are present -> the weight of the head's logits for it in each modality's share.

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
    """Sets at the mean, bool [R, M], and the weights of their logits in the constant of each modality, [R, M].

    The constant is f(none) / M + the Shapley share - f(all).
    """
    terms, everyone = _shapley_terms(modalities), range(modalities)
    for u in everyone:
        terms[frozenset()][u] += 1 / modalities
        terms[frozenset(everyone)][u] -= 1.0
    sets = [[u in present for u in everyone] for present in terms]
    return torch.tensor(sets, device=device), torch.tensor(list(terms.values()), dtype=torch.float64, device=device)


def _main_effects(
    head: Head, features: dict[str, Tensor], means: FeatureMeans, absent: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """All that is asked of the head in one pass: each modality with the others at their mean, then sets at the mean."""
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
    exact = torch.promote_types(logits.dtype, torch.float32)  # no matmul, which autocast would round
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
    """What each modality u alone says, for any head f and M modalities:

        z_u(x) = f(x_u, m_others) - f(m) + share_u

    m are the running means of the features, and share_u is the Shapley share of u in f(m), against no features at
    all. For a head that is a sum over the modalities (sum, concat) this equals the paper's W_u phi_u + b/M and adds
    up to the fused logits. Nothing of another modality's sample is in it: shuffling the others changes nothing. A head
    that has a method `unimodal_logits` (see `Additive`) is asked for them instead.

    A head in training mode (one that is no module: where gradients are enabled) takes the batch into its means; in
    evaluation mode nothing depends on which samples share a batch. The head runs once, on M B + 2^M detached rows,
    without gradients and in eval mode; its modes, buffers and the random number generators are left as they were.

    Args:
        head: any callable from a dict of features to logits, a module or not.
        features: name -> [B, D_u] (any shape with the batch first).
        means: the head's, where they are to be in a checkpoint; else they are kept for as long as the head lives.
        absent: name -> what stands for no features, [D_u]; zero if it is not given.

    Returns:
        name -> [B, K], in the order of `features`.

    Raises:
        ValueError: no features, or an `absent` for a modality that is not there.

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
        raise ValueError("`features` must hold one modality or more, but is empty")
    if unknown := sorted(set(absent) - set(features)):
        raise ValueError(f"`absent` names {unknown}, but the modalities are {sorted(features)}")
