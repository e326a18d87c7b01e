"""Effect of single choices on a training step: `python -m benchmarks.speed [--encoder small_conv] [--compile]`.

Each way trains its own model with OGM-GE on the same batches: as shipped (channels-last convolutions), with contiguous
weights, both in bf16, and with `torch.compile` of each encoder's forward. The ways alternate, so that drift of the
machine affects all of them equally. A ratio is the median over the rounds of a way's time divided by the shipped way's
time in the same round. The first step, which includes compilation, is shown separately. Validation is measured as
shipped, in inference mode, and with the fused logits only. Needs only torch and torchvision.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.step import timed
from ogmge.batches import Batch
from ogmge.config import Modulation, Precision, TrialConfig
from ogmge.model import build_model
from ogmge.trainer import Trainer

CLASSES = 10
DEMO = {"audio": (1, 32, 32), "visual": (3, 32, 32)}
CREMAD = {"audio": (1, 257, 188), "visual": (3, 224, 224)}
SMALL = {"audio": (1, 64, 48), "visual": (3, 64, 64)}  # for a ResNet-18 on a CPU


def trainer(
    encoder: str,
    shapes: dict[str, tuple[int, ...]],
    device: torch.device,
    *,
    precision: Precision = "fp32",
    contiguous: bool = False,
    compiled: bool = False,
) -> Trainer:
    config = TrialConfig(encoder=encoder, precision=precision, modulation=Modulation(alpha=0.3))
    model = build_model(config, shapes, CLASSES)
    if contiguous:
        model.to(memory_format=torch.contiguous_format)
    if compiled:
        for module in model.encoders.values():
            module.compile(dynamic=False)
    return Trainer(model, config, device)


def in_turn(
    ways: dict[str, Callable[[], object]], device: torch.device, rounds: int, steps: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Return the seconds of each way's first step, and those per step of each way and round."""
    names, found = list(ways), {name: list[float]() for name in ways}
    first = {name: timed(ways[name], device) for name in names}
    for round_ in range(1 + rounds):
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            seconds = timed(lambda name=name: [ways[name]() for _ in range(steps)], device) / steps  # type: ignore[misc]
            if round_:
                found[name].append(seconds)
    return first, found


def ratio(seconds: list[float], base: list[float]) -> float:
    """Return the median over the rounds of a way's time relative to another one's."""
    return statistics.median(mine / its for mine, its in zip(seconds, base, strict=True))


def show(title: str, measured: tuple[dict[str, float], dict[str, list[float]]]) -> None:
    first, found = measured
    base = next(iter(found.values()))
    print("\nfirst step: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in first.items()))
    print(f"{title:34}{'ms':>10}{'p10-p90':>20}{'ratio':>8}")
    for name, seconds in found.items():
        deciles = statistics.quantiles(seconds, n=10, method="inclusive")
        spread = f"{deciles[0] * 1e3:.1f}-{deciles[-1] * 1e3:.1f}"
        print(f"{name:34}{statistics.median(seconds) * 1e3:10.2f}{spread:>20}{ratio(seconds, base):8.3f}")


def validation(model: Trainer, batch: Batch) -> dict[str, Callable[[], object]]:
    """Return the ways to validate a batch: as in `Trainer.evaluate`, and with less."""
    x, y = batch

    def answers(mode: Callable[[], AbstractContextManager[None]], *, alone: bool) -> dict[str, Tensor] | None:
        with mode():
            logits, features = model.model(x)
            cross_entropy(logits, y)
            return model.model.unimodal_logits(features) if alone else None

    return {
        "as shipped": lambda: answers(torch.no_grad, alone=True),
        "inference mode": lambda: answers(torch.inference_mode, alone=True),
        "fused logits only": lambda: answers(torch.no_grad, alone=False),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    on_gpu = torch.cuda.is_available()
    parser.add_argument("--encoder", default="resnet18" if on_gpu else "small_conv", help="small_conv, resnet18, …")
    parser.add_argument("--batch", type=int, help="samples per batch (64; 8 on a CPU, except for small_conv)")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, help="steps per round (8; 1 on a CPU, except for small_conv)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--compile", action="store_true", help="also time torch.compile, which needs a C++ compiler")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device, light = torch.device("cuda" if on_gpu else "cpu"), given.encoder == "small_conv"
    shapes = DEMO if light else CREMAD if on_gpu else SMALL
    batch, steps = given.batch or (64 if light or on_gpu else 8), given.steps or (8 if light or on_gpu else 1)
    where = torch.cuda.get_device_name() if on_gpu else f"CPU, {given.threads} thread(s)"
    print(f"torch {torch.__version__}, {where}, {given.encoder}, batch {batch}, {time.strftime('%Y-%m-%d')}")
    x = {name: torch.randn(batch, *shape, device=device) for name, shape in shapes.items()}
    y = torch.randint(0, CLASSES, (batch,), device=device)
    ways = {
        "as shipped": trainer(given.encoder, shapes, device),
        "contiguous": trainer(given.encoder, shapes, device, contiguous=True),
        "bf16": trainer(given.encoder, shapes, device, precision="bf16"),
        "bf16, contiguous": trainer(given.encoder, shapes, device, precision="bf16", contiguous=True),
    }
    if given.compile:
        ways["compiled"] = trainer(given.encoder, shapes, device, compiled=True)
        ways["bf16, compiled"] = trainer(given.encoder, shapes, device, precision="bf16", compiled=True)
    training = {name: lambda way=way: way.train_epoch([(x, y)], 0) for name, way in ways.items()}  # type: ignore[misc]
    show("a training step", in_turn(training, device, given.rounds, steps))
    shipped = ways["as shipped"]
    shipped.model.eval()
    show("validation of a batch", in_turn(validation(shipped, (x, y)), device, given.rounds, steps))


if __name__ == "__main__":
    main()
