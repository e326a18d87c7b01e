"""Encoders by name: modules from samples [B, *shape] to features [B, D].

An encoder factory takes the shape of one sample, without the batch, and returns a module. The shape is `[C, H, W]` for
a spectrogram or an image, `[T, C, H, W]` for T frames, `[D]` for a vector. A custom factory is named as
`package.module:factory`, and may take keyword arguments: `{name: package.module:factory, width: 64}`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from ogmge import components
from ogmge.components import Component
from ogmge.config import ConfigError, Problem
from ogmge.factories import call_factory, say_error

Factory = Callable[[tuple[int, ...]], nn.Module]


class OverTime(nn.Module):
    """Image encoder over T frames that averages their features: [B, T, C, H, W] -> [B, D]; also takes [B, C, H, W].

    With a globally average-pooled encoder this is the OGM-GE paper's pooling over time and space.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            still: Tensor = self.encoder(x)
            return still
        features: Tensor = self.encoder(x.flatten(0, 1))
        return torch.unflatten(features, 0, x.shape[:2]).mean(dim=1)


STARTS: dict[type[nn.Conv2d] | type[nn.Linear] | type[nn.BatchNorm2d], Callable[[Tensor], Tensor]] = {
    nn.Conv2d: partial(nn.init.kaiming_normal_, mode="fan_out", nonlinearity="relu"),
    nn.Linear: nn.init.xavier_normal_,
    nn.BatchNorm2d: nn.init.ones_,
}


def initialise(module: nn.Module) -> nn.Module:
    """Initialise a module's weights as the authors' code does, and return the module.

    Convolutions are Kaiming normal (fan-out), linear layers Xavier normal, batch norm weights 1 and biases 0.
    """
    for m in module.modules():
        for kind, start in STARTS.items():
            if isinstance(m, kind):
                start(m.weight)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
    return module


def _channels(shape: tuple[int, ...], name: str) -> int:
    if len(shape) not in (3, 4):
        raise ValueError(
            f"{name} takes samples of shape [C, H, W] or [T, C, H, W], but got {list(shape)}; `mlp` takes vectors"
        )
    return shape[-3]


