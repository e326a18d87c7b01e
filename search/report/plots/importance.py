"""Importance of each part of the space: functional analysis of variance, by Optuna."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from search.experiment.arms import ARMS, Arm
from search.experiment.dimensions import is_number
from search.report.facts import Facts
from search.report.plots.plot import COLOURS, Plot, escape, make_figure
from search.report.plots.selection import group_by, results, trials_with_result
from search.run.journal import TrialRecord

FEWEST = 4  # least number of trials; with fewer, a forest of trees has nothing to split
TREES = 64


def importance(facts: Facts) -> Plot | None:
    """Return the share of the variance between an arm's trials that each part of the space explains.

    Only finished trials count, as the others have no final result. None if there are too few. Source: Hutter, Hoos,
    Leyton-Brown, *An Efficient Approach for Assessing Hyperparameter Importance*, ICML 2014.
    """
    found = _shares_by_arm(facts)
    if not found:
        return None
    paths = sorted(
        dict.fromkeys(chain(*found.values())), key=lambda path: max(s.get(path, 0.0) for s in found.values())
    )
    bars = [_bars(arm, shares, paths) for arm, shares in found.items()]
    axis = {"title": "share of the variance", "tickformat": ".0%"}
    figure = make_figure(bars, height=160 + 34 * len(paths), xaxis=axis)
    first = "; ".join(f"{arm}: {next(iter(shares))} matters most" for arm, shares in found.items())
    return Plot(
        "importance", "Importance of the settings", f"Importance of each setting. {first}", figure, _note(found)
    )


def _note(found: Mapping[Arm, Mapping[str, float]]) -> str:
    """Return what the bars show, and for which arms."""
    arms = " and of the ".join(f"{arm} arm" for arm in found)
    return f"Functional analysis of variance over the finished trials of the {arms}."


def _bars(arm: Arm, shares: Mapping[str, float], paths: Sequence[str]) -> go.Bar:
    values = [round(float(shares.get(path, 0.0)), 4) for path in paths]
    look = {"name": arm, "marker_color": COLOURS[arm], "hovertemplate": "%{y}: %{x:.0%}<extra></extra>"}
    return go.Bar(orientation="h", x=values, y=list(map(escape, paths)), **look)


def _shares_by_arm(facts: Facts) -> dict[Arm, dict[str, float]]:
    groups = group_by(trials_with_result(facts), attrgetter("arm", "status"))
    return {arm: shares for arm in reversed(ARMS) if (shares := _shares(groups.get((arm, "finished"), [])))}


def _shares(trials: Sequence[TrialRecord]) -> dict[str, float]:
    """Return the share of each path; empty if the trials are too few, or all have the same result."""
    spread = _distributions(trials) if len(trials) >= FEWEST else {}
    if not spread or len(set(results(trials))) < 2:
        return {}
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # slow: loads scikit-learn

    study = optuna.create_study()
    for trial in trials:
        params = {path: _value(trial.changes[path], spread[path]) for path in spread}
        study.add_trial(create_trial(params=params, distributions=spread, value=trial.best))
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(n_trees=TREES, seed=0))


def _distributions(trials: Sequence[TrialRecord]) -> dict[str, BaseDistribution]:
    """Return the distribution of each path whose values vary."""
    found = {path: _distribution([trial.changes[path] for trial in trials]) for path in trials[0].changes}
    return {path: spread for path, spread in found.items() if spread is not None}


def _distribution(values: Sequence[Any]) -> BaseDistribution | None:
    """Return the distribution of some values: a range for numbers, else categories. None if all are the same."""
    distinct = sorted({json.dumps(value) for value in values})
    if len(distinct) < 2:
        return None
    if not all(map(is_number, values)):
        return CategoricalDistribution(distinct)
    low, high = min(values), max(values)
    return FloatDistribution(low, high, log=0 < 10 * low <= high)


def _value(value: Any, spread: BaseDistribution) -> Any:
    return float(value) if isinstance(spread, FloatDistribution) else json.dumps(value)
