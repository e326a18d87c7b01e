"""What a confirmation set out to do, written down before its first training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from search.arms import Arm
from search.folder import FolderError, write


@dataclass(frozen=True)
class Plan:
    """How many seeds of which configurations.

    Args:
        seeds: pairs at most.
        sequential: whether seeds are added until it is clear, or were after a look at what came of fewer.
        trials: the search's best trial of each arm.
        fixed: seeds at which there was a verdict before more of them were asked for.
    """

    seeds: int
    sequential: bool
    trials: Mapping[Arm, int]
    fixed: tuple[int, ...] = ()

    def asked(self, seeds: int | None, *, sequential: bool) -> Plan:
        """The plan as it is to go on.

        Whoever asks for more seeds after a verdict has looked at results: the rule for that decides from there on.

        Raises:
            FolderError: fewer seeds than before, or none to add.
        """
        wanted = self.seeds if seeds is None else seeds
        if wanted < self.seeds:
            raise FolderError(
                f"this confirmation began with {self.seeds} seeds, which cannot become {wanted}: a number that is "
                "chosen after a look at the results keeps no error rate; leave --seeds out"
            )
        if wanted == self.seeds and sequential <= self.sequential:
            return self
        looked = (*self.fixed, self.seeds) if not self.sequential else self.fixed
        return replace(self, seeds=wanted, sequential=True, fixed=looked)


def read(path: Path) -> Plan | None:
    """The plan in a file; None where there is none.

    Raises:
        FolderError: it is damaged.
    """
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Plan(**{**values, "fixed": tuple(values["fixed"])})
    except (ValueError, TypeError, KeyError) as error:
        raise FolderError(
            f"{path} is damaged, so that nobody can tell how many seeds were planned: move {path.parent} away to begin "
            "the confirmation again"
        ) from error


def keep(path: Path, plan: Plan) -> None:
    """Writes it."""
    write(path, json.dumps(asdict(plan), indent=2) + "\n")
