"""Linear probes: how well a linear classifier can predict the class from the features of a frozen encoder.

A jointly trained encoder may be worse than one that was trained on its modality alone. The OGM-GE paper (arXiv
2203.15332, section 1) takes this as a sign of under-optimisation. The model's head cannot show it, because it is fitted
to all features together. Each encoder therefore gets its own linear classifier (Alain and Bengio, 2016, arXiv
1610.01644). It is a multinomial logistic regression, which has a single optimum: the result depends on no learning rate
or initialisation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ogmge.batches import Batch, to_device
from ogmge.fit import Data
from ogmge.inference import TrainedModel
from ogmge.optimizer import eager

WEIGHT_DECAYS = (10.0, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
HELD_OUT = 5  # one in five training samples is held out to choose the weight decay
ITERATIONS = 1000  # maximum
GRADIENT = 1e-5  # L-BFGS stops when no entry of the gradient is larger
CLOSE = 1e-4  # the fit counts as converged when every entry of the gradient is smaller
PRODUCTS = 10**8  # multiplications of a pass that justify one more thread: about 10 ms


@dataclass(frozen=True)
class Fit:
    """Fitted multinomial logistic regression.

    Args:
        weight: [K, D].
        bias: [K].
        converged: whether the gradient is small. If not, the fit stopped before it reached the optimum.
    """

    weight: Tensor
    bias: Tensor
    converged: bool


@dataclass(frozen=True)
class LinearProbe:
    """Linear classifier on the features of an encoder.

    Args:
        mean, scale: mean and standard deviation of the training features, [D]; the scale of a constant feature is 1.
        fit: logistic regression on the standardised features.
        weight_decay: weight decay of the fit.
    """

    mean: Tensor
    scale: Tensor
    fit: Fit
    weight_decay: float

    def logits(self, features: Tensor) -> Tensor:
        """Return logits [N, K], float64, from features [N, D]."""
        return ((features.double() - self.mean) / self.scale) @ self.fit.weight.T + self.fit.bias


@dataclass(frozen=True)
class Right:
    """Correctness of each prediction, bool [N] each, in the order of the samples.

    Args:
        fused: correct predictions of the fused logits.
        unimodal: modality -> correct predictions of its unimodal logits (`ogmge.unimodal_logits`).
        probed: modality -> correct predictions of the linear probe of its encoder.
    """

    fused: Tensor
    unimodal: dict[str, Tensor]
    probed: dict[str, Tensor]


def extract_features(
    models: Sequence[TrainedModel], batches: Iterable[Batch], device: torch.device
) -> tuple[list[dict[str, Tensor]], Tensor]:
    """Compute the features of several models in one pass over the same samples, without gradients.

    Args:
        models: models on the device, in evaluation mode; they do not change.
        batches: pairs of samples, modality -> [B, *shape], and class ids [B].
        device: device of the models and the features. Memory: 4 x N x D_u bytes per encoder.

    Returns:
        For each model, modality -> features [N, D_u] in float32; and class ids [N].

    Raises:
        ValueError: if there is no sample, or if a feature is infinite or NaN.
    """
    computed = list(_compute_features(models, batches, device))
    if not computed:
        raise ValueError("there is no sample to compute features of")
    features, labels = zip(*computed, strict=True)
    return [_concatenate(parts) for parts in zip(*features, strict=True)], torch.cat(labels)


def _compute_features(
    models: Sequence[TrainedModel], batches: Iterable[Batch], device: torch.device
) -> Iterator[tuple[list[dict[str, Tensor]], Tensor]]:
    """Yield the features of each model and the class ids, batch by batch."""
    for batch in batches:
        there, y = to_device(batch, device)
        yield [model.features(there) for model in models], y


def _concatenate(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    features = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    for name, value in features.items():
        if not bool(value.isfinite().all()):
            raise ValueError(f"the encoder of {name} returns features that are infinite or NaN")
    return features


def logistic_regression(x: Tensor, y: Tensor, classes: int, weight_decay: float, start: Fit | None = None) -> Fit:
    """Minimise the mean cross-entropy of W x + b plus weight_decay / 2 · |W|² over W [K, D] and b [K].

    Uses full-batch L-BFGS with a line search. b is not decayed. scikit-learn solves the same problem with `C` =
    1 / (N · weight_decay).

    Args:
        x: features [N, D], float64.
        y: class ids [N].
        classes: number of classes, K.
        weight_decay: strength of the weight decay; above 0, which makes the optimal W unique.
        start: initial W and b; zeros by default.
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
    """Draw a fifth of the samples, stratified by class: bool [N]. The draw depends only on `y` and the seed."""
    drawn = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)).to(y.device)
    by_class = drawn[y[drawn].argsort(stable=True)]
    held = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    held[by_class[HELD_OUT - 1 :: HELD_OUT]] = True
    return held


