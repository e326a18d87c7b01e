"""`confirm`, `export` and the confirmation at the end of a search, as users start them: real Ray, MLflow and files."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import time
from pathlib import Path

import mlflow
import pytest
import torch
from click.testing import CliRunner, Result

from ogmge import trained
from search.cli import main
from search.record import Journal
from search.statistics.verdict import verdict
from search.validation import load
from tests.own_data import Drawn
from tests.test_search import OWN, children, search


def command(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def said(result: Result) -> str:
    return " ".join(result.output.split())


def searched_in(folder: Path, *more: str) -> Result:
    """A search of two vectors whose validation is redrawn by a seed; one trial at a time, so that one worker starts."""
    (folder / "own.yaml").write_text(OWN.format(kind="Drawn").replace("trials: 4,", "trials: 4, resources: {cpu: 2},"))
    result = search("own.yaml", *more)
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def searched(ray_instance: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        searched_in(folder)
    return folder


@pytest.fixture
def there(searched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The search, for a test of its own, and that test in its folder."""
    shutil.copytree(searched, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="module")
def confirmed(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The search, confirmed with three seeds, and what that printed."""
    folder = tmp_path_factory.mktemp("confirmed") / "copy"
    shutil.copytree(searched, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = command("confirm", "own", "--seeds", "3")
    assert result.exit_code == 0, result.output
    return folder, result


def journal_of(folder: Path) -> Path:
    return folder / "runs" / "own" / "confirm" / "tune" / "journal.jsonl"


def verdict_in(folder: Path) -> dict:
    return json.loads((folder / "runs" / "own" / "verdict.json").read_text())


def test_both_arms_are_trained_with_the_same_fresh_seeds_to_the_end(confirmed):
    folder, _ = confirmed
    record = Journal(journal_of(folder)).replay()
    pairs = [t for t in record if t.internal["role"] != "twin"]
    assert [t.arm for t in pairs] == ["baseline", "modulated"] * 3
    assert {t.status for t in record} == {"finished"}
    assert {len(t.epochs) for t in record} == {3}
    seeds = [t.changes["seed"] for t in pairs]
    assert seeds[::2] == seeds[1::2]
    assert len({*seeds, 0}) == 4


def test_the_verdict_is_that_of_the_results_in_the_journal(confirmed):
    folder, _ = confirmed
    record, written = Journal(journal_of(folder)).replay(), verdict_in(folder)
    values = {role: [t.best for t in record if t.internal["role"] == role] for role in ("modulated", "baseline")}
    found = verdict(values["modulated"], values["baseline"])
    assert [row["modulated"] for row in written["pairs"]] == values["modulated"]
    assert written["paired"]["mean"] == found.paired.mean
    assert (written["metric"], written["split_redrawn"], written["test"]) == ("val/accuracy", True, None)


def test_the_screen_says_what_three_seeds_cannot(confirmed):
    _, result = confirmed
    for part in (
        "own: confirming the best of each arm with 3 fresh seeds",
        "own, confirmed: 3 pairs of fresh seeds, each pair with a validation split of its own",
        "left alone",
        "3 seeds cannot reach 5 % in a sign-flip test",
        "verdict runs/own/verdict.json",
        "next: uv run python -m search train runs/own/best.yaml",
    ):
        assert part in said(result)


def test_each_training_is_a_child_run_and_the_search_has_the_verdict(confirmed):
    folder, _ = confirmed
    parent, runs, client = children(folder, "own")
    record, written = Journal(journal_of(folder)).replay(), verdict_in(folder)
    assert parent.info.status == "FINISHED"
    own = [run for run in runs if run.data.tags["kind"] == "confirmation"]
    assert len([run for run in runs if run.data.tags["kind"] == "trial"]) == 4
    assert {run.info.run_name for run in own} == {
        f"confirm {t.internal['pair']:02} {t.internal['role']}" for t in record
    }
    for run in own:
        trial = record.trials[int(run.data.tags["trial"])]
        assert run.data.params["seed"] == str(trial.changes["seed"])
        assert (run.data.tags["pair"], run.data.tags["role"]) == (str(trial.internal["pair"]), trial.internal["role"])
        history = client.get_metric_history(run.info.run_id, "val/accuracy")
        assert [m.value for m in sorted(history, key=lambda m: m.step)] == [m["val/accuracy"] for m in trial.epochs]
    assert parent.data.metrics["verdict/difference"] == written["paired"]["mean"]
    assert parent.data.tags["verdict"] == written["word"]
    page = parent.data.tags["mlflow.note.content"]
    assert "3 seeds cannot reach 5 % in a sign-flip test" in page
    assert re.search(r"\| val/accuracy \| [\d.]+ ± [\d.]+ % \| [\d.]+ ± [\d.]+ % \| [+-][\d.]+ points \(", page)
    assert parent.data.metrics["trials/finished"] == 4  # its curve is the search's still
    assert "verdict.json" in {file.path for file in client.list_artifacts(parent.info.run_id)}


def test_best_yaml_has_the_better_one_and_where_it_came_from(confirmed):
    folder, _ = confirmed
    written = verdict_in(folder)
    best = load(folder / "runs" / "own" / "best.yaml")
    arm = written["arms"][written["best"]]
    assert (best.origin.run, best.origin.arm, best.origin.trial) == ("own", written["best"], arm["trial"])
    assert (best.origin.seeds, best.origin.verdict) == (3, written["word"])
    assert best.origin.prediction == (arm["prediction"]["low"], arm["prediction"]["high"])
    assert best.origin.value == written["paired"][written["best"]]["mean"]
    assert (best.origin.fingerprint, best.origin.metric) == (Drawn().fingerprint, "val/accuracy")
    assert "torch" in best.origin.versions
    assert not best.space
    assert "One more training comes out between" in (folder / "runs" / "own" / "best.yaml").read_text()


def again(confirmed: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(confirmed[0], tmp_path / "again")
    monkeypatch.chdir(tmp_path / "again")
    return tmp_path / "again"


def test_what_is_done_is_not_done_again(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    before = journal_of(folder).read_bytes(), verdict_in(folder)
    result = command("confirm", "own")
    assert result.exit_code == 0, result.output
    assert (journal_of(folder).read_bytes(), verdict_in(folder)) == before
    assert "confirmed: 3 pairs" in said(result)


def test_the_test_split_is_read_once_for_all_models_and_on_record(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    result = command("confirm", "own", "--test")
    assert result.exit_code == 0, result.output
    test = verdict_in(folder)["test"]
    record = Journal(journal_of(folder)).replay()
    for arm in ("baseline", "modulated"):
        trials = [t for t in record if t.internal["role"] == arm]
        assert len(trials) == 3
        for trial, value in zip(trials, test[arm]["values"], strict=True):
            model = trained.load(folder / "runs" / "own" / "confirm" / "tune" / f"{trial.number:04}" / "best.pt")
            right = [model.logits(x)[0].argmax(1) == y for x, y in Drawn().test(batch_size=96, reason="check")]
            assert value == pytest.approx(float(torch.cat(right).double().mean()))
    assert (
        f"On the test split (96 examples, read once for all models): modulated {100 * test['modulated']['mean']:.1f}"
        in said(result)
    )
    readings = folder / "runs" / "own" / "test_readings.jsonl"
    assert json.loads(readings.read_text())["reason"] == "confirmation, 3 seeds of each arm"
    parent, _, _ = children(folder, "own")
    assert parent.data.metrics["test/modulated"] == test["modulated"]["mean"]
    for more in (["--test"], []):  # they are known by now
        result = command("confirm", "own", *more)
        assert "On the test split" in said(result)
    assert len(readings.read_text().splitlines()) == 1


def test_more_seeds_later_are_judged_as_added(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    before = [t.epochs for t in Journal(journal_of(folder)).replay()]
    assert command("confirm", "own", "--test").exit_code == 0
    result = command("confirm", "own", "--seeds", "5", "--test")
    assert result.exit_code == 0, result.output
    written = verdict_in(folder)
    assert (written["sequential"], written["looks_before"]) == (True, [3])
    assert [t.epochs for t in Journal(journal_of(folder)).replay()][: len(before)] == before
    assert "note: this run has read the test split before" in said(result)
    assert written["test"]["seeds"] == written["paired"]["n"]
    refused = command("confirm", "own", "--seeds", "4")
    assert refused.exit_code == 2
    assert "began with 5 seeds, which cannot become 4" in said(refused)


def test_seeds_can_be_added_until_it_is_clear_after_a_verdict_but_not_without_an_end(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    epochs = sum(len(t.epochs) for t in Journal(folder / "runs/own/tune/journal.jsonl").replay())
    epochs += sum(len(t.epochs) for t in Journal(journal_of(folder)).replay())
    endless = command("confirm", "own", "--sequential")
    assert endless.exit_code == 2
    assert "--sequential adds seeds until it is clear, which it never is" in said(endless)
    assert command("confirm", "own").exit_code == 0  # and nothing came of it
    assert verdict_in(folder)["sequential"] is False
    result = command("confirm", "own", "--sequential", f"search.budget.epochs={epochs + 40}")
    assert result.exit_code == 0, result.output
    written = verdict_in(folder)
    assert (written["sequential"], written["looks_before"]) == (True, [3])
    assert written["paired"]["n"] > 3
    endless = command("confirm", "own")
    assert endless.exit_code == 2
    assert "--sequential adds seeds until it is clear, which it never is" in said(endless)


def test_a_number_of_seeds_that_nothing_was_trained_for_can_become_another(there):
    assert command("confirm", "own", "--seeds", "5", "search.resources.cpu=64").exit_code == 2
    result = command("confirm", "own", "--seeds", "2")
    assert result.exit_code == 0, result.output
    assert verdict_in(there)["sequential"] is False


def test_a_confirmation_that_cannot_begin_leaves_the_searchs_run_in_mlflow_as_it_was(there):
    assert command("confirm", "own", "search.resources.cpu=64").exit_code == 2
    time.sleep(1)
    parent, _, _ = children(there, "own")
    assert parent.info.status == "FINISHED"


def test_models_that_were_trained_again_are_asked_the_test_split_again(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    assert command("confirm", "own", "--test").exit_code == 0
    text = (folder / "runs" / "own" / "verdict.json").read_text()
    value = verdict_in(folder)["pairs"][0]["modulated"]
    (folder / "runs" / "own" / "verdict.json").write_text(text.replace(str(value), str(value + 0.01)))
    assert command("confirm", "own").exit_code == 0
    assert verdict_in(folder)["test"] is None


# ---- export ----


def test_export_writes_the_best_or_the_trial_that_is_asked_for(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    result = command("export", "own", "-o", "it.yaml")
    assert result.exit_code == 0, result.output
    assert "next: uv run python -m search train it.yaml" in said(result)
    best = load(folder / "runs" / "own" / "best.yaml")
    assert load(Path("it.yaml")) == best
    other = next(n for n in range(4) if n not in [a["trial"] for a in verdict_in(folder)["arms"].values()])
    assert command("export", str(folder / "runs" / "own"), "--trial", str(other)).exit_code == 0
    asked = load(Path("best.yaml"))
    assert (asked.origin.trial, asked.origin.seeds, asked.origin.prediction, asked.origin.verdict) == (
        other,
        1,
        None,
        None,
    )
    assert f"Trial {other} (" in Path("best.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["export", "own", "--trial", "99"], "99 is no trial of the search in runs/own: it has 4, from 0"),
        (["export", "nowhere"], "no run called 'nowhere' under runs/: there is own"),
        (["export", "own", "-o", "no/such/folder.yaml"], "no/such/folder.yaml cannot be written: No such file"),
        (["confirm", "nowhere"], "no run called 'nowhere' under runs/: there is own"),
        (
            ["confirm", "own", "trial.epochs=2"],
            "is of the search as it was, but `trial.epochs` was 3 and is 2",
        ),
        (["confirm", "own", "search.trials=9"], "is of the search as it was, but `search.trials` was 4 and is 9"),
        (["confirm", "own", "--sequential"], "--sequential adds seeds until it is clear, which it never is where"),
        (
            ["confirm", "own", "search.resources.cpu=64"],
            "`search.resources.cpu` asks for 64 CPU a trial, but Ray has no",
        ),
    ],
)
def test_a_mistake_gets_a_sentence(there, arguments, sentence):
    result = command(*arguments)
    assert (result.exit_code, result.exception.__class__) == (2, SystemExit)
    assert sentence in said(result)


# ---- what a confirmation cannot begin with ----


def test_a_run_in_progress_is_left_alone(there):
    with (there / "runs" / "own" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = command("confirm", "own")
    assert result.exit_code == 2
    assert "another process is at work in runs/own: wait for it, or stop it" in said(result)


def keep_events(folder: Path, wanted) -> None:
    """The search's journal without what is not wanted."""
    for path in (folder / "runs" / "own" / "tune").glob("journal*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(line for line in lines if wanted(json.loads(line))))


def test_a_search_that_is_not_done_is_to_be_done_first(there):
    keep_events(there, lambda event: (event["event"], event["number"]) != ("ended", 2))
    result = command("confirm", "own")
    assert result.exit_code == 2
    assert "the search in runs/own is not done (3 of 4 trials have ended)" in said(result)


@pytest.mark.parametrize(
    ("arms", "sentence"),
    [
        (["baseline"], "no modulated trial of the search in runs/own came to a result"),
        ([], "no baseline and no modulated trial of the search in runs/own came to a result"),
    ],
)
def test_without_both_arms_there_is_nothing_to_compare(there, arms, sentence):
    record = Journal(there / "runs" / "own" / "tune" / "journal.jsonl").replay()
    out = {t.number for t in record if t.arm not in arms}
    keep_events(there, lambda event: event["number"] not in out or event["event"] != "reported")
    result = command("confirm", "own")
    assert result.exit_code == 2
    assert sentence in said(result)
    assert not (there / "runs" / "own" / "confirm" / "plan.json").exists()
    if not arms:
        assert "came to a result" in said(command("export", "own"))


def test_data_that_changed_since_are_refused(there):
    text = (there / "runs" / "own" / "run.json").read_text()
    (there / "runs" / "own" / "run.json").write_text(text.replace("drawn-96-0-0", "drawn-97-0-0"))
    for result in (command("confirm", "own"), search("own.yaml", "search.trials=6", "--resume")):
        assert result.exit_code == 2
        assert "the data have changed since the run in runs/own began (fingerprint drawn-97-0-0 then" in said(result)


def test_a_data_set_without_a_test_split_says_so(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.yaml").write_text(OWN.format(kind="Vectors"))
    result = search("own.yaml")
    assert result.exit_code == 0, result.output
    result = command("confirm", "own", "--seeds", "2", "--test")
    assert result.exit_code == 2
    assert "this data set has no test split: its class needs `test(*, batch_size, reason)`" in said(result)
    assert not (tmp_path / "runs" / "own" / "confirm").exists()  # nothing was trained for that


def test_what_comes_of_the_test_split_costs_no_verdict(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    (folder / "runs" / "own" / "verdict.json").unlink()
    (folder / "runs" / "own" / "confirm" / "tune" / "0000" / "best.pt").unlink()
    result = command("confirm", "own", "--test")
    assert result.exit_code == 2
    assert "a model of the confirmation is lost" in said(result)
    assert verdict_in(folder)["paired"]["n"] == 3


# ---- in one command ----


def test_a_search_confirms_what_it_found_where_it_is_asked_to(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = searched_in(tmp_path, "confirm.seeds=2")
    assert "confirmed: 2 pairs of fresh seeds" in said(result)
    assert said(result).count("next:") == 1
    assert verdict_in(tmp_path)["paired"]["n"] == 2
    assert load(tmp_path / "runs" / "own" / "best.yaml").origin.seeds == 2
    again = search("own.yaml", "confirm.seeds=2", "--resume")
    assert again.exit_code == 0, again.output
    assert "confirmed: 2 pairs of fresh seeds" in said(again)


def test_a_search_that_goes_on_and_finds_a_better_one_puts_its_confirmation_aside(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    run = folder / "runs" / "own"
    plan = json.loads((run / "confirm" / "plan.json").read_text())
    (run / "confirm" / "plan.json").write_text(json.dumps({**plan, "trials": {"baseline": 1, "modulated": 99}}))
    result = search("own.yaml", "--resume")
    assert result.exit_code == 0, result.output
    assert (run / "confirm.1" / "verdict.json").exists()
    assert not (run / "verdict.json").exists()
    assert load(run / "best.yaml").origin.seeds == 1
    assert "confirm own" in said(result)
    parent, before, _ = children(folder, "own")
    assert parent.data.tags["verdict"] == "none yet: the search has another best since it was confirmed"
    result = command("confirm", "own", "--seeds", "2")
    assert result.exit_code == 0, result.output
    parent, runs, _ = children(folder, "own")
    assert parent.data.tags["verdict"] == verdict_in(folder)["word"]
    old = {r.info.run_id for r in before}
    new = [r for r in runs if r.info.run_id not in old]
    assert len(new) == len(Journal(journal_of(folder)).replay().trials)  # the old ones are no part of it


def test_a_lost_id_of_the_searchs_run_is_found_again_in_mlflow(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    before, _, _ = children(folder, "own")
    for text in ("", "{}"):
        (folder / "runs" / "own" / "mlflow.json").write_text(text)
        assert command("confirm", "own").exit_code == 0
        after, _, client = children(folder, "own")
        assert after.info.run_id == before.info.run_id
    assert isinstance(client, mlflow.MlflowClient)
