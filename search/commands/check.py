"""`python -m search check FILE`: completeness of a data set, class balance, overlaps of splits, and sample images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from datasets import registry
from datasets.index.clips import SPLITS, Index
from datasets.index.list_files import count
from datasets.index.splits import find_overlaps
from datasets.loader.contact_sheet import choose_samples, write_sheet
from datasets.loader.loader import StoreData
from datasets.store.cache import local_store
from datasets.store.store import StoreError, reasons
from ogmge.config import TrialConfig
from ogmge.fit import Data
from search.backend.preflight import check_models
from search.console.notes import print_line, print_note
from search.experiment.escaping import escape_line
from search.experiment.mistakes import name_file
from search.experiment.schema import Experiment
from search.run.batch_check import check_batches
from search.run.open_data import open_data

SHOWN = 5  # ids listed per finding
SMALLEST_CLASSES = 10


def _some(names: Sequence[str]) -> str:
    more = f" … and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(escape_line, names[:SHOWN])) + more


def index_lines(index: Index) -> list[str]:
    """Return the lines about the publisher's list and files."""
    expected = f" of {index.expected_rows:,} expected" if index.expected_rows else ""
    found = f"{count(len(index.clips), 'clip')} found, {len(index.missing):,} missing"
    first = f"list: {count(index.rows, 'row')}{expected}, {found}"
    wrong = find_overlaps(index.clips)
    empty = sorted(set(index.classes) - {clip.label for clip in index.clips})
    return [
        first,
        *_line("missing: {some}", index.missing),
        *(f"note: {note}" for note in index.notes),
        *_line("in several splits: {count} ({some})", list(wrong.ids), "id"),
        *_line("divided between splits: {count} ({some})", list(wrong.groups), "group"),
        *_line("classes without clips: {some}", empty),
    ]


def _line(text: str, names: Sequence[str], noun: str = "") -> list[str]:
    """Return the text with some of the names and their number; an empty list without names."""
    return [text.format(some=_some(names), count=count(len(names), noun))] if names else []


def class_table(index: Index) -> Table:
    """Return a table of the clips per class and split; with many classes, only those with the fewest clips."""
    counts = Counter((clip.label, clip.split) for clip in index.clips)
    totals = Counter(clip.label for clip in index.clips)
    order = sorted(sorted(index.classes), key=totals.__getitem__)
    table = Table("class", box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for split in SPLITS:
        table.add_column(split, justify="right")
    shown = order if len(order) <= 2 * SMALLEST_CLASSES else order[:SMALLEST_CLASSES]
    for label in shown:
        table.add_row(Text(escape_line(label)), *_numbers(counts, label))
    if len(shown) < len(order):
        most = f"{totals[order[-1]]:,}"
        table.add_row(Text(f"… and {len(order) - len(shown)} more classes; the largest has {most}"), "", "", "")
    all_splits = Counter(("all", clip.split) for clip in index.clips)
    table.add_row("all", *_numbers(all_splits, "all"), style="bold")
    return table


def _numbers(counts: Counter[Any], label: str) -> list[str]:
    return [f"{counts[label, split]:,}" for split in SPLITS]


def store_lines(options: Any, known: Sequence[str], console: Console) -> tuple[list[str], bool]:
    """Return the lines about the store, and whether it is complete; show a bar while its files are read.

    Args:
        options: options of the data set.
        known: notes that are already printed.
        console: console of the bar.

    Raises:
        StoreError: if there is no store, or it cannot be opened.
    """
    store = local_store(options.store)
    manifest = store.manifest
    lines = [
        f"store: {store.origin or store.folder}, {count(len(manifest.clips), 'clip')} in "
        f"{count(len(manifest.shards), 'shard')}, {len(manifest.quarantine):,} quarantined",
        *reasons(manifest.quarantine),
        *(f"note of the preparation: {note}" for note in manifest.notes if note not in known),
    ]
    with _bar(console) as bar:
        task = bar.add_task("reading the store", total=len(manifest.shards))
        wrong = store.verify(lambda done: bar.update(task, completed=done))
    return lines + wrong, not wrong


def _bar(console: Console) -> Progress:
    """Return a progress bar that disappears when it is finished."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def check(experiment: Experiment, sheets: Path, console: Console, words: Sequence[str] = ()) -> bool:
    """Print what exists of an experiment's data set, and draw a sheet of model inputs in the folder `sheets`.

    Args:
        experiment: experiment with the data set.
        sheets: folder of the sheets.
        console: console to print on.
        words: file and assignments, as typed, for the next command.

    Returns:
        Whether the data set can be trained on.

    Raises:
        DataError: if the data set of a user yields what no model can be trained on.
        DatasetError: if the publisher's files or lists are invalid.
        ExperimentError: if a model cannot be built for the data, or cannot be trained on them.
    """
    options = registry.options(experiment.dataset)
    if hasattr(options, "index") and not _is_prepared(options, console, words):
        return False
    data = open_data(experiment.dataset)
    batches = check_batches(data, experiment.trial.batch_size)  # before a picture is made of them
    path = sheets / f"{experiment.name}.png"
    x, y = next(iter(data.validation(batch_size=100)))
    write_sheet(*choose_samples(x, y), data.classes, path)
    print_line(console, _splits_line(data) if isinstance(data, StoreData) else _memory_line(data))
    shapes = ", ".join(f"{modality} {list(shape)}" for modality, shape in data.shapes.items())
    print_line(console, f"model input: {shapes}; {count(len(data.classes), 'class')}\nsample images: {path}")
    if experiment.space or experiment.trial != TrialConfig():  # else the file only describes data so far
        for note in check_models(experiment, data, batches):
            print_note(console, note)
    command = "run_search.py FILE" if experiment.space else "python -m search train FILE"
    print_line(console, f"\nnext:  uv run {name_file(command, words)}")
    return True


def _splits_line(data: StoreData) -> str:
    parts = data.splits
    used = f"a search trains on {count(len(parts.train), 'clip')} and validates on {len(parts.validation):,}"
    return f"{used}; it does not read the test split ({len(parts.test):,})"


def _memory_line(data: Data) -> str:
    """Return the lines about data that are not prepared from files: they are complete."""
    sizes, samples = getattr(data, "sizes", None), ""
    if sizes is not None:
        unread = "; the test split is not read" if hasattr(data, "test") else ""
        used = f"{count(sizes['train'], 'sample')} for training, {sizes['validation']:,} for validation"
        samples = f"{used}{unread}\n"
    return f"{samples}nothing is missing, and this data set needs no preparation"


def _is_prepared(options: Any, console: Console, words: Sequence[str]) -> bool:
    """Print what the publisher's files and the store contain; return whether the store is complete."""
    with _bar(console) as bar:
        bar.add_task("reading the list and looking for its files", total=None)
        index = options.index()
    print_line(console, "\n".join(index_lines(index)))
    console.print(class_table(index))
    try:
        lines, is_whole = store_lines(options, index.notes, console)
    except StoreError as error:
        print_line(console, name_file(str(error), words), "yellow")
        return False
    print_line(console, "\n".join(lines))
    return is_whole
