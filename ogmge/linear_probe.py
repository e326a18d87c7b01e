"""Linear probes: what a linear classifier can read from the features of a frozen encoder.

An encoder that was trained jointly may be worse than one that was trained alone on the same modality; the OGM-GE paper
(arXiv 2203.15332, section 1) takes this as the sign that it was left behind. The model's own head does not tell, since
it was fitted to all features together. So each encoder gets a classifier of its own (Alain and Bengio, 2016, arXiv
1610.01644): multinomial logistic regression, which has one optimum, and no seed or learning rate that could be lucky.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ogmge.fit import Data
from ogmge.inference import TrainedModel
from ogmge.optimizer import eager
from ogmge.trainer import Batch

WEIGHT_DECAYS = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
HELD_OUT = 5  # one in so many training samples, to choose the weight decay with
ITERATIONS = 1000  # at most
GRADIENT = 1e-5  # largest entry at which an optimum is one
CLOSE = 1e-4  # largest entry at which it is as good as one
PRODUCTS = 10**8  # of a pass over the samples that are worth a thread of their own: some 10 ms


@dataclass(frozen=True)
class Fit:
    """A multinomial logistic regression.

    Args:
        weight: [K, D].
        bias: [K].
        converged: whether the gradient is small; if not, it ended at the largest number of iterations.
    """

    weight: Tensor
    bias: Tensor
    converged: bool


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier on an encoder's features.

    Args:
        mean, scale: [D], of the training features; a feature that never changes has a scale of 1.
        fit: on standardised features.
        weight_decay: that it was fitted with.
    """

    mean: Tensor
    scale: Tensor
    fit: Fit
    weight_decay: float

    def logits(self, features: Tensor) -> Tensor:
        """[N, D] -> [N, K], float64."""
        return ((features.double() - self.mean) / self.scale) @ self.fit.weight.T + self.fit.bias


@dataclass(frozen=True)
class Right:
    """Which samples a model got right, bool [N] each, in their order.

    Args:
        fused: by the whole model.
        unimodal: by what its head says of each modality alone (`ogmge.unimodal_logits`).
        probed: by a linear probe of each encoder.
    """

    fused: Tensor
    unimodal: dict[str, Tensor]
    probed: dict[str, Tensor]


def extract_features(
    models: Sequence[TrainedModel], batches: Iterable[Batch], device: torch.device
) -> tuple[list[dict[str, Tensor]], Tensor]:
    """What the encoders of some models make of the same samples, in one pass over them, without gradients.

    Args:
        models: on the device, in evaluation mode; they stay as they are.
        batches: modality -> [B, *shape], and class ids [B].
        device: where the features are kept: 4 bytes x N x D for each encoder.

    Returns:
        For each model modality -> features [N, D_u] in float32; and class ids [N].

    Raises:
        ValueError: there is no sample, or a feature is infinite or not a number.
    """
    computed = list(_compute_features(models, batches, device))
    if not computed:
        raise ValueError("there is no sample to compute features of")
    features, labels = zip(*computed, strict=True)
    return [_concatenate(parts) for parts in zip(*features, strict=True)], torch.cat(labels)


def _compute_features(
    models: Sequence[TrainedModel], batches: Iterable[Batch], device: torch.device
) -> Iterator[tuple[list[dict[str, Tensor]], Tensor]]:
    """Of each batch: each model's features, and the class ids."""
    for x, y in batches:
        there = {name: value.to(device) for name, value in x.items()}
        yield [model.features(there) for model in models], y.to(device)


def _concatenate(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    features = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    for name, value in features.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"the encoder of {name} gives features that are infinite or not a number")
    return features


def logistic_regression(x: Tensor, y: Tensor, classes: int, weight_decay: float, start: Fit | None = None) -> Fit:
    """The W [K, D] and b [K] with the smallest mean cross-entropy of W x + b plus weight_decay / 2 · |W|².

    By L-BFGS with a line search over all samples at once; b is not decayed. scikit-learn's `C` for the same problem is
    1 / (N · weight_decay).

    Args:
        x: [N, D], float64.
        y: class ids [N].
        classes: K.
        weight_decay: above 0, which makes W the only one.
        start: where the search begins; at zero by default.
    """
    if start is None:
        start = Fit(x.new_zeros(classes, x.shape[1]), x.new_zeros(classes), False)
    weight, bias = parameters = [value.clone().requires_grad_() for value in (start.weight, start.bias)]
    optimizer = eager(torch.optim.LBFGS)(
        parameters,
        max_iter=ITERATIONS,
        max_eval=2 * ITERATIONS,
        tolerance_grad=GRADIENT,
        tolerance_change=1e-14,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def loss() -> float:
        optimizer.zero_grad()
        value = cross_entropy(x @ weight.T + bias, y) + weight_decay / 2 * weight.square().sum()
        value.backward()
        return float(value.detach())

    with torch.enable_grad():
        optimizer.step(loss)
        loss()
    steepest = max(float(p.grad.abs().max()) for p in parameters if p.grad is not None)
    return Fit(weight.detach(), bias.detach(), steepest < CLOSE)


def _hold_out(y: Tensor, seed: int) -> Tensor:
    """A fifth of the samples, of each class a fifth to the nearest sample: bool [N]; a function of the seed."""
    drawn = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)).to(y.device)
    by_class = drawn[y[drawn].argsort(stable=True)]
    held = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    held[by_class[HELD_OUT - 1 :: HELD_OUT]] = True
    return held


