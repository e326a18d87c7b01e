"""How often the verdict is wrong: `python -m benchmarks.verdict [--replays 10000] > benchmarks/verdict.md`.

It replays searches on simulated learning curves: the trials of the demo, two at a time, with the demo's early stopping;
the best trial of each arm; then fresh seeds for both, with a newly drawn split for each pair. The curves of both arms
come from the same distribution, so the method truly changes nothing; or a known gain is added to every epoch from the
opening of a window.

  curve    80 - 20 exp(-(epoch + 1) / 3) + setting + seed + split + (setting, split) + epoch + gain,  in points

There are three spaces: 16 shared settings, as in the demo; a separate setting for every trial, as with continuous
ranges; and settings that make no difference. There are two verdicts: on the pairs alone, and on the pairs and the
ablation of the better configuration (see docs/statistics.md). The exit code is 1 if the second verdict is wrong in more
than 2.5 % of the replays on either side, or if the prediction interval covers less than 93 %.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.curve_model import CURVE, EPOCHS, METRIC, Array, Model, gained
from benchmarks.estimates import NOMINAL, share, written
from search.experiment.arms import ARMS, Arm, arm_of
from search.experiment.load import load
from search.run.best import best_of
from search.run.trials import SearchRecord, TrialRecord
from search.tuner.pruners.peers import LearningCurve, Pruner
from search.tuner.pruners.pruner import pruner_of
from search.verdict import anytime
from search.verdict.decide import Ablation, Claim, decide, leader
from search.verdict.paired import power_of, prediction_interval

TRIALS, AT_ONCE = 24, 2
STARTS = (0, 2, 4, 6)  # epochs at which the demo's windows open
FIXED = (3, 5, 10)
COVERAGE = 0.93
GAINS = (0.5, 1.0, 2.0, 3.0)
PAIR_SD = 1.5  # of the difference of two configurations that differ only in the modulation, see `Model`


SPACES = {
    "16 shared settings": Model(),
    "one setting per trial": Model(settings=0),
    "equal settings": Model(setting=0.0, interaction=0.0),
}


@dataclass
class Chosen:
    """Best trial of an arm: number and effect of its setting, first epoch of its window, best value in the search."""

    setting: int
    worth: float
    opens: int | None
    value: float


@dataclass
class Replays:
    """Results of many searches with `most` fresh seeds each, [replays, most], in points.

    Args:
        pairs: results of the best configuration of each arm.
        ablations: results of the arm's best configuration with its modulation switched.
        default: results of an untuned baseline.
        again: results of each arm's configuration with one more seed and split, [replays].
        searched: results in the search of the best modulated trial and of the untuned baseline, [replays] each.
    """

    pairs: dict[Arm, Array]
    ablations: dict[Arm, Array]
    default: Array
    again: dict[Arm, Array]
    searched: tuple[Array, Array]


def run_search(curves: Array, opens: list[int | None], arms: list[Arm], scheduler: Pruner) -> dict[int, TrialRecord]:
    """Run the trials, a few at a time; the scheduler decides on the same values as in a real search."""
    best = np.maximum.accumulate(curves, 1).tolist()
    values = curves.tolist()
    waiting, active = iter(range(len(arms))), list[int]()
    runs: dict[int, LearningCurve] = {}
    while True:
        while len(active) < AT_ONCE and (number := next(waiting, None)) is not None:
            active.append(number)
        if not active:
            break
        for number in list(active):
            so_far = len(runs[number].values) if number in runs else 0
            runs[number] = LearningCurve(number, arms[number], opens[number], best[number][: so_far + 1])
            ended = so_far + 1 == EPOCHS or scheduler.decide(runs[number], runs.values()) is not None
            if ended:
                active.remove(number)
    return {
        n: TrialRecord(
            n,
            arms[n],
            {},
            {},
            "finished" if len(run.values) == EPOCHS else "stopped",
            [{METRIC: v, "best": b} for v, b in zip(values[n], run.values, strict=False)],
        )
        for n, run in runs.items()
    }


def one_search(model: Model, scheduler: Pruner, rng: np.random.Generator) -> tuple[dict[Arm, Chosen], Chosen]:
    """Return the best trial of each arm, and an untuned baseline trained in the same search."""
    arms: list[Arm] = [arm_of(n, 0.5) for n in range(TRIALS)]
    count = model.settings or TRIALS + 1
    worths = rng.normal(0, model.setting, count)
    here = worths + rng.normal(0, model.interaction, count)  # on the search's split; its difficulty affects no ranks
    settings = np.arange(TRIALS)
    if model.settings:
        baseline = [n for n in range(TRIALS) if arms[n] == "baseline"]
        settings = rng.integers(0, count, TRIALS)
        settings[baseline] = rng.permutation(count)[: len(baseline)]  # a sampler proposes no configuration twice
    starts = rng.choice(STARTS, TRIALS)
    opens = [None if arm == "baseline" else int(start) for arm, start in zip(arms, starts, strict=True)]
    noise = rng.normal(0, model.seed, (TRIALS + 1, 1)) + rng.normal(0, model.epoch, (TRIALS + 1, EPOCHS))
    gain = gained(model, np.array([EPOCHS if o is None else o for o in opens]))
    record = SearchRecord()
    record.trials = run_search(CURVE + here[settings, None] + gain + noise[:TRIALS], opens, arms, scheduler)
    found: dict[Arm, Chosen] = {}
    for arm in ARMS:
        best = best_of(record, arm, METRIC, "max")
        assert best is not None
        n = best.trial.number
        found[arm] = Chosen(int(settings[n]), float(worths[settings[n]]), opens[n], best.value)
    plain = int(rng.integers(0, count)) if model.settings else TRIALS
    shown = float((CURVE + here[plain] + noise[TRIALS]).max())
    return found, Chosen(plain, float(worths[plain]), None, shown)


def trained(
    model: Model, chosen: list[Chosen], shared: Array, opens: NDArray[np.int64], rng: np.random.Generator
) -> Array:
    """Return the best epochs of fresh trainings, [replays, seeds]; `shared` is the effect of the split."""
    worth = np.array([c.worth for c in chosen])[:, None]
    fresh = rng.normal(0, model.seed, shared.shape)
    result = np.full(shared.shape, -np.inf)
    gain = gained(model, opens)
    for epoch in range(EPOCHS):
        at = CURVE[epoch] + gain[:, epoch, None] + rng.normal(0, model.epoch, shared.shape)
        np.maximum(result, at, out=result)
    return result + worth + fresh + shared


def confirmed(model: Model, replays: int, most: int, scheduler: Pruner, seed: list[int]) -> Replays:
    """Run searches, then train their choices with fresh seeds."""
    rng = np.random.default_rng(seed)
    searches = [one_search(model, scheduler, rng) for _ in range(replays)]
    best: dict[Arm, list[Chosen]] = {arm: [found[arm] for found, _ in searches] for arm in ARMS}
    plain = [default for _, default in searches]
    settings = {"modulated": best["modulated"], "baseline": best["baseline"], "default": plain}
    split = rng.normal(0, model.split, (replays, most + 1))
    on_split: dict[str, Array] = {}
    for name, chosen in settings.items():  # the interaction of split and setting is the same in all roles
        on_split[name] = split + rng.normal(0, model.interaction, split.shape)
        for other, theirs in list(on_split.items())[:-1]:
            same = np.array([a.setting == b.setting for a, b in zip(chosen, settings[other], strict=True)])
            on_split[name][same] = theirs[same]
    open_at = np.array([c.opens for c in best["modulated"]])
    never = np.full(replays, EPOCHS)
    pairs = {
        arm: trained(model, best[arm], on_split[arm], o, rng)
        for arm, o in (("modulated", open_at), ("baseline", never))
    }
    ablations = {
        arm: trained(model, best[arm], on_split[arm], o, rng)[:, :most]
        for arm, o in (("modulated", never), ("baseline", open_at))
    }
    return Replays(
        {arm: p[:, :most] for arm, p in pairs.items()},
        ablations,
        trained(model, plain, on_split["default"], never, rng)[:, :most],
        {arm: p[:, most] for arm, p in pairs.items()},
        (np.array([c.value for c in best["modulated"]]), np.array([c.value for c in plain])),
    )


# ---- the claims ----


@dataclass(frozen=True)
class Said:
    """Claims of each replay: on the pairs alone, with the ablation, and the number of seeds of the latter."""

    pairs: list[Claim]
    ablation: list[Claim]
    seeds: list[int]


def said(found: Replays, n: int | None) -> Said:
    """Return the claims after n seeds; with None, test after every seed and stop as soon as the result is clear."""
    modulated, baseline = found.pairs["modulated"], found.pairs["baseline"]
    most = modulated.shape[1]
    evident = anytime.log_evidence(modulated - baseline) >= math.log(anytime.EVIDENCE)
    result = Said([], [], [])
    for i, clear in enumerate(evident):
        looks = [n] if n else [int(k) + 1 for k in clear.nonzero()[0]]
        alone, both, seeds = _looked(found, i, looks, sequential=not n)
        result.pairs.append(alone)
        result.ablation.append(both)
        result.seeds.append(seeds or n or most)
    return result


def _looked(found: Replays, i: int, looks: list[int], *, sequential: bool) -> tuple[Claim, Claim, int | None]:
    """Return replay i's claim at the first clear test of the pairs alone, then with the ablation, and its seeds."""
    alone: Claim = "none"
    for look in looks:
        modulated, baseline = (found.pairs[arm][i, :look] for arm in ("modulated", "baseline"))
        first = decide(modulated, baseline, sequential=sequential)
        if alone == "none":
            alone = first.claim
        if first.claim != "none":
            arm = leader(first.paired, "max")
            ablation = Ablation(arm, found.ablations[arm][i, :look])
            if (claim := decide(modulated, baseline, sequential=sequential, ablation=ablation).claim) != "none":
                return alone, claim, look
    return alone, "none", None


