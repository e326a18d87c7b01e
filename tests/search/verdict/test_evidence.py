"""`verdict.json` is read back as it was written, and a file that cannot be read is reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.run.version import VERSION, VersionError
from search.verdict.decide import Ablation, verdict
from search.verdict.evidence import (
    ArmScores,
    ClassDifference,
    ConfirmedArm,
    Difference,
    Evidence,
    EvidenceError,
    Pair,
    TestScores,
    measures,
    read_evidence,
    write_evidence,
)
from search.verdict.paired import Range, secondary
from tests.support.tells import tells

KEYS = [
    "version",
    "experiment",
    "metric",
    "claim",
    "word",
    "mode",
    "sequential",
    "interval",
    "paired",
    "ablation_interval",
    "ablation",
    "sign_flip_p",
    "smallest_p",
    "detectable",
    "seeds_for_seen",
    "evidence",
    "unimodal",
    "examples",
    "notes",
    "best",
    "arms",
    "ablation_of",
    "split_redrawn",
    "pairs",
    "classes",
    "looks_before",
    "test",
]


def evidence_on(modulated: list[float], baseline: list[float], *, sequential: bool, whole: bool) -> Evidence:
    """Return evidence on results, with every optional part or with none."""
    found = verdict(
        modulated,
        baseline,
        sequential=sequential,
        ablation=Ablation("modulated", baseline) if whole else None,
        unimodal={"audio": (modulated, baseline), "visual": (baseline, modulated)} if whole else None,
        correct=([[True, False]], [[True, True]]) if whole else None,
    )
    third = [("ablation", b) for b in baseline] if whole else [()] * len(baseline)
    rows = zip(modulated, baseline, third, strict=True)
    pairs = [Pair(7 + i, {"modulated": m, "baseline": b} | dict([c] if c else [])) for i, (m, b, c) in enumerate(rows)]
    prediction = Range(0.1 + 0.2, 1 / 3, 2 / 3) if whole else None
    changes = {"modulation.alpha": 0.1 + 0.2, "fusion": "sum", "modalities": ["audio", "visual"]}
    arms = {arm: ConfirmedArm(3, changes, prediction, 4, len(pairs)) for arm in ("baseline", "modulated")}
    evidence = Evidence("demo", "val/accuracy", found, "modulated", arms, None, True, tuple(pairs))
    if not whole:
        return evidence
    scores, reading = ArmScores(1 / 3, None, (1 / 3,)), {"time": "2026-01-01T00:00:00+00:00", "reason": "confirmation"}
    changed = secondary({"cough": (modulated, baseline), "laugh": (baseline, modulated)})
    return replace(
        evidence,
        ablation_of="modulated",
        classes=tuple(ClassDifference(name, one.paired, one.holm_p) for name, one in changed.items()),
        looks_before=(3, 6),
        test=TestScores("test/accuracy", 96, 1, scores, scores, Difference(1 / 7, None, None), reading),
    )


accuracies = st.floats(0, 1)
results = st.lists(st.tuples(accuracies, accuracies), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(results, st.booleans(), st.booleans())
def test_what_is_written_is_read_as_it_was_to_the_last_bit(pairs, sequential, whole):
    evidence = evidence_on(*map(list, zip(*pairs, strict=True)), sequential=sequential, whole=whole)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "verdict.json"
        write_evidence(path, evidence)
        assert read_evidence(path) == evidence
        assert list(json.loads(path.read_text())) == KEYS


WHOLE = evidence_on([0.6, 0.7, 0.9], [0.5, 0.65, 0.7], sequential=True, whole=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    write_evidence(tmp_path / "own" / "verdict.json", WHOLE)
    return tmp_path / "own" / "verdict.json"


def test_rows_of_the_file_stand_by_themselves(path):
    written = json.loads(path.read_text())
    assert written["version"] == VERSION
    assert written["pairs"][0] == {"seed": 7, "modulated": 0.6, "baseline": 0.5, "ablation": 0.5}
    assert [row["class"] for row in written["classes"]] == ["cough", "laugh"]
    assert set(written["classes"][0]) == {"class", *written["paired"], "holm_p"}


def test_what_carries_no_version_is_read_in_todays_words(path):
    values = json.loads(path.read_text())
    del values["version"], values["classes"]  # the first confirmations did not write these
    path.write_text(json.dumps(values).replace("ablation", "twin"))
    assert read_evidence(path) == replace(WHOLE, classes=())


def test_where_there_is_no_file_there_is_no_evidence(tmp_path):
    assert read_evidence(tmp_path / "verdict.json") is None


def test_what_a_newer_program_wrote_is_refused(path):
    path.write_text(path.read_text().replace(f'"version": {VERSION}', f'"version": {VERSION + 1}'))
    with pytest.raises(VersionError) as error:
        read_evidence(path)
    tells(error.value, path.parent, VERSION, VERSION + 1)


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "{}", '{"arms": 7, "pairs": []}', '{"pairs": [7]}', "\xff"])
def test_a_damaged_file_is_reported_with_the_command_that_writes_it_again(path, text):
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(EvidenceError) as error:
        read_evidence(path)
    tells(error.value, path, "python -m search confirm own")


@pytest.mark.parametrize("lost", [*KEYS[1:5], "paired", "best", "arms", "pairs"])
def test_a_file_without_what_the_verdict_rests_on_is_damaged(path, lost):
    values = json.loads(path.read_text())
    del values[lost]
    path.write_text(json.dumps(values))
    with pytest.raises(EvidenceError):
        read_evidence(path)


def test_a_file_without_one_of_the_arms_is_damaged(path):
    values = json.loads(path.read_text())
    del values["arms"]["baseline"]
    path.write_text(json.dumps(values))
    with pytest.raises(EvidenceError):
        read_evidence(path)


def test_only_measures_that_there_are_are_logged():
    bare = evidence_on([0.6], [0.5], sequential=False, whole=False)
    assert "verdict/low" not in measures(bare)
    assert measures(bare).keys() < measures(WHOLE).keys()
    assert measures(WHOLE)["test/modulated"] == 1 / 3
