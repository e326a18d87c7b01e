"""Trainer: the state of a training run, its training epochs and its evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from ogmge.batches import Batch, micro_batches, to_device
from ogmge.config import TrialConfig
from ogmge.devices import get_rng_states, set_rng_states
from ogmge.distributed import ALONE, Ranks, weight
from ogmge.metrics import Answers, ModulationTally, Tally
from ogmge.model import MultimodalClassifier
from ogmge.modulation import Modulator
from ogmge.optimizer import build_optimizer

NEVER = 2**31 - 1  # number of a step that is never reached

AUTOCAST = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class NonFiniteLoss(RuntimeError):
    """Error: the training loss is infinite or NaN, first at `epoch` and `step`, both counted from 0."""

    def __init__(self, epoch: int, step: int, learning_rate: float) -> None:
        self.epoch, self.step = epoch, step
        super().__init__(
            f"the loss is not finite at epoch {epoch}, step {step} (learning rate {learning_rate:g}): "
            "lower the learning rate, or check the data for corrupt samples"
        )


def _whole(parts: list[Tensor]) -> Tensor:
    """Concatenate micro-batches; a single one is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class Trainer:
    """Training and evaluation of a model, with a state that can be saved after each epoch.

    On a CPU, a run that resumes from a saved state continues bit-identically. A step never synchronises with the
    device: metrics, and whether a loss was not finite, are read at the end of the epoch.

    Args:
        model: model to train; it is moved to `device`.
        config: configuration of the trial.
        device: device to train on.
        ranks: this process's place among the processes that train the model together, each on its part of every batch.

    Raises:
        ValueError: if the modulation selects no parameter of an encoder.
    """

    def __init__(
        self, model: MultimodalClassifier, config: TrialConfig, device: torch.device, ranks: Ranks = ALONE
    ) -> None:
        torch.manual_seed(config.seed + ranks.rank)  # dropout differs between processes
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
        """Return the model for the forward passes of training.

        With several processes, DDP averages its gradients, and on GPUs batch norm uses the statistics of the whole
        batch.
        """
        if self.ranks.alone:
            return self.model
        if self._is_synchronised:
            nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
        return DistributedDataParallel(self.model)

    def learning_rate(self, epoch: int) -> float:
        return self.config.schedule.rate(self.config.optimizer.lr, epoch, self.config.epochs)

    def _autocast(self) -> torch.autocast:
        precision = self.config.precision
        return torch.autocast(self.device.type, dtype=AUTOCAST[precision], enabled=precision != "fp32")

    def _on_device(self, batches: Iterable[Batch]) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        for x, y in batches:
            yield to_device(({name: x[name] for name in self.names}, y), self.device)

    @property
    def smallest_batch(self) -> int:
        """Smallest training batch, over all processes: each of them needs a sample, or two if the model's batch norm
        does (`MultimodalClassifier.smallest_batch`). On GPUs, batch norm sees the samples of all processes."""
        world, needed = self.ranks.world, self.model.smallest_batch
        return max(world, needed) if self._is_synchronised else world * needed

    @property
    def _is_synchronised(self) -> bool:
        """Whether batch norm uses the statistics of all processes."""
        return not self.ranks.alone and self.device.type == "cuda"

    def _large_enough(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches that are large enough; `ogmge.distributed.part` has skipped the others' parts."""
        return (batch for batch in batches if not self.ranks.alone or len(batch[1]) >= self.smallest_batch)

    def train_epoch(self, batches: Iterable[Batch], epoch: int) -> dict[str, float]:
        """Train for one epoch and return its metrics.

        The metrics are `train/loss`, `train/accuracy`, `train/accuracy/NAME`, `ratio/NAME`, `coefficient/NAME` and
        `learning_rate`. A batch that is smaller than `smallest_batch` is skipped: it makes no step and counts in no
        metric.

        Args:
            batches: pairs of samples, modality -> [B, *shape], and class ids [B].
            epoch: number of the epoch, counted from 0.

        Raises:
            NonFiniteLoss: if the loss of a step is infinite or NaN; raised at the end of the epoch.
            ValueError: if there is no batch that is large enough.
        """
        rate = self.learning_rate(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        tally, modulation = Tally(self.names, self.device, self.ranks), ModulationTally(self.names, self.device)
        first_bad = torch.full((), NEVER, device=self.device)
        for step, (x, y) in enumerate(self._on_device(self._large_enough(batches))):
            finite = self._step(x, y, epoch, tally, modulation)
            first_bad = torch.where((first_bad == NEVER) & ~finite, step, first_bad)
        if not tally.samples:
            raise ValueError(
                f"cannot compute train metrics: there is no batch of {self.smallest_batch} samples or more"
            )
        metrics = tally.result("train")
        if (bad := int(self.ranks.least(first_bad))) < NEVER:
            raise NonFiniteLoss(epoch, bad, rate)
        return {**metrics, **modulation.result(), "learning_rate": rate}

    def _step(self, x: dict[str, Tensor], y: Tensor, epoch: int, tally: Tally, modulation: ModulationTally) -> Tensor:
        """Make one optimizer step; return whether its loss is finite, as bool [] on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        share, done = weight(len(y), self.ranks, self.device), 0
        smallest = 1 if self._is_synchronised else self.model.smallest_batch
        losses, outputs, seen = [], [], []
        for part, target in micro_batches(x, y, self.config.accumulate, smallest):
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
        with self._autocast():  # over the whole batch, so that the scores do not depend on the micro-batches
            unimodal = self.model.unimodal_logits({name: _whole([f[name] for f in seen]) for name in self.names})
        tally.add(whole, _whole(outputs), unimodal, y)
        modulation.add(self.modulator.modulate(unimodal, y, epoch=epoch))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return whole.isfinite()

    def _together(self, *, last: bool) -> AbstractContextManager[None]:
        """Return a context in which processes exchange gradients only for the last micro-batch."""
        if last or not isinstance(self._forward, DistributedDataParallel):
            return nullcontext()
        return self._forward.no_sync()

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], prefix: str = "val") -> tuple[dict[str, float], Answers]:
        """Evaluate the model.

        Args:
            batches: pairs of samples, modality -> [B, *shape], and class ids [B].
            prefix: prefix of the metrics' names.

        Returns:
            Metrics `PREFIX/loss`, `PREFIX/accuracy` and `PREFIX/accuracy/NAME`; and which predictions are correct.

        Raises:
            ValueError: if there is no batch.
        """
        self.model.eval()
        if not self.ranks.alone:
            for buffer in self.model.buffers():  # batch norm's statistics: the first process's are the saved ones
                dist.broadcast(buffer, src=0)
        tally = Tally(self.names, self.device, self.ranks)
        for x, y in self._on_device(batches):
            with self._autocast():
                logits, features = self.model(x)
                tally.add(cross_entropy(logits, y), logits, self.model.unimodal_logits(features), y)
        return tally.result(prefix), tally.answers()

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next epoch depends on. All processes must call it together.

        It contains the weights, optimizer, scaler, modulator and each process's random number generators.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "modulator": self.modulator.state_dict(),
            "rng": self.ranks.each(get_rng_states(self.device)),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.modulator.load_state_dict(state["modulator"])
        if self.ranks.rank >= len(state["rng"]):
            return  # fewer processes saved the state: keep the generators as seeded at the start
        set_rng_states(self.device, state["rng"][self.ranks.rank])
