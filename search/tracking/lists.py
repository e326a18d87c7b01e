"""What MLflow's lists show of a search: the verdict, both arms' scores, and one chart of both arms.

The list of experiments shows an experiment's tags and description. The list of runs shows the columns and charts of a
saved view, a tag that MLflow's page reads; a release that does not know the tag ignores it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search.experiment.arms import ARMS
from search.experiment.formatting import format_value

if TYPE_CHECKING:
    from mlflow import MlflowClient

DESCRIPTION = "mlflow.note.content"  # tag: Markdown that MLflow's page shows
VERDICT, SCORES = "verdict", "scores"  # tags of an experiment
VIEW_KEY, VIEW_NAME = "verdicts", "Verdicts"  # in an address, and in the menu "Views"
VIEW = f"mlflow.sharedViewState.{VIEW_KEY}"  # tag of an experiment
SHOWN = ARMS[::-1]  # the modulated arm first, as in all tables
COLUMNS = ["tags.`verdict`", *(f"metrics.`verdict/{arm}`" for arm in SHOWN)]
SECTION = {"uuid": "arms", "name": "Best so far of both arms", "display": True, "isReordered": True}
CHART = {"type": "LINE", "uuid": "best", "metricSectionId": SECTION["uuid"], "xAxisKey": "step", "lineSmoothness": 0}
CURVES = [f"best/{arm}" for arm in SHOWN]
STATE = {
    "searchFilter": "tags.kind = 'search'",
    "selectedColumns": COLUMNS,
    "columnOrder": COLUMNS,
    "compareRunCharts": [{**CHART, "metricKey": CURVES[0], "selectedMetricKeys": CURVES}],
    "compareRunSections": [SECTION],
    "isAccordionReordered": True,  # otherwise MLflow sorts the sections by name
}


def save_view(client: MlflowClient, experiment_id: str) -> None:
    """Give an experiment the view with the verdicts, unless it has one, which its users may have changed."""
    if VIEW not in client.get_experiment(experiment_id).tags:
        view: dict[str, Any] = {"name": VIEW_NAME, "createdAt": 0, "updatedAt": 0, "state": json.dumps(STATE)}
        client.set_experiment_tag(experiment_id, VIEW, json.dumps(view))


def set_outcome(
    client: MlflowClient, experiment_id: str, metric: str, verdict: str, measures: Mapping[str, float]
) -> None:
    """Show a verdict in the list of experiments. A description that is not ours is left alone.

    Args:
        client: MLflow's client.
        experiment_id: id of the experiment.
        metric: metric of the scores.
        verdict: verdict of the search.
        measures: metrics of the search's run, with `verdict/…` of both arms if there is a verdict.
    """
    before = client.get_experiment(experiment_id).tags
    scores = ", ".join(f"{arm} {format_value(metric, measures.get(f'verdict/{arm}'))}" for arm in SHOWN)
    tags = {VERDICT: verdict, SCORES: scores}
    if before.get(DESCRIPTION, "") in ("", before.get(SCORES)):
        tags = {DESCRIPTION: scores, **tags}  # before the scores, which tell whose it is
    for key, value in tags.items():
        client.set_experiment_tag(experiment_id, key, value)
