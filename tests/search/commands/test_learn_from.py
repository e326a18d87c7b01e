"""`search.learn_from`: errors before anything starts, and a search that learns and is resumed."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from search.experiment.load import load
from search.experiment.schema import as_values, to_yaml
from search.run.best import has_result
from search.run.folder import RunFolder, identify, write
from search.run.journal import Journal, read
from search.run.open_data import fingerprint_of, open_data
from search.tuner.search_policy import SearchPolicy
from search.tuner.tuner import Tuner
from tests.search.tuner.test_tuner import simulate
from tests.support.searches import ONE_WORKER, command, journal_in, own, search
from tests.support.tells import tells

B = ["own.yaml", "name=b", "search.learn_from=[a]", "confirm=null", ONE_WORKER]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with an experiment and an earlier search of it, `runs/a`, with six simulated trials."""
    monkeypatch.chdir(tmp_path)
    asked = load(Path(own("Drawn", tmp_path)), ["name=a", "search.trials=6"])
    folder = RunFolder(tmp_path / "runs" / "a")
    folder.tune.mkdir(parents=True)
    write(folder.experiment, to_yaml(as_values(asked)))
    identify(folder, fingerprint_of(open_data(asked.dataset)))
    with closing(Journal(folder.journal)) as journal:
        simulate(Tuner(asked, journal, SearchPolicy(asked)))
    return tmp_path


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("learn_from", "facts"),
    [
        (
            "[nothing, b, a, ./runs/a]",
            [("'nothing'", "a"), ("b", "itself"), ("runs/a are the same search", "keep only one")],
        ),
        ("[a, a]", [('["a", "a"]',)]),
        ("a", [("a list", "'a'")]),
    ],
)
def test_mistakes_are_told_before_anything_starts(here, learn_from, facts, more):
    result = search("own.yaml", "name=b", f"search.learn_from={learn_from}", *more)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    lines = [line for line in result.output.splitlines() if "`search.learn_from`" in line]
    for line, expected in zip(lines, facts, strict=True):
        tells(line, *expected)
    assert [path.name for path in (here / "runs").iterdir()] == ["a"]


def test_a_dry_run_says_what_would_be_learned(here):
    result = search(*B, "trial.epochs=4", "--dry-run")
    assert result.exit_code == 0, result.output
    tells(result.output, "note:", "0 of the 6 trials of a", "another `epochs`")


@pytest.mark.slow
def test_a_search_that_learned_goes_on_when_the_earlier_is_gone(here):
    """Killed while it stores what it learned, the search learns again, once, and then needs no earlier search."""
    folder = RunFolder(here / "runs" / "b")
    folder.tune.mkdir(parents=True)
    write(folder.experiment, to_yaml(as_values(load(Path("own.yaml"), B[1:]))))
    folder.journal.write_bytes(b'{"event": "learned", "trials": [{"num')
    results = sum(map(has_result, read(RunFolder(here / "runs" / "a").journal)))

    first = search(*B, "--resume")
    assert first.exit_code == 0, first.output
    tells(first.output, f"{results} of the 6 trials of a")
    record = read(folder.journal)
    assert (len(record.earlier), len(record.trials)) == (results, 4)

    shutil.rmtree(here / "runs" / "a")
    again = search(*B, "--resume", "search.trials=6")
    assert again.exit_code == 0, again.output
    assert "trials of a" not in again.output
    names = [event["event"] for event in journal_in(folder.tune)]
    assert (names[0], names.count("learned"), names.count("suggested")) == ("learned", 1, 6)
    for words in (["report", "b"], ["export", "b"]):
        result = command(*words)
        assert result.exit_code == 0, result.output