def _standard(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the samples, [D] each."""
    scale = features.std(dim=0, correction=0)
    return features.mean(dim=0), torch.where(scale > 0, scale, 1.0)


def fit(
    features: Tensor,
    y: Tensor,
    classes: int,
    *,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
    seed: int = 0,
) -> LinearProbe:
    """A linear probe: logistic regression on standardised features.

    The weight decay is lowered, from the largest on, as long as that lowers the cross-entropy on a fifth of the
    training samples, after fitting to the rest. Then all of them are fitted with it. No others are seen.

    Args:
        features: of the training set, [N, D].
        y: class ids [N].
        classes: K.
        weight_decays: to choose from.
        seed: decides which samples are held out.

    Raises:
        ValueError: fewer than five samples.
    """
    if len(y) < HELD_OUT:
        raise ValueError(f"a linear probe takes {HELD_OUT} training samples or more, but there are {len(y)}")
    with _threads(features.numel() * classes):
        return _fit(features, y, classes, weight_decays, seed)


@contextmanager
def _threads(products: int) -> Iterator[None]:
    """Compute with no more threads than there is work for.

    L-BFGS makes hundreds of passes of some milliseconds, after each of which all threads wait for the last of them:
    where anything else keeps one core busy, a fit with two threads took thirty times as long as with one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, max(1, products // PRODUCTS)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fit(features: Tensor, y: Tensor, classes: int, weight_decays: Sequence[float], seed: int) -> LinearProbe:
    mean, scale = _standard(features.double())
    x = (features.double() - mean) / scale
    held = _hold_out(y, seed)
    best, lowest, found = max(weight_decays), math.inf, None
    for decay in sorted(weight_decays, reverse=True):
        found = logistic_regression(x[~held], y[~held], classes, decay, found)  # begins where the one before ended
        loss = float(cross_entropy(x[held] @ found.weight.T + found.bias, y[held]))
        if loss >= lowest:
            break
        best, lowest = decay, loss
    return LinearProbe(mean, scale, logistic_regression(x, y, classes, best), best)


def fit_probes(features: Mapping[str, Tensor], y: Tensor, classes: int) -> dict[str, LinearProbe]:
    """A linear probe of each encoder of a model.

    Args:
        features: modality -> of the training set, [N, D_u].
        y: class ids [N].
        classes: K.

    Raises:
        ValueError: see `fit`.
    """
    return {name: fit(value, y, classes) for name, value in features.items()}


@torch.no_grad()
def right(model: TrainedModel, probes: dict[str, LinearProbe], features: dict[str, Tensor], y: Tensor) -> Right:
    """Which samples a model, its head for each modality alone, and its probes get right.

    Args:
        model: whose features these are.
        probes: modality -> fitted to the training set's features.
        features: modality -> [N, D_u], of other samples.
        y: their class ids [N].
    """
    fused = model.model.head(features)
    unimodal = model.model.unimodal_logits(features)
    return Right(
        fused.argmax(dim=1) == y,
        {name: logits.argmax(dim=1) == y for name, logits in unimodal.items()},
        {name: probe.logits(features[name]).argmax(dim=1) == y for name, probe in probes.items()},
    )


def probe_accuracies(model: TrainedModel, data: Data, device: torch.device) -> dict[str, float]:
    """The accuracy of a linear probe of each encoder, by modality: fitted to the training set, judged on the validation
    set.

    Every model and epoch is probed on the same pass over the training set, that of seed 0 and epoch 0.

    Args:
        model: on the device, in evaluation mode; it stays as it is.
        data: see `ogmge.fit.Data`.
        device: where the features are kept and the probes fitted.

    Raises:
        ValueError: fewer than five training samples, or a feature is infinite or not a number.
    """
    size, classes = model.config.batch_size, len(data.classes)
    [features], y = extract_features([model], data.train(batch_size=size, seed=0, epoch=0), device)
    [held_out], target = extract_features([model], data.validation(batch_size=size), device)
    probed = right(model, fit_probes(features, y, classes), held_out, target).probed
    return {name: float(answers.double().mean()) for name, answers in probed.items()}
