"""Epochs after which a training's encoders are probed, and the name of the results in the journal."""

from __future__ import annotations

import math

PREFIX = "probe/"  # of a metric's name; the modality follows
POINTS = 20  # probes per training, at most, unless the user asks for another interval


def is_probed(trained: int, every: int, epochs: int) -> bool:
    """Return whether encoders are probed after `trained` epochs: after each `every` epochs, and after the last epoch.

    >>> [n for n in range(1, 8) if is_probed(n, 3, 7)]
    [3, 6, 7]
    """
    return trained % every == 0 or trained == epochs


def default_interval(epochs: int) -> int:
    """Return the default number of epochs between probes: 1 in short trainings, else a twentieth of the training.

    >>> [default_interval(n) for n in (3, 20, 21, 100)]
    [1, 1, 2, 5]
    """
    return math.ceil(epochs / POINTS)
