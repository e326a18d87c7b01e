"""`Modulator` with a compiled model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ogmge import Modulation, Modulator, unimodal_logits
from ogmge.fusion import Concat
from ogmge.model import MultimodalClassifier


def run(backend: str | None) -> list[Tensor]:
    torch.manual_seed(0)
    encoders = {name: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten()) for name in ("audio", "visual")}
    net = MultimodalClassifier(encoders, Concat({"audio": 18, "visual": 18}, 3))
    forward = torch.compile(net, backend=backend) if backend else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    modulator = Modulator(encoders, Modulation(method="ogm_ge", alpha=0.5))
    x = {name: torch.randn(8, 1, 5, 5) for name in encoders}
    y = torch.randint(0, 3, (8,))
    for _ in range(3):
        optimizer.zero_grad()
        logits, features = forward(x)
        cross_entropy(logits, y).backward()
        modulator.modulate(unimodal_logits(forward.head, features), y, epoch=0)
        optimizer.step()
    return [p.detach() for p in net.parameters()]


@pytest.mark.parametrize(
    "backend", ["eager", "aot_eager", pytest.param("inductor", marks=[pytest.mark.slow, pytest.mark.longer])]
)
def test_a_compiled_model_is_modulated_as_a_plain_one_is(backend):
    for compiled, plain in zip(run(backend), run(None), strict=True):
        assert torch.allclose(compiled, plain, rtol=1e-4, atol=1e-5)
