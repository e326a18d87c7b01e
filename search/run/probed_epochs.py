"""After which epochs of a training its encoders are probed, and what the journal calls what was found."""

from __future__ import annotations

import math

PREFIX = "probe/"  # of a metric's name, before the modality's
POINTS = 20  # about so many, where nothing else is asked for


def is_probed(trained: int, every: int, epochs: int) -> bool:
    """Whether encoders are probed after so many epochs of a training: after each `every` of them, and after the last.

    >>> [n for n in range(1, 8) if is_probed(n, 3, 7)]
    [3, 6, 7]
    """
    return trained % every == 0 or trained == epochs


def default_interval(epochs: int) -> int:
    """From one probe to the next, in epochs: one in short trainings, else a twentieth of the training.

    >>> [default_interval(n) for n in (3, 20, 21, 100)]
    [1, 1, 2, 5]
    """
    return math.ceil(epochs / POINTS)
