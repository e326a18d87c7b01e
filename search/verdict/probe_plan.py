"""What curves of linear probes are of, written down before the first training."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ogmge.config import TrialConfig
from search.experiment.formatting import flat
from search.run.folder import FolderError, RunFolder, write
from search.run.probed_epochs import default_interval
from search.verdict.probe_policy import ProbePolicy

FILE = "plan.json"  # in the folder of the trainings


@dataclass(frozen=True)
class ProbePlan:
    """What is trained, whatever the seed, and when it is probed.

    Args:
        every: from one probe to the next, in epochs.
        configurations: title -> trial.
    """

    every: int
    configurations: Mapping[str, Mapping[str, Any]]


_PLAN = TypeAdapter(ProbePlan)


def claim_probes(folder: RunFolder, configs: Mapping[str, TrialConfig], every: int | None) -> int:
    """See that what is in a folder is a part of what is to be trained, and write down what that is.

    Args:
        folder: of the trainings.
        configs: title -> trial.
        every: from one probe to the next, in epochs; None is as before, or about twenty probes a training.

    Returns:
        from one probe to the next, in epochs.

    Raises:
        FolderError: it is a part of something else.
    """
    values = json.loads(json.dumps({title: asdict(config) for title, config in configs.items()}))
    before = _read(folder.path / FILE) if folder.has_progress else None
    unasked = before.every if before is not None else default_interval(max(c.epochs for c in configs.values()))
    plan = ProbePlan(every or unasked, values)
    if before is not None and (differences := list(_differences(before, plan))):
        raise FolderError(
            f"{folder.path} holds curves of other trainings ({'; '.join(differences)}): ask for the same again, or "
            f"move {folder.path} away to begin anew"
        )
    folder.path.mkdir(exist_ok=True)
    write(folder.path / FILE, json.dumps(asdict(plan), indent=2) + "\n")
    return plan.every


def _read(path: Path) -> ProbePlan:
    try:
        return _PLAN.validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FolderError(
            f"{path} is damaged or missing, so it cannot be verified that the trainings are the same: move "
            f"{path.parent} away to begin anew"
        ) from error


def _differences(before: ProbePlan, now: ProbePlan) -> Iterator[str]:
    """What is not as it was, in words."""
    if before.every != now.every:
        yield f"--every was {before.every} and is {now.every}"
    old, new = flat(before.configurations), flat(now.configurations)
    for key in {**old, **new}:
        if old.get(key) != new.get(key):
            yield f"`{key}` was {old.get(key)!r} and is {new.get(key)!r}"


def configurations(policy: ProbePolicy) -> dict[str, TrialConfig]:
    """What a policy trains: title -> trial."""
    return {str(probed): policy.config(probed) for probed in policy.each}
