"""An evaluation on the screen: in all, and the few classes that say most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from ogmge.evaluation import Scores, rank_classes
from search.console.notes import print_line, print_note
from search.experiment.formatting import format_difference, format_value, percent
from search.models.evaluation import ModelEvaluation, Result

TOP = 5  # classes named of each kind
FILES = {"everything": "evaluation.json", "by class": "classes.csv", "confusions": "confusions.csv"}


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return a table whose first column, of names, is grey."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for heading in headings:
        table.add_column(Text(heading), overflow="fold")
    for name, *cells in rows:
        table.add_row(Text(name, style="dim"), *map(Text, cells))
    return table


def _views(which: ModelEvaluation) -> list[str]:
    return ["fused", *(f"{name} alone" for name in which.found.unimodal)]


def totals_table(result: Result) -> Table:
    """Return what each view of the model reaches."""
    views = result.of.found.views
    metrics = ("accuracy", "macro_accuracy", "mean_average_precision", "calibration_error")
    names = [metric.replace("_", " ") for metric in metrics]
    cells = [[format_value(metric, getattr(scores, metric)) for scores in views] for metric in metrics]
    return _table(["", *_views(result.of)], [[name, *values] for name, values in zip(names, cells, strict=True)])


def hardest_table(result: Result) -> Table:
    """Return the classes of which least is right."""
    found = result.of.found
    lowest = [k for k, _ in rank_classes(-found.fused.class_accuracy)][:TOP]
    rows = [
        [
            result.classes[k],
            f"{int(found.counts[k]):,}",
            *(percent(float(scores.class_accuracy[k])) for scores in found.views),
            f"{float(found.fused.average_precision[k]):.4f}",
        ]
        for k in lowest
    ]
    return _table(["lowest", "examples", *_views(result.of), "AP"], rows)


def confusions_table(result: Result) -> Table:
    """Return the most frequent confusions."""
    names = result.classes
    rows = [[names[i], names[j], f"{count:,}"] for i, j, count in result.of.found.confusions()[:TOP]]
    return _table(["confused", "with", "examples"], rows)


def leads_table(result: Result) -> Table:
    """Return the classes that each modality alone answers best."""
    rows = []
    for name, led in result.of.found.leaders().items():
        first = "\n".join(f"{result.classes[k]} {format_difference('accuracy', margin)}" for k, margin in led[:TOP])
        rows.append([name, f"{len(led)} of {len(result.classes) - len(result.empty)}", first])
    return _table(["alone", "leads in", "furthest ahead"], rows)


def against_table(result: Result) -> Table:
    """Return both models, and the classes between which they differ most."""
    assert result.against is not None
    fused, unimodal = result.changes()
    one, other = result.of.found, result.against.found
    changes = [("fused", one.fused, other.fused, fused)]
    changes += [
        (f"{name} alone", one.unimodal[name], other.unimodal[name], change) for name, change in unimodal.items()
    ]
    rows = [_comparison(result, *each) for each in changes]
    return _table(["accuracy", "this", "against", "difference", "gained most", "lost most"], rows)


def _comparison(result: Result, name: str, one: Scores, other: Scores, change: Tensor) -> list[str]:
    def most(values: Tensor) -> str:
        first = [k for k, value in rank_classes(values) if value > 0][:TOP]
        return "\n".join(
            f"{result.classes[k]} {format_difference('accuracy', float(change[k]), unit=False)}" for k in first
        )

    difference = format_difference("accuracy", one.accuracy - other.accuracy)
    return [name, percent(one.accuracy), percent(other.accuracy), difference, most(change), most(-change)]


def _title(which: ModelEvaluation) -> str:
    epoch = "" if which.model.epoch is None else f"epoch {which.model.epoch}, "
    return f"{which.model.file} ({epoch}modulation {which.model.trained.config.modulation.method})"


def _tables(result: Result) -> Iterator[Table]:
    """Give the tables of the model that say something."""
    found = result.of.found
    yield totals_table(result)
    yield hardest_table(result)
    if found.confusions():
        yield confusions_table(result)
    if len(found.unimodal) > 1:
        yield leads_table(result)


def _notes(result: Result) -> Iterator[str]:
    """Give what to bear in mind, first the classes without an example."""
    empty = result.empty
    if empty:
        names = ", ".join(empty[:TOP]) + (", …" if len(empty) > TOP else "")
        yield f"{len(empty)} of {len(result.classes)} classes have no example ({names}): means leave them out"
    yield from result.notes


def print_result(console: Console, result: Result, folder: Path) -> None:
    """Print what matters; the rest is in the files."""
    examples = f"{result.of.found.examples:,} examples, {len(result.classes)} classes"
    print_line(console, f"\n{_title(result.of)}: {result.split} split, {examples}\n")
    for table in _tables(result):
        console.print(table, "")
    if result.against is not None:
        print_line(console, f"against {_title(result.against)}\n")
        console.print(against_table(result), "")
    for note in _notes(result):
        print_note(console, note)
    for what, name in FILES.items():
        print_line(console, f"{what:<16}{folder / name}")
