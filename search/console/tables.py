"""Tables on the screen that break neither words nor numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from search.console.wrapping import NO_BREAK, wrap
from search.experiment.escaping import escape_controls

ANY_WIDTH = 10_000


def plain_table(headings: Sequence[str], *, names: Collection[int] = (), right: Collection[int] = ()) -> Table:
    """Return an empty table without lines.

    Args:
        headings: headings of the columns.
        names: positions of the columns that may be wrapped between words; all others stay whole.
        right: positions of the columns that are aligned to the right.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(
            Text(heading),
            justify="right" if number in right else "left",
            no_wrap=number not in names,
            overflow="fold",
        )
    return table


def add_row(table: Table, cells: Sequence[str], style: str = "") -> None:
    """Add a row of texts, shown without markup; the first, a name, is grey."""
    name, *others = cells
    table.add_row(shown(name, "dim"), *map(shown, others), style=style or None)


def shown(text: str, style: str = "") -> Text:
    """Return a text as a cell: no markup, and control characters as escapes, which rich's own `Text` would drop."""
    return Text(escape_controls(text), style)


def fits(console: Console, table: Table) -> bool:
    """Return whether a table fits the screen without wrapping a cell."""
    options = console.options.update(width=ANY_WIDTH)
    return console.measure(table, options=options).maximum <= console.width


def print_settings(console: Console, configurations: Mapping[str, str]) -> None:
    """Print configurations by title, wrapped between settings.

    Args:
        console: console to print on.
        configurations: title -> settings, one per line.
    """
    margin = max(map(len, configurations)) + 4
    for title, settings in configurations.items():
        joined = settings.replace(" ", NO_BREAK).replace("\n", " ")
        first, *more = wrap(joined, max(20, console.width - margin), fold=True)
        lines = [f"{title:<{margin}}{first}", *(f"{'':<{margin}}{line}" for line in more)]
        console.print(Text("\n".join(lines)), soft_wrap=True)


@dataclass(frozen=True)
class DetailTable:
    """Table with a longer text for each row: in the last column if the screen is wide enough, else below the row.

    Args:
        headings: headings of the columns, that of the details last.
        rows: cells of each row, the detail last.
        left: positions of the columns that are aligned to the left; the others are numbers.
        least_width: smallest width of a screen that shows the details in a column.
        gap: text between columns.
        margin: text at the start of every line of cells.
        indent: text at the start of every line of details.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: Collection[int] = ()
    least_width: int = 0
    gap: str = "  "
    margin: str = ""
    indent: str = "        "

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        head, *rows = self._aligned(options.max_width)
        is_column = options.max_width >= self.least_width and self._fits(head, rows, options.max_width)
        yield _line(f"{head}{self.gap}{self.headings[-1]}" if is_column else head, "dim")
        for line, row in zip(rows, self.rows, strict=True):
            if is_column:
                yield _line(f"{line}{self.gap}{row[-1]}")
                continue
            yield _line(line)
            for detail in wrap(row[-1], options.max_width, self.indent, fold=True):
                yield _line(detail, "dim")

    def _fits(self, head: str, rows: Sequence[str], width: int) -> bool:
        details = [self.headings[-1], *(row[-1] for row in self.rows)]
        lines = zip([head, *rows], details, strict=True)
        return all(cell_len(f"{line}{self.gap}{detail}") <= width for line, detail in lines)

    def _aligned(self, width: int) -> Iterator[str]:
        """Yield the lines without their details: the headings, then the rows."""
        cells = [list(map(escape_controls, row[:-1])) for row in (self.headings, *self.rows)]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        gap = self.gap if sum(widths) + len(self.gap) * len(widths) <= width else " "
        for row in cells:
            parts = zip(row, widths, strict=True)
            yield self.margin + gap.join(self._pad(number, *part) for number, part in enumerate(parts))

    def _pad(self, number: int, cell: str, width: int) -> str:
        space = " " * (width - cell_len(cell))
        return f"{cell}{space}" if number in self.left else f"{space}{cell}"


def _line(text: str, style: str = "") -> Text:
    return Text(text.rstrip(), style=style, overflow="fold")
