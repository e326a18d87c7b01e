"""Folders of runs as searches and trainings leave them, created without any training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ogmge import checkpoint, fit
from search.experiment.arms import ARMS, Arm
from search.experiment.dimensions import METHOD
from search.experiment.load import check
from search.experiment.schema import Experiment, as_values, to_yaml
from search.experiment.space import dimensions
from search.experiment.yaml_source import override, parse
from search.run.folder import Identity, RunFolder, write
from search.run.journal import Journal
from search.run.open_data import fingerprint_of, open_data
from search.verdict.decide import verdict
from search.verdict.evidence import ConfirmedArm, Evidence, Pair, write_evidence
from search.verdict.plan import Plan, write_plan

TRIAL = """\
name: {name}
dataset: {{name: 'tests.wording.own:Tested'}}
trial: {{epochs: 3, encoder: mlp, modulation: {{method: ogm, alpha: 0.5, end: 2, parameters: all}}}}
"""
SEARCH = """\
name: demo
dataset: {name: 'tests.wording.own:Tested'}
trial: {epochs: 3, encoder: mlp, modulation: {method: ogm, alpha: 0.5, end: 2, parameters: all}}
space: {fusion: [concat, sum], optimizer.lr: [1e-3, 1e-2]}
search: {trials: 4, scheduler: {name: none}}
"""

# for each trial: arm, choices by place, accuracies of its epochs, status, reason
Trials = list[tuple[Arm, tuple[int, ...], list[float], str, str]]
FINISHED: Trials = [
    ("modulated", (0, 1), [0.5, 0.7, 0.8], "finished", ""),
    ("baseline", (0, 1), [0.5, 0.6, 0.75], "finished", ""),
    ("modulated", (1, 0), [0.4], "failed", "NonFiniteLoss: the loss is not finite"),
    ("baseline", (1, 0), [0.4, 0.5, 0.55], "finished", ""),
]
NOTHING: Trials = [(arm, places, [], "failed", "RuntimeError: CUDA error") for arm, places, *_ in FINISHED]
NOISE = [0.0031, -0.0083, 0.0012, 0.0094, -0.0041, 0.0063]  # all sums of two differ


def experiment(text: str, *assignments: str) -> Experiment:
    """Return the experiment in a text, overridden by assignments."""
    document = parse(text, "mine.yaml")
    override(document, assignments)
    return check(document)


# ---- a training ----


def trained(name: str, *assignments: str, folder: str = "") -> None:
    """Create the run of a training, or a training in the folder of a run. Its model always predicts `horse`."""
    found = experiment(TRIAL.format(name=name), *assignments)
    run = RunFolder(Path("runs", name))
    _begin(run, found)
    data = open_data(found.dataset)
    model = fit.start(found.trial, data, torch.device("cpu")).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for parameter in [p for p in model.parameters() if p.shape == (len(data.classes),)][-1:]:
            parameter[-1] = 1
    state = {
        "model": model.state_dict(),
        "config": asdict(found.trial),
        "shapes": {modality: list(shape) for modality, shape in data.shapes.items()},
        "classes": list(data.classes),
        "metrics": {"epoch": 2, "val/accuracy": 1 / 3},
        "correct": torch.arange(60) % 3 == 2,
        "targets": torch.arange(60, dtype=torch.int32) % 3,
    }
    checkpoint.save(state, run.path / folder / fit.BEST)


def altered(name: str, **values: Any) -> None:
    """Replace parts of a run's checkpoint."""
    file = Path("runs", name, fit.BEST)
    torch.save({**torch.load(file, weights_only=True), **values}, file)


# ---- a search ----


def searched(trials: Trials = FINISHED, *assignments: str) -> RunFolder:
    """Create the run of a search, `runs/demo`."""
    found, run = experiment(SEARCH, *assignments), RunFolder(Path("runs/demo"))
    _begin(run, found)
    journal = Journal(run.journal)
    for number, (arm, places, accuracies, status, reason) in enumerate(trials):
        journal.append({"event": "suggested", "number": number, "arm": arm, **_choices(found, arm, places)})
        journal.append({"event": "started", "number": number})
        for epoch in range(len(accuracies)):
            journal.append({"event": "reported", "number": number, "metrics": metrics(accuracies[: epoch + 1])})
        if status != "running":
            journal.append({"event": "ended", "number": number, "status": status, "reason": reason})
    journal.close()
    return run


def metrics(accuracies: list[float]) -> dict[str, float]:
    """Return the metrics of an epoch, made up from the accuracies so far."""
    accuracy = accuracies[-1]
    alone = {"val/accuracy/audio": accuracy - 0.1, "val/accuracy/visual": accuracy - 0.2}
    steering = {"ratio/audio": 2.0, "ratio/visual": 0.5, "coefficient/audio": 0.5, "coefficient/visual": 1.0}
    spent = {"epoch": len(accuracies) - 1, "best": max(accuracies), "seconds": 10.0}
    return {"train/loss": 1.0, "val/loss": 1 - accuracy, "val/accuracy": accuracy, **alone, **steering, **spent}


def confirmed(gain: float = 0.02) -> None:
    """Write a verdict on six seeds and its plan into `runs/demo`."""
    baseline = [0.75 + 0.01 * (seed % 3) for seed in range(len(NOISE))]
    modulated = [value + gain + noise for value, noise in zip(baseline, NOISE, strict=True)]
    run = RunFolder(Path("runs/demo"))
    trials: dict[Arm, int] = {arm: ARMS.index(arm) ^ 1 for arm in ARMS}
    arms = {arm: ConfirmedArm(number, {}, None, 2, len(NOISE)) for arm, number in trials.items()}
    found, pairs = verdict(modulated, baseline), pairs_of(7, modulated, baseline)
    write_evidence(run.verdict, Evidence("demo", "val/accuracy", found, "modulated", arms, None, False, pairs))
    journal = Journal(run.confirmation.journal)
    journal.append(
        {
            "event": "suggested",
            "number": 0,
            "arm": "baseline",
            "internal": {"pair": 0, "role": "baseline"},
            "changes": {"seed": 7},
        }
    )
    journal.close()
    write_plan(run.confirmation.path / "plan.json", Plan(len(NOISE), False, trials))


def pairs_of(seed: int, modulated: Sequence[float], baseline: Sequence[float]) -> tuple[Pair, ...]:
    """Return the results as pairs of the evidence; the first pair has this seed."""
    both = enumerate(zip(modulated, baseline, strict=True), start=seed)
    return tuple(Pair(number, {"modulated": m, "baseline": b}) for number, (m, b) in both)


def _begin(run: RunFolder, found: Experiment) -> None:
    run.path.mkdir(parents=True, exist_ok=True)
    write(run.experiment, to_yaml(as_values(found)))
    identity = Identity("0123456789abcdef", fingerprint_of(open_data(found.dataset)))
    write(run.identity, json.dumps(asdict(identity)))


def _choices(found: Experiment, arm: Arm, places: tuple[int, ...]) -> dict[str, Any]:
    """Return a configuration as the arm's study samples it, and as changes of the trial."""
    internal: dict[str, Any] = {}
    changes: dict[str, Any] = {} if arm == "modulated" else {METHOD: "none"}
    searched_over = dimensions(found.space, found.trial, modulated=arm == "modulated")
    for place, dimension in zip((*places, 0, 0), searched_over, strict=False):
        internal |= dimension.at(place)
        changes |= dimension.decode(internal)
    return {"internal": internal, "changes": changes}
