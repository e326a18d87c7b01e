"""MLflow's lists of experiments and of runs show the verdict, and both arms' curves are one chart."""

from __future__ import annotations

import json

import pytest
from mlflow import MlflowClient
from mlflow.entities import Experiment
from playwright.sync_api import Page, expect

from search.tracking.client import connect, store_uri
from search.tracking.lists import DESCRIPTION, VIEW, set_outcome
from search.tracking.trial_runs import Results
from search.tracking.ui import pages
from tests.search.tracking.test_tracking import Search, at_once, runs, search
from tests.search.tuner.test_tuner import simulate
from tests.support.browsers import chromium, watched
from tests.support.served import served

FIXTURES = (at_once, runs, search)
HELPS = Results({"verdict/modulated": 0.9031, "verdict/baseline": 0.875}, {"verdict": "helps"})


def experiment(found: Search) -> Experiment:
    """Return the MLflow experiment of a search."""
    return MlflowClient(store_uri(None, found.runs)).get_experiment_by_name(found.name)


def finish(found: Search, results: Results) -> None:
    """Run a search whose trainings are simulated, and leave its results in MLflow."""
    found.track()
    simulate(found.tuner)
    (found.folder / "experiment.yaml").write_text("version: 1\ntracking: {uri: null}\n")
    found.tracker.close("FINISHED", [], results)


def test_an_experiment_has_its_newest_verdict_and_scores(search):
    finish(search, HELPS)
    tags = experiment(search).tags
    assert (tags["verdict"], tags["scores"]) == ("helps", "modulated 90.3 %, baseline 87.5 %")
    assert tags[DESCRIPTION] == tags["scores"]
    there, number = connect(None, search.runs, search.name)
    set_outcome(there, number, "val/accuracy", "none: it has changed", {})
    tags = experiment(search).tags
    assert (tags["verdict"], tags["scores"], tags[DESCRIPTION]) == (
        "none: it has changed",
        *["modulated -, baseline -"] * 2,
    )


def test_a_search_without_a_verdict_says_nothing_in_the_list_of_experiments(search):
    finish(search, Results())
    assert not {"verdict", "scores", DESCRIPTION} & set(experiment(search).tags)


def test_a_description_or_a_view_that_a_user_has_written_stays(search):
    there, number = connect(None, search.runs, search.name)
    view = json.dumps({"name": "Mine", "createdAt": 1, "updatedAt": 1, "state": "{}"})
    for key, value in {DESCRIPTION: "our first try", VIEW: view}.items():
        there.set_experiment_tag(number, key, value)
    finish(search, HELPS)
    tags = experiment(search).tags
    assert (tags[DESCRIPTION], tags[VIEW], tags["verdict"]) == ("our first try", view, "helps")


def test_the_list_is_not_named_where_an_older_search_left_no_view(search):
    finish(search, HELPS)
    there, number = connect(None, search.runs, search.name)
    uri = store_uri(None, search.runs)
    assert len(pages(search.folder, uri, 5000)) == 2
    there.delete_experiment_tag(number, VIEW)
    assert len(pages(search.folder, uri, 5000)) == 1


def check_list(page: Page) -> None:
    """Check that the list of runs has columns with the verdict and both scores, of the search alone."""
    for column in ("verdict", "verdict/modulated", "verdict/baseline"):
        expect(page.get_by_test_id(f"sort-header-{column}")).to_be_visible(timeout=60_000)
    for value in ("helps", "0.9031", "0.875"):
        expect(page.get_by_role("gridcell", name=value, exact=True)).to_be_visible()


@pytest.mark.slow
@pytest.mark.longer
def test_a_browser_shows_the_verdict_in_both_lists_and_both_arms_in_one_chart(search, monkeypatch):
    finish(search, HELPS)
    monkeypatch.chdir(search.runs.parent)
    with chromium() as browser, served("ui", str(search.folder)) as address:
        front, _, route = address.partition("#")
        seen = watched(browser, front, viewport={"width": 1920, "height": 1000})
        page = seen.page
        page.goto(f"{front}#/experiments")
        row = page.get_by_role("row").filter(has_text=search.name)
        for value in ("modulated 90.3 %, baseline 87.5 %", "helps"):
            expect(row.get_by_text(value).first).to_be_visible(timeout=60_000)
        runs_page = f"{front}#{route.rpartition('/')[0]}"
        page.goto(f"{runs_page}?viewStateShareKey=verdicts")
        check_list(page)
        page.locator("input[name='runs-view-mode'][value='CHART']").dispatch_event("click")
        chart = page.get_by_text("best/modulated vs best/baseline")
        expect(chart.first).to_be_visible(timeout=60_000)
        for arm in ("modulated", "baseline"):
            expect(page.get_by_text(f"(best/{arm})").first).to_be_visible()
        other = browser.new_page(viewport={"width": 1920, "height": 1000})
        other.goto(runs_page)
        other.get_by_test_id("saved-views-trigger").click(timeout=60_000)
        other.get_by_text("Verdicts", exact=True).click()
        check_list(other)
        assert seen.outside == []
