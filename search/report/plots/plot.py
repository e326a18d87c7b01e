"""What a plot of the report is made of: a figure of Plotly's in the page's colours, and what it says in words."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go  # takes no time before the first figure

from search.experiment.arms import Arm

COLOURS: dict[Arm, str] = {"modulated": "var(--modulated)", "baseline": "var(--baseline)"}  # the page has two of each
KINDS = tuple(f"var(--kind{number})" for number in range(6))
INK = "var(--ink)"


@dataclass(frozen=True)
class Plot:
    """A figure with its words.

    Args:
        name: of its element in the page.
        title: above it.
        alt: what it shows, in a sentence, for whoever does not see it.
        figure: as Plotly draws it, with its height in pixels.
        note: how it is read.
    """

    name: str
    title: str
    alt: str
    figure: go.Figure
    note: str = ""


def make_figure(traces: Iterable[go.Scatter | go.Bar], *, height: int = 340, **layout: Any) -> go.Figure:
    """Return a figure of those traces that have points; the page brings the template."""
    return go.Figure([t for t in traces if t.x], go.Layout(template="none", height=height, **layout))


@dataclass(frozen=True)
class Scale:
    """How values of a metric are drawn: accuracies in per cent."""

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


def columns(rows: Iterable[Sequence[Any]], count: int) -> Iterator[list[Any]]:
    """The columns of a table, of so many that may have no row."""
    table = list(rows)
    return ([row[place] for row in table] for place in range(count))
