"""Linear probes of a trial's encoders, fitted in its worker while it trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ogmge.fit import Data
from ogmge.inference import TrainedModel
from ogmge.linear_probe import probe_accuracies
from search.run.probed_epochs import PREFIX, is_probed


@dataclass(frozen=True)
class Probes:
    """Probes of a model at regular intervals and after its last epoch: see `ogmge.fit.Measure`.

    Args:
        data: data that the model is trained on.
        device: device on which the probes are fitted.
        every: number of epochs between probes.
    """

    data: Data
    device: torch.device
    every: int

    def __call__(self, model: TrainedModel) -> Mapping[str, float]:
        if not is_probed(int(model.metrics["epoch"]) + 1, self.every, model.config.epochs):
            return {}
        found = probe_accuracies(model, self.data, self.device)
        return {f"{PREFIX}{name}": accuracy for name, accuracy in found.items()}
