"""The real data sets end to end (`prepare`, `check`, search), on small folders in the publishers' layouts."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from datasets.index.clips import SPLITS
from datasets.index.list_files import count
from datasets.publishers.digits import Digits
from datasets.registry import find
from datasets.store.store import MANIFEST, Store
from search.cli.main import main
from search.experiment.load import load
from tests.support import ROOT, media_trees
from tests.support.searches import ONE_WORKER, said, search
from tests.support.start_commands import OTHER
from tests.support.tells import tells

TREES: dict[str, Callable[..., dict[str, object]]] = {
    "cremad": media_trees.cremad,
    "vggsound": media_trees.vggsound,
    "ave": media_trees.ave,
    "kinetics_sounds": media_trees.kinetics_sounds,
    "ucf101": media_trees.ucf101,
}
SMALL = [
    "trial.encoder=small_conv",  # with ResNet-18, a trial on these data takes minutes on a CPU
    "trial.precision=fp32",
    "trial.epochs=1",
    "trial.batch_size=4",
    "trial.schedule={name: constant}",
    "search.trials=2",
    ONE_WORKER,  # starting workers takes most of the time: an epoch takes half a second
    "space.modulation.start=[0]",
    "space.modulation.end=[0]",
]


def overrides(options: dict[str, object]) -> list[str]:
    return [f"dataset.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in options.items()]


def file_of(name: str) -> str:
    return str(ROOT / "experiments" / f"{name}.yaml")


def run(command: str, name: str, *more: str) -> Result:
    return CliRunner().invoke(main, [command, file_of(name), *more])


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


LONG = [pytest.mark.slow, pytest.mark.longer]
QUICK = ("vggsound",)  # the others take the same path through the search, half a minute each


@pytest.fixture(scope="module", params=[n if n in QUICK else pytest.param(n, marks=LONG) for n in TREES])
def prepared(request, ray_instance, tmp_path_factory) -> tuple[str, Path, dict[str, object]]:
    """A data set, the working folder of its commands, and the options that name its folders."""
    name: str = request.param
    folder = tmp_path_factory.mktemp("Daten é") / name
    options = TREES[name](folder)
    result = run("prepare", name, *overrides(options))
    assert result.exit_code == 0, result.output
    return name, folder, options


def test_what_was_prepared_is_not_prepared_again(prepared, monkeypatch):
    name, folder, options = prepared
    monkeypatch.chdir(folder)
    before = {file.name: file.stat().st_mtime_ns for file in (folder / "store").iterdir()}
    again = run("prepare", name, *overrides(options))
    assert again.exit_code == 0, again.output
    assert {file.name: file.stat().st_mtime_ns for file in (folder / "store").iterdir()} == before
    manifest = Store(folder / "store").manifest
    said = again.output.splitlines()[-1]
    tells(said, f"{len(manifest.clips)} clips", folder / "store", count(len(manifest.shards), "shard"))


def test_a_check_says_what_is_there_and_draws_it(prepared, monkeypatch):
    name, folder, options = prepared
    monkeypatch.chdir(folder)
    result = run("check", name, *overrides(options))
    assert result.exit_code == 0, result.output
    reader = find(name)(**options)
    index, data = reader.index(), reader.open()
    rows = [line.split() for line in result.output.splitlines()]
    assert ["class", *SPLITS] in rows
    of_splits = Counter(clip.split for clip in index.clips)
    assert ["all", *(str(of_splits[split]) for split in SPLITS)] in rows
    for label in index.classes:
        counts = (sum((clip.label, clip.split) == (label, split) for clip in index.clips) for split in SPLITS)
        assert [*label.split(), *map(str, counts)] in rows
    first, *_, used, seen, picture_at, empty, following = result.output.splitlines()
    tells(first, f"{index.rows} rows", f"{len(index.clips)} clips", 0)
    tells(used, f"{len(data.splits.train)} clips", len(data.splits.validation), len(data.splits.test))
    tells(seen, *(f"{modality} {list(shape)}" for modality, shape in data.shapes.items()), len(index.classes))
    sheet = Path("runs", "sheets", f"{name}.png")
    tells(picture_at, "sample images:", sheet)
    assert not empty
    assert following == f"next:  uv run run_search.py {shlex.join([file_of(name), *overrides(options)])}"
    picture = Image.open(folder / sheet)
    assert len(picture.convert("L").getcolors(256) or range(300)) > 50  # not an empty image


def test_a_search_runs_on_it_as_its_file_stands_and_confirms_where_it_is_asked_to(prepared, monkeypatch):
    name, folder, options = prepared
    monkeypatch.chdir(folder)
    confirms = name == "vggsound"
    words = [file_of(name), *overrides(options), *SMALL, "confirm.seeds=2" if confirms else "confirm=null"]
    for more in ([], ["--resume"]):  # repeated the second time
        result = search(*words, *more)
        assert result.exit_code == 0, result.output
        tells(result.output, f"runs/{name}/best.yaml", *(["2 pairs", "verdict.json"] if confirms else []))
        assert said(result).count("next:") == 1
    with (folder / "runs" / name / "trials.csv").open(newline="") as file:
        trials = [(trial["arm"], trial["status"]) for trial in csv.DictReader(file)]
    assert sorted(trials) == [("baseline", "finished"), ("modulated", "finished")]
    assert load(folder / "runs" / name / "best.yaml").origin.seeds == (2 if confirms else 1)
    confirmed = folder / "runs" / name / "verdict.json"
    assert confirmed.exists() is confirms
    if confirms:
        verdict = json.loads(confirmed.read_text())
        assert (verdict["paired"]["n"], set(verdict["arms"])) == (2, {"baseline", "modulated"})
    assert not list(folder.rglob("test_readings.jsonl"))  # the test split is not read


def test_a_search_before_prepare_says_so(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = overrides(media_trees.vggsound(tmp_path))
    result = search(file_of("vggsound"), *given, *SMALL)
    assert result.exit_code == 2
    assert lines_of(result.stderr)[-1] == f"uv run python -m search prepare {shlex.join([file_of('vggsound'), *given])}"
    tells(result.stderr, tmp_path / "store", MANIFEST)
    checked = run("check", "vggsound", *given)
    assert checked.exit_code == 1
    assert lines_of(checked.output)[-1] == lines_of(result.stderr)[-1]
    tells(checked.output, "24 clips", tmp_path / "store", MANIFEST)
    assert not list(tmp_path.rglob("*.png"))


def test_too_many_unusable_clips_end_it_with_the_reasons_and_a_raised_limit_goes_on(
    ray_instance, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = overrides(media_trees.vggsound(tmp_path, damaged=2, silent=1))
    result = run("prepare", "vggsound", *given)
    assert result.exit_code == 1, result.output
    tells(result.stderr, "cannot be decoded", "no sound", "`dataset.max_quarantined`")
    assert not (tmp_path / "store" / MANIFEST).exists()
    raised = run("prepare", "vggsound", *given, "dataset.max_quarantined=0.5")
    assert raised.exit_code == 0, raised.output
    tells(raised.output, "21 clips", "3 clips", MANIFEST)
    table = [line.split(maxsplit=1) for line in raised.output.splitlines()[-2:]]
    for (often, reason), its in zip(table, (("2", "cannot be decoded"), ("1", "no sound")), strict=True):
        assert (often, reason[: len(its[1])]) == its
    assert len(Store(tmp_path / "store").manifest.quarantine) == 3


def test_data_that_need_no_preparing_say_so_and_can_be_checked(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("prepare", "demo")
    assert result.exit_code == 2
    tells(result.stderr, "digits")
    assert len(result.stderr.strip().splitlines()) == 1
    checked = run("check", "demo")
    assert checked.exit_code == 0, checked.output
    splits, complete, inputs, sheet, _, following = checked.output.splitlines()
    sizes = Digits().open().sizes
    tells(splits, f"{sizes['train']:,} samples for training", f"{sizes['validation']:,} for validation", "not read")
    tells(complete, "nothing is missing")
    tells(inputs, "audio [1, 129, 32]", "visual [1, 12, 12]", "10 classes")
    assert sheet == "sample images: runs/sheets/demo.png"
    assert following == f"next:  uv run run_search.py {file_of('demo')}"
    assert (tmp_path / "runs" / "sheets" / "demo.png").exists()


@pytest.mark.slow
def test_an_interrupted_prepare_goes_on_and_says_how(ray_instance, tmp_path, monkeypatch):
    """In a separate process with its own Ray, which takes half a minute."""
    monkeypatch.chdir(tmp_path)
    given = overrides(media_trees.vggsound(tmp_path, train=40))
    command = [sys.executable, "-m", "search", "prepare", file_of("vggsound"), *given]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    until = time.monotonic() + 120
    while not list(tmp_path.rglob("shard-*.json")):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < until
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=180)
    assert process.returncode in (0, 130), output  # it may have ended already
    if process.returncode == 130:
        tells(output, f"{OTHER} {shlex.join(command[3:])}")
        assert "Traceback" not in output
    there = len(list(tmp_path.rglob("shard-*.json")))
    result = run("prepare", "vggsound", *given)
    assert result.exit_code == 0, result.output
    tells(result.output.splitlines()[-1], count(there, "shard"))
