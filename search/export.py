"""What a search leaves for others: the best configuration as an experiment of its own, all trials as a table."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict

from search.answer import Best, front_of
from search.arms import ARMS
from search.experiment import Experiment, resolved, to_yaml
from search.labels import shown
from search.record import SearchRecord
from search.space import with_changes


def best_experiment(experiment: Experiment, best: Best) -> str:
    """An experiment file that trains the best configuration as it stands."""
    metric = experiment.search.objective.metric
    alone = experiment.model_copy(
        update={"name": f"{experiment.name[:95]}-best", "trial": with_changes(experiment.trial, best.trial.changes)}
    )
    values = resolved(alone)
    del values["space"]
    values["search"] = asdict(experiment.search.objective)  # it says which epoch is the best
    return (
        f"# Best of the search `{experiment.name}`: trial {best.trial.number} ({best.trial.arm}), {metric} "
        f"{shown(metric, best.value)} at epoch {int(best.metrics['epoch'])}, one seed.\n"
        f"# Train it: uv run python -m search train runs/{experiment.name}/best.yaml\n"
    ) + to_yaml(values)


def trials_table(experiment: Experiment, record: SearchRecord) -> str:
    """All trials as CSV: what they were, how they ended, the metrics of their best epoch.

    Where there are several objectives, also whether a trial is on the Pareto front of its arm.
    """
    metric, objectives = experiment.search.objective.metric, experiment.search.objectives
    fronts = {t.number for arm in ARMS for t in front_of(record, arm, objectives)} if len(objectives) > 1 else None
    rows = []
    for trial in record:
        row = {
            "trial": trial.number,
            "arm": trial.arm,
            "status": trial.status,
            "epochs_trained": len(trial.epochs),
            **trial.changes,
        }
        best = trial.best_epoch(metric)
        if best is not None:
            row |= {"best_epoch": int(best["epoch"])}
            row |= {key: value for key, value in best.items() if key not in ("epoch", "best")}
        if fronts is not None:
            row |= {"pareto_front": "yes" if trial.number in fronts else "no"}
        row |= {"seconds": round(sum(m["seconds"] for m in trial.epochs), 3)}
        row |= {"reason": "\n".join(trial.reason.splitlines())}  # csv leaves a bare carriage return unquoted
        rows.append(row)
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "reason"))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, "reason"], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
