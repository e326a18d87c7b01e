"""PyTorch's optimizers without their wrappers for torch.compile."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import torch
from torch import nn

from ogmge.config import Optimizer as OptimizerConfig

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)
FOR_COMPILE = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")  # methods wrapped for torch.compile


def eager(optimizer: type[Kind]) -> type[Kind]:
    """Return a subclass that computes the same and never imports torch.compile.

    When first called, the wrappers around these methods and `step` import `torch._dynamo`, sympy and more. That takes
    5 CPU seconds, a third of the time to start a worker. The wrappers only matter if an optimizer's step is compiled,
    which this project never does. The model may still be compiled.
    """
    plain = {name: inspect.unwrap(getattr(optimizer, name)) for name in FOR_COMPILE}
    step = torch.no_grad()(inspect.unwrap(optimizer.step))
    return type(optimizer.__name__, (optimizer,), {**plain, "step": step})


def build_optimizer(config: OptimizerConfig, model: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """Return the optimizer of all trainable parameters; on a GPU it is fused, which avoids synchronising with it."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": device.type == "cuda"}
    if config.name == "sgd":
        return eager(torch.optim.SGD)(parameters, momentum=config.momentum, **common)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return eager(kind)(parameters, betas=(config.momentum, 0.999), **common)
