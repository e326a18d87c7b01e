"""Devices: which one is chosen, and sums on Apple's GPU, which has no float64.

Without such a GPU, fake tensors stand for those on it: they have its device and dtypes, but no values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ogmge.devices import best_device, get_rng_states, kept_rng, widest_float
from ogmge.metrics import ModulationTally, Tally
from ogmge.modulation import ModulationStats

MPS = torch.device("mps", 0)


class NoFloat64(TorchDispatchMode):
    """Refuse float64 on Apple's GPU, as it does."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for value in tree_leaves(found):
            if isinstance(value, torch.Tensor) and (value.device.type, value.dtype) == ("mps", torch.float64):
                raise TypeError(f"{func} makes float64 on mps")
        return found


@contextmanager
def apple_gpu() -> Iterator[None]:
    with FakeTensorMode(), NoFloat64():
        yield


def on_mps(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=MPS)


def test_the_stand_in_refuses_float64():
    with apple_gpu(), pytest.raises(TypeError, match="float64"):
        on_mps(3).double()


def test_the_sums_of_an_epoch_need_no_float64_on_apples_gpu():
    with apple_gpu():
        tally = Tally(("a", "b"), MPS)
        y = on_mps(4, dtype=torch.int64)
        tally.add(on_mps(), on_mps(4, 3), {"a": on_mps(4, 3), "b": on_mps(4, 3)}, y)
        modulation = ModulationTally(("a", "b"), MPS)
        modulation.add(ModulationStats(*(on_mps(2) for _ in range(3))))


def test_sums_are_exact_where_float64_exists():
    assert [widest_float(torch.device(kind)) for kind in ("cpu", "cuda", "mps")] == [
        torch.float64,
        torch.float64,
        torch.float32,
    ]


@pytest.mark.parametrize(("cuda", "mps", "chosen"), [(1, 1, "cuda"), (1, 0, "cuda"), (0, 1, "mps"), (0, 0, "cpu")])
def test_the_best_device_is_cuda_then_apples_gpu_then_the_cpu(monkeypatch, cuda, mps, chosen):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: bool(mps))
    assert best_device().type == chosen


def test_random_numbers_in_between_change_nothing():
    cpu = torch.device("cpu")
    before = get_rng_states(cpu)
    with kept_rng(cpu):
        torch.rand(3)
    assert torch.equal(get_rng_states(cpu)["cpu"], before["cpu"])
