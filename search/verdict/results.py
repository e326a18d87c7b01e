"""Results of a confirmation: from its trainings to the verdict, and to the evidence for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.index.list_files import count
from datasets.store.remote import RemoteError
from ogmge import checkpoint
from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import modalities
from search.run.best import METRIC, class_accuracy
from search.run.trials import TrialRecord
from search.verdict.confirm_policy import ConfirmPolicy
from search.verdict.decide import Verdict, leader, verdict
from search.verdict.evidence import ClassDifference, ConfirmedArm, Evidence, Pair
from search.verdict.paired import prediction_interval, secondary
from search.verdict.pairs import Role, Values
from search.verdict.plan import Plan
from search.verdict.seeds import redraws

Weights = Callable[[int], Path]  # trial number -> file of its best epoch's weights
Answers = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def trials_of(policy: ConfirmPolicy, values: Values, arm: Arm) -> list[TrialRecord]:
    """Return the trainings of an arm that count, in the order of the pairs."""
    trials = [policy.pairs.trial(pair, arm) for pair in values.pairs]
    return [trial for trial in trials if trial is not None]


def verdict_of(policy: ConfirmPolicy, plan: Plan, weights: Weights) -> Verdict | None:
    """Return the verdict of a confirmation, or None if no pair has a result."""
    values = policy.pairs.values()
    if not values.pairs:
        return None
    objective = policy.experiment.search.objective
    correct, missing = _load_answers(policy, values, weights)
    found = verdict(
        values.modulated,
        values.baseline,
        objective.mode,
        sequential=policy.sequential,
        ablation=values.ablation,
        unimodal=_by_modality(policy, values),
        correct=correct,
    )
    unchecked, switched = _missing_ablation(policy, found), _no_other_training(policy, found)
    notes = [*found.notes, *switched, *unchecked, *missing, *_failures(policy), *_looks_sentence(plan, found)]
    if unchecked:
        found = replace(found, claim="none", word=f"no difference that {found.paired.n} seeds can show, unchecked")
    return replace(found, notes=tuple(notes))


def _best_epochs(policy: ConfirmPolicy, values: Values, arm: Arm) -> list[dict[str, float]]:
    """Return the metrics of the best epoch of each training of an arm."""
    metric = policy.experiment.search.objective.metric
    epochs = [trial.best_epoch(metric) for trial in trials_of(policy, values, arm)]
    return [epoch for epoch in epochs if epoch is not None]


def _by_modality(policy: ConfirmPolicy, values: Values) -> dict[str, tuple[list[float], list[float]]]:
    """Return the unimodal accuracies of both arms; empty if the arms share fewer than two modalities."""
    modulated, baseline = (_best_epochs(policy, values, arm) for arm in reversed(ARMS))
    shared = [name for name in modalities(modulated[0]) if name in modalities(baseline[0])]
    if len(shared) < 2:
        return {}
    return {name: (_column(modulated, name), _column(baseline, name)) for name in shared}


def _column(epochs: Sequence[Mapping[str, float]], modality: str) -> list[float]:
    return [epoch[f"val/accuracy/{modality}"] for epoch in epochs]


def _checkpoints(policy: ConfirmPolicy, values: Values, weights: Weights, arm: Arm) -> Iterator[dict[str, Any]]:
    return (checkpoint.load(weights(trial.number)) for trial in trials_of(policy, values, arm))


def _load_answers(policy: ConfirmPolicy, values: Values, weights: Weights) -> tuple[Answers | None, list[str]]:
    """Return which validation examples each model got right, bool [n, N] per arm, and a note if that is unknown.

    None if each pair has its own examples, or if the metric is not accuracy.
    """
    if redraws(policy.experiment.dataset) or policy.experiment.search.objective.metric != METRIC:
        return None, []
    try:
        baseline, modulated = (
            np.stack([state["correct"].numpy() for state in _checkpoints(policy, values, weights, arm)]) for arm in ARMS
        )
    except (checkpoint.CheckpointError, RemoteError) as error:
        return None, [f"The examples were not redrawn, because a model's predictions are lost: {error}."]
    return (modulated, baseline), []


def class_differences(policy: ConfirmPolicy, values: Values, weights: Weights) -> tuple[ClassDifference, ...]:
    """Return the differences in accuracy by class, in the order of class ids.

    They are means over the pairs, each on its own validation samples. Empty if a model's predictions are lost. A
    class is omitted if any pair has no sample of it.
    """
    try:
        baseline, modulated = (
            np.stack([class_accuracy(state).numpy() for state in _checkpoints(policy, values, weights, arm)])
            for arm in ARMS
        )
        classes = next(_checkpoints(policy, values, weights, "baseline"))["classes"]
    except (checkpoint.CheckpointError, RemoteError, KeyError):
        return ()
    there = np.flatnonzero(np.isfinite(baseline + modulated).all(axis=0))
    found = secondary({str(k): (modulated[:, k].tolist(), baseline[:, k].tolist()) for k in there})
    return tuple(ClassDifference(classes[int(k)], one.paired, one.holm_p) for k, one in found.items())


def _no_other_training(policy: ConfirmPolicy, found: Verdict) -> list[str]:
    """Return a note if each configuration is the other's ablation, and none is trained."""
    if found.claim == "none" or not policy.pairs.pair_is_ablation:
        return []
    return ["The two configurations differ only in the modulation, so each is the other's ablation."]


