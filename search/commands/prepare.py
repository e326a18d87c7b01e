"""`python -m search prepare FILE`: from a publisher's files to a store, on all cores of this machine or a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from datasets import registry
from datasets.index.list_files import count
from datasets.store.cache import staging_folder, upload
from datasets.store.prepare import Report, prepare
from datasets.store.remote import Remote, is_uri
from datasets.store.store import MANIFEST, reasons
from search.backend.cluster import ray_for
from search.backend.parallel_map import ray_map
from search.console.notes import print_line, print_note
from search.experiment.formatting import duration
from search.experiment.schema import Experiment, ExperimentError


def options_of(experiment: Experiment) -> Any:
    """Return the options of a data set that is prepared from files.

    Raises:
        ExperimentError: if the data set needs no preparation.
    """
    options = registry.options(experiment.dataset)
    if not all(hasattr(options, method) for method in ("index", "settings")):
        name = experiment.dataset["name"]
        raise ExperimentError(experiment.name, [f"the data set {name} needs no preparation; run the search directly"])
    return options


class _Speed(ProgressColumn):
    """Column with the speed in clips per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} clips/s" if task.speed else "-- clips/s")


def run(experiment: Experiment, console: Console) -> None:
    """Prepare the experiment's data set, or continue its preparation, with a progress bar.

    Raises:
        DatasetError, ExperimentError: if the files, the lists or the store are invalid.
        TooManyQuarantined: if more clips are unusable than `dataset.max_quarantined` allows.
    """
    options = options_of(experiment)
    index = options.index()
    folder = _folder(experiment, options.store)
    for note in index.notes:
        print_note(console, note)
    console.print(
        Text(f"{count(len(index.clips), 'clip')} found, {len(index.missing):,} of the list missing"), soft_wrap=True
    )
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        _Speed(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[lost]} quarantined"),
    )
    read, written = {"dataset.source": options.source}, {"dataset.store": str(folder)}
    with (
        ray_for(experiment, read, written),
        Progress(*columns, console=console, speed_estimate_period=300) as bar,
    ):
        task = bar.add_task("", total=len(index.clips), lost=0)

        def progress(done: int, total: int, lost: int) -> None:
            bar.update(task, completed=done, total=total, lost=lost)

        report = prepare(
            experiment.dataset["name"],
            index,
            options.settings(),
            folder,
            parallel=ray_map,
            limits=options.limits,
            progress=progress,
        )
    _say(report, folder, console)
    if is_uri(options.store):
        upload(folder, options.store)
        print_line(console, f"copied to {options.store}")


def _folder(experiment: Experiment, store: str) -> Path:
    """Return the folder in which to build the store: its path, or a local folder from which it is copied to its URI.

    Raises:
        ExperimentError: if a cluster prepares a store at a URI; its nodes cannot access this machine's disk.
        RemoteError: if the URI is not accessible.
    """
    if not is_uri(store):
        return registry.expand(store)
    if experiment.search.address != "local":
        copy = f"""python -c "from pyarrow import fs; fs.copy_files('FOLDER', '{store}')\""""
        raise ExperimentError(
            experiment.name,
            [
                f"`dataset.store` must be a folder on all nodes if a cluster prepares it, but got {store}; "
                f"prepare with dataset.store=FOLDER, then copy the folder:\n  {copy}"
            ],
        )
    Remote(store).exists(MANIFEST)
    return staging_folder(store)


def _say(report: Report, folder: Path, console: Console) -> None:
    before = f", {count(report.skipped_shards, 'shard')} prepared earlier" if report.skipped_shards else ""
    print_line(console, f"{count(report.clips, 'clip')} in {folder}, {duration(report.seconds)}{before}")
    if report.quarantined:
        clips = count(len(report.quarantined), "clip")
        console.print(Text(f"{clips} quarantined (listed in manifest.json):"), soft_wrap=True)
        print_line(console, "\n".join(reasons(report.quarantined)))
    for note in report.notes:
        print_note(console, note)
