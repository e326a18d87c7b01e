"""Trainings that are probed: both arms and each encoder alone, with each seed; a resume continues the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.experiment.arms import Arm
from search.experiment.space import Changes
from search.run.folder import FolderError, RunFolder
from search.run.journal import Journal
from search.tuner.tuner import Tuner
from search.verdict.probe_plan import claim_probes, configurations
from search.verdict.probe_policy import ProbePolicy, probe_tags, probe_title, probed_of
from tests.support.tells import tells
from tests.wording.laid_out import SEARCH, experiment

BEST: dict[Arm, Changes] = {
    "modulated": {"fusion": "sum", "optimizer.lr": 0.01},
    "baseline": {"fusion": "film", "optimizer.lr": 0.1, "modulation.method": "none"},
}


def policy(seeds: int = 2, *assignments: str) -> ProbePolicy:
    return ProbePolicy(experiment(SEARCH, *assignments), BEST, ["audio", "visual"], [11, 22, 33][:seeds])


def test_each_seed_trains_both_arms_and_each_encoder_alone_with_the_baselines_settings(tmp_path):
    asked = policy()
    tuner = Tuner(asked.experiment, Journal(tmp_path / "journal.jsonl"), asked)
    trials = []
    while (trial := tuner.next()) is not None:
        trials.append(trial)
    assert [(str(probed_of(t)), t.changes["seed"]) for t in trials] == [
        (name, seed) for seed in (11, 22) for name in ("modulated", "baseline", "audio alone", "visual alone")
    ]
    assert [t.arm for t in trials[:4]] == ["modulated", "baseline", "baseline", "baseline"]
    titles = {(probe_title(t), *probe_tags(t).values()) for t in trials[:3]}
    assert titles == {
        ("probe 00 modulated", "0", "modulated"),
        ("probe 00 baseline", "0", "baseline"),
        ("probe 00 audio alone", "0", "alone", "audio"),
    }
    configs = configurations(asked)
    assert [c.optimizer.lr for c in configs.values()] == [0.01, 0.1, 0.1, 0.1]
    assert [c.modulation.method for c in configs.values()] == ["ogm", "none", "none", "none"]
    assert [(c.modalities, c.fusion) for c in configs.values()] == [
        (None, "sum"),
        (None, "film"),
        (("audio",), "concat"),
        (("visual",), "concat"),
    ]


def test_more_seeds_add_to_the_same_trainings():
    two, three = ([policy(n).suggest(i) for i in range(policy(n).total)] for n in (2, 3))
    assert three[: len(two)] == two
    assert len(three) == 12


def test_a_split_that_is_ours_is_drawn_by_each_seed(tmp_path):
    drawn = policy(1, "dataset={name: 'tests.support.own_data:Drawn', split_seed: 0}")
    tuner = Tuner(drawn.experiment, Journal(tmp_path / "journal.jsonl"), drawn)
    trial = tuner.next()
    assert trial is not None
    assert drawn.dataset(trial) == {"split_seed": 11}
    assert policy(1).dataset(trial) == {}


def begun(folder: Path) -> RunFolder:
    """Return the folder of trainings of which the first has begun."""
    run = RunFolder(folder)
    assert claim_probes(run, configurations(policy()), None) == 1
    Journal(run.journal).append({"event": "suggested", "number": 0, "arm": "modulated", "internal": {}, "changes": {}})
    return run


def test_what_was_begun_goes_on_as_it_began(tmp_path):
    run = begun(tmp_path)
    assert claim_probes(run, configurations(policy(3)), None) == 1
    with pytest.raises(FolderError) as error:
        claim_probes(run, configurations(policy(2, "trial.batch_size=16")), 2)
    tells(error.value, tmp_path, "--every was 1 and is now 2", "`modulated.batch_size` was 64 and is now 16")
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(FolderError) as error:
        claim_probes(run, configurations(policy()), None)
    tells(error.value, tmp_path / "plan.json", "corrupt")


def test_what_was_never_begun_may_be_begun_otherwise(tmp_path):
    run = RunFolder(tmp_path)
    assert [claim_probes(run, configurations(policy()), every) for every in (2, None, 3)] == [2, 1, 3]
