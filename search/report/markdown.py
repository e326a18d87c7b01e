"""Short report in Markdown: the description of the search's run in MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search.report import sentences
from search.report.facts import Facts

LONGEST, MOST = 400, 5000  # characters of a cell, and of the whole text (MLflow's limit)


def markdown(facts: Facts) -> str:
    """Return the report: the question, the verdict, the next step, and an overview of the search."""
    data, space = facts.experiment.dataset["name"], sentences.space_by_path(facts)
    parts = [f"**Does OGM-GE help on {_plain(str(data))}, with which settings, and by how much?**"]
    parts.append(f"## {_plain(sentences.headline(facts))}")
    step = sentences.next_step(facts)
    parts += [_plain(step.text), *([] if step.command is None else [f"```sh\n{step.command}\n```"])]
    parts += map(_plain, sentences.paragraphs(facts))
    if (numbers := sentences.verdict_table(facts) or sentences.best_table(facts)) is not None:
        parts.append(_table(*numbers))
    parts.append(_table(("search", ""), sentences.overview(facts)))
    others = "\n".join(f"{command}    # {what}" for what, command in sentences.commands(facts))
    tail = [f"```sh\n{others}\n```", "All plots, trials and seeds: `report.html` under Artifacts."]
    whole = "\n\n".join([*parts, _table(("space", ""), list(space.items())), *tail])
    return whole if space and len(whole) <= MOST else "\n\n".join([*parts, *tail])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [[_plain(_short(cell)) for cell in cells] for cells in (head, *rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (lines[0], ["---"] * len(head), *lines[1:]))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _plain(text: str) -> str:
    """Return a text with its markup escaped: it is shown as written and ends no cell."""
    for mark in "\\`*_<>|[]#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
