"""Evaluation on the screen: the totals, and the classes that stand out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch import Tensor

from datasets.index.list_files import count
from ogmge.evaluation import Scores, rank_classes
from search.console.notes import print_line, print_note, print_paragraph
from search.console.tables import add_row, plain_table
from search.experiment.escaping import escape_line
from search.experiment.formatting import format_difference, format_value, percent
from search.models.evaluation import ModelEvaluation, Result

TOP = 5  # number of classes named in each table
FILES = {"all numbers": "evaluation.json", "by class": "classes.csv", "confusions": "confusions.csv"}


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], names: Sequence[int] = (0,)) -> Table:
    """Return a table of rows; the columns in `names` may be wrapped between words."""
    table = plain_table(headings, names=names)
    for row in rows:
        add_row(table, row)
    return table


def _class(name: str) -> str:
    """Return the name of a class as shown: a bare number is no name.

    >>> _class("dog"), _class("8")
    ('dog', 'class 8')
    """
    return f"class {name}" if name.isdecimal() else escape_line(name)


def _views(which: ModelEvaluation) -> list[str]:
    return ["fused", *(f"{name} alone" for name in which.found.unimodal)]


def totals_table(result: Result) -> Table:
    """Return the scores of the fused output and of each modality alone."""
    views = result.of.found.views
    metrics = ("accuracy", "macro_accuracy", "mean_average_precision", "calibration_error")
    names = [metric.replace("_", " ") for metric in metrics]
    cells = [[format_value(metric, getattr(scores, metric)) for scores in views] for metric in metrics]
    return _table(["", *_views(result.of)], [[name, *values] for name, values in zip(names, cells, strict=True)])


def hardest_table(result: Result) -> Table:
    """Return the classes with the lowest accuracy."""
    found = result.of.found
    lowest = [k for k, _ in rank_classes(-found.fused.class_accuracy)][:TOP]
    rows = [
        [
            _class(result.classes[k]),
            f"{int(found.counts[k]):,}",
            *(percent(float(scores.class_accuracy[k])) for scores in found.views),
            f"{float(found.fused.average_precision[k]):.4f}",
        ]
        for k in lowest
    ]
    views = [view.replace(" alone", "\nalone") for view in _views(result.of)]  # leaves room for the names of classes
    return _table(["lowest accuracy", "examples", *views, "AP"], rows)


def confusions_table(result: Result) -> Table:
    """Return the most frequent confusions."""
    names = list(map(_class, result.classes))
    rows = [[names[i], names[j], f"{number:,}"] for i, j, number in result.of.found.confusions[:TOP]]
    return _table(["true class", "predicted", "examples"], rows, names=[0, 1])


def leads_table(result: Result) -> Table:
    """Return the classes in which each modality alone is better than the others."""
    rows = []
    for name, led in result.of.found.leaders().items():
        first = "\n".join(
            f"{_class(result.classes[k])} {format_difference('accuracy', margin, unit=False)}"
            for k, margin in led[:TOP]
        )
        rows.append([f"{name} alone", f"{len(led)} of {len(result.classes) - len(result.empty)}", first])
    return _table(["", "best in", "largest leads, points"], rows, names=[0, 2])


def against_table(result: Result) -> Table:
    """Return the accuracy of both models, and the difference between them."""
    rows = [
        [
            name,
            percent(one.accuracy),
            percent(other.accuracy),
            format_difference("accuracy", one.accuracy - other.accuracy),
        ]
        for name, one, other, _ in _comparisons(result)
    ]
    return _table(["accuracy", "this", "against", "difference"], rows)


def changes_table(result: Result) -> Table:
    """Return the classes in which the two models differ most; without a row if they do not differ."""
    rows = [[name, _most(result, change), _most(result, -change, sign=-1)] for name, *_, change in _comparisons(result)]
    rows = [row for row in rows if any(row[1:])]
    return _table(["points", "gained most", "lost most"], rows, names=[0, 1, 2])


def _comparisons(result: Result) -> list[tuple[str, Scores, Scores, Tensor]]:
    """Return each view's name, the scores of both models, and the change of each class."""
    assert result.against is not None
    fused, unimodal = result.changes()
    one, other = result.of.found, result.against.found
    alone = [(f"{name} alone", one.unimodal[name], other.unimodal[name], unimodal[name]) for name in unimodal]
    return [("fused", one.fused, other.fused, fused), *alone]


def _most(result: Result, change: Tensor, sign: int = 1) -> str:
    """Return the classes with the largest gains, one per line, each with its change times `sign`."""
    first = [(k, value) for k, value in rank_classes(change) if value > 0][:TOP]
    return "\n".join(
        f"{_class(result.classes[k])} {format_difference('accuracy', sign * value, unit=False)}" for k, value in first
    )


def _title(which: ModelEvaluation) -> str:
    epoch = "" if which.model.epoch is None else f"epoch {which.model.epoch}, "
    return f"{which.model.file} ({epoch}modulation {which.model.trained.config.modulation.method})"


def _tables(result: Result) -> Iterator[Table]:
    """Yield the model's tables that have content."""
    found = result.of.found
    yield totals_table(result)
    yield hardest_table(result)
    if found.confusions:
        yield confusions_table(result)
    if len(found.unimodal) > 1:
        yield leads_table(result)


def _notes(result: Result) -> Iterator[str]:
    """Yield the notes; that on classes without examples comes first."""
    empty = result.empty
    if empty:
        names = ", ".join(map(_class, empty[:TOP])) + (", …" if len(empty) > TOP else "")
        have = "class has" if len(empty) == 1 else "classes have"
        yield f"{len(empty)} of {len(result.classes)} {have} no example ({names}); means are over the other classes"
    yield from result.notes


def print_result(console: Console, result: Result, folder: Path) -> None:
    """Print the main results, and the paths of the files with all results."""
    examples = f"{count(result.of.found.examples, 'example')}, {len(result.classes)} classes"
    console.print()
    print_paragraph(console, f"{_title(result.of)}: {result.split} split, {examples}")
    console.print()
    for table in _tables(result):
        console.print(table, "")
    if result.against is not None:
        print_paragraph(console, f"against {_title(result.against)}")
        console.print()
        console.print(against_table(result), "")
        if (changes := changes_table(result)).rows:
            console.print(changes, "")
    for note in _notes(result):
        print_note(console, note)
    for what, name in FILES.items():
        print_line(console, f"{what:<16}{folder / name}")
