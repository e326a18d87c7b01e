"""Cost of the modulation per step: few operator calls, independent of the batch size, and no synchronisation."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ogmge import Modulation, Modulator, noise, unimodal_logits
from ogmge.config import Modulation as ModulationConfig
from ogmge.config import TrialConfig
from ogmge.encoders import build_encoder
from ogmge.fusion import FUSIONS
from ogmge.model import build_model
from ogmge.trainer import Trainer

NAMES = ("audio", "visual")
WAITS = {"aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::is_nonzero", "aten::equal"}


def _copies_between_devices(name: str, args, kwargs) -> bool:
    if name == "aten::_to_copy":
        return kwargs.get("device") not in (None, args[0].device)
    return name == "aten::copy_" and args[0].device != args[1].device


def _picks_by_mask(name: str, args) -> bool:
    """Return True if a call indexes with a mask, which synchronises: the shape of the result depends on the data."""
    indices = args[1] if name in ("aten::index", "aten::index_put_") else ()
    return any(i is not None and i.dtype == torch.bool for i in indices)


class Count(TorchDispatchMode):
    """Counter of operator calls: views, others, and those that synchronise with the device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name
        out = func(*args, **(kwargs or {}))
        self.calls["view" if func.is_view else name] += 1
        if name in WAITS or _copies_between_devices(name, args, kwargs or {}) or _picks_by_mask(name, args):
            self.waits[name] += 1
        return out

    def total(self) -> int:
        return sum(self.calls.values()) - self.calls["view"]


@pytest.fixture(autouse=True)
def _gpu(monkeypatch):
    """Draw the noise as on a GPU; on a CPU, reading a number waits for nothing."""
    monkeypatch.setattr(noise, "_is_piecewise", lambda tensor: False)


@pytest.fixture(scope="module")
def encoders():
    """Return two ResNet-18 in which each parameter has a gradient."""
    found = {name: build_encoder("resnet18", (c, 32, 32))[0] for name, c in zip(NAMES, (1, 3), strict=True)}
    for parameter in (p for encoder in found.values() for p in encoder.parameters()):
        parameter.grad = torch.randn_like(parameter) * 1e-3
    return found


def count(encoders, fusion: str, batch: int, **options) -> Count:
    head = FUSIONS[fusion](dict.fromkeys(NAMES, 512), 10)
    features = {name: torch.randn(batch, 512) for name in NAMES}
    y = torch.randint(0, 10, (batch,))
    modulator = Modulator(encoders, Modulation(**options))
    with Count() as counted:
        modulator.modulate(unimodal_logits(head, features), y, epoch=0)
    return counted


@pytest.mark.parametrize("method", ["ogm", "ogm_ge"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_modulation_adds_few_calls_and_no_wait_whatever_the_batch_size(encoders, fusion, method):
    count(encoders, fusion, 16, method=method)  # the first step caches what all steps share
    small, large = (count(encoders, fusion, batch, method=method) for batch in (16, 64))
    assert 10 < small.total() <= 60
    assert small.calls == large.calls
    assert not small.waits


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("apply", ["gradient", "update"])
def test_a_whole_step_waits_for_nothing(precision, apply):
    config = TrialConfig(
        encoder="small_conv", precision=precision, accumulate=2, modulation=ModulationConfig(apply=apply)
    )
    cpu = torch.device("cpu")
    trainer = Trainer(build_model(config, {"audio": (1, 8, 8), "visual": (3, 8, 8)}, 4), config, cpu)
    batch = {"audio": torch.randn(8, 1, 8, 8), "visual": torch.randn(8, 3, 8, 8)}, torch.randint(0, 4, (8,))

    def epoch(steps: int) -> Count:
        with Count() as counted:
            trainer.train_epoch([batch] * steps, epoch=0)
        return counted

    epoch(1)  # the optimizer creates its state in the first step
    short, long = epoch(1), epoch(3)
    assert long.total() - short.total() > 200
    assert long.waits == short.waits  # all of them occur at the end of the epoch


@pytest.mark.parametrize(
    ("what", "waits"),
    [
        (lambda t: t.sum().item(), ["aten::_local_scalar_dense"]),
        (lambda t: bool(t.any()), ["aten::_local_scalar_dense"]),
        (lambda t: t[t > 0], ["aten::index"]),
        (lambda t: t.nonzero(), ["aten::nonzero"]),
        (lambda t: t.to("meta"), ["aten::_to_copy"]),
        (lambda t: torch.empty(2, device="meta").copy_(t), ["aten::copy_"]),
        (lambda t: t.softmax(0)[torch.tensor([0])].double(), []),
    ],
)
def test_the_count_sees_a_wait(what, waits):
    with Count() as counted:
        what(torch.tensor([1.0, -1.0]))
    assert [name for name in counted.waits if name != "aten::is_nonzero"] == waits
