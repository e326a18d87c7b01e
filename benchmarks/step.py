"""Cost of modulation in a training step: `python -m benchmarks.step [--device cuda] [--encoder small_conv]`.

The model is two encoders with concatenation, trained by SGD with momentum. One sees a spectrogram (1 x 257 x 188; on a
CPU 1 x S x S), the other a 3 x S x S image. Four kinds of step alternate, so that drift of the machine affects all of
them equally: plain joint training, OGM, OGM-GE, and OGM-GE written directly from its equations, sample by sample and
tensor by tensor. The limit is a plain step plus the drawing of the noise. Needs only torch and torchvision.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from ogmge import Modulation, Modulator, unimodal_logits
from ogmge.config import TrialConfig
from ogmge.model import MultimodalClassifier, build_model
from ogmge.noise import PIECE

SPECTROGRAM, CLASSES, ALPHA = (1, 257, 188), 10, 0.8
GOAL = 1.09  # times a plain step, on a CPU with the batch below
GOAL_BATCH = 64
WAITS = {"aten::_local_scalar_dense", "aten::nonzero"}

Modulate = Callable[[MultimodalClassifier, dict[str, Tensor], Tensor], None]


def nothing(model: MultimodalClassifier, features: dict[str, Tensor], y: Tensor) -> None:
    """Do nothing, as in plain joint training."""


def ours(model: MultimodalClassifier, method: str) -> Modulate:
    modulator = Modulator(dict(model.encoders.items()), Modulation(method=method, alpha=ALPHA))  # type: ignore[arg-type]

    def modulate(model: MultimodalClassifier, features: dict[str, Tensor], y: Tensor) -> None:
        modulator.modulate(unimodal_logits(model.head, features), y, epoch=0)

    return modulate


def straight(model: MultimodalClassifier, features: dict[str, Tensor], y: Tensor) -> None:
    """Modulate by the paper's equations 8 to 12, for the concatenation of two modalities, one number at a time."""
    linear = model.head.linear
    scores, first = [], 0
    for feature in features.values():
        weight = linear.weight[:, first : first + feature.shape[1]]
        first += feature.shape[1]
        logits = feature.detach().float() @ weight.detach().t() + linear.bias.detach() / 2
        scores.append(sum(torch.softmax(logits[i], dim=0)[y[i]].item() for i in range(len(y))))
    for u, encoder in enumerate(model.encoders.values()):
        ratio = scores[u] / scores[1 - u]
        k = 1 - torch.tanh(torch.tensor(ALPHA * ratio)).item() if ratio > 1 else 1.0
        for parameter in encoder.parameters():
            if parameter.grad is not None and parameter.ndim == 4:
                sigma = parameter.grad.std(correction=0).item()
                noise = torch.empty(parameter.grad.shape, device=parameter.device).normal_(0, max(sigma, 1e-30))
                parameter.grad.mul_(k).add_(noise)


class Count(TorchDispatchMode):
    """Count operator calls other than views, and those that synchronise with the device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.waits = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.calls += not func.is_view
        self.waits += func._schema.name in WAITS
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Setting:
    device: torch.device
    batch: int
    size: int
    steps: int
    bf16: bool = False
    encoder: str = "resnet18"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of a sample of each modality."""
        audio = SPECTROGRAM if self.device.type == "cuda" else (1, self.size, self.size)
        return {"audio": audio, "visual": (3, self.size, self.size)}


class Variant:
    """One kind of step, with its own model and optimizer."""

    def __init__(self, name: str, make: Callable[[MultimodalClassifier], Modulate], setting: Setting) -> None:
        self.name, self.setting = name, setting
        config = TrialConfig(encoder=setting.encoder)
        self.model = build_model(config, setting.shapes, CLASSES).to(setting.device)
        fused = setting.device.type == "cuda"
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9, fused=fused)
        self.modulate = make(self.model)
        self.seconds: list[float] = []

    def step(self, x: dict[str, Tensor], y: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.setting.device.type, dtype=torch.bfloat16, enabled=self.setting.bf16):
            logits, features = self.model(x)
            loss = cross_entropy(logits, y)
        loss.backward()
        self.modulate(self.model, features, y)
        self.optimizer.step()


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds that a call takes: of the device's own clock, or of CPU time if there is one thread."""
    if device.type != "cuda":
        clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
        began = clock()
        call()
        return clock() - began
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3


def random_batch(setting: Setting) -> tuple[dict[str, Tensor], Tensor]:
    x = {name: torch.randn(setting.batch, *shape, device=setting.device) for name, shape in setting.shapes.items()}
    return x, torch.randint(0, CLASSES, (setting.batch,), device=setting.device)


