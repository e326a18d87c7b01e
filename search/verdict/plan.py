"""What a confirmation set out to do, written down before its first training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from search.experiment.arms import Arm
from search.run.folder import FolderError, write

UNTIL_CLEAR = 1000  # pairs that a budget is to end before


@dataclass(frozen=True)
class Plan:
    """How many seeds of which configurations.

    Args:
        seeds: pairs at most.
        sequential: whether seeds are added until it is clear, or were after fewer had been planned.
        trials: the search's best trial of each arm.
        fixed: seeds at which there was a verdict before more of them were asked for.
    """

    seeds: int
    sequential: bool
    trials: Mapping[Arm, int]
    fixed: tuple[int, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether only a budget ends it where there is nothing to become clear."""
        return self.sequential and self.seeds >= UNTIL_CLEAR

    def revise(self, seeds: int, *, sequential: bool, judged: bool) -> Plan:
        """The plan as it is to go on.

        A user who asks for more seeds may have looked at results, if only at the means on the screen: the rule for that
        decides from there on. It counts every look of its own; one at a verdict was another.

        Args:
            seeds: that are asked for.
            sequential: whether they are to be added until it is clear.
            judged: whether there was a verdict by now.

        Raises:
            FolderError: fewer seeds than before.
        """
        if seeds < self.seeds:
            raise FolderError(
                f"this confirmation began with {self.seeds} seeds, which cannot become {seeds}: a number that is "
                "chosen after a look at the results keeps no error rate; leave --seeds out"
            )
        if seeds == self.seeds and sequential <= self.sequential:
            return self
        looks = (self.seeds,) if judged and not self.sequential else ()
        return replace(self, seeds=seeds, sequential=True, fixed=(*self.fixed, *looks))


_PLAN = TypeAdapter(Plan)


def read_plan(path: Path) -> Plan | None:
    """The plan in a file; None where there is none.

    Raises:
        FolderError: it is damaged.
    """
    if not path.exists():
        return None
    try:
        return _PLAN.validate_json(path.read_bytes())
    except ValueError as error:
        raise FolderError(
            f"{path} is damaged, so the number of planned seeds is unknown: move {path.parent} away to begin the "
            "confirmation again"
        ) from error


def write_plan(path: Path, plan: Plan) -> None:
    write(path, json.dumps(asdict(plan), indent=2) + "\n")
