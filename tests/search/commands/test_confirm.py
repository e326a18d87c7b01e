"""`confirm`, `export` and the confirmation at the end of a search, with real Ray, MLflow and files."""

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
from click.testing import Result

from ogmge import inference
from search.experiment.formatting import duration
from search.experiment.load import load
from search.run.causes import reason_of
from search.run.journal import Journal
from search.run.version import VERSION
from search.verdict.decide import verdict
from tests.support.own_data import Drawn
from tests.support.searches import FINISHED, ONE_WORKER, children, command, said, search
from tests.support.tells import tells

EPOCHS = 4


@pytest.fixture
def there(searched, tmp_path, monkeypatch) -> Path:
    """Copy the finished search for one test, and change to its folder."""
    shutil.copytree(searched[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def journal_of(folder: Path) -> Path:
    return folder / "runs" / "own" / "confirm" / "tune" / "journal.jsonl"


def verdict_in(folder: Path) -> dict:
    return json.loads((folder / "runs" / "own" / "verdict.json").read_text())


def test_both_arms_are_trained_with_the_same_fresh_seeds_to_the_end(confirmed):
    folder, _ = confirmed
    record = Journal(journal_of(folder)).replay()
    pairs = [t for t in record if t.internal["role"] != "ablation"]
    assert [t.arm for t in pairs] == ["baseline", "modulated"] * 3
    assert {t.status for t in record} == {"finished"}
    assert {len(t.epochs) for t in record} == {EPOCHS}
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
    folder, result = confirmed
    written = verdict_in(folder)
    tells(result.output, "own", "3 fresh seeds", "3 pairs", "left alone", "right alone", "5 %", "runs/own/verdict.json")
    tells(result.output, f"{100 * abs(written['paired']['mean']):.1f}")
    tells(result.output, "uv run python -m search train runs/own/best.yaml")


def test_each_training_is_a_child_run_and_the_search_has_the_verdict(confirmed):
    folder, _ = confirmed
    parent, runs, client = children(folder, "own")
    record, written = Journal(journal_of(folder)).replay(), verdict_in(folder)
    assert parent.info.status == "FINISHED"
    own = [run for run in runs if run.data.tags["kind"] == "confirmation"]
    assert len([run for run in runs if run.data.tags["kind"] == "trial"]) == 6
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
    tells(page, "3 seeds", "5 %")
    assert re.search(r"\| val/accuracy \| [\d.]+ ± [\d.]+ % \| [\d.]+ ± [\d.]+ % \| [+-][\d.]+ \(", page)
    tells(page, "difference in points (95 %)")
    search_record = Journal(folder / "runs/own/tune/journal.jsonl").replay()
    finished = sum(t.status == "finished" for t in search_record)
    assert parent.data.metrics["trials/finished"] == finished  # the curve still belongs to the search
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
    assert (best.trial.seed, best.origin.split_seed) == (best.dataset["split_seed"], 0)
    assert "torch" in best.origin.versions
    assert not best.space
    low, high = (f"{100 * end:.1f} %" for end in best.origin.prediction)
    tells((folder / "runs" / "own" / "best.yaml").read_text().replace("# ", ""), low, high)


def test_the_next_training_is_one_that_the_confirmation_predicts(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    best, record = load(folder / "runs/own/best.yaml"), Journal(journal_of(folder)).replay()
    assert best.trial.seed not in {0, *(t.changes["seed"] for t in record)}
    searched = f"dataset.split_seed={best.origin.split_seed}"
    for words, is_compared in [([], True), ([searched], False), (["dataset.split_seed=5", "trial.seed=5"], True)]:
        result = command("train", "runs/own/best.yaml", "--no-test", f"name=next{len(words)}", *words)
        assert result.exit_code == 0, result.output
        assert ("expected range" in result.output) is is_compared


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
    tells(result.output, "3 pairs", f"in {duration(Journal(journal_of(folder)).replay().spent.wall_seconds)}")


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
            model = inference.load(folder / "runs" / "own" / "confirm" / "tune" / f"{trial.number:04}" / "best.pt")
            right = [model.logits(x)[0].argmax(1) == y for x, y in Drawn().test(batch_size=96, reason="check")]
            assert value == pytest.approx(float(torch.cat(right).double().mean()))
    values = [f"{100 * test[arm]['mean']:.1f}" for arm in ("modulated", "baseline")]
    tells(result.output, "test split", "96 examples", *values)
    readings = folder / "runs" / "own" / "test_readings.jsonl"
    assert json.loads(readings.read_text())["reason"] == "confirmation, 3 seeds per arm"
    parent, _, _ = children(folder, "own")
    assert parent.data.metrics["test/modulated"] == test["modulated"]["mean"]
    for more in (["--test"], []):  # the scores are known by now
        result = command("confirm", "own", *more)
        tells(result.output, "test split", *values)
    assert len(readings.read_text().splitlines()) == 1


def test_more_seeds_later_are_judged_as_added(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    before = [t.epochs for t in Journal(journal_of(folder)).replay()]
    assert command("confirm", "own", "--test").exit_code == 0
    result = command("confirm", "own", "--seeds", "5", "--test", ONE_WORKER)
    assert result.exit_code == 0, result.output
    written = verdict_in(folder)
    assert (written["sequential"], written["looks_before"]) == (True, [3])
    assert [t.epochs for t in Journal(journal_of(folder)).replay()][: len(before)] == before
    assert len((folder / "runs/own/test_readings.jsonl").read_text().splitlines()) == 2
    assert written["test"]["seeds"] == written["paired"]["n"]
    refused = command("confirm", "own", "--seeds", "4")
    assert refused.exit_code == 2
    tells(refused.output, 5, 4)


def test_seeds_can_be_added_until_it_is_clear_after_a_verdict_but_not_without_an_end(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    epochs = sum(len(t.epochs) for t in Journal(folder / "runs/own/tune/journal.jsonl").replay())
    epochs += sum(len(t.epochs) for t in Journal(journal_of(folder)).replay())
    endless = command("confirm", "own", "--sequential")
    assert endless.exit_code == 2
    tells(endless.output, "--sequential", "search.budget")
    assert command("confirm", "own").exit_code == 0  # without a result
    assert verdict_in(folder)["sequential"] is False
    result = command("confirm", "own", "--sequential", f"search.budget.epochs={epochs + 40}", ONE_WORKER)
    assert result.exit_code == 0, result.output
    written = verdict_in(folder)
    assert (written["sequential"], written["looks_before"]) == (True, [3])
    assert written["paired"]["n"] > 3
    endless = command("confirm", "own")
    assert endless.exit_code == 2
    tells(endless.output, "--sequential", "search.budget")


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


# ---- what another version of the program left ----


def make_version_1(folder: Path) -> None:
    """Rewrite the confirmed run's files to the format before versions, in which an ablation was called a twin."""
    run = folder / "runs" / "own"
    for path in (run / "run.json", run / "verdict.json"):
        values = json.loads(path.read_text())
        assert values.pop("version") == VERSION
        path.write_text(json.dumps(values).replace("ablation", "twin").replace('"unimodal"', '"alone"'))
    for path in run.rglob("journal*.jsonl"):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        for event in events:
            del event["crc"]
            event.pop("version", None)
        path.unlink()
        if ".copy" not in path.name:
            before = [json.loads(json.dumps(event).replace('"ablation"', '"twin"')) for event in events]
            for event in (e for e in before if e["event"] == "ended"):
                event["reason"] = str(reason_of(event["reason"]) or "")
            journal = Journal(path)
            for event in before:
                journal.append(event)
            journal.close()


def test_a_run_from_before_there_were_versions_is_confirmed_exported_and_reported_on(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    whole = verdict_in(folder)
    make_version_1(folder)
    trained = [t.epochs for t in Journal(journal_of(folder)).replay()]
    assert command("report", "own").exit_code == 0
    assert command("export", "own", "-o", "it.yaml").exit_code == 0
    assert load(Path("it.yaml")).origin.seeds == 3
    result = command("confirm", "own", "--seeds", "3")
    assert result.exit_code == 0, result.output
    assert verdict_in(folder) == whole
    assert [t.epochs for t in Journal(journal_of(folder)).replay()] == trained


@pytest.mark.parametrize("words", [["confirm", "own"], ["export", "own"], ["report", "own"], ["ui", "own"]])
def test_a_run_of_a_newer_version_is_refused(there, words):
    path = there / "runs" / "own" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": VERSION + 1}))
    for result in (command(*words), search(*FINISHED, "search.trials=8", "--resume")):
        assert (result.exit_code, result.exception.__class__) == (2, SystemExit)
        tells(result.output, "runs/own", VERSION, VERSION + 1)


# ---- export ----


def test_export_writes_the_best_or_the_trial_that_is_asked_for(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    result = command("export", "own", "-o", "it.yaml")
    assert result.exit_code == 0, result.output
    tells(result.output, "uv run python -m search train it.yaml")
    best = load(folder / "runs" / "own" / "best.yaml")
    assert load(Path("it.yaml")) == best
    other = next(n for n in range(6) if n not in [a["trial"] for a in verdict_in(folder)["arms"].values()])
    assert command("export", str(folder / "runs" / "own"), "--trial", str(other)).exit_code == 0
    asked = load(Path("best.yaml"))
    assert (asked.origin.trial, asked.origin.seeds) == (other, 1)
    assert (asked.origin.prediction, asked.origin.verdict) == (None, None)
    tells(Path("best.yaml").read_text(), other)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["export", "own", "--trial", "99"], [99, "runs/own", 6, 0]),
        (["export", "nowhere"], ["'nowhere'", "runs/", "own"]),
        (["export", "own", "-o", "no/such/folder.yaml"], ["no/such/folder.yaml", "No such file"]),
        (["confirm", "nowhere"], ["'nowhere'", "runs/", "own"]),
        (["confirm", "own", "trial.epochs=2"], ["`trial.epochs`", EPOCHS, 2]),
        (["confirm", "own", "search.trials=9"], ["`search.trials`", 6, 9]),
        (["confirm", "own", "--sequential"], ["--sequential", "search.budget"]),
        (["confirm", "own", "search.resources.cpu=64"], ["`search.resources.cpu`", "64 CPU", "Ray"]),
    ],
)
def test_a_mistake_gets_a_sentence(there, arguments, facts):
    result = command(*arguments)
    assert (result.exit_code, result.exception.__class__) == (2, SystemExit)
    tells(result.output, *facts)
    assert "Traceback" not in result.output


# ---- what a confirmation cannot begin with ----


def test_a_run_in_progress_is_left_alone(there):
    with (there / "runs" / "own" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = command("confirm", "own")
    assert result.exit_code == 2
    tells(result.output, "runs/own", "another process")


def keep_events(folder: Path, wanted) -> None:
    """Keep only some events of the search's journal."""
    for path in (folder / "runs" / "own" / "tune").glob("journal*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(line for line in lines if wanted(json.loads(line))))


def test_a_search_that_is_not_done_is_to_be_done_first(there):
    keep_events(there, lambda event: (event["event"], event["number"]) != ("ended", 2))
    result = command("confirm", "own")
    assert result.exit_code == 2
    tells(result.output, "runs/own", "5 of 6")


@pytest.mark.parametrize(("arms", "missing"), [(["baseline"], ["modulated"]), ([], ["baseline", "modulated"])])
def test_without_both_arms_there_is_nothing_to_compare(there, arms, missing):
    record = Journal(there / "runs" / "own" / "tune" / "journal.jsonl").replay()
    out = {t.number for t in record if t.arm not in arms}
    keep_events(there, lambda event: event["number"] not in out or event["event"] != "reported")
    result = command("confirm", "own")
    assert result.exit_code == 2
    tells(result.output, "runs/own", *(f"no {arm}" for arm in missing))
    assert not any(f"no {arm}" in said(result) for arm in arms)
    assert not (there / "runs" / "own" / "confirm" / "plan.json").exists()
    if not arms:
        exported = command("export", "own")
        assert exported.exit_code == 2
        tells(exported.output, "runs/own", "runs/own/trials.csv")


def test_data_that_changed_since_are_refused(there):
    text = (there / "runs" / "own" / "run.json").read_text()
    (there / "runs" / "own" / "run.json").write_text(text.replace("drawn-96-0-0", "drawn-97-0-0"))
    for result in (command("confirm", "own"), search(*FINISHED, "search.trials=8", "--resume")):
        assert result.exit_code == 2
        tells(result.output, "runs/own", "fingerprint", "drawn-97-0-0", "drawn-96-0-0")


def test_a_data_set_without_a_test_split_says_so(there):
    """Nothing is trained for this."""
    for file in ("experiment.yaml", "best.yaml"):
        text = (there / "runs" / "own" / file).read_text()
        text = re.sub(r" *processes: 2\n", "", text.replace("own_data:Together", "own_data:Untested"))
        (there / "runs" / "own" / file).write_text(text)
    result = command("confirm", "own", "--seeds", "2", "--test")
    assert result.exit_code == 2
    tells(result.output, "`test(*, batch_size, reason)`")
    assert not (there / "runs" / "own" / "confirm").exists()


def test_what_comes_of_the_test_split_costs_no_verdict(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    (folder / "runs" / "own" / "verdict.json").unlink()
    (folder / "runs" / "own" / "confirm" / "tune" / "0000" / "best.pt").unlink()
    result = command("confirm", "own", "--test")
    assert result.exit_code == 2
    tells(result.output, "confirm/tune/0000/best.pt")
    assert verdict_in(folder)["paired"]["n"] == 3


# ---- and then ----


def test_a_search_that_goes_on_and_finds_a_better_one_puts_its_confirmation_aside(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    run = folder / "runs" / "own"
    plan = json.loads((run / "confirm" / "plan.json").read_text())
    (run / "confirm" / "plan.json").write_text(json.dumps({**plan, "trials": {"baseline": 1, "modulated": 99}}))
    result = search(*FINISHED, "--resume")
    assert result.exit_code == 0, result.output
    assert (run / "confirm.1" / "verdict.json").exists()
    assert not (run / "verdict.json").exists()
    assert load(run / "best.yaml").origin.seeds == 1
    tells(result.output, "uv run python -m search confirm own")
    parent, before, _ = children(folder, "own")
    assert parent.data.tags["verdict"] == "none: the best configuration has changed since the confirmation"
    assert command("confirm", "own", "--seeds", "5", "search.resources.cpu=64").exit_code == 2
    result = command("confirm", "own", "--seeds", "2", ONE_WORKER)  # nothing was trained for the five
    assert result.exit_code == 0, result.output
    assert verdict_in(folder)["sequential"] is False
    parent, runs, _ = children(folder, "own")
    assert parent.data.tags["verdict"] == verdict_in(folder)["word"]
    old = {r.info.run_id for r in before}
    new = [r for r in runs if r.info.run_id not in old]
    assert len(new) == len(Journal(journal_of(folder)).replay().trials)  # without the old ones


def test_a_lost_id_of_the_searchs_run_is_found_again_in_mlflow(confirmed, tmp_path, monkeypatch):
    folder = again(confirmed, tmp_path, monkeypatch)
    before, _, _ = children(folder, "own")
    for text in ("", "{}"):
        (folder / "runs" / "own" / "mlflow.json").write_text(text)
        assert command("confirm", "own").exit_code == 0
        after, _, client = children(folder, "own")
        assert after.info.run_id == before.info.run_id
    assert isinstance(client, mlflow.MlflowClient)