def _standard(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation over the samples, [D] each; the deviation of a constant feature is 1."""
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
    """Fit a linear probe: logistic regression on standardised features.

    The weight decay is chosen on a fifth of the training samples, after fitting to the rest. It starts at the largest
    value and decreases as long as the cross-entropy on the held-out samples decreases. The probe is then fitted to all
    training samples with it.

    Args:
        features: features of the training set, [N, D].
        y: class ids [N].
        classes: number of classes, K.
        weight_decays: weight decays to choose from.
        seed: seed of the held-out samples.

    Raises:
        ValueError: if there are fewer than five samples.
    """
    if len(y) < HELD_OUT:
        raise ValueError(f"a linear probe needs at least {HELD_OUT} training samples, but there are {len(y)}")
    with _threads(features.numel() * classes):
        return _fit(features, y, classes, weight_decays, seed)


@contextmanager
def _threads(products: int) -> Iterator[None]:
    """Limit the number of threads to what the amount of work justifies.

    L-BFGS makes hundreds of passes of a few milliseconds, and the threads synchronise after each of them. With another
    process busy on one core, a fit with two threads took thirty times as long as with one.
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
        found = logistic_regression(x[~held], y[~held], classes, decay, found)  # starts from the previous optimum
        loss = float(cross_entropy(x[held] @ found.weight.T + found.bias, y[held]))
        if loss >= lowest:
            break
        best, lowest = decay, loss
    return LinearProbe(mean, scale, logistic_regression(x, y, classes, best), best)


def fit_probes(features: Mapping[str, Tensor], y: Tensor, classes: int) -> dict[str, LinearProbe]:
    """Fit a linear probe to each encoder of a model; return them by modality.

    Args:
        features: modality -> features of the training set, [N, D_u].
        y: class ids [N].
        classes: number of classes, K.

    Raises:
        ValueError: if there are fewer than five samples.
    """
    return {name: fit(value, y, classes) for name, value in features.items()}


@torch.no_grad()
def right(model: TrainedModel, probes: dict[str, LinearProbe], features: dict[str, Tensor], y: Tensor) -> Right:
    """Return which samples are predicted correctly by the fused logits, the unimodal logits and the probes.

    Args:
        model: model that computed the features.
        probes: modality -> probe, fitted to features of the training set.
        features: modality -> features of other samples, [N, D_u].
        y: class ids of these samples, [N].
    """
    fused = model.model.head(features)
    unimodal = model.model.unimodal_logits(features)
    return Right(
        fused.argmax(dim=1) == y,
        {name: logits.argmax(dim=1) == y for name, logits in unimodal.items()},
        {name: probe.logits(features[name]).argmax(dim=1) == y for name, probe in probes.items()},
    )


def probe_accuracies(model: TrainedModel, data: Data, device: torch.device) -> dict[str, float]:
    """Return the validation accuracy of a linear probe of each encoder, by modality.

    The probes are fitted to the training set. All models and epochs use the same pass over it (seed 0, epoch 0).

    Args:
        model: model on the device, in evaluation mode; it does not change.
        data: training and validation data; see `ogmge.fit.Data`.
        device: device that stores the features and fits the probes.

    Raises:
        ValueError: if there are fewer than five training samples, if there is no validation sample, or if a feature is
            infinite or NaN.
    """
    size, classes = model.config.batch_size, len(data.classes)
    [features], y = extract_features([model], data.train(batch_size=size, seed=0, epoch=0), device)
    [held_out], target = extract_features([model], data.validation(batch_size=size), device)
    probed = right(model, fit_probes(features, y, classes), held_out, target).probed
    return {name: float(answers.double().mean()) for name, answers in probed.items()}
