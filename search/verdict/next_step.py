"""What to do after a search or a verdict: one sentence and one command for the screen, the report and MLflow alike."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.experiment.arms import ARMS, Arm
from search.experiment.schema import Budget, Experiment
from search.run.folder import RunFolder
from search.run.journal import TrialRecord
from search.verdict.decide import Verdict
from search.verdict.paired import Paired, detectable, seeds_for
from search.verdict.text import format_size, is_contradicted, is_unchecked

FIRST_SEEDS = 10  # to begin with
FEW_SEEDS = 10  # with fewer, more seeds are always worth their time
ENOUGH_SEEDS = 20  # in place of a few
MOST_SEEDS = 50  # that are worth their time for the difference seen
ROUNDED_TO = 5  # seeds


@dataclass(frozen=True)
class NextStep:
    """What to do next.

    Args:
        text: a sentence or two; the last one ends with a colon where a command follows.
        command: the command to run, if there is one.
    """

    text: str
    command: str | None = None


def confirm_command(experiment: Experiment, *more: str) -> str:
    """Return the command that confirms a search, with options or assignments."""
    return shlex.join(["uv", "run", "python", "-m", "search", "confirm", experiment.name, *more])


def train_command(file: Path) -> str:
    """Return the command that trains a configuration."""
    return shlex.join(["uv", "run", "python", "-m", "search", "train", str(file)])


def ui_command(experiment: Experiment) -> str:
    """Return the command that shows a search in MLflow."""
    return shlex.join(["uv", "run", "python", "-m", "search", "ui", experiment.name])


def resume_command(folder: RunFolder, *assignments: str) -> str:
    """Return the command that resumes a search."""
    return shlex.join(["uv", "run", "run_search.py", str(folder.experiment), "--resume", *assignments])


# ---- after a search ----


def after_search(experiment: Experiment, folder: RunFolder, arms: Collection[Arm]) -> NextStep:
    """Return the step after a search that is done.

    Args:
        experiment: what was searched.
        folder: of the run.
        arms: those that have a result.
    """
    if len(arms) < len(ARMS):
        return NextStep(f"See the reasons in {folder.trials}.")
    if folder.verdict.exists():
        return NextStep("This search is already confirmed. Show its verdict again:", confirm_command(experiment))
    return NextStep("Next, confirm this lead with fresh seeds:", confirm_command(experiment))


# ---- after a verdict ----


@dataclass(frozen=True)
class Confirmed:
    """A confirmation that has a verdict.

    Args:
        experiment: what was searched.
        folder: of the run.
        found: the verdict.
        planned: number of pairs that were planned, at most.
        failures: trainings that failed.
        is_test_read: whether its models were evaluated on the test split.
    """

    experiment: Experiment
    folder: RunFolder
    found: Verdict
    planned: int
    failures: Sequence[TrialRecord] = ()
    is_test_read: bool = False


def after_verdict(done: Confirmed) -> NextStep:
    """Return the step after a verdict."""
    if is_unchecked(done.found):
        return _check(done)
    if done.is_test_read:
        return NextStep(
            "The test split has been read. Next, train the best configuration for use:", train_command(done.folder.best)
        )
    if done.found.claim != "none":
        return _publish(done)
    if done.planned > done.found.paired.n + len({trial.internal["pair"] for trial in done.failures}):
        return _more_budget(done, "train the other planned seeds")
    return _more_seeds(done)


def _check(done: Confirmed) -> NextStep:
    """The step after a difference whose ablation is missing."""
    failed = [trial for trial in done.failures if trial.internal["role"] == "ablation"]
    if len(failed) >= done.found.paired.n:
        text = "Every training of the check whether modulation is the reason failed. See why in MLflow:"
        return NextStep(text, ui_command(done.experiment))
    return _more_budget(done, "check it")


def _publish(done: Confirmed) -> NextStep:
    if done.found.claim == "helps":
        use = f"Use it: {done.folder.best} has the best modulated configuration."
    else:
        use = f"Train without it: {done.folder.best} has the best configuration, which is not modulated."
    return NextStep(
        f"{use} For the accuracies to publish, read the test split once:", confirm_command(done.experiment, "--test")
    )


def _more_budget(done: Confirmed, purpose: str) -> NextStep:
    raised = list(_doubled(done.experiment.search.budget))
    how = "Raise the budget" if raised else "Continue the confirmation"
    return NextStep(f"{how} to {purpose}:", confirm_command(done.experiment, *raised))


def _doubled(budget: Budget) -> Iterator[str]:
    """Give an assignment of twice its value for each limit."""
    for name, limit in (("hours", budget.hours), ("gpu_hours", budget.gpu_hours), ("epochs", budget.epochs)):
        if limit is not None:
            yield f"search.budget.{name}={2 * limit:g}"


def _more_seeds(done: Confirmed) -> NextStep:
    """The step after no difference: stop, add seeds, or search more."""
    pairs = _deciding_pairs(done.found)
    if pairs.sd is None:
        return NextStep("A single seed shows nothing. Add seeds:", _seeds_command(done, FIRST_SEEDS))
    if not pairs.sd:
        text = "More seeds cannot help: none changes the difference. Check in MLflow that the trainings use their seed:"
        return NextStep(text, ui_command(done.experiment))
    stop, seeds = _when_to_stop(done, pairs, detectable(pairs.sd, pairs.n)), _worthwhile_seeds(done, pairs)
    if seeds is not None:
        return NextStep(f"{stop}{'Otherwise, add' if stop else 'Add'} seeds:", _seeds_command(done, seeds))
    more = f"search.trials={2 * done.experiment.search.trials}", *_doubled(done.experiment.search.budget)
    text = "More seeds are unlikely to settle it; a larger search may find better configurations:"
    return NextStep(f"{stop}{text}", resume_command(done.folder, *more))


def _deciding_pairs(found: Verdict) -> Paired:
    """Return the comparison that showed no difference: the ablation's, where the pairs alone do."""
    return found.ablation if found.ablation is not None and is_contradicted(found) else found.paired


def _when_to_stop(done: Confirmed, pairs: Paired, smallest: float) -> str:
    """Return the sentence that says which difference these seeds rule out; empty where they rule out none."""
    metric = done.experiment.search.objective.metric
    if "accuracy" in metric and smallest > 1:
        return ""
    what = "a difference" if pairs is done.found.paired else "an effect of the modulation"
    return f"Stop here if {what} below {format_size(metric, smallest)} does not matter to you. "


def _worthwhile_seeds(done: Confirmed, pairs: Paired) -> int | None:
    """Return a number of seeds that may settle it, above the number planned; None where that takes too many."""
    assert pairs.sd
    needed = seeds_for(pairs.mean, pairs.sd)
    if done.planned < FEW_SEEDS:
        return ENOUGH_SEEDS
    if needed is None or needed > max(MOST_SEEDS, 2 * done.planned):
        return None
    return max(2 * done.planned, -(-needed // ROUNDED_TO) * ROUNDED_TO)


def _seeds_command(done: Confirmed, seeds: int) -> str:
    return confirm_command(done.experiment, "--seeds", str(seeds))
