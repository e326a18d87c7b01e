"""Report as one self-contained HTML file: sentences, tables and plots."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2

from datasets.index.list_files import count
from search.console.wrapping import glue
from search.report import sentences, table
from search.report.facts import Facts, gather
from search.report.markdown import markdown
from search.report.plots import effects, seed_pairs
from search.report.plots.curves import curves
from search.report.plots.importance import FEWEST, importance, shares_by_arm
from search.report.plots.modalities import by_modality
from search.report.plots.parallel import parallel
from search.report.plots.probes import by_encoder
from search.report.plots.selection import searches_window, windows
from search.report.plots.two_settings import contour
from search.run.disk import explain_errors
from search.run.folder import RunFolder, write

log = logging.getLogger(__name__)

HERE = Path(__file__).parent


def render(facts: Facts) -> str:
    """Return the page, as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["glue"] = glue
    return environment.get_template("page.html").render(context(facts))


def context(facts: Facts) -> dict[str, Any]:
    """Return the template's variables, by name."""
    from plotly.io.json import to_json_plotly

    shares = shares_by_arm(facts)
    single = [
        curves(facts),
        effects.alpha(facts),
        effects.window(facts),
        importance(facts, shares),
        contour(facts, shares),
        parallel(facts),
        seed_pairs.seeds(facts),
        seed_pairs.classes(facts),
    ]
    several = {"modalities": by_modality(facts), "probes": by_encoder(facts), "slices": effects.slices(facts)}
    plots = {plot.name: plot for plot in chain(single, *several.values()) if plot is not None}
    return {
        "facts": facts,
        "count": count,
        "sentences": sentences,
        "step": sentences.next_step(facts),
        "table": table,
        "plots": plots,
        **several,
        "figures": to_json_plotly({name: plot.figure for name, plot in plots.items()}),
        "windows": windows(facts) if searches_window(facts) else {},
        "fewest": FEWEST,
        "experiment": facts.folder.experiment.read_text(encoding="utf-8"),
        "style": (HERE / "page.css").read_text(encoding="utf-8"),
        "script": (HERE / "page.js").read_text(encoding="utf-8"),
        "plotly": plotly_script(),
    }


def plotly_script() -> str:
    """Return Plotly's JavaScript."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def describe_start(folder: RunFolder) -> str:
    """Return the description of a new search, in Markdown; empty if that fails, which must not stop the search."""
    try:
        return markdown(gather(folder.path, busy=True))
    except Exception:
        log.debug("description", exc_info=True)
        return ""


@dataclass(frozen=True)
class ReportOutcome:
    """Outcome of writing the report at the end of a search or a confirmation.

    Args:
        description: description in Markdown; None if there is none.
        lack: reason why there is no page, as a sentence; None if there is one.
    """

    description: str | None = None
    lack: str | None = None


def try_write_report(folder: RunFolder, *, more: bool) -> ReportOutcome:
    """Write the page. An error is returned, not raised, because it must not cost a result.

    Args:
        folder: folder of the run.
        more: whether the run continues, for example with a confirmation.
    """
    description = None
    try:
        facts = gather(folder.path, busy=more)
        description = markdown(facts)
        write(folder.report, render(facts))
    except Exception as error:
        log.debug("report", exc_info=True)
        reason = getattr(error, "strerror", None) or error
        again = f"write it with `uv run python -m search report {folder.path.name}`"
        return ReportOutcome(description, f"{folder.report} was not written ({reason}); {again}")
    return ReportOutcome(description)


def write_report(path: Path, output: Path | None = None, *, busy: bool | None = None) -> Path:
    """Write the page on the run in a folder; return its path.

    Args:
        path: path of the run's folder.
        output: path of the page; None is `report.html` in that folder.
        busy: see `gather`.

    Raises:
        FolderError, ExperimentError: if there is no search in the folder.
        PlaceError: if the file cannot be written.
    """
    file = output or RunFolder(path).report
    text = render(gather(path, busy=busy))
    with explain_errors():
        write(file, text)
    return file
