"""How often the verdict detects a true gain, and how often it is wrong: `python -m benchmarks.power [--quick]`.

This project's own code replays the demo's whole procedure without training: the studies of both arms, early stopping,
the best trial of each arm, its confirmation with fresh seeds, the ablation and the verdict. The arms are searched in
two ways: apart (`search.transfer=0`), and with the demo's `search.transfer`.

Learning curves are simulated, see `benchmarks.curve_model`. Each of the demo's shared settings (fusion and learning
rate) has its own effect on the accuracy, which also varies by split. The trainings of a pair and their ablation use the
same split, each with independent noise. A modulated training gains from the opening of its window on, whatever its
alpha and end. Trainings that share a prefix do not share its noise here, although real ones do. Real trainings with the
same seed and shared settings also have a part of the seed's variance in common; `--common` sets this part. By default
it is half: a pair then differs by 1.1 points from seed to seed, and good pairs on the recorded curves by 1.0 to 1.2.

Replay n has the same settings, splits and noise for both ways and all gains. The last tables give the regret of what
searches choose on the demo's recorded curves, see `benchmarks.regret`. The exit code is 1 if the lower end of the
interval of false claims exceeds 2.5 % on either side.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import fmean, median
from typing import TypeVar

import numpy as np
import torch

from benchmarks.curve_model import CURVE, EPOCHS, Array, Model, gained
from benchmarks.curves import SEEDS
from benchmarks.estimates import NOMINAL, mean_of, share, written
from benchmarks.regret import Choice, Search, best_there, recorded, search_recorded
from benchmarks.simulation import WAYS, Way, demo, seeded, simulate
from search.experiment.arms import ARMS
from search.experiment.dimensions import MODULATION, START, Changes
from search.experiment.schema import Experiment
from search.run.best import bests
from search.run.trials import SearchRecord, TrialRecord
from search.tuner.search_policy import SearchPolicy
from search.verdict.confirm_policy import ConfirmPolicy, shared_settings
from search.verdict.decide import Claim
from search.verdict.pairs import Role
from search.verdict.plan import Plan
from search.verdict.results import verdict_of
from search.verdict.seeds import fresh_seeds

GAINS = (0.0, 0.5, 1.0, 2.0, 3.0)
COMMON = 0.5
ROLES: tuple[Role, ...] = ("baseline", "modulated", "ablation")


# ---- one replay ----


@dataclass(frozen=True)
class World:
    """True effects and noise of a replay, in points, the same for both ways to search.

    Args:
        model: model of the learning curves, with the gain.
        settings: all shared settings.
        worth: effect of each setting on each split, [settings, 1 + seeds]; first the search's split, then each pair's.
        search: noise of the search's trainings by trial number, [trials, epochs].
        confirmation: noise of the confirmation's trainings, [seeds, roles, epochs].
    """

    model: Model
    settings: Sequence[Changes]
    worth: Array
    search: Array
    confirmation: Array

    def search_curve(self, trial: TrialRecord) -> list[float]:
        """Return the metric of a trial of the search after each epoch."""
        return self._curve(trial, 0, self.search[trial.number])

    def confirmation_curve(self, trial: TrialRecord) -> list[float]:
        """Return the metric of a training of the confirmation after each epoch."""
        pair, role = trial.internal["pair"], ROLES.index(trial.internal["role"])
        return self._curve(trial, 1 + pair, self.confirmation[pair, role])

    def _curve(self, trial: TrialRecord, split: int, noise: Array) -> list[float]:
        setting = self.settings.index(shared_settings(trial.changes))
        opens = EPOCHS if trial.arm == "baseline" else trial.changes[START]
        curve: Array = CURVE + self.worth[setting, split] + noise + gained(self.model, np.array(opens))
        return curve.tolist()


def shared_settings_of(experiment: Experiment) -> list[Changes]:
    """Return all shared settings of a finite space, i.e. all combinations without the modulation."""
    choices = {path: entry for path, entry in experiment.space.items() if not path.startswith(MODULATION)}
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


def draw_world(model: Model, experiment: Experiment, seeds: int, rng: np.random.Generator) -> World:
    settings, trials = shared_settings_of(experiment), experiment.search.trials

    def noise(*trainings: int) -> Array:
        return rng.normal(0, model.seed, (*trainings, 1)) + rng.normal(0, model.epoch, (*trainings, EPOCHS))

    worth = rng.normal(0, model.setting, (len(settings), 1)) + rng.normal(0, model.split, 1 + seeds)
    worth = worth + rng.normal(0, model.interaction, worth.shape)
    return World(model, settings, worth, noise(trials), noise(seeds, len(ROLES)))


def with_common(model: Model, common: float) -> Model:
    """Return the model in which trainings with the same seed and shared settings share a part of the seed's variance.

    A pair's seed also draws its split, so the common part is added to the interaction of split and setting.

    >>> with_common(Model(), 0.36)
    Model(settings=16, setting=2.0, seed=0.8, split=1.0, interaction=0.78..., epoch=0.5, gain=0.0)
    """
    interaction = math.hypot(model.interaction, model.seed * math.sqrt(common))
    return replace(model, seed=model.seed * math.sqrt(1 - common), interaction=interaction)


@dataclass(frozen=True)
class Job:
    """One replay: how the arms are searched, the model of the curves, and the random numbers.

    Args:
        way: way of searching the arms.
        model: model of the curves; the demo determines the number of settings.
        seed: seed of the benchmark.
        number: number of the replay.
    """

    way: Way
    model: Model
    seed: int
    number: int


@dataclass(frozen=True)
class Outcome:
    """Result of a replay.

    Args:
        claim: claim of the verdict.
        trainings: number of trainings of the confirmation.
        pair_is_ablation: whether the best configurations differed in the modulation alone.
    """

    claim: Claim
    trainings: int
    pair_is_ablation: bool


def draw_replay(job: Job) -> tuple[Experiment, World]:
    """Return the experiment of a replay, with its own `search.seed`, and its world."""
    rng = np.random.default_rng([job.seed, job.number])
    experiment = seeded(demo(job.way), int(rng.integers(2**31)))
    return experiment, draw_world(job.model, experiment, experiment.confirm.seeds, rng)


def search(experiment: Experiment, world: World) -> SearchRecord:
    """Run the search to its end."""
    return simulate(experiment, SearchPolicy(experiment), world.search_curve)


def replay(job: Job) -> Outcome:
    """Run a search and its confirmation, and return the verdict."""
    experiment, world = draw_replay(job)
    record = search(experiment, world)
    best = bests(record, experiment.search.objective)
    seeds = fresh_seeds(experiment.search.seed, {experiment.trial.seed}, experiment.confirm.seeds)
    policy = ConfirmPolicy(experiment, {arm: best[arm].trial.changes for arm in ARMS}, seeds, record.spent)
    confirmation = simulate(experiment, policy, world.confirmation_curve)
    plan = Plan(len(seeds), False, {arm: best[arm].trial.number for arm in ARMS})
    found = verdict_of(policy, plan, _weights)
    assert found is not None
    return Outcome(found.claim, len(confirmation.trials), policy.pairs.pair_is_ablation)


def _weights(trial: int) -> Path:
    """Raise LookupError: with a newly drawn split the verdict needs no model's predictions."""
    raise LookupError(trial)