def _missing_ablation(policy: ConfirmPolicy, found: Verdict) -> list[str]:
    """Return why a claim without its ablation is withdrawn: the budget ended too early, or the ablation failed."""
    if found.claim == "none" or found.ablation is not None:
        return []
    failed = {trial.internal["pair"] for trial in policy.pairs.failures if trial.internal["role"] == "ablation"}
    if failed.issuperset(policy.pairs.values().pairs):
        return ["This ablation failed with every seed, so nothing is claimed."]
    return [
        "The budget ended before this ablation was trained, so nothing is claimed. Continue with a larger "
        "`search.budget`."
    ]


def _failures(policy: ConfirmPolicy) -> list[str]:
    failures = policy.pairs.failures
    if not failures:
        return []
    one, others = failures[0], len(failures) - 1
    more = f", and {count(others, 'other training')} failed too" if others else ""
    reason = str(one.reason).splitlines()[0]
    return [
        f"The {one.arm} training with seed {one.changes['seed']} failed ({reason}){more}. Pairs with a failed "
        "training are excluded. A configuration that fails with some seeds is worse than its other results suggest."
    ]


def _looks_sentence(plan: Plan, found: Verdict) -> list[str]:
    if not plan.fixed or found.claim == "none":
        return []
    first = " and ".join(map(str, plan.fixed))
    return [
        f"Seeds were added after the verdict with {first} seeds was known. Each look has an error rate of 2.5 % per "
        f"direction, so such a claim is wrong in at most {2.5 * (1 + len(plan.fixed)):g} % of cases."
    ]


# ---- evidence ----


def evidence_of(policy: ConfirmPolicy, plan: Plan, found: Verdict, weights: Weights) -> Evidence:
    """Return a verdict with the evidence that it rests on, and the results of each configuration."""
    values, experiment = policy.pairs.values(), policy.experiment
    return Evidence(
        experiment=experiment.name,
        metric=experiment.search.objective.metric,
        verdict=found,
        best=leader(found.paired, found.mode),
        arms={arm: _confirmed_arm(policy, plan, values, arm) for arm in ARMS},
        ablation_of=policy.pairs.ablation_of,
        split_redrawn=redraws(experiment.dataset),
        pairs=tuple(_pairs(policy, values)),
        classes=class_differences(policy, values, weights),
        looks_before=plan.fixed,
    )


def _confirmed_arm(policy: ConfirmPolicy, plan: Plan, values: Values, arm: Arm) -> ConfirmedArm:
    results = values.modulated if arm == "modulated" else values.baseline
    return ConfirmedArm(
        trial=plan.trials[arm],
        changes=dict(policy.best[arm]),
        prediction=prediction_interval(results),
        median_epochs=median_low(int(epoch["epoch"]) + 1 for epoch in _best_epochs(policy, values, arm)),
        seeds=len(values.pairs),
    )


def _pairs(policy: ConfirmPolicy, values: Values) -> Iterator[Pair]:
    columns: dict[Role, Sequence[float]] = {"modulated": values.modulated, "baseline": values.baseline}
    if values.ablation is not None and not policy.pairs.pair_is_ablation:
        columns["ablation"] = values.ablation.values
    for pair, *results in zip(values.pairs, *columns.values(), strict=True):
        yield Pair(policy.seeds[pair], dict(zip(columns, results, strict=True)))
