"""On-the-fly gradient modulation with generalization enhancement (OGM-GE).

Peng, Wei, Deng, Wang, Hu: *Balanced Multimodal Learning via On-the-fly Gradient Modulation*, CVPR 2022,
arXiv 2203.15332. In joint training the modality that learns fastest suppresses the training of the others. OGM scales
down the gradients of its encoder; GE adds Gaussian noise. `Modulator` adds both to a training loop.

A step never synchronises with the device. The number of operator calls does not depend on the batch size.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ogmge.config import Modulation
from ogmge.noise import scale_and_add_noise

# Optimizers that divide each gradient by a running estimate of its size, which cancels any constant factor.
ADAPTIVE = {"Adam", "AdamW", "Adamax", "NAdam", "RAdam", "SparseAdam", "Adagrad", "Adadelta", "RMSprop", "Rprop"}

# Value of `parameters` -> number of dimensions of the modulated tensors, and advice for an encoder that has none.
PARAMETERS = {
    "conv": ((4,), "it has no 4-D (convolution) weight; use `parameters` = 'all'"),
    "all": (range(2, 65), "it has no weight matrix (no parameter with two or more dimensions)"),
}


def score(logits: Sequence[Tensor], y: Tensor) -> Tensor:
    """Return each modality's score: s_u = sum over the batch of softmax(z_u(x_i))[y_i] (paper, numerator of eq. 8).

    Args:
        logits: unimodal logits of the M modalities, [B, K] each.
        y: class ids [B].

    Returns:
        float32 [M].
    """
    probability = torch.stack(list(logits)).softmax(dim=-1, dtype=torch.float32)  # [M, B, K]
    index = y.to(torch.int64)[None, :, None].expand(probability.shape[0], -1, 1)
    return probability.gather(2, index).sum(dim=(1, 2))


def discrepancy_ratio(score: Tensor) -> Tensor:
    """Return each modality's discrepancy ratio, [M] -> [M].

    With two modalities rho_u = s_u / s_v (paper, eq. 8). With more it is the mean of s_u / s_v over the other
    modalities v (ours). s_u / 0 is infinite, and 0 / 0 counts as 1. A single modality has a ratio of 1.
    """
    modalities = score.shape[0]
    if modalities == 1:
        return torch.ones_like(score)
    if modalities == 2:
        ratio = score / score.flip(0)
        return torch.where(ratio.isnan(), 1.0, ratio)
    pairs = score[:, None] / score[None, :]
    pairs = torch.where(pairs.isnan(), 1.0, pairs)
    others = ~torch.eye(modalities, dtype=torch.bool, device=score.device)
    return torch.where(others, pairs, 0.0).sum(dim=1) / (modalities - 1)


def coefficient(ratio: Tensor, alpha: float) -> Tensor:
    """Return k_u = 1 - tanh(alpha * rho_u) where rho_u > 1, else 1 (paper, eq. 10); [M] -> [M].

    With alpha = 0 every coefficient is 1, even if a ratio is infinite.
    """
    if alpha == 0:
        return torch.ones_like(ratio)
    return torch.where(ratio > 1.0, 1.0 - torch.tanh(alpha * ratio), 1.0)


@dataclass(frozen=True)
class ModulationStats:
    """Statistics of one step: float32 [M] each, in the order of the encoders, on the device of the logits.

    Args:
        score: sum over the batch of the softmax probability of the true class, s_u (paper, numerator of eq. 8).
        ratio: discrepancy ratio, rho_u (eq. 8).
        coefficient: factor of the gradients, k_u (eq. 10); 1 outside the window.
    """

    score: Tensor
    ratio: Tensor
    coefficient: Tensor


def _parameters_to_modulate(name: str, encoder: nn.Module, which: str) -> list[nn.Parameter]:
    dimensions, advice = PARAMETERS[which]
    chosen = [p for p in encoder.parameters() if p.ndim in dimensions]
    if not chosen and any(p.requires_grad for p in encoder.parameters()):
        raise ValueError(f"`parameters` = {which!r} selects no parameter of the encoder {name!r}: {advice}")
    return chosen


def _warn_of_small_shares(encoders: Mapping[str, nn.Module], chosen: Sequence[Sequence[nn.Parameter]]) -> None:
    """Warn if `parameters` = 'conv' modulates less than half of the weights that an encoder trains."""
    small = []
    for (name, encoder), parameters in zip(encoders.items(), chosen, strict=True):
        modulated = sum(p.numel() for p in parameters if p.requires_grad)
        weights = sum(p.numel() for p in encoder.parameters() if p.requires_grad and p.ndim >= 2)
        if modulated < weights / 2:
            small.append(f"{100 * modulated / weights:.2g} % of the encoder {name!r}")
    if small:
        warnings.warn(
            f"`parameters` = 'conv' modulates only part of the weights: {', '.join(small)}. For a transformer, that is "
            "its patch embedding. Use `parameters` = 'all' to modulate every weight matrix",
            stacklevel=3,
        )


def _check_labels(y: Tensor, samples: int) -> None:
    """Raise ValueError unless `y` holds integer class ids [B]; reads no value, so it does not synchronise."""
    if not isinstance(y, Tensor):
        found = f"is a {type(y).__name__}"
    elif y.shape != (samples,) or y.dtype == torch.bool or y.is_floating_point() or y.is_complex():
        found = f"has the shape {list(y.shape)} and the dtype {y.dtype}"
    else:
        return
    raise ValueError(
        f"`y` must be a tensor of integer class ids of the shape [{samples}], one per row of the logits, but {found} "
        "(for one-hot labels, pass `y.argmax(dim=1)`)"
    )


def _warn_of_adaptive(optimizer: torch.optim.Optimizer) -> None:
    kinds = [kind.__name__ for kind in type(_unwrap(optimizer)).__mro__ if kind.__name__ in ADAPTIVE]
    if kinds:
        warnings.warn(
            f"{kinds[0]} divides each gradient by a running estimate of its size, which largely cancels OGM's "
            "coefficient: use `apply='update'` to scale the update instead",
            stacklevel=3,
        )


def _unwrap(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return the optimizer that a wrapper, such as accelerate's, holds as its attribute `optimizer`."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = inner
    return optimizer


def _group_alike(groups: list[list[Tensor]], k: Tensor) -> list[list[tuple[list[Tensor], Tensor]]]:
    """Return each encoder's tensors with its coefficient, those of one device and dtype together."""
    alike: defaultdict[tuple[torch.device, torch.dtype], dict[int, list[Tensor]]] = defaultdict(dict)
    for index, tensors in enumerate(groups):
        for tensor in tensors:
            alike[tensor.device, tensor.dtype].setdefault(index, []).append(tensor)
    return [
        [(tensors, k[index].to(device)) for index, tensors in those.items()] for (device, _), those in alike.items()
    ]


