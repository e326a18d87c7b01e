"""From the trainings of a confirmation to the verdict, and to what is written of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median_low
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.store.remote import RemoteError
from ogmge import checkpoint
from search.experiment.arms import ARMS, Arm
from search.experiment.formatting import modalities
from search.run.best import METRIC, class_accuracy
from search.run.journal import TrialRecord
from search.run.version import FIRST, VERSION, in_todays_words, version_of
from search.verdict.confirm_policy import ConfirmPolicy
from search.verdict.decide import Verdict, leader, to_dict, verdict
from search.verdict.paired import Range, prediction_interval, secondary
from search.verdict.pairs import Values
from search.verdict.plan import Plan
from search.verdict.seeds import redraws

Weights = Callable[[int], Path]
Answers = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def trials_of(policy: ConfirmPolicy, values: Values, arm: Arm) -> list[TrialRecord]:
    """The trainings of an arm that count, in the order of the pairs."""
    found = [policy.pairs.trial(pair, arm) for pair in values.pairs]
    return [trial for trial in found if trial is not None]


def verdict_of(policy: ConfirmPolicy, plan: Plan, weights: Weights) -> Verdict | None:
    """What the pairs say; None where not one of them came to a result.

    Args:
        policy: of the confirmation, with its results.
        plan: what it set out to do.
        weights: trial number -> file of its best epoch's weights.
    """
    values = policy.pairs.values()
    if not values.pairs:
        return None
    objective = policy.experiment.search.objective
    correct, missing = _correct(policy, values, weights)
    found = verdict(
        values.modulated,
        values.baseline,
        objective.mode,
        sequential=policy.sequential,
        ablation=values.ablation,
        alone=_alone(policy, values),
        correct=correct,
    )
    withheld = _withheld(policy, found)
    notes = [*found.notes, *withheld, *missing, *_failures(policy), *_looks_sentence(plan, found)]
    if withheld:
        found = replace(found, claim="none", word=f"no difference that {found.paired.n} seeds can show, unchecked")
    return replace(found, notes=tuple(notes))


def _alone(policy: ConfirmPolicy, values: Values) -> dict[str, tuple[list[float], list[float]]]:
    """Each modality's accuracy in both arms; nothing where these have fewer than two in common."""
    epochs = {arm: [_best(policy, trial) for trial in trials_of(policy, values, arm)] for arm in ARMS}
    names = [name for name in modalities(epochs["modulated"][0]) if name in modalities(epochs["baseline"][0])]
    if len(names) < 2:
        return {}
    key = "val/accuracy/{}".format
    return {name: tuple([e[key(name)] for e in epochs[arm]] for arm in reversed(ARMS)) for name in names}  # type: ignore[misc]


def _best(policy: ConfirmPolicy, trial: TrialRecord) -> dict[str, float]:
    found = trial.best_epoch(policy.experiment.search.objective.metric)
    assert found is not None
    return found


def _correct(policy: ConfirmPolicy, values: Values, weights: Weights) -> tuple[Answers | None, list[str]]:
    """Which validation examples each model got right, bool [n, N] for both arms; and what there is to say of it.

    None where a pair has examples of its own, and where it is not accuracy that counts.
    """
    if redraws(policy.experiment.dataset) or policy.experiment.search.objective.metric != METRIC:
        return None, []
    try:
        rows = {
            arm: np.stack(
                [checkpoint.load(weights(t.number))["correct"].numpy() for t in trials_of(policy, values, arm)]
            )
            for arm in ARMS
        }
    except (checkpoint.CheckpointError, RemoteError) as error:
        return None, [f"The examples were not redrawn, as a model's answers are lost: {error}."]
    return (rows["modulated"], rows["baseline"]), []


def class_changes(policy: ConfirmPolicy, values: Values, weights: Weights) -> list[dict[str, Any]]:
    """How much more of each class the modulated models get right than the unmodulated: a row a class, by class id.

    Differences are means over the pairs, on the validation samples of each; nothing where a model's answers are lost.
    """
    shares: dict[Arm, list[Tensor]] = {arm: [] for arm in ARMS}
    try:
        for arm in ARMS:
            for trial in trials_of(policy, values, arm):
                state = checkpoint.load(weights(trial.number))
                shares[arm].append(class_accuracy(state))
    except (checkpoint.CheckpointError, RemoteError, KeyError):
        return []
    both = torch.stack([*shares["modulated"], *shares["baseline"]])
    classes = state["classes"]
    there = [k for k, known in enumerate(both.isfinite().all(dim=0).tolist()) if known]
    pairs = {arm: torch.stack(shares[arm]).T.tolist() for arm in ARMS}
    found = secondary({str(k): (pairs["modulated"][k], pairs["baseline"][k]) for k in there})
    return [{"class": classes[k], **asdict(found[str(k)].paired), "holm_p": found[str(k)].holm_p} for k in there]


