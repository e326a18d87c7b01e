"""On-the-fly gradient modulation with generalization enhancement (OGM-GE).

Peng, Wei, Deng, Wang, Hu: *Balanced Multimodal Learning via On-the-fly Gradient Modulation*, CVPR 2022,
arXiv 2203.15332. In joint training one modality runs ahead and starves the others; OGM scales the leading encoder's
gradients down, GE adds noise back. See `Modulator` for use in one's own training loop.

Nothing here waits for the device: every step is a fixed number of calls, whatever the batch size.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ogmge.config import Modulation

# Optimizers that divide each gradient by a running size of itself, and with it any constant factor.
ADAPTIVE = {"Adam", "AdamW", "Adamax", "NAdam", "RAdam", "SparseAdam", "Adagrad", "Adadelta", "RMSprop", "Rprop"}

# `parameters`: the dimensions of the tensors that are modulated, and what to say where an encoder has none.
PARAMETERS = {
    "conv": ((4,), "it has no 4-D (convolution) weight; say 'all'"),
    "all": (range(2, 65), "it has no weight matrix"),
}


def score(logits: Sequence[Tensor], y: Tensor) -> Tensor:
    """s_u = sum over the batch of softmax(z_u(x_i))[y_i] (paper, eq. 8's numerator), for each modality.

    Args:
        logits: M tensors [B, K].
        y: class ids [B].

    Returns:
        fp32 [M].
    """
    probability = torch.stack(list(logits)).softmax(dim=-1, dtype=torch.float32)  # [M, B, K]
    index = y.to(torch.int64)[None, :, None].expand(probability.shape[0], -1, 1)
    return probability.gather(2, index).sum(dim=(1, 2))


def discrepancy_ratio(score: Tensor) -> Tensor:
    """rho_u = s_u / s_v for two modalities (paper, eq. 8), the mean over the others v for more (ours). [M] -> [M].

    Where s_v is zero the ratio is infinite, and 1 where both are. One modality alone has a ratio of 1.
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
    """k_u = 1 - tanh(alpha * rho_u) where rho_u > 1, else 1 (paper, eq. 10). [M] -> [M].

    With alpha = 0 every coefficient is 1, whatever the ratio, an infinite one too.
    """
    if alpha == 0:
        return torch.ones_like(ratio)
    return torch.where(ratio > 1.0, 1.0 - torch.tanh(alpha * ratio), 1.0)


@dataclass(frozen=True)
class ModulationStats:
    """What one step saw, each [M] on the device, in the order of the encoders."""

    score: Tensor
    ratio: Tensor
    coefficient: Tensor


def _standard_deviation(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The population standard deviation of each tensor, as scalars on the device.

    In a number of calls that does not grow with that of the tensors: the mean is the sum of the sizes less twice the
    sum of the negative part's, and the deviation from it is measured in a second pass, so that nothing cancels.
    """
    negative = torch._foreach_clamp_max(tensors, 0.0)
    total = torch.stack(torch._foreach_norm(tensors, 1, dtype=dtype))
    below = torch.stack(torch._foreach_norm(negative, 1, dtype=dtype))
    del negative
    sizes = [t.numel() for t in tensors]
    mean = torch.sub(total, below, alpha=2.0).unbind()
    mean = torch._foreach_div(mean, [float(n) for n in sizes])
    centred = torch._foreach_sub(tensors, mean)
    return list(torch._foreach_div(torch._foreach_norm(centred, 2, dtype=dtype), [n**0.5 for n in sizes]))


def _noise(tensors: list[Tensor], seed: int) -> list[Tensor]:
    """h ~ N(0, sigma^2) for each tensor, sigma its standard deviation (paper, eq. 12); a function of the seed."""
    dtype = torch.float64 if tensors[0].dtype == torch.float64 else torch.float32
    generator = torch.Generator(device=tensors[0].device).manual_seed(seed)
    sizes = [t.numel() for t in tensors]
    flat = torch.randn(sum(sizes), generator=generator, device=tensors[0].device, dtype=dtype)
    noise = [part.view(t.shape) for part, t in zip(flat.split(sizes), tensors, strict=True)]
    # a CPU adds up one after the other: over millions of equal numbers single precision is off by a hundredth
    exact = torch.float64 if flat.device.type == "cpu" else dtype
    torch._foreach_mul_(noise, _standard_deviation(tensors, exact))
    return noise


def _parameters_to_modulate(name: str, encoder: nn.Module, which: str) -> list[nn.Parameter]:
    dimensions, advice = PARAMETERS[which]
    chosen = [p for p in encoder.parameters() if p.ndim in dimensions]
    if not chosen and any(p.requires_grad for p in encoder.parameters()):
        raise ValueError(f"`parameters` = {which!r} finds nothing to modulate in the encoder {name!r}: {advice}")
    return chosen


class Modulator:
    """Modulates the encoders' gradients between `backward` and `optimizer.step`.

    ::

        modulator = Modulator({"audio": net.audio, "visual": net.visual}, Modulation(alpha=0.8, end=50))
        ...
        loss.backward()
        stats = modulator.modulate(unimodal_logits(head, features), y, epoch=epoch)
        optimizer.step()

    With gradient accumulation, `observe` after each micro-batch's backward and `modulate(epoch=epoch)` once. A
    constant factor of the loss (a GradScaler's) changes nothing, so no unscaling is needed. Under
    `torch.distributed` the scores are summed over the ranks, and coefficient and noise are the same on each: with
    gradients averaged by DDP the replicas stay equal to the bit.

    Args:
        encoders: name -> module, two or more: one alone has a ratio of 1 and is never scaled, though `ogm_ge` would add
            its noise; the order is that of the statistics.
        modulation: what to do and when.
        seed: of the noise, which is a function of (seed, number of the step).
        optimizer: needed for `apply: update`, which acts around its `step`; with `apply: gradient` it only serves to
            warn of an optimizer that undoes the scaling.
        process_group: of the ranks to sum over; None is the default group where there is one.

    Raises:
        ValueError: no encoder, an encoder in which `parameters` finds nothing, `apply: update` without an optimizer.
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
            raise ValueError("`encoders` must hold one encoder or more, but is empty")
        self.modulation = modulation
        self.names = tuple(encoders)
        self._parameters: list[list[nn.Parameter]] = [[] for _ in self.names]
        self._seed = seed
        self._group = process_group
        self._step = 0
        self._observed: Tensor | None = None
        self._pending: tuple[Tensor, int] | None = None  # coefficient and step, waiting for the optimizer's step
        self._before: list[list[Tensor]] = []
        if modulation.method != "none":
            self._parameters = [_parameters_to_modulate(n, e, modulation.parameters) for n, e in encoders.items()]
            self._attach(optimizer)

    def _attach(self, optimizer: torch.optim.Optimizer | None) -> None:
        if self.modulation.apply == "update":
            if optimizer is None:
                raise ValueError("`apply: update` acts around the optimizer's step: pass `optimizer=`")
            optimizer.register_step_pre_hook(self._remember)
            optimizer.register_step_post_hook(self._scale_update)
        elif (name := type(optimizer).__name__) in ADAPTIVE:
            warnings.warn(
                f"{name} divides a constant factor of the gradient away again, so that OGM's coefficient has little "
                "effect on it: `apply='update'` scales the update instead",
                stacklevel=3,
            )

    def observe(self, logits: Mapping[str, Tensor], y: Tensor) -> None:
        """Add a micro-batch's scores: logits by modality, each [B, K], and class ids [B].

        Raises:
            ValueError: the logits' names are not the encoders'.
        """
        if set(logits) != set(self.names):
            raise ValueError(f"`logits` must name the encoders {list(self.names)}, but names {list(logits)}")
        with torch.no_grad():
            seen = score([logits[name] for name in self.names], y)
            self._observed = seen if self._observed is None else self._observed + seen

    @torch.no_grad()
    def modulate(
        self, logits: Mapping[str, Tensor] | None = None, y: Tensor | None = None, *, epoch: int
    ) -> ModulationStats:
        """Modulate the gradients in place, by what was observed since the last call.

        Outside the window, and for the method `none`, gradients are left as they are, to the bit, and the
        coefficients are 1.

        Args:
            logits: of each modality alone, [B, K] (`unimodal_logits`); with `y`, observed first.
            y: class ids [B].
            epoch: counted from 0.

        Raises:
            ValueError: nothing was observed, or only one of `logits` and `y` is given.
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
        else:
            self._edit([[p.grad for p in ps if p.grad is not None] for ps in self._parameters], k, step)
        return ModulationStats(total, ratio, k)

    def _take_scores(self, logits: Mapping[str, Tensor] | None, y: Tensor | None) -> Tensor:
        """What was observed since the last call, of all ranks: [M]."""
        if (logits is None) != (y is None):
            raise ValueError("`logits` and `y` go together: pass both, or neither after `observe`")
        if logits is not None and y is not None:
            self.observe(logits, y)
        if self._observed is None:
            raise ValueError("nothing observed: pass `logits` and `y`, or call `observe` first")
        total, self._observed = self._observed, None
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(total, group=self._group)
        return total

    def _edit(self, groups: list[list[Tensor]], k: Tensor, step: int) -> None:
        """g <- k_u g (+ h), in place, for the tensors of each encoder."""
        noise = self._draw_noise(groups, step) if self.modulation.method == "ogm_ge" else []
        for index, tensors in enumerate(groups):
            if tensors:
                torch._foreach_mul_(tensors, k[index].to(tensors[0].device))
        for tensors, h in noise:
            torch._foreach_add_(tensors, h)

    def _draw_noise(self, groups: list[list[Tensor]], step: int) -> list[tuple[list[Tensor], list[Tensor]]]:
        """All tensors, by device and type, each list with its noise; before they are scaled."""
        alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for tensor in chain.from_iterable(groups):
            alike.setdefault((tensor.device, tensor.dtype), []).append(tensor)
        return [(ts, _noise(ts, self._noise_seed(step, index))) for index, ts in enumerate(alike.values())]

    def _noise_seed(self, step: int, index: int) -> int:
        digest = hashlib.blake2b(f"{self._seed}/{step}/{index}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) >> 1

    def _with_gradient(self) -> list[list[Tensor]]:
        """The parameters that a step of the optimizer moves, of each encoder."""
        return [[p for p in ps if p.grad is not None] for ps in self._parameters]

    def _remember(self, *_: Any) -> None:
        if self._pending is not None:
            self._before = [[p.detach().clone() for p in ps] for ps in self._with_gradient()]

    @torch.no_grad()
    def _scale_update(self, *_: Any) -> None:
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
        """What a resumed run needs to draw the same noise: the number of steps so far."""
        return {"step": self._step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self._step = state["step"]
