"""`python -m search probe RUN --curve`: the trainings, the probes, the results and the errors."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections import Counter
from functools import partial
from pathlib import Path
from statistics import fmean, stdev

import pytest
from click.testing import Result
from PIL import Image

from ogmge import inference
from search.commands.confirm import SearchSummary, finished_record
from search.commands.trace_probes import confirmed_seeds
from search.experiment.load import load
from search.run.folder import Identity, RunFolder
from search.run.journal import read
from search.run.open_data import open_data
from search.run.trials import SearchRecord
from search.verdict.plan import Plan, write_plan
from search.verdict.probe_policy import probed_of
from tests.search.commands.test_confirm_processes import SEARCHED
from tests.support.searches import children, command, own, search, start, wait_for
from tests.support.start_commands import OTHER
from tests.support.states import without
from tests.support.tells import tells
from tests.wording.laid_out import FINISHED, NOTHING, searched, trained

SEEDS, EPOCHS = 2, 4
RUN = RunFolder(Path("runs/own"))
ROLES = ["modulated", "baseline", "left alone", "right alone"]


def probe(*arguments: str) -> Result:
    return command("probe", *arguments)


def record_in(folder: Path) -> SearchRecord:
    return read(folder / RUN.probe_curve.journal)


def curves_in(folder: Path) -> dict:
    return json.loads((folder / RUN.probe_curve.path / "probe_curve.json").read_text())


# ---- one that is done ----


@pytest.fixture(scope="module")
def traced(confirmed: tuple[Path, Result], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A search that was confirmed with three seeds and probed with two of them."""
    folder = tmp_path_factory.mktemp("traced") / "copy"
    shutil.copytree(confirmed[0], folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = probe("own", "--curve", "--seeds", str(SEEDS))
    assert result.exit_code == 0, result.output
    return folder, result


@pytest.fixture
def here(traced: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy of `traced` for one test."""
    shutil.copytree(traced[0], tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.slow
def test_the_best_of_both_arms_are_trained_as_in_the_confirmation_to_the_bit(traced):
    folder, _ = traced
    confirmation = {
        (trial.internal["role"], trial.changes["seed"]): without(trial.epochs)
        for trial in read(folder / RUN.confirmation.journal)
    }
    seeds = list(dict.fromkeys(seed for _, seed in confirmation))[:SEEDS]
    trials = list(record_in(folder))
    assert [(str(probed_of(t)), t.changes["seed"]) for t in trials] == [(r, seed) for seed in seeds for r in ROLES]
    joint = [t for t in trials if probed_of(t).modality is None]
    for trial in joint:
        epochs = [{k: v for k, v in m.items() if not k.startswith("probe/")} for m in without(trial.epochs)]
        assert epochs == confirmation[probed_of(trial).role, trial.changes["seed"]]


@pytest.mark.slow
def test_the_file_has_what_the_journal_has(traced):
    folder, _ = traced
    written, trials = curves_in(folder), list(record_in(folder))
    assert (written["every"], written["split_redrawn"], written["experiment"]) == (1, True, "own")
    lines = {(line["role"], line["modality"]): line for line in written["lines"]}
    panels = {"left": "probe/left", "right": "probe/right", None: "val/accuracy"}
    assert set(lines) == {(role, name) for role in ("modulated", "baseline", "alone") for name in panels} - {
        ("alone", None)
    }
    for (role, modality), line in lines.items():
        own = [t for t in trials if probed_of(t) == (role, modality if role == "alone" else None)]
        values = [[metrics[panels[modality]] for metrics in t.epochs] for t in own]
        assert (line["values"], line["seeds"]) == (values, written["seeds"])
        assert line["epochs"] == [1, 2, 3, 4]
        assert line["mean"] == list(map(fmean, zip(*values, strict=True)))
        assert line["sd"] == list(map(stdev, zip(*values, strict=True)))


@pytest.mark.slow
def test_the_screen_shows_the_last_epoch_and_where_everything_is(traced):
    folder, result = traced
    for line in curves_in(folder)["lines"]:
        tells(result.output, f"{100 * line['mean'][-1]:.1f} ± {100 * line['sd'][-1]:.1f} %")
    tells(result.output, "2 seeds", "trained alone", "runs/own/probe_curve/probe_curve.json", "runs/own/report.html")
    with Image.open(folder / "runs/own/probe_curve/probe_curve.png") as picture:
        assert picture.size[0] > picture.size[1] > 300


@pytest.mark.slow
def test_no_test_split_is_read(traced):
    folder, _ = traced
    assert not list((folder / "runs").rglob("test_readings.jsonl"))


@pytest.mark.slow
def test_each_training_is_a_child_run_in_mlflow_with_its_probes(traced):
    folder, _ = traced
    parent, runs, client = children(folder, "own")
    runs = [run for run in runs if run.data.tags["kind"] == "probe"]
    assert [run.info.run_name for run in runs] == [f"probe {pair:02} {role}" for pair in range(SEEDS) for role in ROLES]
    for run, trial in zip(runs, record_in(folder), strict=True):
        assert run.info.status == "FINISHED"
        history = client.get_metric_history(run.info.run_id, "probe/left")
        values = [metrics["probe/left"] for metrics in trial.epochs if "probe/left" in metrics]
        assert [m.value for m in sorted(history, key=lambda m: m.step)] == values
    assert parent.info.status == "FINISHED"
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert {"probe_curve.json", "probe_curve.png", "report.html", "verdict.json"} <= files


@pytest.mark.slow
def test_the_report_has_a_plot_for_each_encoder_and_one_for_the_whole_models(here):
    page = Path("runs/own/report.html").read_text()
    figures = json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.S)[1])
    plots = [figures[f"probe{number}"]["data"] for number in range(3)]
    assert "probe3" not in figures
    names = ["modulated", "baseline", "trained alone"]
    assert [[trace["name"] for trace in plot] for plot in plots] == [names, names, names[:2]]
    tells(page, "Linear probe of left", "2 seeds")
    Path("runs/own/probe_curve/probe_curve.json").write_text("{")
    assert command("report", "own").exit_code == 0
    page = Path("runs/own/report.html").read_text()
    assert 'id="probe0"' not in page
    tells(page, "probe_curve.json", "python -m search probe own --curve")


@pytest.mark.slow
def test_what_is_done_is_not_done_again_and_fewer_seeds_are_a_part_of_it(here):
    journal, before = RUN.probe_curve.journal.read_bytes(), curves_in(here)
    result = probe("own", "--curve", "--seeds", "1")
    assert result.exit_code == 0, result.output
    tells(result.output, "one seed")
    one = curves_in(here)
    assert [line["values"] for line in one["lines"]] == [line["values"][:1] for line in before["lines"]]
    assert {*(sd for line in one["lines"] for sd in line["sd"])} == {None}
    assert probe("own", "--curve", "--seeds", "2").exit_code == 0
    assert curves_in(here) == before
    assert RUN.probe_curve.journal.read_bytes() == journal


@pytest.mark.slow
def test_one_of_its_models_is_probed_alike_by_itself_on_the_split_of_its_seed(here):
    file = RUN.probe_curve.trial(0) / "best.pt"
    result = probe(str(file))
    assert result.exit_code == 0, result.output
    [row] = json.loads((file.parent / "probe" / "probe.json").read_text())["rows"]
    epoch = record_in(here).trials[0].epochs[int(inference.load(file).metrics["epoch"])]
    assert row["fused"]["value"] == epoch["val/accuracy"]
    for name in ("left", "right"):
        assert row["encoders"][name]["probe"]["value"] == epoch[f"probe/{name}"]


def on_other_data() -> None:
    RUN.identity.write_text(RUN.identity.read_text().replace("drawn-96", "drawn-95"))


def with_other_settings() -> None:
    RUN.experiment.write_text(RUN.experiment.read_text().replace("batch_size: 32", "batch_size: 16"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "arguments", "facts"),
    [
        (lambda: None, ["--every", "2"], ["runs/own/probe_curve", "--every was 1 and is now 2"]),
        (with_other_settings, [], ["runs/own/probe_curve", "`modulated.batch_size` was 32 and is now 16"]),
        (on_other_data, [], ["runs/own", "drawn-95-0-0", "drawn-96-0-0"]),
    ],
)
def test_what_is_of_other_trainings_is_refused(here, change, arguments, facts):
    change()
    result = probe("own", "--curve", *arguments)
    assert result.exit_code == 2, result.output
    tells(result.output, *facts)


# ---- how many seeds ----


def summary_of(folder: Path) -> SearchSummary:
    run = RunFolder(folder / "runs" / "own")
    experiment = load(run.experiment)
    record = finished_record(experiment, run, "")
    return SearchSummary(experiment, run, Identity("", ""), open_data(experiment.dataset), record)


@pytest.mark.slow
def test_seeds_are_those_of_the_confirmation_or_as_many_as_it_would_take(here):
    found = summary_of(here)
    plan = found.folder.confirmation.path / "plan.json"
    assert confirmed_seeds(found) == 3
    write_plan(plan, Plan(1000, True, found.best_trials))
    assert confirmed_seeds(found) == 3  # as many as were started
    write_plan(plan, Plan(3, False, {"baseline": 98, "modulated": 99}))
    assert confirmed_seeds(found) == 10  # another best configuration was confirmed
    plan.unlink()
    assert confirmed_seeds(found) == 10


# ---- mistakes ----

ONE_SIDED = "space.modalities=[[audio,visual],[audio]]"
SINGLE = [(arm, (0, 1, int(arm == "baseline")), *rest) for arm, _, *rest in FINISHED[:2]]


def unfinished() -> None:
    searched([*FINISHED[:3], ("baseline", (1, 0), [0.4], "running", "")])


@pytest.mark.parametrize(
    ("lay", "arguments", "facts"),
    [
        (searched, ["nowhere"], ["'nowhere'", "runs/", "demo"]),
        (searched, ["runs/demo/tune/0000/best.pt"], ["'runs/demo/tune/0000/best.pt'", "demo"]),
        (partial(trained, "demo"), ["demo"], ["no search in runs/demo", "`uv run run_search.py FILE`"]),
        (unfinished, ["demo"], ["runs/demo", "3 of 4", "uv run run_search.py runs/demo/experiment.yaml --resume"]),
        (partial(searched, NOTHING), ["demo"], ["no baseline and no modulated", "runs/demo/trials.csv"]),
        (
            partial(searched, SINGLE, ONE_SIDED, "search.trials=2"),
            ["demo"],
            ["trial 1", "baseline", "one modality", "audio"],
        ),
        (searched, ["demo", "--every", "4"], ["--every", "from 1 to 3", 4]),
        (searched, ["demo", "--every", "0"], ["--every", 0]),
        (searched, ["demo", "--seeds", "0"], ["--seeds", 0]),
        (searched, ["demo", "other"], ["one search", "demo, other"]),
        (searched, ["demo", "--split", "test", "--unimodal"], ["--curve", "--split test and --unimodal"]),
        (searched, ["demo", "--data", "mine.yaml"], ["--curve", "--data"]),
    ],
)
def test_what_has_no_curves_is_a_sentence(tmp_path, monkeypatch, lay, arguments, facts):
    monkeypatch.chdir(tmp_path)
    lay()
    result = probe("--curve", *arguments)
    assert result.exit_code == 2, result.output
    tells(result.output, *facts)
    assert not Path("runs/demo/probe_curve").exists()


@pytest.mark.parametrize("option", ["--every", "--seeds"])
def test_options_of_curves_ask_for_curves(tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    result = probe("demo", option, "2")
    assert result.exit_code == 2
    tells(result.output, "--curve", option)


# ---- interrupted and killed ----


@pytest.mark.slow
def test_one_that_is_interrupted_and_then_killed_goes_on_and_lacks_no_probe(ray_instance, tmp_path, monkeypatch):
    own("Logged", tmp_path)
    monkeypatch.chdir(tmp_path)
    assert search(*SEARCHED).exit_code == 0
    arguments = ["probe", "own", "--curve", "--seeds", "1"]

    def wait_for_epochs(count: int) -> None:
        wait_for(process, lambda: sum(len(trial.epochs) for trial in record_in(tmp_path)) >= count)

    process = start(tmp_path, "-m", "search", *arguments)
    wait_for_epochs(2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    tells(output, f"{OTHER} probe own --curve --seeds 1")
    assert not (RUN.probe_curve.path / "probe_curve.json").exists()
    before = list(record_in(tmp_path))

    process = start(tmp_path, "-m", "search", *arguments)
    wait_for_epochs(sum(len(trial.epochs) for trial in before) + 3)
    process.kill()
    process.communicate()
    before += list(record_in(tmp_path))
    assert command(*arguments).exit_code == 0
    for trial in before:
        assert record_in(tmp_path).trials[trial.number].epochs[: len(trial.epochs)] == trial.epochs
    events = [json.loads(line) for line in RUN.probe_curve.journal.read_text().splitlines()]
    told = Counter((e["number"], e["metrics"]["epoch"]) for e in events if e["event"] == "reported")
    assert told == Counter((number, epoch) for number in range(len(ROLES)) for epoch in range(EPOCHS))
    for trial in record_in(tmp_path):
        names = trial.changes.get("modalities", ["left", "right"])
        assert all(f"probe/{name}" in metrics for metrics in trial.epochs for name in names)
    assert {len(line["epochs"]) for line in curves_in(tmp_path)["lines"]} == {EPOCHS}