# ---- many replays ----

Results = Mapping[tuple[float, Way], Sequence[Outcome]]  # by gain and way
Choices = Mapping[Way, Sequence[Choice]]
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Sizes:
    """Number of replays and searches.

    Args:
        null: replays in which the method changes nothing.
        gain: replays per true gain.
        searches: searches on recorded curves.
    """

    null: int
    gain: int
    searches: int


FULL, QUICK = Sizes(2000, 500, 400), Sizes(240, 60, 40)


def open_pool(processes: int) -> Pool:
    """Start a pool of processes with one thread each."""
    return multiprocessing.get_context("spawn").Pool(processes, torch.set_num_threads, (1,))


def run_all(pool: Pool, function: Callable[[T], R], jobs: Sequence[T], title: str) -> list[R]:
    """Return the results in the order of the jobs."""
    print(f"{title}: {len(jobs)}", file=sys.stderr, flush=True)
    return pool.map(function, jobs, chunksize=4)


def replay_all(pool: Pool, sizes: Sizes, model: Model, seed: int) -> Results:
    """Run the replays of each gain in both ways."""
    results = {}
    for gain, way in product(GAINS, WAYS):
        number = sizes.gain if gain else sizes.null
        jobs = [Job(way, replace(model, gain=gain), seed, n) for n in range(number)]
        results[gain, way] = run_all(pool, replay, jobs, f"replays, gain {gain:g}, {way}")
    return results


def choose_all(pool: Pool, sizes: Sizes, seed: int) -> Choices:
    """Return what searches choose on the recorded curves in both ways."""
    first = seed * sizes.searches
    return {
        way: run_all(
            pool,
            search_recorded,
            [Search(way, first + n, n % len(SEEDS)) for n in range(sizes.searches)],
            f"searches on recorded curves, {way}",
        )
        for way in WAYS
    }


# ---- tables ----


def title_of(way: Way) -> str:
    transfer = demo(way).search.transfer
    return f"transfer {transfer:g}" if transfer else "arms apart"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    for row in (columns, ["---"] * len(columns), *rows):
        print("|", " | ".join(row), "|")


