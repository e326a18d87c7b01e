"""A trial's optimizer: torch's own, without what torch.compile adds to it."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

import torch
from torch import nn

from ogmge.config import Optimizer as OptimizerConfig

Kind = TypeVar("Kind", bound=torch.optim.Optimizer)
FOR_COMPILE = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")  # which torch wraps for torch.compile


def eager(optimizer: type[Kind]) -> type[Kind]:
    """A subclass that computes the same and never imports torch.compile.

    The wrappers around these methods and `step` import `torch._dynamo`, with sympy and more, when first called: 5 CPU
    seconds, a third of what it takes to start a worker. They matter only where an optimizer's step is compiled, which
    ours never is; a model may still be.
    """
    plain = {name: inspect.unwrap(getattr(optimizer, name)) for name in FOR_COMPILE}
    step = torch.no_grad()(inspect.unwrap(optimizer.step))
    return type(optimizer.__name__, (optimizer,), {**plain, "step": step})


def build_optimizer(config: OptimizerConfig, model: nn.Module, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer over all parameters; fused on a GPU, where a step then waits for nothing."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": device.type == "cuda"}
    if config.name == "sgd":
        return eager(torch.optim.SGD)(parameters, momentum=config.momentum, **common)
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return eager(kind)(parameters, betas=(config.momentum, 0.999), **common)