def errors(space: str, found: Replays) -> bool:
    """Print the false claims in a space; return whether those with the ablation exceed the nominal rate."""
    short = False
    for n in (*FIXED, None):
        claims = said(found, n)
        for name, each in (("pairs alone", claims.pairs), ("pairs and ablation", claims.ablation)):
            rates = [share(each.count(claim), len(each)) for claim in ("helps", "hurts")]
            over = any(low > NOMINAL for _, low, _ in rates)
            short |= over and each is claims.ablation
            seeds = str(n) if n else f"up to {found.default.shape[1]}"
            cells = [space, seeds, name, *map(written, rates), "**exceeded**" if over else "holds"]
            print("|", " | ".join(cells), "|")
    return short


def naive(space: str, found: Replays) -> None:
    """Print how often the best of the search seems to beat an untuned baseline."""
    best, plain = found.searched
    claims = [decide(a[:10], b[:10]).claim for a, b in zip(found.pairs["modulated"], found.default, strict=True)]
    once, ten = share(int((best > plain).sum()), len(best)), share(claims.count("helps"), len(claims))
    print(f"| {space} | {written(once)} | {written(ten)} |")


def coverage(space: str, found: Replays) -> bool:
    """Print how often the prediction interval contains one more training; return whether that is too rare."""
    cells, short = [], False
    for n in FIXED:
        held = 0
        for i, (a, b) in enumerate(zip(found.pairs["modulated"], found.pairs["baseline"], strict=True)):
            arm: Arm = "modulated" if a[:n].mean() > b[:n].mean() else "baseline"
            interval = prediction_interval(found.pairs[arm][i, :n])
            assert interval is not None
            held += interval.low <= found.again[arm][i] <= interval.high
        rate = share(held, len(found.default))
        short |= rate[2] < COVERAGE
        cells.append(written(rate))
    print("|", " | ".join([space, *cells]), "|")
    return short


