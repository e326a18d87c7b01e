"""Which parts of the space mattered: functional analysis of variance, by Optuna."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from search.experiment.arms import ARMS, Arm
from search.experiment.space import METHOD, is_number
from search.report.facts import Facts
from search.report.plots.figure import COLOURS, Figure, escape
from search.run.journal import TrialRecord
from search.verdict.text import TITLES

FEWEST = 4  # trials, below which a forest of trees has nothing to divide
TREES = 64
NOTE = "By functional analysis of variance, over the trials that were trained to the end."


def importance(facts: Facts) -> Figure | None:
    """The share of the variance between an arm's trials that each part of the space explains (Hutter, Hoos,
    Leyton-Brown, *An Efficient Approach for Assessing Hyperparameter Importance*, ICML 2014), of trials that were
    trained to the end: one that was stopped has no final result. None where these are too few."""
    found = {arm: shares for arm in reversed(ARMS) if (shares := _shares(facts, arm))}
    if not found:
        return None
    paths = sorted(
        {path for shares in found.values() for path in shares}, key=lambda p: max(s.get(p, 0.0) for s in found.values())
    )
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": TITLES[arm],
            "y": [escape(path) for path in paths],
            "x": [round(float(shares.get(path, 0.0)), 4) for path in paths],
            "marker": {"color": COLOURS[arm]},
            "hovertemplate": "%{y}: %{x:.0%}<extra></extra>",
        }
        for arm, shares in found.items()
    ]
    said = "; ".join(f"{TITLES[arm]}: {max(s, key=lambda p: s[p])} first" for arm, s in found.items())
    layout = {"xaxis": {"title": "share of the variance", "tickformat": ".0%"}, "yaxis": {"automargin": True}}
    alt = f"Importance of each part of the space. {said}"
    return Figure("importance", "What mattered", alt, traces, layout, NOTE, 160 + 34 * len(paths))


def _shares(facts: Facts, arm: Arm) -> dict[str, float]:
    trials = [t for t in facts.record if t.arm == arm and t.status == "finished" and t.best is not None]
    paths = [
        p for p in (trials[0].changes if trials else ()) if _varies(trials, p) and (p != METHOD or arm != "baseline")
    ]
    if len(trials) < FEWEST or not paths or len({t.best for t in trials}) < 2:
        return {}
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # a second, for scikit-learn's trees

    spread = {path: _distribution(trials, path) for path in paths}
    study = optuna.create_study()
    for trial in trials:
        params = {path: _value(trial.changes[path], spread[path]) for path in paths}
        study.add_trial(create_trial(params=params, distributions=spread, value=trial.best))
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(n_trees=TREES, seed=0))


def _varies(trials: Sequence[TrialRecord], path: str) -> bool:
    return len({json.dumps(trial.changes.get(path)) for trial in trials}) > 1


def _distribution(trials: Sequence[TrialRecord], path: str) -> BaseDistribution:
    """As it was drawn, in the trials themselves: numbers between the least and the greatest, anything else by name."""
    values = [trial.changes[path] for trial in trials]
    if all(map(is_number, values)):
        low, high = min(values), max(values)
        return FloatDistribution(low, high, log=low > 0 and high >= 10 * low)
    return CategoricalDistribution(sorted({json.dumps(value) for value in values}))


def _value(value: Any, spread: BaseDistribution) -> Any:
    return float(value) if isinstance(spread, FloatDistribution) else json.dumps(value)
