"""What a plot of the report is made of."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.experiment.arms import Arm

COLOURS: dict[Arm, str] = {"modulated": "@modulated", "baseline": "@baseline"}  # the page has two of each: light, dark


@dataclass(frozen=True)
class Figure:
    """A plot, as Plotly draws it. A colour that begins with @ is one of the page's own.

    Args:
        name: of its element in the page.
        title: above it.
        alt: what it shows, in a sentence, for whoever does not see it.
        note: how it is read.
        traces, layout: Plotly's.
        height: in pixels.
    """

    name: str
    title: str
    alt: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    height: int = 340


@dataclass(frozen=True)
class Scale:
    """How values of a metric are drawn: accuracies in per cent.

    Args:
        metric: by name.
    """

    metric: str

    @property
    def _percent(self) -> bool:
        return "accuracy" in self.metric

    @property
    def title(self) -> str:
        return escape(f"{self.metric} (%)" if self._percent else self.metric)

    @property
    def hover(self) -> str:
        """Plotly's format of a value on the vertical axis."""
        return "%{y:.1f} %" if self._percent else "%{y:.4f}"

    def __call__(self, value: float) -> float:
        return round(100 * value, 3) if self._percent else value


def escape(text: str) -> str:
    """Text that Plotly shows as it is: it would take `<b>` and links in it for markup."""
    return html.escape(text, quote=False)


def shade(window: tuple[int, int]) -> dict[str, Any]:
    """The epochs of a window, both ends included, as a shape behind a plot over epochs."""
    start, end = window
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": start - 0.5,
        "x1": end + 0.5,
        "y0": 0,
        "y1": 1,
        "fillcolor": "@modulated",
        "opacity": 0.1,
        "line": {"width": 0},
        "layer": "below",
    }
