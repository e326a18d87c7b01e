"""What the report's plots of settings show: ticks, ranges, lines across settings, and two settings at once."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.experiment.dimensions import Range
from search.experiment.formatting import text
from search.report.facts import gather
from search.report.plots import effects
from search.report.plots.axes import better_half, ticks
from search.report.plots.curves import curves
from search.report.plots.parallel import parallel
from search.report.plots.plot import Scale
from search.report.plots.selection import trials_with_result
from search.report.plots.two_settings import contour
from search.run.folder import RunFolder
from tests.search.report.test_report import page, run_in
from tests.support.tells import tells


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return run_in(tmp_path_factory.mktemp("runs") / "simulated", "search.trials=24")


def test_a_plot_opens_with_the_better_half_of_its_results(run):
    facts = gather(run.path)
    modulated = [trial for trial in trials_with_result(facts) if trial.arm == "modulated"]
    for place, trial in enumerate(modulated):
        value = 0.05 if place < 3 else 0.6 + 0.01 * place
        trial.epochs = [{**trial.epochs[0], "val/accuracy": value, "best": value}]
    results = [100 * trial.best for trial in modulated]
    plot = effects.alpha(facts)
    low, high = plot.figure.layout["yaxis"]["range"]
    assert plot.opens_with_best
    assert min(results) < low < median(results) < max(results) < high


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.sampled_from(["max", "min"]))
def test_the_range_that_a_plot_opens_with_holds_half_of_the_results_and_the_best(results, mode):
    found = better_half(Scale("val/loss"), results, mode)
    if found is not None:
        low, high = found
        inside = [value for value in results if low - 1e-6 <= value <= high + 1e-6]
        assert 2 * len(inside) >= len(results) >= 6
        assert (max if mode == "max" else min)(results) in inside


def test_ticks_of_settings_are_written_out(run):
    axis = effects.alpha(gather(run.path)).figure.layout["xaxis"]
    entry = gather(run.path).experiment.space["modulation.alpha"]
    assert all(entry.low <= value <= entry.high for value in axis["tickvals"])
    assert [float(text) for text in axis["ticktext"]] == list(axis["tickvals"])


@given(st.floats(1e-9, 1e3), st.floats(1.01, 1e9))
def test_a_logarithmic_axis_has_few_round_ticks_in_its_range(low, factor):
    found = ticks(Range(low=low, high=low * factor, log=True))
    assert found == sorted(found)
    assert len(found) <= 7
    assert all(low <= value <= low * factor for value in found)
    assert {f"{value:.0e}"[0] for value in found} <= {"1", "2", "5"}


def test_all_settings_of_a_trial_are_one_line(run):
    facts = gather(run.path)
    space, trials = list(facts.experiment.space), facts.record.trials
    drawn: dict[int, list[float]] = {}
    for trace in parallel(facts).figure.data:
        for place, height, number in zip(trace["x"], trace["y"], trace["customdata"], strict=True):
            if number is not None:
                assert place == len(drawn.setdefault(number, []))
                assert trials[number].arm == trace["name"]
                drawn[number].append(height)
    assert set(drawn) == {trial.number for trial in trials_with_result(facts)}
    for number, heights in drawn.items():
        has = [trials[number].changes.get(path) not in (None, "none") for path in space]
        assert [height >= 0 for height in heights] == [*has, True]
    results = {number: trials[number].best for number in drawn}
    assert sorted(drawn, key=lambda number: (drawn[number][-1], number)) == sorted(
        drawn, key=lambda number: (results[number], number)
    )


def test_a_large_search_draws_the_best_trials_of_each_arm(run):
    facts = gather(run.path)
    trials = trials_with_result(facts)
    facts.record.trials = {
        **facts.record.trials,
        **{
            1000 + n: type(trials[0])(**{**vars(trials[n % len(trials)]), "number": 1000 + n})
            for n in range(50 * len(trials))
        },
    }
    for trace in parallel(facts).figure.data:
        assert len({*trace["customdata"]} - {None}) == 250


@pytest.mark.parametrize(
    ("shares", "words"), [({}, "first two settings"), ({"modulated": {"fusion": 0.7}}, "most important")]
)
def test_two_settings_at_once_have_the_mean_of_each_arms_trials(run, shares, words):
    facts = gather(run.path)
    plot = contour(facts, shares)
    tells(plot.note, words)
    surfaces = [trace for trace in plot.figure.data if trace["type"] == "heatmap"]
    assert [text["text"] for text in plot.figure.layout["annotations"]] == ["modulated", "baseline"]
    for arm, trace in zip(("modulated", "baseline"), surfaces, strict=True):
        groups: dict[tuple[str, str], list[float]] = {}
        for trial in trials_with_result(facts):
            if trial.arm == arm:
                where = trial.changes["fusion"], text(trial.changes["optimizer.lr"])
                groups.setdefault(where, []).append(100 * trial.best)
        found = {
            (across, up): value
            for row, up in zip(trace["z"], trace["y"], strict=True)
            for value, across in zip(row, trace["x"], strict=True)
            if value is not None
        }
        assert found == {where: pytest.approx(fmean(values), abs=1e-3) for where, values in groups.items()}


def test_two_numbers_at_once_are_contours(tmp_path):
    decay = "space.optimizer.weight_decay={low: 1e-5, high: 1e-2, log: true}"
    run = run_in(tmp_path / "two", "space.fusion=[sum]", decay)
    plot = contour(gather(run.path), {"modulated": {"optimizer.weight_decay": 0.5, "optimizer.lr": 0.4}})
    assert [trace["type"] for trace in plot.figure.data] == ["contour", "scatter"] * 2
    assert plot.figure.layout["xaxis"]["type"] == plot.figure.layout["xaxis2"]["type"] == "log"


def test_a_window_that_was_not_searched_is_not_drawn(tmp_path: Path):
    space = "{fusion: [sum, film], modulation.alpha: {low: 0.1, high: 1.0}}"
    run = run_in(tmp_path / "fixed", f"space={space}")
    facts = gather(run.path)
    assert effects.window(facts) is None
    assert not curves(facts).figure.layout["shapes"]
    assert "window" not in curves(facts).note
    assert page(run).json("windows") == {}
