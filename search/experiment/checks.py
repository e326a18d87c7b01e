"""What the parts of an experiment must agree in, beyond what the schema says of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from ogmge.config import TrialConfig
from search.experiment import space as spaces
from search.experiment.messages import Fault, nearest
from search.experiment.rungs import rungs_of
from search.experiment.schema import Experiment, SamplerName, Search


def disagreements(experiment: Experiment) -> list[Fault]:
    """All that is wrong with an experiment whose parts are sound each by itself."""
    faults = _space_faults(experiment.space, experiment.trial) or _rung_faults(experiment)
    faults += _sampler_faults(experiment.search, experiment.space, experiment.trial)
    return faults + _budget_faults(experiment) + _mode_faults(experiment.search)


def _space_faults(space: dict[str, spaces.Entry], trial: TrialConfig) -> list[Fault]:
    faults: list[Fault] = []
    known = spaces.paths(trial)
    for path, entry in space.items():
        if path not in known:
            faults.append((("space", path), "is no path into `trial`" + nearest(path, known)))
            continue
        faults += [(("space", path, *p), f"must be {text}") for p, text in spaces.entry_problems(trial, path, entry)]
    if faults or not space:
        return faults
    if clashes := spaces.clashes(space, trial):
        return [(("space", path), f"must be {text}") for path, text in clashes]
    if not spaces.methods(space, trial):
        return [(("space", spaces.METHOD), "leaves nothing to compare with: name `ogm` or `ogm_ge` here or in `trial`")]
    if not spaces.windows(space, trial):
        return [
            (
                ("space", spaces.START),
                f"leaves no window that opens: no start is at most its end and below {trial.epochs} epochs",
            )
        ]
    return []


def _rung_faults(experiment: Experiment) -> list[Fault]:
    how, longest = experiment.search.scheduler, spaces.most_epochs(experiment.space, experiment.trial)
    place = ("search", "scheduler")
    if how.name != "asha":
        given = (("rungs", how.rungs is not None), ("brackets", how.brackets > 1))
        return [((*place, option), f"is asha's, and `name` is {how.name}") for option, there in given if there]
    if how.rungs is not None and how.rungs[-1] >= longest:
        return [((*place, "rungs"), f"must lie before the last of {longest} epochs, but got {list(how.rungs)}")]
    rungs = rungs_of(experiment)
    if how.brackets > max(1, len(rungs)):
        most = f"at most {max(1, len(rungs))}, the number of rungs (after {rungs} epochs)"
        text = f"must be {most}, as in one more no trial would ever be compared, but got {how.brackets}"
        return [((*place, "brackets"), text)]
    return []


def _mode_faults(search: Search) -> list[Fault]:
    metrics = 1 if isinstance(search.metric, str) else len(search.metric)
    if isinstance(search.mode, str) or len(search.mode) == metrics:
        return []
    expected = f"max, min, or a list with one of them for each of {metrics} metrics"
    return [(("search", "mode"), f"must be {expected}, but got {list(search.mode)}")]


def _sampler_faults(search: Search, space: dict[str, spaces.Entry], trial: TrialConfig) -> list[Fault]:
    """What the sampler cannot do with the sound part of the space. All of the baseline's is in the modulated arm's."""
    known = spaces.paths(trial)
    sound = {p: e for p, e in space.items() if p in known and not spaces.entry_problems(trial, p, e)}
    searched = spaces.dimensions(sound, trial, modulated=bool(spaces.methods(sound, trial)))
    problem = _sampler_problem(search.sampler, searched, several=len(search.objectives) > 1)
    return [(("search", "sampler"), problem)] if problem else []


def _budget_faults(experiment: Experiment) -> list[Fault]:
    search, confirm = experiment.search, experiment.confirm
    place = ("search", "budget")
    hours, epochs = search.budget.gpu_hours, search.budget.epochs
    faults: list[Fault] = []
    if hours is not None and not search.resources.gpu:
        faults.append(((*place, "gpu_hours"), f"must be null where `search.resources.gpu` is 0, but got {hours:g}"))
    if epochs is not None and confirm is not None:
        each = spaces.most_epochs(experiment.space, experiment.trial)
        aside = confirm.trainings * each
        if epochs <= aside:
            takes = f"{confirm.trainings} x {each} = {aside}"
            faults.append(((*place, "epochs"), f"must be more than the confirmation's {takes}, but got {epochs}"))
    return faults


def _sampler_problem(name: SamplerName, dimensions: Sequence[spaces.Dimension], *, several: bool = False) -> str | None:
    """What is wrong with a sampler, as the experiment file's mistake; None where nothing is.

    Args:
        name: of the sampler.
        dimensions: that are searched.
        several: whether there is more than one objective.
    """
    if name == "cmaes" and several:
        *others, last = [other for other in get_args(SamplerName) if other != "cmaes"]
        return f"must be {', '.join(others)} or {last} for several metrics, but got 'cmaes': it takes one"
    endless = [d.path for d in dimensions if isinstance(d, spaces.Interval) and d.count == math.inf]
    if name == "grid" and endless:
        return _sampler_refusal(name, "no `step` in", endless, "give it a `step`, or a list of choices")
    categories = [d.path for d in dimensions if isinstance(d, spaces.Choice) and d.is_category]
    if name == "cmaes" and categories:
        return _sampler_refusal(
            name, "choices that are not all numbers in", categories, "it takes numbers, or one choice"
        )
    return None


def _sampler_refusal(name: SamplerName, found: str, paths: list[str], cure: str) -> str:
    *others, last = [other for other in get_args(SamplerName) if other not in ("grid", "cmaes")]
    where = " and ".join(f"`{path}`" for path in paths)
    return f"must be {', '.join(others)} or {last} for this space, but got {name!r} with {found} {where}: {cure}"
