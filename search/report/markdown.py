"""The same in Markdown and in short, as the description of the search's run in MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search.report.facts import Facts
from search.report.sentences import best, commands, headline, paragraphs, space_by_path, spent, verdict_table

LONGEST, MOST = 400, 5000  # characters of a cell, and of all of it: MLflow's limit


def markdown(facts: Facts) -> str:
    """Question, answer, what was done for it, and how to go on."""
    data = facts.experiment.dataset["name"]
    parts = [
        f"**Does OGM-GE help on {_plain(str(data))}, with which settings, and by how much?**",
        f"## {_plain(headline(facts))}",
        *map(_plain, paragraphs(facts)),
    ]
    if (found := verdict_table(facts) or best(facts)) is not None:
        parts.append(_table(*found))
    parts.append(_table(("search", ""), spent(facts)))
    space = space_by_path(facts)
    going = "\n".join(f"{command}    # {what}" for what, command in commands(facts))
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
