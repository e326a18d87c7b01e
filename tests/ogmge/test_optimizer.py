"""A trial's optimizer computes bit-identically to PyTorch's, and no trial imports torch.compile."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ogmge import checkpoint
from ogmge.config import Modulation, TrialConfig
from ogmge.config import Optimizer as OptimizerConfig
from ogmge.fit import train
from ogmge.optimizer import build_optimizer, eager
from tests.support import ROOT
from tests.support.own_data import Vectors
from tests.support.states import same

KINDS = [
    (torch.optim.SGD, {}),
    (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (torch.optim.Adam, {}),
    (torch.optim.Adam, {"betas": (0.5, 0.999), "weight_decay": 0.1}),
    (torch.optim.AdamW, {}),
    (torch.optim.AdamW, {"betas": (0.5, 0.999), "weight_decay": 0.1}),
]
kinds = pytest.mark.parametrize(("kind", "options"), KINDS, ids=lambda value: getattr(value, "__name__", None))


class Run:
    """Network and optimizer, trained on the same sequence of random batches each time."""

    def __init__(self, kind: type[torch.optim.Optimizer], **options) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
        self.optimizer = kind(self.net.parameters(), lr=0.05, **options)

    def loss(self, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(number)
        x, y = (torch.randn(8, width, generator=generator) for width in (5, 2))
        self.optimizer.zero_grad()
        loss = mse_loss(self.net(x), y)
        loss.backward()
        return loss

    def steps(self, *numbers: int) -> None:
        for number in numbers:
            self.loss(number)
            assert self.optimizer.step() is None

    @property
    def state(self) -> list[object]:
        return [dict(self.net.state_dict()), self.optimizer.state_dict()]


@kinds
def test_an_eager_optimizer_computes_the_same_to_the_bit(kind, options):
    own, ours = Run(kind, **options), Run(eager(kind), **options)
    before = copy.deepcopy(ours.net.state_dict())
    for number in range(5):
        own.steps(number)
        ours.steps(number)
        assert same(ours.state, own.state), number
    assert not same(dict(ours.net.state_dict()), dict(before))
    assert isinstance(ours.optimizer, kind)
    assert type(ours.optimizer).__name__ == kind.__name__  # `Modulator` and checkpoints rely on the class name


@kinds
@pytest.mark.parametrize("to_own", [False, True])
def test_a_state_goes_on_to_the_bit_in_torchs_own_too(kind, options, to_own):
    whole, begun, resumed = (
        Run(kind, **options),
        Run(eager(kind), **options),
        Run(kind if to_own else eager(kind), **options),
    )
    whole.steps(0, 1, 2, 3)
    begun.steps(0, 1)
    net, optimizer = copy.deepcopy(begun.state)
    resumed.net.load_state_dict(net)
    resumed.optimizer.load_state_dict(optimizer)
    resumed.steps(2, 3)
    assert same(resumed.state, whole.state)


@kinds
def test_a_closure_is_called_with_gradients_and_its_loss_is_returned(kind, options):
    own, ours = Run(kind, **options), Run(eager(kind), **options)
    for number in range(3):
        losses = [run.optimizer.step(lambda run=run, number=number: run.loss(number)) for run in (own, ours)]
        assert torch.equal(*losses)
        assert same(ours.state, own.state)


@kinds
def test_hooks_are_called_around_each_step(kind, options):
    run, called = Run(eager(kind), **options), []
    weight = run.net[0].weight

    def note(optimizer: torch.optim.Optimizer, *_: object) -> None:
        called.append((optimizer is run.optimizer, weight.detach().clone()))

    hooks = [run.optimizer.register_step_pre_hook(note), run.optimizer.register_step_post_hook(note)]
    before = weight.detach().clone()
    run.steps(0)
    assert [of_it for of_it, _ in called] == [True, True]
    assert torch.equal(called[0][1], before)
    assert not torch.equal(called[1][1], before)
    assert torch.equal(called[1][1], weight)
    for hook in hooks:
        hook.remove()
    run.steps(1)
    assert len(called) == 2


def test_a_group_of_parameters_can_be_added():
    own, ours = Run(torch.optim.SGD), Run(eager(torch.optim.SGD))
    for run in (own, ours):
        run.net.append(nn.Linear(2, 2))
        nn.init.ones_(run.net[-1].weight)
        nn.init.ones_(run.net[-1].bias)
        run.optimizer.add_param_group({"params": run.net[-1].parameters(), "lr": 0.5})
        run.steps(0, 1)
    assert same(ours.state, own.state)


@pytest.mark.parametrize(
    ("config", "kind", "options"),
    [
        (OptimizerConfig("sgd", 0.05, 0.5, 0.1), torch.optim.SGD, {"momentum": 0.5, "weight_decay": 0.1}),
        (OptimizerConfig("adam", 0.05, 0.5, 0.1), torch.optim.Adam, {"betas": (0.5, 0.999), "weight_decay": 0.1}),
        (OptimizerConfig("adamw", 0.05, 0.5, 0.1), torch.optim.AdamW, {"betas": (0.5, 0.999), "weight_decay": 0.1}),
    ],
)
def test_a_trials_optimizer_is_the_one_that_its_file_names(config, kind, options):
    own, ours = Run(kind, **options), Run(kind)
    ours.net[0].bias.requires_grad_(False)
    own.net[0].bias.requires_grad_(False)
    ours.optimizer = build_optimizer(config, ours.net, torch.device("cpu"))
    assert isinstance(ours.optimizer, kind)
    assert sum(len(group["params"]) for group in ours.optimizer.param_groups) == 3  # frozen parameters do not change
    for run in (own, ours):
        run.steps(0, 1, 2)
    assert same(dict(ours.net.state_dict()), dict(own.net.state_dict()))


# ---- a whole trial in a fresh process ----

TRIAL = """
import sys
from pathlib import Path
import torch
from ogmge.config import Modulation, Optimizer, TrialConfig
from ogmge.fit import train