def _withheld(policy: ConfirmPolicy, found: Verdict) -> list[str]:
    """A claim without its ablation is none: where a budget ends early, whether before it or before the last pair, and
    where it cannot be trained."""
    if found.claim == "none" or found.ablation is not None:
        return []
    ablations = [policy.pairs.trial(pair, "ablation") for pair in policy.pairs.values().pairs]
    if all(ablation is not None and ablation.status == "failed" for ablation in ablations):
        return ["That training failed with every seed, so that nothing is claimed."]
    return [
        "The budget ended before that was trained, so that nothing is claimed: more of it goes on (`search.budget`)."
    ]


def _failures(policy: ConfirmPolicy) -> list[str]:
    lost = policy.pairs.failures
    if not lost:
        return []
    one, more = lost[0], f" and {len(lost) - 1} more" if len(lost) > 1 else ""
    reason = str(one.reason).splitlines()[0]
    return [
        f"Training failed with {one.arm} and seed {one.changes['seed']}{more} ({reason}): the pair "
        "is left out, though a configuration that fails with some seeds is worse than those it did not fail with."
    ]


def _looks_sentence(plan: Plan, found: Verdict) -> list[str]:
    if not plan.fixed or found.claim == "none":
        return []
    first = " and ".join(map(str, plan.fixed))
    return [
        f"Seeds were added after the verdict on {first} was known. Each look had its own 2.5 % a side: such a claim is "
        f"wrong in {2.5 * (1 + len(plan.fixed)):g} % at most."
    ]


# ---- what is written ----


def prediction_of(policy: ConfirmPolicy, arm: Arm) -> Range | None:
    """Where one more training of an arm's best configuration would come out, in 95 %."""
    values = policy.pairs.values()
    return prediction_interval(values.modulated if arm == "modulated" else values.baseline)


def best_arm(found: Verdict) -> Arm:
    """Whose configuration is exported: the better in the confirmation; of equal ones the baseline's."""
    return leader(found.paired, found.mode)


def median_epochs(policy: ConfirmPolicy, arm: Arm) -> int:
    """How many epochs the median of an arm's trainings took to its best."""
    values = policy.pairs.values()
    return median_low(int(_best(policy, t)["epoch"]) + 1 for t in trials_of(policy, values, arm))


def document(policy: ConfirmPolicy, plan: Plan, found: Verdict, weights: Weights) -> dict[str, Any]:
    """`verdict.json`: the verdict, what it rests on, and what follows for each configuration."""
    values = policy.pairs.values()
    objective = policy.experiment.search.objective
    rows = []
    for place, pair in enumerate(values.pairs):
        row: dict[str, Any] = {"seed": policy.seeds[pair]}
        row |= {"modulated": values.modulated[place], "baseline": values.baseline[place]}
        rows.append(row | ({"ablation": values.ablation.values[place]} if values.ablation else {}))
    arms = {}
    for arm in ARMS:
        prediction = prediction_of(policy, arm)
        arms[arm] = {
            "trial": plan.trials[arm],
            "changes": dict(policy.best[arm]),
            "prediction": None if prediction is None else asdict(prediction),
            "median_epochs": median_epochs(policy, arm),
            "seeds": len(values.pairs),
        }
    return {
        "version": VERSION,
        "experiment": policy.experiment.name,
        "metric": objective.metric,
        **to_dict(found),
        "best": best_arm(found),
        "arms": arms,
        "ablation_of": policy.pairs.ablation_of,
        "split_redrawn": redraws(policy.experiment.dataset),
        "pairs": rows,
        "classes": class_changes(policy, values, weights),
        "looks_before": list(plan.fixed),
        "test": None,
    }


def read_document(path: Path) -> dict[str, Any] | None:
    """Return what a `verdict.json` says, in today's words; None where there is none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found = in_todays_words(found) if version_of(found) == FIRST else found
        _ = found["word"], found["best"], [found["arms"][arm]["trial"] + found["paired"][arm]["mean"] for arm in ARMS]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(found)


def measures(found: Verdict) -> dict[str, float]:
    """The verdict's numbers by name, for the search's run in MLflow; what there is not is left out."""
    pairs = found.paired
    values = {
        "verdict/difference": pairs.mean,
        "verdict/low": found.interval[0] if found.interval else None,
        "verdict/high": found.interval[1] if found.interval else None,
        "verdict/seeds": float(pairs.n),
        "verdict/sign_flip_p": found.sign_flip_p,
        "verdict/modulated": pairs.modulated.mean,
        "verdict/modulated_sd": pairs.modulated.sd,
        "verdict/baseline": pairs.baseline.mean,
        "verdict/baseline_sd": pairs.baseline.sd,
        "verdict/ablation_difference": found.ablation.mean if found.ablation else None,
    }
    return {name: value for name, value in values.items() if value is not None}
