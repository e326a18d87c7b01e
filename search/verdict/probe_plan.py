"""Plan of the trainings for curves of linear probes, written before the first one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from datasets.index.regular_file import fault_of, read_regular
from ogmge.config import TrialConfig
from search.experiment.formatting import flat
from search.experiment.messages import differences
from search.run.folder import FolderError, RunFolder, write
from search.run.probed_epochs import default_interval
from search.verdict.probe_policy import ProbePolicy

FILE = "plan.json"  # name of the file in the folder of the trainings


@dataclass(frozen=True)
class ProbePlan:
    """Configurations to train with each seed, and the epochs to probe.

    Args:
        every: number of epochs from one probe to the next.
        configurations: title -> trial.
    """

    every: int
    configurations: Mapping[str, Mapping[str, Any]]


_PLAN = TypeAdapter(ProbePlan)


def claim_probes(folder: RunFolder, configs: Mapping[str, TrialConfig], every: int | None) -> int:
    """Check that a folder holds no other trainings than the planned ones, and write the plan to it.

    Args:
        folder: folder of the trainings.
        configs: title -> trial.
        every: number of epochs from one probe to the next; None for the value in the folder, or about twenty probes per
            training.

    Returns:
        Number of epochs from one probe to the next.

    Raises:
        FolderError: if the folder holds other trainings.
    """
    values = json.loads(json.dumps({title: asdict(config) for title, config in configs.items()}))
    before = _read(folder.path / FILE) if folder.has_progress else None
    unasked = before.every if before is not None else default_interval(max(c.epochs for c in configs.values()))
    plan = ProbePlan(every or unasked, values)
    if before is not None and (differences := list(_differences(before, plan))):
        raise FolderError(
            f"{folder.path} holds curves of other trainings ({'; '.join(differences)}): restore these settings, or "
            f"move {folder.path} away to start again"
        )
    folder.path.mkdir(exist_ok=True)
    write(folder.path / FILE, json.dumps(asdict(plan), indent=2) + "\n")
    return plan.every


def _read(path: Path) -> ProbePlan:
    try:
        return _PLAN.validate_json(read_regular(path))
    except (OSError, ValueError) as error:
        raise FolderError(
            f"{path} {fault_of(error)}; cannot verify that the trainings are the same: move {path.parent} away to "
            "start again"
        ) from error


def _differences(before: ProbePlan, now: ProbePlan) -> Iterator[str]:
    """Yield a phrase for each difference between two plans."""
    if before.every != now.every:
        yield f"--every was {before.every} and is now {now.every}"
    yield from differences(flat(before.configurations), flat(now.configurations))


def configurations(policy: ProbePolicy) -> dict[str, TrialConfig]:
    """Return the configurations that a policy trains: title -> trial."""
    return {str(probed): policy.config(probed) for probed in policy.each}
