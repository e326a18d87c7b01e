"""Next step after a search or a verdict: one sentence and one command for the screen, the report and MLflow."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from datasets.index.list_files import count
from datasets.index.regular_file import read_regular
from search.experiment.arms import ARMS, Arm
from search.experiment.schema import Experiment
from search.experiment.start_command import as_argument, start_from_here
from search.run.budget import Spent
from search.run.folder import RunFolder, free_name
from search.run.trials import TrialRecord
from search.tuner.search_policy import SearchPolicy
from search.verdict.anytime import half_width
from search.verdict.decide import Verdict
from search.verdict.evidence import Evidence
from search.verdict.paired import Paired, detectable
from search.verdict.plan import UNTIL_CLEAR
from search.verdict.text import format_size, is_contradicted, is_impossible, is_unchecked

FIRST_SEEDS = 10  # seeds to suggest after a single one
FEW_SEEDS = 10  # with fewer, the spread is too uncertain to tell how many are needed
ENOUGH_SEEDS = 20  # seeds to suggest if there are few
MOST_SEEDS = 50  # largest number to suggest, unless more were planned already
ROUNDED_TO = 5  # seeds
POWER_QUANTILE = 0.84  # standard normal quantile of 80 % power
RUNS = Path("runs")


@dataclass(frozen=True)
class NextStep:
    """Next step.

    Args:
        text: one or two sentences; the last one ends with a colon if a command follows.
        command: command to run; None if there is none.
    """

    text: str
    command: str | None = None


def command_line(command: str, *words: str) -> str:
    """Return the command line of `python -m search COMMAND`, for the user to run."""
    return start_from_here(shlex.join(["uv", "run", "python", "-m", "search", command, *words]))


def _run(folder: RunFolder) -> str:
    """Return the argument that names a run in a command: its name, or its folder if that is elsewhere."""
    return folder.path.name if folder.path.parent == RUNS else str(folder.path)


def confirm_command(folder: RunFolder, *more: str) -> str:
    """Return the command that confirms a search, with options or assignments."""
    return command_line("confirm", _run(folder), *more)


def train_command(file: Path) -> str:
    """Return the command that trains a configuration."""
    return command_line("train", as_argument(file))


def next_training(file: Path, *more: str) -> str:
    """Return the command that trains the configuration in a file, under a name that no run has yet."""
    return command_line("train", as_argument(file), *_new_name(file), *more)


def _new_name(file: Path) -> list[str]:
    """Return the assignment of a new name if there is a run of the name in an experiment file."""
    try:
        name = str(yaml.safe_load(read_regular(file))["name"])
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        return []
    free = free_name(RUNS, name)
    return [] if free == name else [f"name={free}"]


def ui_command(folder: RunFolder) -> str:
    """Return the command that shows a search in MLflow."""
    return command_line("ui", _run(folder))


def report_command(folder: RunFolder) -> str:
    """Return the command that writes the report on a run."""
    return command_line("report", _run(folder))


def resume_command(folder: RunFolder, *assignments: str) -> str | None:
    """Return the command that resumes a search; None if the run is not where that command would look for it."""
    if folder.path.parent != RUNS:
        return None
    again = shlex.join(["uv", "run", "run_search.py", str(folder.experiment), "--resume", *assignments])
    return start_from_here(again)


# ---- after a search ----


def after_search(folder: RunFolder, arms: Collection[Arm]) -> NextStep:
    """Return the step after a finished search.

    Args:
        folder: folder of the run.
        arms: arms that have a result.
    """
    if len(arms) < len(ARMS):
        return NextStep(f"See the reasons in {folder.trials}.")
    if folder.verdict.exists():
        return NextStep("This search is already confirmed. Show its verdict again:", confirm_command(folder))
    return NextStep("Next, confirm this lead with fresh seeds:", confirm_command(folder))


# ---- after a verdict ----


@dataclass(frozen=True)
class Confirmed:
    """Confirmation that has a verdict.

    Args:
        experiment: experiment that was searched.
        folder: folder of the run.
        evidence: evidence of the confirmation.
        planned: largest number of pairs that was planned.
        spent: resources that the search and the confirmation have spent.
        failures: trainings that failed.
        is_test_read: whether the test split was read in this run.
        has_test_split: whether the data have a test split; None if that is unknown.
    """

    experiment: Experiment
    folder: RunFolder
    evidence: Evidence
    planned: int
    spent: Spent = field(default_factory=Spent)
    failures: Sequence[TrialRecord] = ()
    is_test_read: bool = False
    has_test_split: bool | None = None

    @property
    def found(self) -> Verdict:
        return self.evidence.verdict

    @property
    def failed_pairs(self) -> int:
        return len({trial.internal["pair"] for trial in self.failures})


def after_verdict(done: Confirmed) -> NextStep:
    """Return the step after a verdict."""
    if is_unchecked(done.found):
        return _check(done)
    if done.is_test_read:
        train = next_training(done.folder.best, "--no-test")
        return NextStep("The test split has been read. Next, train the best configuration for use:", train)
    if done.found.claim != "none":
        return _publish(done)
    return _without_claim(done)


def _check(done: Confirmed) -> NextStep:
    """Return the step after a difference whose ablation is missing."""
    failed = {int(trial.changes["seed"]) for trial in done.failures if trial.internal["role"] == "ablation"}
    if failed.issuperset(pair.seed for pair in done.evidence.pairs):
        text = "Every training of the check whether modulation is the reason failed. See why in MLflow:"
        return NextStep(text, ui_command(done.folder))
    return _more_budget(done, "check it")


def _publish(done: Confirmed) -> NextStep:
    if done.found.claim == "helps":
        use = f"Use it: {done.folder.best} has the best modulated configuration."
    else:
        use = f"Train without it: {done.folder.best} has the best configuration, which is not modulated."
    if done.has_test_split is False:
        return NextStep(f"{use} Train it:", next_training(done.folder.best))
    if_any = "" if done.has_test_split else ", if the data have one"
    return NextStep(
        f"{use} For the accuracies to publish, read the test split once{if_any}:",
        confirm_command(done.folder, "--test"),
    )


def _without_claim(done: Confirmed) -> NextStep:
    """Return the step after a verdict without a claim: finish what was planned, stop, add seeds, or search more."""
    if done.planned > done.found.paired.n + done.failed_pairs:
        is_open = done.planned >= UNTIL_CLEAR
        return _more_budget(done, "add seeds until the result is clear" if is_open else "train the other planned seeds")
    if done.failed_pairs >= done.found.paired.n:
        text = f"Trainings with {count(done.failed_pairs, 'seed')} failed. See why in MLflow:"
        return NextStep(text, ui_command(done.folder))
    return _more_seeds(done)


def _more_budget(done: Confirmed, purpose: str) -> NextStep:
    raised = _raised_budget(done)
    if not raised and done.planned >= UNTIL_CLEAR:  # only a budget ends such a confirmation
        raised = [f"search.budget.hours={math.ceil(max(1.0, 2 * done.spent.wall_seconds / 3600))}"]
    how = "Raise the budget" if raised else "Continue the confirmation"
    return NextStep(f"{how} to {purpose}:", confirm_command(done.folder, *raised))


def _raised_budget(done: Confirmed) -> list[str]:
    """Return an assignment for each limit: at least twice its value, and twice what is spent."""
    budget, spent = done.experiment.search.budget, done.spent
    limits = {
        "hours": (budget.hours, spent.wall_seconds / 3600),
        "gpu_hours": (budget.gpu_hours, spent.gpu_seconds / 3600),
        "epochs": (budget.epochs, spent.epochs),
    }
    return [
        f"search.budget.{name}={_round_up(2 * max(limit, used))}"
        for name, (limit, used) in limits.items()
        if limit is not None
    ]


def _round_up(value: float) -> str:
    """Return a number that is not below `value`, without an exponent.

    >>> _round_up(4.0), _round_up(0.512), _round_up(1308642)
    ('4', '0.52', '1308642')
    """
    return f"{math.ceil(value * 100) / 100:.2f}".rstrip("0").rstrip(".")


def _more_seeds(done: Confirmed) -> NextStep:
    """Return the step if all planned seeds are trained and show no difference."""
    pairs = _deciding_pairs(done.found)
    if pairs.sd is None or (not pairs.sd and pairs.seeds_have_effect):
        what = "A single pair shows nothing" if pairs.sd is None else "Equal differences show nothing"
        return NextStep(f"{what}. Add seeds:", _seeds_command(done, max(FIRST_SEEDS, 2 * done.planned)))
    if not pairs.sd:
        text = "More seeds cannot help: none changes the difference. Check in MLflow that the trainings use their seed:"
        return NextStep(text, ui_command(done.folder))
    stop, seeds = _when_to_stop(done, pairs), _worthwhile_seeds(done, pairs)
    if seeds is not None:
        add = "Otherwise, add" if stop else "Add"
        return NextStep(f"{stop}{add} seeds{_gain(done, pairs, seeds)}:", _seeds_command(done, seeds))
    return _larger_search(done, stop)


def _gain(done: Confirmed, pairs: Paired, seeds: int) -> str:
    """Return the clause about the difference that more seeds would detect; empty if it is not known."""
    metric = done.experiment.search.objective.metric
    assert pairs.sd
    smallest = _clear_from(pairs.sd, seeds)
    if smallest is None or is_impossible(metric, smallest):
        return ""
    return f"; {seeds} seeds would detect a difference of about {format_size(metric, smallest)}"


def _seeds_command(done: Confirmed, seeds: int) -> str:
    return confirm_command(done.folder, "--seeds", str(seeds), *_raised_budget(done))


def _larger_search(done: Confirmed, stop: str) -> NextStep:
    """Return the step if more seeds will not settle it."""
    trials = 2 * done.experiment.search.trials
    command = resume_command(done.folder, f"search.trials={trials}", *_raised_budget(done))
    if command is None or not _has_more_trials(done.experiment, trials):
        text = "More seeds are unlikely to settle it. A search with a wider `space` may find better configurations."
        return NextStep(f"{stop}{text}")
    text = "More seeds are unlikely to settle it; a larger search may find better configurations:"
    return NextStep(f"{stop}{text}", command)


def _has_more_trials(experiment: Experiment, trials: int) -> bool:
    """Return whether a search would have more trials if more were asked for; a finite space may not have them."""
    larger = experiment.model_copy(update={"search": experiment.search.model_copy(update={"trials": trials})})
    return SearchPolicy(larger).total > SearchPolicy(experiment).total


def _deciding_pairs(found: Verdict) -> Paired:
    """Return the comparison that showed no difference: the ablation's, if the pairs alone do show one."""
    return found.ablation if found.ablation is not None and is_contradicted(found) else found.paired


