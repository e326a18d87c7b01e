"""Model of simulated learning curves: how settings, splits, seeds and the gain affect the validation accuracy.

curve    80 - 20 exp(-(epoch + 1) / 3) + setting + seed + split + (setting, split) + epoch + gain,  in points
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
EPOCHS = 12
METRIC = "val/accuracy"
CURVE = 80 - 20 * np.exp(-(np.arange(EPOCHS) + 1) / 3)


@dataclass(frozen=True)
class Model:
    """Standard deviations and the gain, in points.

    Args:
        settings: number of settings of the space, shared by the arms; 0 gives each trial its own.
        setting: standard deviation between settings.
        seed: noise of a training.
        split: standard deviation between validation splits, common to all settings.
        interaction: standard deviation of a split's additional effect on one setting.
        epoch: noise of an epoch.
        gain: effect of the modulation, from the opening of its window.
    """

    settings: int = 16
    setting: float = 2.0
    seed: float = 1.0
    split: float = 1.0
    interaction: float = 0.5
    epoch: float = 0.5
    gain: float = 0.0


def gained(model: Model, opens: NDArray[np.int64]) -> Array:
    """Return the gain at each epoch, [..., epochs]; a window with `opens` = EPOCHS never opens."""
    return model.gain * (np.arange(EPOCHS) >= opens[..., None])
