"""Importance of each part of the space: functional analysis of variance, by Optuna."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from datasets.index.list_files import count
from search.experiment.arms import Arm
from search.experiment.dimensions import is_number
from search.report.facts import Facts
from search.report.plots.plot import COLOURS, Plot, escape, make_figure
from search.report.plots.selection import group_by_arm, results, trials_with_result
from search.run.trials import TrialRecord

FEWEST = 10  # least number of finished trials of an arm; with fewer, the shares are those of chance
ENOUGH = 40  # with fewer, the note warns
MOST = 500  # trials of an arm that are analysed; the time grows with the square of their number
TREES = 64


def shares_by_arm(facts: Facts) -> dict[Arm, dict[str, float]]:
    """Return the share of the variance between an arm's trials that each part of the space explains.

    Only finished trials count, as the others have no final result. An arm with too few of them is omitted. Source:
    Hutter, Hoos, Leyton-Brown, *An Efficient Approach for Assessing Hyperparameter Importance*, ICML 2014.
    """
    return {arm: shares for arm, trials in _finished(facts).items() if (shares := _shares(_spaced(trials)))}


def _finished(facts: Facts) -> dict[Arm, list[TrialRecord]]:
    return group_by_arm([trial for trial in trials_with_result(facts) if trial.status == "finished"])


def _spaced(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return at most `MOST` of the trials, evenly spaced."""
    number = min(len(trials), MOST)
    return [trials[place * len(trials) // number] for place in range(number)]


def importance(facts: Facts, found: Mapping[Arm, Mapping[str, float]]) -> Plot | None:
    """Return a bar for each setting's share, from `shares_by_arm`; None if there are none."""
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
        "importance", "Importance of the settings", f"Importance of each setting. {first}", figure, _note(facts, found)
    )


def _note(facts: Facts, found: Mapping[Arm, Mapping[str, float]]) -> str:
    """Return what the bars show, for which arms, and how far to trust them."""
    trials = {arm: len(mine) for arm, mine in _finished(facts).items() if arm in found}
    words = " and ".join(f"{_of_all(number)} of the {arm} arm" for arm, number in trials.items())
    caution = " So few trials give a rough order at best." if min(trials.values()) < ENOUGH else ""
    return f"Functional analysis of variance over {words}.{caution}"


def _of_all(number: int) -> str:
    every = count(number, "finished trial")
    return f"{MOST} of {every}" if number > MOST else every


def _bars(arm: Arm, shares: Mapping[str, float], paths: Sequence[str]) -> go.Bar:
    values = [round(float(shares.get(path, 0.0)), 4) for path in paths]
    look = {"name": arm, "marker_color": COLOURS[arm], "hovertemplate": "%{y}: %{x:.0%}<extra></extra>"}
    return go.Bar(orientation="h", x=values, y=list(map(escape, paths)), **look)


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