class Vectors:
    shapes, classes = {"left": (6,), "right": (4,)}, ("a", "b")
    def train(self, *, batch_size, seed, epoch):
        generator = torch.Generator().manual_seed(seed)
        y = torch.arange(16) % 2
        x = {name: torch.randn(16, *shape, generator=generator) + y[:, None] for name, shape in self.shapes.items()}
        for part in torch.arange(16).split(batch_size):
            yield {name: value[part] for name, value in x.items()}, y[part]
    def validation(self, *, batch_size):
        return self.train(batch_size=batch_size, seed=1, epoch=0)

modulation = Modulation("ogm_ge", 0.5, 1, 2, parameters="all")
for name in ("sgd", "adam", "adamw"):
    optimizer, reports = Optimizer(name, 0.01), []
    config = TrialConfig(epochs=4, batch_size=8, encoder="mlp", modulation=modulation, optimizer=optimizer)
    for _ in range(2):  # the second one is a resume
        train(config, Vectors(), reports.append, folder=Path(sys.argv[1], name))
    assert len(reports) == 8 and reports[:4] == reports[4:]
    assert reports[0]["train/loss"] > reports[3]["train/loss"]
print(*sorted(sys.modules.keys() & {"sympy", "torch._dynamo"}))
"""


def test_a_trial_never_imports_what_torch_compile_needs(tmp_path):
    """The import would add seconds to the start of each worker; all features of a trial must do without it."""
    command = [sys.executable, "-c", TRIAL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr


def plain(shape: tuple[int, ...]) -> nn.Module:
    """Return a custom encoder."""
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0], 8), nn.ReLU())


def compiled(shape: tuple[int, ...]) -> nn.Module:
    return torch.compile(plain(shape), backend="eager")


def test_a_users_model_that_is_compiled_trains_as_it_does_otherwise(tmp_path):
    modulation, told = Modulation("ogm", 0.5, 1, 2, parameters="all"), []
    for name in ("plain", "compiled"):
        config = TrialConfig(epochs=3, batch_size=32, encoder=f"{__name__}:{name}", modulation=modulation)
        reports: list[dict[str, float]] = []
        train(config, Vectors(), reports.append, folder=tmp_path / name)
        told.append([value for metrics in reports for key, value in metrics.items() if key != "seconds"])
    assert told[0] == pytest.approx(told[1], rel=1e-4)
    assert any("_orig_mod" in key for key in checkpoint.load(tmp_path / "compiled" / "best.pt")["model"])