def _parent(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return model.get_submodule(path), leaf


def _first_convolution(model: nn.Module, channels: int) -> None:
    """Adapt the first convolution of an RGB model to any number of channels.

    Each new channel gets the mean of the RGB filters, rescaled to keep the magnitude of the output.
    """
    name, conv = next((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d))
    if conv.in_channels == channels:
        return
    new = nn.Conv2d(
        channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    with torch.no_grad():
        new.weight.copy_(conv.weight.mean(dim=1, keepdim=True) * conv.in_channels / channels)
    new.bias = conv.bias
    parent, leaf = _parent(model, name)
    setattr(parent, leaf, new)


def _remove_classifier(model: nn.Module) -> str:
    """Replace the last linear layer with an identity; return its name."""
    names: list[str] = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not names:
        raise ValueError("it has no linear layer to remove as its classifier")
    parent, leaf = _parent(model, names[-1])
    setattr(parent, leaf, nn.Identity())
    return names[-1]


class WeightsError(ValueError):
    """Initial weights that are not available, or do not fit the encoder."""


def _load(model: nn.Module, path: Path, skipped: tuple[str, ...] = ()) -> None:
    """Load a state dict from a file, except keys that start with one of the prefixes in `skipped`."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on corrupt bytes the unpickler may raise any exception
        raise WeightsError(f"{path} cannot be read as a state dict: {error}") from error
    keys = model.load_state_dict({k: v for k, v in state.items() if not k.startswith(skipped)}, strict=False)
    if any(keys):
        missing, unexpected = keys
        raise WeightsError(
            f"{path} does not match the encoder: missing keys: {len(missing)} ({', '.join(missing[:3])}), "
            f"unexpected keys: {len(unexpected)} ({', '.join(unexpected[:3])})"
        )


def _torchvision_model(name: str, weights: str | None) -> nn.Module:
    import torchvision  # here, because the import takes seconds that other encoders do not need

    if name not in torchvision.models.list_models(module=torchvision.models):
        raise ValueError(f"torchvision has no image model {name!r}")
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=weights)
    except (KeyError, ValueError, URLError) as error:
        there = ", ".join(each.name for each in torchvision.models.get_model_weights(name))
        raise WeightsError(f"there is no such file, and torchvision offers {there}: {error}") from error
    return model


def from_torchvision(name: str, shape: tuple[int, ...], weights: str | None = None) -> nn.Module:
    """Return a torchvision classifier without its last layer, for any number of channels and frames.

    Features of several frames are averaged (`OverTime`).

    Args:
        name: name of the model, one of `torchvision.models.list_models()`.
        shape: shape of one sample, [C, H, W] or [T, C, H, W].
        weights: name of torchvision weights (`DEFAULT`, `IMAGENET1K_V1`), path of a state dict, or None for random
            initial weights.

    Raises:
        ValueError: if the model does not exist, if the weights do not match it or are not available, or if the samples
            do not have the shape of images.
    """
    channels = _channels(shape, f"torchvision:{name}")
    file = None if weights is None else _file(weights)
    file = file if file is not None and file.exists() else None
    model = _torchvision_model(name, None if file else weights)
    classifier = _remove_classifier(model)
    if file:
        _load(model, file, skipped=(f"{classifier}.",))
    _first_convolution(model, channels)
    if weights is None:
        initialise(model)
    return OverTime(model).to(memory_format=torch.channels_last)  # see docs/performance.md


def small_conv(shape: tuple[int, ...]) -> nn.Module:
    """Return three strided 3 x 3 convolutions (16, 32, 64 channels) with batch norm, pooled to a grid of at most 8 x 2.

    The grid preserves positions, which distinguish the frequencies of a spectrogram.

    Raises:
        ValueError: if `shape` is neither [C, H, W] nor [T, C, H, W].
    """
    channels = _channels(shape, "small_conv")
    layers: list[nn.Module] = []
    height, width = shape[-2:]
    for out in (16, 32, 64):
        layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        channels, height, width = out, (height + 1) // 2, (width + 1) // 2
    layers += [nn.AdaptiveAvgPool2d((min(height, 8), min(width, 2))), nn.Flatten()]
    encoder = initialise(OverTime(nn.Sequential(*layers)))
    return encoder.to(memory_format=torch.channels_last)  # see docs/performance.md


def mlp(shape: tuple[int, ...]) -> nn.Module:
    """Return an MLP with two hidden layers of 256 units and ReLU; samples are flattened.

    It has no convolution: modulate it with `parameters: all`.
    """
    return initialise(
        nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
    )


ENCODERS: dict[str, Factory] = {"small_conv": small_conv, "mlp": mlp}


def _build(component: Component, weights: str | None, shape: tuple[int, ...]) -> nn.Module:
    name = component.name
    if name == "resnet18" or name.startswith("torchvision:"):
        return from_torchvision(name.removeprefix("torchvision:"), shape, weights)
    encoder = ENCODERS[name](shape) if name in ENCODERS else call_factory(component, shape)
    if not isinstance(encoder, nn.Module):
        raise ValueError(f"{name} must return a torch.nn.Module, but returned {type(encoder).__name__}")
    if weights is not None:
        _load(encoder, _file(weights))
    return encoder


def _file(weights: str) -> Path:
    return Path(os.path.expanduser(weights))


def build_encoder(
    value: str | Mapping[str, Any], shape: tuple[int, ...], weights: str | None = None
) -> tuple[nn.Module, int]:
    """Return an encoder and the width D of its features, which is measured on two samples of zeros.

    Args:
        value: `resnet18`, `small_conv`, `mlp`, `torchvision:NAME`, `package.module:factory`, or a mapping with the
            latter as `name` and keyword arguments.
        shape: shape of one sample.
        weights: name of torchvision weights, path of a state dict, or None for random initial weights.

    Raises:
        ConfigError: if the encoder or its weights are not available, if it does not accept such samples, or if its
            features are not [B, D].
    """
    try:
        encoder = _build(components.parse(value), weights, shape)
        training = encoder.training
        with torch.no_grad():
            features = encoder.eval()(torch.zeros(2, *shape))
        encoder.train(training)
    except WeightsError as error:
        raise ConfigError(
            [Problem("weights", f"initial weights for {components.parse(value).name} ({error})", weights)]
        ) from error
    except Exception as error:  # a custom factory may raise any exception
        raise ConfigError(
            [Problem("encoder", f"an encoder for samples of shape {list(shape)} ({say_error(error)})", value)]
        ) from error
    if features.ndim != 2 or features.shape[0] != 2:
        got = f"{components.parse(value)}: {list(features.shape)}"
        raise ConfigError([Problem("encoder", "an encoder that returns features [B, D]", got)])
    return encoder, features.shape[1]


def per_modality(
    value: str | Mapping[str, Any] | None, names: tuple[str, ...], every: tuple[str, ...], path: str
) -> dict[str, Any]:
    """Expand a value for all modalities, or a mapping with a value for each, to a dict with a value for each.

    Args:
        value: value or mapping in the configuration.
        names: names of the modalities that the trial uses.
        every: names of all modalities of the data; a mapping may contain them too.
        path: dotted path of the value in the configuration.

    Raises:
        ConfigError: if a mapping lacks a modality of the trial or contains one that the data do not have.
    """
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, value)
    if not set(names) <= set(value) <= set(every):
        random = " (null: random weights)" if path == "weights" else ""
        expected = f"a mapping with the modalities {', '.join(names)}{_others(names, every)}{random}"
        raise ConfigError([Problem(path, expected, dict(value))])
    return {name: value[name] for name in names}


def _others(names: tuple[str, ...], every: tuple[str, ...]) -> str:
    others = ", ".join(name for name in every if name not in names)
    return f" (optional: {others})" if others else ""
