"""The same in Markdown and in short, as the description of the search's run in MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search.report import sentences
from search.report.facts import Facts

LONGEST, MOST = 400, 5000  # characters of a cell, and of all of it: MLflow's limit


def markdown(facts: Facts) -> str:
    """Question, answer, what was done for it, and how to go on."""
    data, space = facts.experiment.dataset["name"], sentences.space_by_path(facts)
    parts = [f"**Does OGM-GE help on {_plain(str(data))}, with which settings, and by how much?**"]
    parts += [f"## {_plain(sentences.headline(facts))}", *map(_plain, sentences.paragraphs(facts))]
    if (answer := sentences.verdict_table(facts) or sentences.best_table(facts)) is not None:
        parts.append(_table(*answer))
    parts.append(_table(("search", ""), sentences.overview(facts)))
    going = "\n".join(f"{command}    # {what}" for what, command in sentences.commands(facts))
    tail = [f"```sh\n{going}\n```", "Plots, every trial, the verdict's seeds: `report.html` under Artifacts."]
    whole = "\n\n".join([*parts, _table(("space", ""), list(space.items())), *tail])
    return whole if space and len(whole) <= MOST else "\n\n".join([*parts, *tail])


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [[_plain(_short(cell)) for cell in cells] for cells in (head, *rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (lines[0], ["---"] * len(head), *lines[1:]))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _plain(text: str) -> str:
    """Text that is shown as it is: no markup, no end of a cell."""
    for mark in "\\`*_<>|[]#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
