"""The page: words, tables and plots put together, in one file that needs nothing else."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2

from search.report import sentences, table
from search.report.facts import Facts, gather
from search.report.markdown import markdown
from search.report.plots import effects, seed_pairs
from search.report.plots.curves import curves, window_of
from search.report.plots.figure import Figure
from search.report.plots.importance import importance
from search.report.plots.modalities import by_modality
from search.run.folder import FolderError, RunFolder, write

log = logging.getLogger(__name__)

HERE = Path(__file__).parent


def render(facts: Facts) -> str:
    """The page, as HTML."""
    return _template("page.html").render(context(facts))


def context(facts: Facts) -> dict[str, Any]:
    """What the template shows, by name."""
    plots: dict[str, Figure | None] = {
        "curves": curves(facts),
        "seeds": seed_pairs.seeds(facts),
        "alpha": effects.alpha(facts),
        "window": effects.window(facts),
        "importance": importance(facts),
        "classes": seed_pairs.classes(facts),
    }
    several = {"modalities": by_modality(facts), "slices": effects.slices(facts)}
    drawn = [figure for figure in plots.values() if figure is not None] + [
        f for group in several.values() for f in group
    ]
    windows = {trial.number: window_of(facts, trial) for trial in facts.record if trial.arm == "modulated"}
    return {
        "facts": facts,
        "sentences": sentences,
        "plots": plots,
        **several,
        "space": sentences.space_by_path(facts),
        "statuses": table.WORDS,
        "head": [table.heading(name) for name in table.head(facts)],
        "rows": table.rows(facts),
        "figures": {figure.name: _finite({k: v for k, v in asdict(figure).items() if k != "alt"}) for figure in drawn},
        "windows": windows,
        "experiment": facts.folder.experiment.read_text(encoding="utf-8"),
        "style": (HERE / "page.css").read_text(encoding="utf-8"),
        "script": (HERE / "page.js").read_text(encoding="utf-8"),
        "plotly": plotly(),
    }


def first_words(folder: RunFolder) -> str:
    """What a search is described by when it begins; nothing, where that fails, which costs no search."""
    try:
        return markdown(gather(folder.path, busy=True))
    except Exception:
        log.debug("description", exc_info=True)
        return ""


@dataclass(frozen=True)
class Left:
    """What was made of a run where its search or confirmation ended.

    Args:
        description: in Markdown; None where there is none.
        lack: why there is no page, as a sentence, where there is none.
    """

    description: str | None
    lack: str | None


def leave(folder: RunFolder, *, more: bool) -> Left:
    """Writes the page; whatever goes wrong with that costs no result.

    Args:
        folder: of the run.
        more: whether the run goes on, with a confirmation or at all.
    """
    description = None
    try:
        facts = gather(folder.path, busy=more)
        description = markdown(facts)
        write(folder.report, render(facts))
    except Exception as error:
        log.debug("report", exc_info=True)
        again = f"`python -m search report {folder.path.name}` writes it"
        return Left(description, f"there is no {folder.report} ({error}): {again}")
    return Left(description, None)


def _finite(value: Any) -> Any:
    """With null for what is no number in JSON, which Plotly leaves out: a ratio may be infinite."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def plotly() -> str:
    """Plotly's JavaScript, whole."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _template(name: str) -> jinja2.Template:
    loader = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(name)


def report(path: Path, output: Path | None = None, *, busy: bool | None = None) -> Path:
    """Writes the page on the run in a folder; returns where.

    Args:
        path: of the run's folder.
        output: the file; `report.html` there, if nothing else is said.
        busy: see `gather`.

    Raises:
        FolderError, ExperimentError: there is no search in the folder, or the file cannot be written.
    """
    file = output or RunFolder(path).report
    text = render(gather(path, busy=busy))
    try:
        write(file, text)
    except OSError as error:
        raise FolderError(f"{file} cannot be written: {error.strerror}") from error
    return file
