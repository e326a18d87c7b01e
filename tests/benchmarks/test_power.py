"""Tests of the replays of the whole procedure, which run this project's own code."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import curves, power
from benchmarks.curve_model import CURVE, EPOCHS, Model
from benchmarks.curves import Curve
from benchmarks.power import GAINS, Job, Outcome, Sizes, World, draw_replay, open_pool, replay, report, run_all
from benchmarks.regret import Choice, Search, best_there, choice, distance, distinct_epochs, nearest, search_recorded
from benchmarks.replay import Configuration, by_changes
from benchmarks.simulation import WAYS, demo, seeded
from search.experiment.arms import ARMS
from search.experiment.sources import Source
from search.run.trials import SearchRecord, TrialRecord

QUIET = Model(setting=0, seed=0.05, split=1, interaction=0, epoch=0.05)  # only the split matters; almost no noise
ways = pytest.mark.parametrize("way", WAYS)


# ---- replays with drawn curves ----


@ways
@pytest.mark.parametrize(("gain", "claim"), [(3.0, "helps"), (-3.0, "hurts")])
def test_a_gain_far_above_the_noise_is_claimed(way, gain, claim):
    assert {replay(Job(way, replace(QUIET, gain=gain), 0, n)).claim for n in range(3)} == {claim}


@ways
def test_without_a_gain_and_noise_nothing_is_claimed_though_settings_differ(way):
    """The ablation is identical to the configuration that it is compared with."""
    found = [replay(Job(way, Model(seed=0, epoch=0), 0, n)) for n in range(6)]
    assert {outcome.claim for outcome in found} == {"none"}


@ways
def test_a_confirmation_trains_two_a_seed_and_a_third_for_the_ablation_of_a_claim(way):
    found = [replay(Job(way, replace(Model(), gain=3.0), 0, n)) for n in range(6)]
    assert {outcome.trainings for outcome in found} <= {12, 18}
    assert {outcome.trainings for outcome in found if outcome.pair_is_ablation} <= {12}
    apart = [outcome for outcome in found if not outcome.pair_is_ablation and outcome.claim != "none"]
    assert {outcome.trainings for outcome in apart} <= {18}
    assert apart or way == "transfer"


def searched(way: str, number: int = 0) -> SearchRecord:
    return power.search(*draw_replay(Job(way, Model(), 0, number)))


@pytest.mark.parametrize(
    ("way", "others"), [("apart", {Source.SAMPLER}), ("transfer", {Source.SAMPLER, Source.OTHER_ARM})]
)
def test_the_search_is_the_real_one(way, others):
    """It starts with the recipe, takes settings from the other arm if configured, and stops trials early."""
    record = searched(way)
    sources = Counter(trial.source for trial in record)
    assert sources.pop(Source.RECIPE) == 2
    assert set(sources) == others
    assert Counter(trial.arm for trial in record) == {"baseline": 12, "modulated": 12}
    assert {trial.status for trial in record} == {"finished", "stopped"}
    assert all(len(trial.epochs) == EPOCHS for trial in record if trial.status == "finished")
    assert all(trial.reason is not None for trial in record if trial.status == "stopped")
    assert all(trial.best == max(epoch["val/accuracy"] for epoch in trial.epochs) for trial in record)


def test_each_replay_draws_other_configurations():
    """From the first configuration that is drawn at random."""
    assert len({str(searched("apart", n).trials[2].changes) for n in range(3)}) == 3


def test_a_replay_has_the_same_truth_however_it_is_searched_and_whatever_the_gain():
    first, second = (draw_replay(Job(way, Model(gain=gain), 7, 3)) for way, gain in (("apart", 0.0), ("transfer", 2.0)))
    assert first[0].search.seed == second[0].search.seed
    assert first[0].search.transfer == 0 < second[0].search.transfer
    for name in ("worth", "search", "confirmation"):
        assert np.array_equal(getattr(first[1], name), getattr(second[1], name))
    assert not np.array_equal(first[1].worth, draw_replay(Job("apart", Model(), 7, 4))[1].worth)
    assert not np.array_equal(first[1].worth, draw_replay(Job("apart", Model(), 8, 3))[1].worth)


SHARED = {"fusion": "sum", "optimizer.lr": 0.03}
PLAIN = SHARED | {"modulation.method": "none"}
OPEN = SHARED | {"modulation.method": "ogm", "modulation.alpha": 0.1, "modulation.start": 4, "modulation.end": 5}


def world(**deviations: float) -> World:
    return draw_replay(Job("apart", Model(**deviations), 0, 0))[1]


def test_of_a_training_the_settings_the_split_and_the_gain_from_its_opening_are_its_own():
    truth = world(seed=0, epoch=0, gain=2)
    plain, opened = (
        TrialRecord(n, arm, {}, changes) for n, (arm, changes) in enumerate(zip(ARMS, (PLAIN, OPEN), strict=True))
    )
    worth = truth.worth[truth.settings.index(SHARED)]
    assert truth.search_curve(plain) == pytest.approx(CURVE + worth[0])
    gain = np.subtract(truth.search_curve(opened), truth.search_curve(plain))
    assert gain == pytest.approx([0] * 4 + [2] * 8)
    for pair in range(6):
        place = {"pair": pair, "role": "baseline"}
        assert truth.confirmation_curve(TrialRecord(0, "baseline", place, PLAIN)) == pytest.approx(
            CURVE + worth[pair + 1]
        )
    assert len(set(worth)) == 7


def test_trainings_of_one_seed_share_the_split_and_each_has_noise_of_its_own():
    truth = world(setting=0, split=0, interaction=0)
    curves_of = [
        truth.confirmation_curve(TrialRecord(0, "baseline", {"pair": pair, "role": role}, PLAIN))
        for pair in range(6)
        for role in power.ROLES
    ]
    curves_of += [truth.search_curve(TrialRecord(n, "baseline", {}, PLAIN)) for n in range(24)]
    assert len({tuple(curve) for curve in curves_of}) == 6 * 3 + 24
    assert np.std([np.mean(curve) for curve in curves_of]) == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("common", [0.0, 0.3, 1.0])
def test_what_trainings_of_a_seed_have_in_common_changes_their_difference_and_not_their_spread(common):
    """Two variances: of a training, given its settings and split, and of the difference of two trainings that share
    settings and seed."""
    model = power.with_common(Model(), common)
    assert model.seed**2 + model.interaction**2 == pytest.approx(1 + 0.25)
    assert 2 * model.seed**2 == pytest.approx(2 * (1 - common))


def test_the_model_is_of_the_demo():
    experiment = demo("transfer")
    assert experiment.trial.epochs == EPOCHS
    assert len(power.shared_settings_of(experiment)) == Model().settings == 16
    assert experiment.search.objective.mode == "max"


def test_results_are_the_same_in_any_number_of_processes():
    jobs = [Job(way, replace(Model(), gain=2.0), 0, n) for way in WAYS for n in range(3)]
    choices = [Search("transfer", n, n % 3) for n in range(2)]
    with open_pool(2) as pool:
        assert run_all(pool, replay, jobs, "replays") == [replay(job) for job in jobs]
        assert run_all(pool, search_recorded, choices, "searches") == [search_recorded(each) for each in choices]


# ---- the recorded curves ----


def flat(value: float, *others: float) -> tuple[tuple[float, ...], ...]:
    """Return a flat curve for each seed: one value for the first, and one or two for the others."""
    return tuple((each,) * EPOCHS for each in (value, *(others or (value,)) * 2)[:3])


def pool_with(value) -> list[tuple[dict, Configuration]]:
    """Return the recorded configurations with other curves."""
    return [
        (changes, replace(configuration, curves=flat(*value(changes))))
        for changes, configuration in by_changes(curves.read())
    ]


@ways
def test_where_all_configurations_are_alike_there_is_no_regret(way):
    pool = pool_with(lambda changes: [0.9])
    found = choice(pool, seeded(demo(way), 0), 0)
    assert found.unseen == {arm: pytest.approx(best_there(pool, arm)) for arm in ARMS}


def test_a_choice_is_worth_what_it_shows_with_the_seeds_that_the_search_does_not_see():
    """With the first seed one fusion is best; with the other two it is worst."""
    pool = pool_with(lambda changes: [0.9, 0.2] if changes["fusion"] == "concat" else [0.5, 0.7])
    experiment = demo("transfer")
    assert choice(pool, experiment, 0).unseen == pytest.approx({"baseline": 20, "modulated": 20})
    assert choice(pool, experiment, 1).unseen == pytest.approx({"baseline": 60, "modulated": 60})
    assert best_there(pool, "baseline") == pytest.approx(100 * (0.5 + 0.7 + 0.7) / 3)


def test_the_nearest_recorded_configuration_has_the_same_shared_settings_and_the_least_distance():
    def entry(arm: str, **changes) -> tuple[dict, Configuration]:
        whole = (PLAIN if arm == "baseline" else OPEN) | {key.replace("_", "."): v for key, v in changes.items()}
        return whole, Configuration(arm, None, flat(len(pool) / 10))

    pool: list[tuple[dict, Configuration]] = []
    for arm, changes in [
        ("baseline", {}),
        ("modulated", {"modulation_alpha": 0.11, "fusion": "film"}),
        ("modulated", {"modulation_alpha": 0.4}),  # ln 4 = 1.39
        ("modulated", {"modulation_start": 0}),  # 4 / 3
        ("modulated", {"modulation_end": 11}),  # 6 / 4
        ("modulated", {"modulation_start": 0, "modulation_method": "ogm_ge"}),
    ]:
        pool.append(entry(arm, **changes))
    assert nearest(pool, "baseline", PLAIN) is pool[0][1]
    assert nearest(pool, "modulated", OPEN) is pool[3][1]
    assert nearest(pool, "modulated", OPEN | {"modulation.alpha": 0.3}) is pool[2][1]
    assert nearest(pool, "modulated", OPEN | {"modulation.end": 9}) is pool[4][1]
    assert nearest(pool, "modulated", OPEN | {"modulation.start": 1, "modulation.method": "ogm_ge"}) is pool[5][1]
    assert nearest(pool, "modulated", OPEN | {"fusion": "film"}) is pool[1][1]
    with pytest.raises(LookupError, match="gated"):
        nearest(pool, "modulated", OPEN | {"fusion": "gated"})
    with pytest.raises(LookupError, match="baseline"):
        nearest(pool[1:], "baseline", PLAIN)


def test_each_recorded_configuration_is_nearest_to_itself_and_every_setting_has_one():
    pool = by_changes(curves.read())
    for changes, configuration in pool:
        assert nearest(pool, configuration.arm, changes) is configuration
    for arm in ARMS:
        for shared in power.shared_settings_of(demo("transfer")):
            nearest(pool, arm, (PLAIN if arm == "baseline" else OPEN) | shared)


@pytest.mark.parametrize(
    ("path", "value", "apart"),
    [
        ("modulation.alpha", 0.1 * np.e, 1),
        ("modulation.start", 1, 1),
        ("modulation.end", 9, 1),
        ("modulation.method", "ogm_ge", 0.3),
    ],
)
def test_what_a_distance_is_made_of(path, value, apart):
    assert distance(OPEN, OPEN) == 0
    assert distance(OPEN, OPEN | {path: value}) == distance(OPEN | {path: value}, OPEN) == pytest.approx(apart)


def test_epochs_that_trials_share_are_distinct_once():
    """A baseline, two windows that open after four epochs with different alphas, and another fusion."""
    record = SearchRecord()
    for number, (changes, epochs) in enumerate(
        [(PLAIN, 12), (OPEN, 12), (OPEN | {"modulation.alpha": 0.2}, 6), (OPEN | {"fusion": "film"}, 3)]
    ):
        trial = TrialRecord(number, "modulated", {}, changes)
        trial.epochs = [{"best": 0.0}] * epochs
        record.trials[number] = trial
    assert distinct_epochs(demo("transfer"), record) == 12 + 8 + 2 + 3


def test_a_search_says_what_its_trials_train():
    found = search_recorded(Search("transfer", 0, 0))
    assert found.distinct < found.epochs <= 24 * 12


# ---- the tables ----

CLEAN, WRONG = Outcome("none", 12, False), Outcome("hurts", 18, False)


@pytest.mark.parametrize(("wrong", "exceeds"), [(0, False), (2, False), (6, False), (14, True)])
def test_false_claims_are_too_many_where_the_lower_end_of_their_interval_is_above_nominal(wrong, exceeds, capsys):
    """Of 200 replays. The 99 % intervals of 3 % and 7 % start at 0.8 % and 3.1 %."""
    outcomes = {(gain, way): [CLEAN] * 200 for gain in GAINS for way in WAYS}
    outcomes[0.0, "transfer"] = [WRONG] * wrong + [CLEAN] * (200 - wrong)
    assert power.print_false_claims(outcomes) is exceeds
    assert capsys.readouterr().out.count("exceeded") == exceeds


def test_the_report_has_a_row_for_each_gain_and_each_way(capsys):
    helps = Outcome("helps", 12, True)
    outcomes = {(gain, way): [CLEAN] * 2 for gain in GAINS for way in WAYS}
    outcomes[2.0, "transfer"] = [helps, CLEAN]
    choices = {way: [Choice({"baseline": 80.0, "modulated": 82.0}, 200, 150)] * 2 for way in WAYS}
    assert report(outcomes, choices, Sizes(2, 2, 2), "the command") is False
    lines = [line for line in capsys.readouterr().out.splitlines() if line[:1] == "|"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    transfer = f"transfer {demo('transfer').search.transfer:g}"
    assert [row[0] for row in rows if len(row) == 5 and "%" in row[1]] == ["0.5", "1", "2", "3"]
    assert [row[0] for row in rows if len(row) == 4 and "%" in row[1]] == ["arms apart", transfer]
    assert ["2", "arms apart", "12.0", "12", "0 %"] in rows
    assert ["2", transfer, "12.0", "12", "50 %"] in rows
    assert next(row for row in rows if row[0] == "2")[2].startswith("50.0 %")
    best = best_there(by_changes(curves.read()), "modulated")
    assert ["modulated", "arms apart", f"{best:.2f} %", "82.00 ± 0.00 %", f"{best - 82:.2f} ± 0.00"] in rows
    assert [transfer, "200.0 ± 0.0", "150.0 ± 0.0"] in rows


def test_curves_of_a_configuration_are_together_with_what_it_changes():
    rows = [Curve("modulated", OPEN, seed, (seed / 10,)) for seed in (2, 0, 1)] + [Curve("baseline", PLAIN, 0, (1.0,))]
    assert by_changes(rows) == [(OPEN, Configuration("modulated", 4, ((0.0,), (0.1,), (0.2,))))]
