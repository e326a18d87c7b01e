"""Plan of a confirmation, written before its first training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from datasets.index.list_files import count
from datasets.index.regular_file import fault_of, read_regular
from search.experiment.arms import Arm
from search.run.folder import FolderError, write

UNTIL_CLEAR = 1000  # number of pairs; a budget has to end the confirmation before that


@dataclass(frozen=True)
class Plan:
    """Number of seeds, and the configurations to train.

    Args:
        seeds: largest number of pairs.
        sequential: whether seeds are added until the result is clear, or were added to a smaller plan.
        trials: number of the search's best trial in each arm.
        fixed: numbers of seeds that had a verdict before more seeds were requested.
    """

    seeds: int
    sequential: bool
    trials: Mapping[Arm, int]
    fixed: tuple[int, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether only a budget ends the confirmation if there is no difference to find."""
        return self.sequential and self.seeds >= UNTIL_CLEAR

    def revise(self, seeds: int, *, sequential: bool, judged: bool) -> Plan:
        """Return the plan for continuing with other options.

        Users who ask for more seeds may have looked at results, if only at the means on the screen. From then on, the
        sequential rule decides. It allows for all of its own looks; a look at an earlier verdict is an additional one.

        Args:
            seeds: requested number of seeds.
            sequential: whether to add seeds until the result is clear.
            judged: whether there is already a verdict.

        Raises:
            FolderError: if fewer seeds than before are requested.
        """
        if seeds < self.seeds:
            raise FolderError(
                f"this confirmation was planned with {count(self.seeds, 'seed')} and cannot be reduced to {seeds}, "
                "because a number chosen after seeing results invalidates the error rate: omit --seeds"
            )
        if seeds == self.seeds and sequential <= self.sequential:
            return self
        looks = (self.seeds,) if judged and not self.sequential else ()
        return replace(self, seeds=seeds, sequential=True, fixed=(*self.fixed, *looks))


_PLAN = TypeAdapter(Plan)


def read_plan(path: Path) -> Plan | None:
    """Return the plan in a file, or None if the file does not exist.

    Raises:
        FolderError: if the file is corrupt.
    """
    if not path.exists():
        return None
    try:
        return _PLAN.validate_json(read_regular(path))
    except (ValueError, OSError) as error:
        raise FolderError(
            f"{path} {fault_of(error)}, so the number of planned seeds is unknown: move {path.parent} away to start "
            "the confirmation again"
        ) from error


def write_plan(path: Path, plan: Plan) -> None:
    write(path, json.dumps(asdict(plan), indent=2) + "\n")