def power(gain: float, found: Replays) -> None:
    """Print how often a true gain is detected."""
    fixed = [f"{100 * power_of(gain, PAIR_SD, n):.0f} %" for n in FIXED]
    print(f"| {gain:g} | the same settings, by equation |", " | ".join(fixed), "| | |")
    seen = [said(found, n) for n in (*FIXED, None)]
    pairs = [f"{100 * s.pairs.count('helps') / len(s.pairs):.0f} %" for s in seen]
    ablation = [f"{100 * s.ablation.count('helps') / len(s.ablation):.0f} %" for s in seen]
    print(f"| {gain:g} | pairs alone |", " | ".join(pairs), "| |")
    print(f"| {gain:g} | pairs and ablation |", " | ".join(ablation), f"| {int(np.median(seen[-1].seeds))} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replays", type=int, default=10_000, help="searches without any effect of the method")
    parser.add_argument("--power-replays", type=int, default=2_000, help="searches per gain")
    parser.add_argument("--most-seeds", type=int, default=30, help="limit for seeds added until the result is clear")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.most_seeds < max(FIXED):
        parser.error(f"--most-seeds must be at least {max(FIXED)}, but got {given.most_seeds}")
    scheduler = pruner_of(load(Path("experiments/demo.yaml"), []))
    null = {
        space: confirmed(model, given.replays, given.most_seeds, scheduler, [given.seed, number])
        for number, (space, model) in enumerate(SPACES.items())
    }
    print("# How often the verdict is wrong\n")
    print(f"`python -m benchmarks.verdict --replays {given.replays} --power-replays {given.power_replays}", end="")
    print(f" --most-seeds {given.most_seeds} --seed {given.seed}`; docs/statistics.md explains the figures.\n")
    print(f"## False claims if the method changes nothing, {given.replays} replays, 99 % Clopper-Pearson intervals\n")
    print("| space | seeds | verdict based on | *helps* | *hurts* | at most 2.5 % |\n|---|---|---|---|---|---|")
    short = [errors(space, found) for space, found in null.items()]
    print("\n## Naive claims of a gain in the same replays\n")
    print("| space | best of the search above one untuned baseline run | tuned against untuned, 10 seeds each |")
    print("|---|---|---|")
    for space, found in null.items():
        naive(space, found)
    print("\n## How often the 95 % prediction interval contains one more training of the better configuration\n")
    print(f"| space | {' | '.join(f'{n} seeds' for n in FIXED)} |\n|---|---|---|---|")
    short += [coverage(space, found) for space, found in null.items()]
    print(f"\n## How often a true gain is detected (*helps*), 16 settings, {given.power_replays} replays\n")
    columns = [*(f"{n} seeds" for n in FIXED), f"up to {given.most_seeds}", "median of these seeds"]
    print(f"| gain (points) | verdict based on | {' | '.join(columns)} |\n|---|---|---|---|---|---|---|")
    for number, gain in enumerate(GAINS):
        model = replace(Model(), gain=gain)
        power(gain, confirmed(model, given.power_replays, given.most_seeds, scheduler, [given.seed, 100 + number]))
    sys.exit(1 if any(short) else 0)


if __name__ == "__main__":
    main()