def measure(setting: Setting) -> tuple[list[Variant], list[Count]]:
    """Time the variants, alternating after two warm-up steps, and count the calls of one more step."""
    variants = [
        Variant("plain", lambda model: nothing, setting),
        Variant("OGM", lambda model: ours(model, "ogm"), setting),
        Variant("OGM-GE", lambda model: ours(model, "ogm_ge"), setting),
        Variant("OGM-GE, equations", lambda model: straight, setting),
    ]
    x, y = random_batch(setting)
    for round_ in range(2 + setting.steps):
        for variant in variants[round_ % 4 :] + variants[: round_ % 4]:  # nor is one always after the same other
            seconds = timed(lambda variant=variant: variant.step(x, y), setting.device)  # type: ignore[misc]
            if round_ >= 2:
                variant.seconds.append(seconds)
    counts = []
    for variant in variants:
        with Count() as count:
            variant.step(x, y)
        counts.append(count)
    return variants, counts


def drawing(variant: Variant) -> float:
    """Return the median seconds for drawing as many Gaussian numbers as a step of OGM-GE, in small pieces on a CPU."""
    device = variant.setting.device
    weights = [p for encoder in variant.model.encoders.values() for p in encoder.parameters() if p.ndim == 4]
    number = sum(p.numel() for p in weights)
    piece = torch.empty(number if device.type == "cuda" else min(number, PIECE), device=device)

    def draw() -> None:
        for done in range(0, number, len(piece)):
            piece[: number - done].normal_()

    return statistics.median(timed(draw, device) for _ in range(12))


def ratio_of(variant: Variant, plain: Variant) -> float:
    """Return the median over the rounds of a step's time relative to a plain one's."""
    return statistics.median(mine / base for mine, base in zip(variant.seconds, plain.seconds, strict=True))


def table(setting: Setting) -> None:
    variants, counts = measure(setting)
    precision = "bf16" if setting.bf16 else "fp32"
    print(
        f"\n{setting.encoder}, {precision}, batch {setting.batch}, image {setting.size}, {setting.steps} steps of each"
    )
    print(f"{'':18}{'ms':>9}{'p10-p90':>18}{'ratio':>8}{'calls':>8}{'added':>7}{'waits':>7}")
    for variant, count in zip(variants, counts, strict=True):
        ms, added = statistics.median(variant.seconds) * 1e3, count.calls - counts[0].calls
        deciles = statistics.quantiles(variant.seconds, n=10, method="inclusive")
        spread = f"{deciles[0] * 1e3:.2f}-{deciles[-1] * 1e3:.2f}"
        ratio = ratio_of(variant, variants[0])
        print(f"{variant.name:18}{ms:9.2f}{spread:>18}{ratio:8.3f}{count.calls:8}{added:7}{count.waits:7}")
    draw = drawing(variants[2])
    plain = statistics.median(variants[0].seconds)
    print(f"{'limit':18}{(plain + draw) * 1e3:9.2f}{'':18}{1 + draw / plain:8.3f}  a plain step, and drawing the noise")
    if setting.device.type == "cpu":
        _judge(setting, ratio_of(variants[2], variants[0]), ratio_of(variants[3], variants[0]))


def _judge(setting: Setting, ours: float, straight: float) -> None:
    print(f"goal, below the equations ({straight:.3f}): {'met' if ours < straight else 'missed'}")
    if setting.encoder == "resnet18" and setting.batch == GOAL_BATCH:
        print(f"goal, at most {GOAL}: {'met' if ours <= GOAL else 'missed'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--batch", type=int, nargs="+", help="samples per batch (64; 8, 32 and 64 on a CPU)")
    parser.add_argument("--size", type=int, help="side of the image in pixels (224; 64 on a CPU)")
    parser.add_argument("--steps", type=int, help="steps to time per kind (50; 12 on a CPU)")
    given = parser.parse_args()
    device = torch.device(given.device)
    on_gpu = device.type == "cuda"
    torch.set_num_threads(1)
    name = torch.cuda.get_device_name(device) if on_gpu else "CPU, one thread"
    print(f"torch {torch.__version__}, {name}")
    for batch in given.batch or ([64] if on_gpu else [8, 32, 64]):
        size, steps = given.size or (224 if on_gpu else 64), given.steps or (50 if on_gpu else 12)
        setting = Setting(device, batch, size, steps, encoder=given.encoder)
        table(setting)
        if on_gpu:
            table(replace(setting, bf16=True))


if __name__ == "__main__":
    main()
