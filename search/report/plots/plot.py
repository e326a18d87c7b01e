"""Plot of the report: a Plotly figure in the page's colours, with a description in words."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import plotly.graph_objects as go  # loads nothing large before the first figure

from search.experiment.arms import Arm

# the page defines the colours for light and dark
COLOURS: dict[Arm, str] = {"modulated": "var(--modulated)", "baseline": "var(--baseline)"}
KINDS = tuple(f"var(--kind{number})" for number in range(6))
INK = "var(--ink)"


@dataclass(frozen=True)
class Plot:
    """Figure with its texts.

    Args:
        name: id of its element in the page.
        title: heading above it.
        alt: description in a sentence, for screen readers.
        figure: Plotly's figure, with its height in pixels.
        note: note on how to read it.
    opens_with_best: whether its vertical axis shows the better half of the results, until all are asked for.
    """

    name: str
    title: str
    alt: str
    figure: go.Figure
    note: str = ""
    opens_with_best: bool = False


Trace: TypeAlias = go.Scatter | go.Bar | go.Contour | go.Heatmap


def make_figure(traces: Iterable[Trace], *, height: int = 340, **layout: Any) -> go.Figure:
    """Return a figure of the traces that have points; the page adds the template."""
    return go.Figure([t for t in traces if t.x], go.Layout(template="none", height=height, **layout))


@dataclass(frozen=True)
class Scale:
    """Scale of a metric's axis: accuracies are percentages."""

    metric: str

    @property
    def _percent(self) -> bool:
        return "accuracy" in self.metric

    @property
    def title(self) -> str:
        return escape(f"{self.metric} (%)" if self._percent else self.metric)

    @property
    def hover(self) -> str:
        """Format of a value on the vertical axis, for Plotly."""
        return "%{y:.1f} %" if self._percent else "%{y:.4f}"

    def __call__(self, value: float) -> float:
        return round(100 * value, 3) if self._percent else value


def escape(text: str) -> str:
    """Return a text that Plotly shows as written, instead of reading `<b>` and links as markup."""
    return html.escape(text, quote=False)


def columns(rows: Iterable[Sequence[Any]], count: int) -> Iterator[list[Any]]:
    """Yield the columns of a table: `count` of them, even if it has no rows."""
    table = list(rows)
    return ([row[place] for row in table] for place in range(count))