class Modulator:
    """Gradient modulation of the encoders, between `backward` and `optimizer.step`.

    ::

        modulator = Modulator({"audio": net.audio, "visual": net.visual}, Modulation(alpha=0.8, end=50))
        ...
        loss.backward()
        stats = modulator.modulate(unimodal_logits(head, features), y, epoch=epoch)
        optimizer.step()

    If the optimizer's step takes a closure, call `modulate` at the end of the closure. With gradient accumulation, call
    `observe` after each micro-batch's backward and `modulate(epoch=epoch)` once.
    Gradients need no unscaling, because a constant factor of the loss (a GradScaler's) scales gradient and noise alike.
    Under `torch.distributed` the scores are summed over the ranks; coefficients and noise are the same on every rank.
    Replicas whose gradients DDP averages therefore stay bit-identical.

    Args:
        encoders: name -> module, two or more. Statistics follow their order. A single encoder has a ratio of 1 and is
            never scaled, but `ogm_ge` still adds noise to it.
        modulation: method, strength and window.
        seed: seed of the noise. The noise of a step depends only on the seed and the step's number.
        optimizer: optimizer of the encoders. Required with `apply="update"`, which acts around its `step`. With
            `apply="gradient"` it is only checked for being Adam-like, which triggers a warning. It may be wrapped, as
            Lightning and accelerate do.
        process_group: ranks over which the scores are summed; None for the default group, if there is one.

    Raises:
        ValueError: if there is no encoder, if `modulation.parameters` selects nothing in an encoder, or if
            `apply="update"` has no optimizer, or one without a single update per step.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        modulation: Modulation,
        *,
        seed: int = 0,
        optimizer: torch.optim.Optimizer | None = None,
        process_group: dist.ProcessGroup | None = None,
    ) -> None:
        if not encoders:
            raise ValueError("`encoders` must contain at least one encoder, but is empty")
        self.modulation = modulation
        self.names = tuple(encoders)
        self._parameters: list[list[nn.Parameter]] = [[] for _ in self.names]
        self._seed = seed
        self._group = process_group
        self._step = 0
        self._observed: Tensor | None = None
        self._pending: tuple[Tensor, int] | None = None  # coefficients and step number, until the optimizer's step
        self._before: list[list[Tensor]] = []
        self._is_stepping = False  # True while the optimizer's step runs, which may call `modulate` in a closure
        if modulation.method != "none":
            self._parameters = [_parameters_to_modulate(n, e, modulation.parameters) for n, e in encoders.items()]
            _warn_of_small_shares(encoders, self._parameters)
            if modulation.apply == "update":
                self._attach(optimizer)
            elif optimizer is not None:
                _warn_of_adaptive(optimizer)

    def _attach(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Register hooks around the optimizer's step.

        Raises:
            ValueError: if there is no optimizer, or it has no hooks or no single update per step.
        """
        if optimizer is None:
            raise ValueError("`apply: update` acts around the optimizer's step: pass `optimizer=` to `Modulator`")
        inner = _unwrap(optimizer)
        if isinstance(inner, torch.optim.LBFGS):
            raise ValueError(
                "`apply: update` scales one update per step, but LBFGS makes several, each after a call of the "
                "closure: use `apply='gradient'` and call `modulate` in the closure, or use another optimizer"
            )
        try:
            inner.register_step_pre_hook(self._start_step)
            inner.register_step_post_hook(self._scale_update)
        except AttributeError as error:
            raise ValueError(
                f"`apply: update` needs hooks around the optimizer's step, but {type(inner).__name__} has none: pass "
                "the `torch.optim.Optimizer` that it wraps"
            ) from error

    def observe(self, logits: Mapping[str, Tensor], y: Tensor) -> None:
        """Add the scores of one micro-batch.

        Args:
            logits: name -> unimodal logits [B, K] (`unimodal_logits`).
            y: class ids [B].

        Raises:
            ValueError: if the names of the logits differ from those of the encoders, or if `y` are not class ids [B].
        """
        if set(logits) != set(self.names):
            raise ValueError(
                f"the names in `logits` must be those of the encoders, {list(self.names)}, but are {list(logits)}"
            )
        _check_labels(y, len(logits[self.names[0]]))
        with torch.no_grad():
            seen = score([logits[name] for name in self.names], y)
            self._observed = seen if self._observed is None else self._observed + seen

    @torch.no_grad()
    def modulate(
        self, logits: Mapping[str, Tensor] | None = None, y: Tensor | None = None, *, epoch: int
    ) -> ModulationStats:
        """Modulate the gradients in place, using the scores observed since the last call.

        Outside the window, and with the method `none`, gradients do not change and all coefficients are 1.

        Args:
            logits: name -> unimodal logits [B, K] (`unimodal_logits`). If given with `y`, they are observed first.
            y: class ids [B].
            epoch: current epoch, counted from 0.

        Returns:
            Scores, discrepancy ratios and coefficients of the step.

        Raises:
            ValueError: if nothing was observed, if only one of `logits` and `y` is given, if the names of the logits
                differ from those of the encoders, or if `y` are not class ids [B].
        """
        total = self._take_scores(logits, y)
        ratio = discrepancy_ratio(total)
        step, self._step = self._step, self._step + 1
        if not self.modulation.active(epoch):
            self._pending = None
            return ModulationStats(total, ratio, torch.ones_like(ratio))
        k = coefficient(ratio, self.modulation.alpha)
        if self.modulation.apply == "update":
            self._pending = (k, step)
            if self._is_stepping:  # in a closure, before the update
                self._copy_weights()
        else:
            self._edit([[p.grad for p in ps if p.grad is not None] for ps in self._parameters], k, step)
        return ModulationStats(total, ratio, k)

    def _take_scores(self, logits: Mapping[str, Tensor] | None, y: Tensor | None) -> Tensor:
        """Return the scores observed since the last call, summed over all ranks: [M]."""
        if (logits is None) != (y is None):
            raise ValueError("pass both `logits` and `y`, or neither after calling `observe`, but only one was given")
        if logits is not None and y is not None:
            self.observe(logits, y)
        if self._observed is None:
            raise ValueError("no scores were observed: pass `logits` and `y`, or call `observe` first")
        total, self._observed = self._observed, None
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(total, group=self._group)
        return total

    def _edit(self, groups: list[list[Tensor]], k: Tensor, step: int) -> None:
        """Compute g <- k_u g (+ h) in place for the tensors of each encoder."""
        for index, alike in enumerate(_group_alike(groups, k)):
            if self.modulation.method == "ogm_ge":
                scale_and_add_noise(alike, self._noise_seed(step, index))
                continue
            for tensors, coefficient in alike:
                torch._foreach_mul_(tensors, coefficient)

    def _noise_seed(self, step: int, index: int) -> int:
        digest = hashlib.blake2b(f"{self._seed}/{step}/{index}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) >> 1

    def _with_gradient(self) -> list[list[Tensor]]:
        """Return, for each encoder, the modulated parameters that the optimizer's step changes."""
        return [[p for p in ps if p.grad is not None] for ps in self._parameters]

    def _start_step(self, *_: Any) -> None:
        self._is_stepping = True
        if self._pending is not None:
            self._copy_weights()

    def _copy_weights(self) -> None:
        self._before = [[p.detach().clone() for p in ps] for ps in self._with_gradient()]

    @torch.no_grad()
    def _scale_update(self, *_: Any) -> None:
        self._is_stepping = False
        if self._pending is None:
            return
        (k, step), self._pending = self._pending, None
        now, before, self._before = self._with_gradient(), self._before, []
        moves = [list(torch._foreach_sub(p, b)) if p else [] for p, b in zip(now, before, strict=True)]
        self._edit(moves, k, step)
        for parameters, start, move in zip(now, before, moves, strict=True):
            if parameters:
                torch._foreach_copy_(parameters, torch._foreach_add(start, move))

    def state_dict(self) -> dict[str, int]:
        """Return the number of steps so far, from which a resumed run continues the same noise."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restore what `state_dict` returned."""
        self._step = state["step"]
