"""TPE's limit on the trials that it learns from: what it calls good stays the same, and so does a short search."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.sampler import _split_trials
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.tuner import tpe
from search.tuner.tpe import GOOD, Leaders, LimitedTPE

pytestmark = pytest.mark.filterwarnings("ignore:.* is experimental")

SPACE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
SCORES = st.integers(0, 5)  # few, so that many are equal
ENDS = st.tuples(SCORES, st.sampled_from([None, 1, 2, 3]))  # value, epochs of a pruned trial
RUNNING, FAILED = "running", "failed"


def trial(number: int, value: float = 0.0, pruned_after: int | None = None, kind: str = "") -> FrozenTrial:
    """Return a trial that has finished, was pruned, runs or failed."""
    params = {"x": number * 0.618 % 1, "y": number * 0.414 % 1}
    if kind:
        state = TrialState.RUNNING if kind == RUNNING else TrialState.FAIL
        return create_trial(state=state, params=params, distributions=SPACE)
    if pruned_after is None:
        return create_trial(value=value, params=params, distributions=SPACE)
    reports = dict.fromkeys(range(pruned_after + 1), value)
    return create_trial(
        state=TrialState.PRUNED, value=value, params=params, distributions=SPACE, intermediate_values=reports
    )


def study_of(ends: Sequence[tuple[float, int | None] | str], direction: StudyDirection) -> tuple[optuna.Study, Leaders]:
    study, leaders = optuna.create_study(direction=direction), Leaders(direction)
    for number, end in enumerate(ends):
        if isinstance(end, str):
            study.add_trial(trial(number, kind=end))
            continue
        study.add_trial(trial(number, *end))
        leaders.add(number, end[0], *[] if end[1] is None else [end[1]])
    return study, leaders


def suggestion(sampler: TPESampler, study: optuna.Study) -> dict[str, float]:
    study.sampler = sampler
    return study.ask(SPACE).params


@pytest.mark.parametrize("direction", [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE])
@given(ends=st.lists(ENDS, min_size=30, max_size=80))
@settings(max_examples=60, deadline=None)
def test_the_leaders_are_the_trials_that_tpe_calls_good(direction, ends):
    study, leaders = study_of(ends, direction)
    good, _ = _split_trials(study, study.get_trials(deepcopy=False), GOOD)
    assert leaders.numbers == [each.number for each in good]


@pytest.mark.parametrize("direction", [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE])
def test_up_to_the_limit_every_suggestion_is_that_of_optuna(direction):
    ends = [(number * 0.37 % 1, None if number % 3 else 1 + number % 4) for number in range(60)]
    found = []
    for is_ours in (True, False):
        study, leaders = study_of([*ends, RUNNING, FAILED], direction)
        for seed in range(5):
            ours = LimitedTPE(SPACE, 10, leaders, seed)
            plain = TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=10)
            found.append(suggestion(ours if is_ours else plain, study))
    assert found[:5] == found[5:]


def test_above_it_the_model_has_the_good_trials_the_latest_ones_and_those_that_run(monkeypatch):
    monkeypatch.setattr(tpe, "LATEST", 40)
    ends = [RUNNING, *((float(number), None) for number in range(100)), FAILED, RUNNING]
    study, leaders = study_of(ends, StudyDirection.MINIMIZE)
    split = []

    def spy(seen: optuna.Study, trials: list[FrozenTrial], good: int) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        split.append([[each.number for each in part] for part in _split_trials(seen, trials, good)])
        return _split_trials(seen, trials, good)

    monkeypatch.setattr("optuna.samplers._tpe.sampler._split_trials", spy)
    suggestion(LimitedTPE(SPACE, 10, leaders, 0), study)
    [(good, others)] = split
    assert good == [*range(1, 8)]  # a tenth of 65
    assert others == [0, *range(8, 26), *range(61, 101), 102]
    assert len(good) + len(others) == GOOD + 40 + 2
