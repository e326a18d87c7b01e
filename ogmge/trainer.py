"""One training run's state, and what an epoch does to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from ogmge.config import TrialConfig
from ogmge.distributed import ALONE, Ranks, weight
from ogmge.metrics import Answers, ModulationTally, Tally
from ogmge.model import MultimodalClassifier
from ogmge.modulation import Modulator
from ogmge.optimizer import build_optimizer

Batch = tuple[Mapping[str, Tensor], Tensor]
NEVER = 2**31 - 1  # a step that is not reached

AUTOCAST = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class NonFiniteLoss(RuntimeError):
    """The loss was infinite or not a number. `epoch` and `step` say where it first was, both counted from 0."""

    def __init__(self, epoch: int, step: int, learning_rate: float) -> None:
        self.epoch, self.step = epoch, step
        super().__init__(
            f"the loss is not finite at epoch {epoch}, step {step} (learning rate {learning_rate:g}): "
            "lower the learning rate, or look for broken samples"
        )


def _micro_batches(x: Mapping[str, Tensor], y: Tensor, parts: int) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """The batch in `parts` pieces, as equal as can be; in fewer where there are not as many samples."""
    parts = min(parts, len(y))
    for index in torch.arange(len(y), device=y.device).tensor_split(parts) if parts > 1 else (slice(None),):
        yield {name: value[index] for name, value in x.items()}, y[index]


def _whole(parts: list[Tensor]) -> Tensor:
    """Micro-batches as the batch that they are of; one alone is it, and is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class Trainer:
    """Trains and evaluates a model; its state can be saved between epochs and goes on to the bit.

    Nothing in a step waits for the device: metrics, and the flag of a loss that is not finite, are read at the end of
    the epoch.

    Args:
        model: see `MultimodalClassifier`; moved to `device`.
        config: the trial.
        device: where it runs.
        ranks: this process's place among those that train the model together, each on its part of every batch.
    """

    def __init__(
        self, model: MultimodalClassifier, config: TrialConfig, device: torch.device, ranks: Ranks = ALONE
    ) -> None:
        torch.manual_seed(config.seed + ranks.rank)  # each process drops out units of its own
        self.model = model.to(device)
        self.config = config
        self.device, self.ranks = device, ranks
        self._forward = self._distribute_model()
        self.names = tuple(model.encoders)
        self.optimizer = build_optimizer(config.optimizer, model, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")
        self.modulator = Modulator(
            dict(model.encoders.items()), config.modulation, seed=config.seed, optimizer=self.optimizer
        )

    def _distribute_model(self) -> nn.Module:
        """The model, for the passes that train it: with several processes its gradients are averaged over them, and on
        GPUs the statistics of batch norm are those of the whole batch."""
        if self.ranks.alone:
            return self.model
        if self.device.type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        return DistributedDataParallel(self.model)

    def learning_rate(self, epoch: int) -> float:
        return self.config.schedule.rate(self.config.optimizer.lr, epoch, self.config.epochs)

    def _autocast(self) -> torch.autocast:
        precision = self.config.precision
        return torch.autocast(self.device.type, dtype=AUTOCAST[precision], enabled=precision != "fp32")

    def _on_device(self, batches: Iterable[Batch]) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        for x, y in batches:
            yield (
                {name: x[name].to(self.device, non_blocking=True) for name in self.names},
                y.to(self.device, non_blocking=True),
            )

    def train_epoch(self, batches: Iterable[Batch], epoch: int) -> dict[str, float]:
        """One pass: `train/loss`, `train/accuracy…`, `ratio/NAME`, `coefficient/NAME`, `learning_rate`.

        Args:
            batches: modality -> [B, *shape], and class ids [B].
            epoch: counted from 0.

        Raises:
            NonFiniteLoss: at the end of the epoch, with the first step whose loss was not finite.
            ValueError: there is no batch.
        """
        rate = self.learning_rate(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        tally, modulation = Tally(self.names, self.device, self.ranks), ModulationTally(self.names, self.device)
        first_bad = torch.full((), NEVER, device=self.device)
        for step, (x, y) in enumerate(self._on_device(batches)):
            finite = self._step(x, y, epoch, tally, modulation)
            first_bad = torch.where((first_bad == NEVER) & ~finite, step, first_bad)
        metrics = tally.result("train")
        if (bad := int(self.ranks.least(first_bad))) < NEVER:
            raise NonFiniteLoss(epoch, bad, rate)
        return {**metrics, **modulation.result(), "learning_rate": rate}

    def _step(self, x: dict[str, Tensor], y: Tensor, epoch: int, tally: Tally, modulation: ModulationTally) -> Tensor:
        """One optimizer step; returns whether its loss was finite, as bool [] on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        share, done = weight(len(y), self.ranks, self.device), 0
        losses, outputs, seen = [], [], []
        for part, target in _micro_batches(x, y, self.config.accumulate):
            done += len(target)
            with self._together(last=done == len(y)):
                with self._autocast():
                    logits, features = self._forward(part)
                    loss = cross_entropy(logits, target) * (len(target) / len(y))
                self.scaler.scale(loss * share).backward()
            losses.append(loss.detach())
            outputs.append(logits.detach())
            seen.append({name: feature.detach() for name, feature in features.items()})
        whole = torch.stack(losses).sum()
        with self._autocast():  # of the whole batch, so that micro-batches score what one batch would
            unimodal = self.model.unimodal_logits({name: _whole([f[name] for f in seen]) for name in self.names})
        tally.add(whole, _whole(outputs), unimodal, y)
        modulation.add(self.modulator.modulate(unimodal, y, epoch=epoch))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return whole.isfinite()

    def _together(self, *, last: bool) -> AbstractContextManager[None]:
        """Gradients go over the wire with the last micro-batch alone."""
        if last or not isinstance(self._forward, DistributedDataParallel):
            return nullcontext()
        return self._forward.no_sync()

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], prefix: str = "val") -> tuple[dict[str, float], Answers]:
        """`PREFIX/loss`, `PREFIX/accuracy`, `PREFIX/accuracy/NAME`; and which samples were right."""
        self.model.eval()
        if not self.ranks.alone:
            for buffer in self.model.buffers():  # of batch norm: those that are kept
                dist.broadcast(buffer, src=0)
        tally = Tally(self.names, self.device, self.ranks)
        for x, y in self._on_device(batches):
            with self._autocast():
                logits, features = self.model(x)
                tally.add(cross_entropy(logits, y), logits, self.model.unimodal_logits(features), y)
        return tally.result(prefix), tally.answers()

    def state_dict(self) -> dict[str, Any]:
        """All that the next epoch depends on: weights, optimizer, scaler, modulator, each process's random number
        generators. All processes call it."""
        rng = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "modulator": self.modulator.state_dict(),
            "rng": self.ranks.each(rng),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.modulator.load_state_dict(state["modulator"])
        if self.ranks.rank >= len(state["rng"]):
            return  # fewer processes wrote it: this one goes on with the generators it began with
        rng = state["rng"][self.ranks.rank]
        torch.set_rng_state(rng["cpu"].cpu())
        if self.device.type == "cuda" and "cuda" in rng:
            torch.cuda.set_rng_state(rng["cuda"].cpu(), self.device)
