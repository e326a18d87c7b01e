"""Axes of the plots: the ticks of a setting, and the range of results that a plot opens with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import Any

from search.experiment.dimensions import Range, is_number
from search.experiment.formatting import text
from search.experiment.space import Entry
from search.report.plots.plot import Scale

MOST_TICKS = 7
FEWEST_RESULTS = 6  # a plot with fewer opens with all of them
WORTH = 1.5  # all results must span this many times the better half for a plot to open with that half
PADDING = 0.08  # of the range


def axis_type(entry: Entry) -> str:
    """Return the type of a setting's axis: logarithmic for a logarithmic range, or if the choices are far apart."""
    if isinstance(entry, Range):
        return "log" if entry.log else "linear"
    if not all(map(is_number, entry)):
        return "category"
    return "log" if 0 < 10 * min(entry) <= max(entry) else "linear"


def ticks(entry: Entry) -> list[Any]:
    """Return the values to label: the choices, or round numbers of a logarithmic range; empty leaves it to the plot.

    >>> ticks([0.1, 0.003, 0.01]), ticks(Range(low=0.05, high=1.5, log=True)), ticks(Range(low=1e-4, high=1, log=True))
    ([0.003, 0.01, 0.1], [0.05, 0.1, 0.2, 0.5, 1.0], [0.0001, 0.001, 0.01, 0.1, 1.0])
    """
    if not isinstance(entry, Range):
        values = sorted(entry) if all(map(is_number, entry)) else list(entry)
        return values[:: math.ceil(len(values) / MOST_TICKS)]
    if not entry.log:
        return []
    decades = range(math.floor(math.log10(entry.low)), math.ceil(math.log10(entry.high)) + 1)
    every = [[float(f"{digit}e{ten}") for ten in decades for digit in digits] for digits in ((1, 2, 5), (1,))]
    fine, coarse = ([value for value in values if entry.low <= value <= entry.high] for values in every)
    return fine if len(fine) <= MOST_TICKS else coarse[:: math.ceil(len(coarse) / MOST_TICKS)]


def setting_axis(entry: Entry, title: str) -> dict[str, Any]:
    """Return Plotly's axis of a setting. Ticks of numbers are written out: Plotly's own show only their last digit."""
    kind, labelled = axis_type(entry), ticks(entry)
    axis = {"title": title, "type": kind}
    if kind == "category" or not labelled:
        return axis
    return {**axis, "tickvals": labelled, "ticktext": [text(value) for value in labelled]}


def better_half(scale: Scale, results: Sequence[float], mode: str) -> list[float] | None:
    """Return the range of an axis from the median of some results to the best one, or None if that is not much less
    than all of them.

    >>> better_half(Scale("val/loss"), [1.0, 1.1, 1.2, 1.3, 4.0, 9.0], "min")
    [0.98, 1.27]
    """
    if len(results) < FEWEST_RESULTS:
        return None
    values = sorted(map(scale, results), reverse=mode == "max")  # the best first
    best, middle, worst = values[0], median(values), values[-1]
    if abs(worst - best) < WORTH * abs(middle - best) or middle == best:
        return None
    padding = PADDING * (best - middle)
    return sorted(round(end, 6) for end in (best + padding, middle - padding))