def _when_to_stop(done: Confirmed, pairs: Paired) -> str:
    """Return the sentence about the difference that these seeds would have detected with 80 % power.

    Empty if they could not have detected any, or if the number of seeds was not fixed.
    """
    metric = done.experiment.search.objective.metric
    assert pairs.sd
    smallest = detectable(pairs.sd, pairs.n)
    if done.found.sequential or is_impossible(metric, smallest):
        return ""
    what = "a difference" if pairs is done.found.paired else "an effect of the modulation"
    return f"Stop here if {what} below {format_size(metric, smallest)} does not matter to you. "


def _worthwhile_seeds(done: Confirmed, pairs: Paired) -> int | None:
    """Return a number of seeds, above the number planned, that may settle it; None if that takes too many."""
    assert pairs.sd
    if done.planned < FEW_SEEDS:
        return ENOUGH_SEEDS
    most = max(MOST_SEEDS, 2 * done.planned)
    needed = next((n for n in range(done.planned + 1, most + 1) if _is_likely_clear(pairs.mean, pairs.sd, n)), None)
    return None if needed is None else min(most, max(2 * done.planned, -(-needed // ROUNDED_TO) * ROUNDED_TO))


def _is_likely_clear(mean: float, sd: float, n: int) -> bool:
    """Return whether the sequential rule, which judges added seeds, detects a true difference with 80 % power."""
    smallest = _clear_from(sd, n)
    return smallest is not None and smallest <= abs(mean)


def _clear_from(sd: float, n: int) -> float | None:
    """Return the smallest true difference that the sequential rule detects with 80 % power; None if there is none."""
    width = half_width(sd, n)
    return None if width is None else width + POWER_QUANTILE * sd / math.sqrt(n)
