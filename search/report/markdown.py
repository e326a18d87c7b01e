"""The same in Markdown and in short, as the description of the search's run in MLflow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from search.report.facts import Facts
from search.report.words import best_rows, commands, confirmed, headline, paragraphs, searched, spent

LONGEST = 400  # characters of a cell: MLflow takes 5,000 in all


def markdown(facts: Facts) -> str:
    """Question, answer, what was done for it, and how to go on."""
    data = facts.experiment.dataset["name"]
    parts = [
        f"**Does OGM-GE help on {_plain(str(data))}, with which settings, and by how much?**",
        f"## {_plain(headline(facts))}",
        *map(_plain, paragraphs(facts)),
    ]
    if (found := confirmed(facts)) is not None:
        parts.append(_table(*found))
    elif facts.best:
        titles, rows = best_rows(facts)
        parts.append(_table(("", *titles), [(name, *cells) for name, cells in rows]))
    parts.append(_table(("search", ""), spent(facts)))
    if space := searched(facts):
        parts.append(_table(("space", ""), list(space.items())))
    going = "\n".join(f"{command}    # {what}" for what, command in commands(facts))
    parts += [f"```sh\n{going}\n```", "Plots, every trial, the verdict's seeds: `report.html` under Artifacts."]
    return "\n\n".join(parts)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_plain, cells))} |" for cells in lines)


def _plain(text: str) -> str:
    """Text that is shown as it is: no markup, no end of a cell."""
    short = text if len(text) <= LONGEST * 4 else f"{text[: LONGEST * 4]} …"
    for mark in "\\`*_<>|[]#":
        short = short.replace(mark, f"\\{mark}")
    return " ".join(short.split())