def rate_of(outcomes: Sequence[Outcome], claim: Claim) -> tuple[float, float, float]:
    """Return the rate of a claim with its interval."""
    return share(sum(o.claim == claim for o in outcomes), len(outcomes))


def print_power(results: Results) -> None:
    claims: tuple[Claim, Claim] = ("helps", "hurts")
    columns = ["gain (points)", *(f"*{claim}*, {title_of(way)}" for claim, way in product(claims, WAYS))]
    rows = [
        [f"{gain:g}", *(written(rate_of(results[gain, way], claim)) for claim, way in product(claims, WAYS))]
        for gain in filter(None, GAINS)
    ]
    print_table(columns, rows)


def print_false_claims(results: Results) -> bool:
    """Print the false claims; return whether they exceed the nominal rate."""
    rows, exceeds = [], False
    for way in WAYS:
        rates = [rate_of(results[0.0, way], claim) for claim in ("helps", "hurts")]
        over = any(low > NOMINAL for _, low, _ in rates)
        exceeds |= over
        rows.append([title_of(way), *map(written, rates), "**exceeded**" if over else "holds"])
    print_table(["search", "*helps*", "*hurts*", "at most 2.5 %"], rows)
    return exceeds


def print_trainings(results: Results) -> None:
    rows = []
    for gain, way in product(GAINS, WAYS):
        outcomes = results[gain, way]
        trainings = [o.trainings for o in outcomes]
        same = share(sum(o.pair_is_ablation for o in outcomes), len(outcomes))
        rows.append(
            [f"{gain:g}", title_of(way), f"{fmean(trainings):.1f}", f"{median(trainings):g}", f"{100 * same[0]:.0f} %"]
        )
    print_table(["gain (points)", "search", "trainings, mean", "median", "the pair is its own ablation"], rows)


def print_regret(choices: Choices) -> None:
    rows = []
    for arm, way in product(ARMS, WAYS):
        best = best_there(recorded(), arm)
        unseen = [choice.unseen[arm] for choice in choices[way]]
        chosen, regret = mean_of(unseen), mean_of(best - value for value in unseen)
        rows.append([arm, title_of(way), f"{best:.2f} %", f"{chosen.shown(2)} %", regret.shown(2)])
    print_table(["arm", "search", "best recorded", "choice, unseen seeds", "regret (points)"], rows)


def print_epochs(choices: Choices) -> None:
    every = demo("transfer").search.trials * demo("transfer").trial.epochs
    rows = [
        [title_of(way), *(mean_of(values).shown(1) for values in zip(*map(_epochs, choices[way]), strict=True))]
        for way in WAYS
    ]
    print_table(["search", f"epochs, of {every}", "with each shared prefix trained once"], rows)


def _epochs(choice: Choice) -> tuple[int, int]:
    return choice.epochs, choice.distinct


def report(results: Results, choices: Choices, sizes: Sizes, command: str) -> bool:
    """Print all tables; return whether false claims exceed the nominal rate."""
    experiment = demo("transfer")
    print("# How often the whole procedure detects a gain\n")
    print(f"`{command}`; docs/statistics.md explains the figures. {experiment.search.trials} trials, ", end="")
    print(f"{experiment.confirm.seeds} seeds, 99 % Clopper-Pearson intervals; ± are standard errors.\n")
    print(f"## Claims if the method truly brings a gain, {sizes.gain} replays\n")
    print_power(results)
    print(f"\n## False claims if the method changes nothing, {sizes.null} replays\n")
    exceeds = print_false_claims(results)
    print("\n## Trainings of the confirmation\n")
    print_trainings(results)
    print(f"\n## The choice of each arm on the recorded curves, {sizes.searches} searches\n")
    print_regret(choices)
    print("\n## Epochs of the same searches\n")
    print_epochs(choices)
    return exceeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"run {QUICK} instead of {FULL}")
    parser.add_argument(
        "--common",
        type=float,
        default=COMMON,
        help="part of a seed's variance that trainings with the same seed and shared settings have in common, 0 to 1",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="processes, one thread each")
    given = parser.parse_args()
    if not 0 <= given.common <= 1:
        parser.error(f"--common must be from 0 to 1, but got {given.common:g}")
    sizes = QUICK if given.quick else FULL
    command = f"python -m benchmarks.power{' --quick' * given.quick} --common {given.common:g} --seed {given.seed}"
    model = with_common(Model(), given.common)
    with open_pool(given.processes) as pool:
        results, choices = replay_all(pool, sizes, model, given.seed), choose_all(pool, sizes, given.seed)
    sys.exit(1 if report(results, choices, sizes, command) else 0)


if __name__ == "__main__":
    main()
