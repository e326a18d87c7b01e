"""Learning curves that are drawn: how far settings, splits and seeds set the validation accuracy apart.

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
        settings: of the space, shared by the arms; 0: each trial has its own.
        setting: how far the settings are apart.
        seed: noise of a training.
        split: how hard a validation split is, for all alike.
        interaction: what a split does for one setting.
        epoch: noise of an epoch.
        gain: what modulation brings, from the opening of its window.
    """

    settings: int = 16
    setting: float = 2.0
    seed: float = 1.0
    split: float = 1.0
    interaction: float = 0.5
    epoch: float = 0.5
    gain: float = 0.0


def gained(model: Model, opens: NDArray[np.int64]) -> Array:
    """The gain at each epoch, [..., epochs]; a window that never opens does so at the end."""
    return model.gain * (np.arange(EPOCHS) >= opens[..., None])
