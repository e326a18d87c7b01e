"""Checks of how the parts of an experiment fit together, beyond the schema of each part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from datasets.index.list_files import count
from ogmge.config import TrialConfig
from search.experiment import space as spaces
from search.experiment.arms import ARMS, arm_of
from search.experiment.dimensions import METHOD, START, Choice, Dimension, Interval
from search.experiment.factory_arguments import argument_faults, choice_faults
from search.experiment.first import first_faults
from search.experiment.messages import Fault, format_setting, nearest
from search.experiment.rungs import longest_trial, rungs_of
from search.experiment.schema import Experiment, SamplerName, Search
from search.experiment.sources import openings

WITHOUT_MEMORY: tuple[SamplerName, ...] = ("random", "grid", "qmc")  # samplers that ignore results


def disagreements(experiment: Experiment) -> list[Fault]:
    """Return the contradictions in an experiment whose parts are each valid."""
    arguments = [(("trial", *path), text) for path, text in argument_faults(experiment.trial)]
    faults = [*arguments, *_space_faults(experiment.space, experiment.trial), *first_faults(experiment)]
    faults = faults or [
        *_rung_faults(experiment),
        *_epoch_budget_faults(experiment),
        *_trials_faults(experiment),
    ]
    faults += _sampler_faults(experiment.search, experiment.space, experiment.trial)
    search = experiment.search
    return [*faults, *_learn_from_faults(search), *_gpu_budget_faults(search), *_mode_faults(search)]


def _space_faults(space: dict[str, spaces.Entry], trial: TrialConfig) -> list[Fault]:
    faults = [fault for path, entry in space.items() for fault in _entry_faults(path, entry, trial)]
    return _whole_space_faults(space, trial) if space and not faults else faults


def _entry_faults(path: str, entry: spaces.Entry, trial: TrialConfig) -> list[Fault]:
    known = spaces.paths(trial)
    if path not in known:
        return [(("space", path), "is not a path into `trial`" + nearest(path, known, ("space",)))]
    return [(("space", path, *part), f"must be {text}") for part, text in spaces.entry_problems(trial, path, entry)]


def _whole_space_faults(space: dict[str, spaces.Entry], trial: TrialConfig) -> list[Fault]:
    if clashes := spaces.clashes(space, trial):
        return [(("space", path), f"must be {text}") for path, text in clashes]
    if arguments := choice_faults(space, trial):
        return [(("space", *path), text) for path, text in arguments]
    if not spaces.methods(space, trial):
        return [(("space", METHOD), "has no method for the modulated arm: expected `ogm`, `ogm_ge` or both")]
    if not spaces.windows(space, trial):
        fewest = count(spaces.fewest_epochs(space, trial), "epoch")
        text = f"has no window that opens: expected a start that is at most its end and below {fewest}"
        return [(("space", START), f"{text}, the length of the shortest trial")]
    return []


def _rung_faults(experiment: Experiment) -> list[Fault]:
    how, longest = experiment.search.scheduler, spaces.most_epochs(experiment.space, experiment.trial)
    place = ("search", "scheduler")
    if how.name != "asha":
        given = how.model_dump(include={"rungs", "brackets"}, exclude_defaults=True)
        text = f"applies to asha only, but `search.scheduler.name` is {how.name}: remove it, or use asha"
        return [((*place, option), text) for option in given]
    if how.rungs is not None and how.rungs[-1] >= longest:
        expected = f"less than the {longest} epochs of the longest trial"
        return [((*place, "rungs"), f"must be {expected}, but got {list(how.rungs)}")]
    rungs = rungs_of(experiment)
    if how.brackets > max(1, len(rungs)):
        text = f"must be at most {max(1, len(rungs))}, but got {how.brackets}: with the rungs {list(rungs)},"
        return [((*place, "brackets"), f"{text} a further bracket would compare no trials")]
    return []


def _trials_faults(experiment: Experiment) -> list[Fault]:
    """Return a fault for an arm with fewer trials than the recipe and `search.first` decide in advance."""
    search = experiment.search
    if not experiment.space or not search.first:
        return []
    planned = [arm_of(number, search.baseline_share) for number in range(search.trials)]
    for arm in ARMS:
        given, decided = planned.count(arm), len(openings(experiment, arm))
        if given < decided:
            text = f"gives the {arm} arm {count(given, 'trial')}, but `trial` and `search.first` need {decided}"
            return [(("search", "trials"), f"{text}: raise it, or shorten `search.first`")]
    return []


def _mode_faults(search: Search) -> list[Fault]:
    metrics = 1 if isinstance(search.metric, str) else len(search.metric)
    if isinstance(search.mode, str) or len(search.mode) == metrics:
        return []
    expected = f"max, min, or a list with one of them per metric (here {count(metrics, 'metric')})"
    return [(("search", "mode"), f"must be {expected}, but got {format_setting(search.mode)}")]


def _sampler_faults(search: Search, space: dict[str, spaces.Entry], trial: TrialConfig) -> list[Fault]:
    """Return what the sampler cannot do with the valid part of the space.

    The modulated arm is checked: its space includes the baseline's.
    """
    name, place = search.sampler, ("search", "sampler")
    if name == "cmaes" and len(search.objectives) > 1:
        return [(place, f"must be {_samplers_but('cmaes')} for several metrics, but got 'cmaes', which optimises one")]
    sound = {path: entry for path, entry in space.items() if not _entry_faults(path, entry, trial)}
    searched = spaces.dimensions(sound, trial, modulated=bool(spaces.methods(sound, trial)))
    paths, needs, cure = {
        "grid": (_endless(searched), "a finite space", "a `step` or a list of choices"),
        "cmaes": (_categories(searched), "numbers", "numbers or a single choice"),
    }.get(name, ("", "", ""))
    instead = f"{_samplers_but('grid', 'cmaes')} for this space"
    text = f"must be {instead}, but got {name!r}, which needs {needs}: use {cure} for {paths}"
    return [(place, text)] if paths else []


def _learn_from_faults(search: Search) -> list[Fault]:
    if not search.learn_from or search.sampler not in WITHOUT_MEMORY:
        return []
    text = f"must be empty if `search.sampler` is {search.sampler!r}, which ignores earlier results"
    return [(("search", "learn_from"), f"{text}: use {_samplers_but(*WITHOUT_MEMORY)}, or remove this key")]


def _endless(searched: Sequence[Dimension]) -> str:
    return " and ".join(f"`{d.path}`" for d in searched if isinstance(d, Interval) and d.count == math.inf)


def _categories(searched: Sequence[Dimension]) -> str:
    return " and ".join(f"`{d.path}`" for d in searched if isinstance(d, Choice) and d.is_category)


def _samplers_but(*without: SamplerName) -> str:
    *others, last = [name for name in get_args(SamplerName) if name not in without]
    return f"{', '.join(others)} or {last}"


def _gpu_budget_faults(search: Search) -> list[Fault]:
    hours = search.budget.gpu_hours
    if hours is None or search.resources.gpu:
        return []
    text = f"must be null if `search.resources.gpu` is 0, but got {hours:g}"
    return [(("search", "budget", "gpu_hours"), text)]


def _epoch_budget_faults(experiment: Experiment) -> list[Fault]:
    epochs, confirm = experiment.search.budget.epochs, experiment.confirm
    if epochs is None or confirm is None:
        return []
    each = longest_trial(experiment)
    needed = confirm.trainings * each
    needs = f"{count(confirm.trainings, 'training')} x {count(each, 'epoch')} = {needed}"
    text = f"must be more than the confirmation needs ({needs}), but got {epochs}"
    return [(("search", "budget", "epochs"), text)] if epochs <= needed else []
