"""The real data sets end to end, on small trees in the publishers' layouts: `prepare`, `check`, search."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from search.cli import main, search_command
from tests import media_trees

ROOT = Path(__file__).resolve().parent.parent
TREES: dict[str, Callable[..., dict[str, object]]] = {
    "cremad": media_trees.cremad,
    "vggsound": media_trees.vggsound,
    "ave": media_trees.ave,
    "kinetics_sounds": media_trees.kinetics_sounds,
    "ucf101": media_trees.ucf101,
}
SMALL = [
    "trial.encoder=small_conv",  # ResNet-18 on these takes minutes a trial on a CPU
    "trial.precision=fp32",
    "trial.epochs=1",
    "trial.batch_size=4",
    "trial.schedule={name: constant}",
    "search.trials=2",
    "search.resources={cpu: 1, gpu: 0}",
    "space.modulation.start=[0]",
    "space.modulation.end=[0]",
]


def overrides(options: dict[str, object]) -> list[str]:
    return [f"dataset.{key}={json.dumps(value, ensure_ascii=False)}" for key, value in options.items()]


def file_of(name: str) -> str:
    return str(ROOT / "experiments" / f"{name}.yaml")


def run(command: str, name: str, *more: str) -> Result:
    return CliRunner().invoke(main, [command, file_of(name), *more])


LONG = [pytest.mark.slow, pytest.mark.longer]
QUICK = ("vggsound",)  # the others take the same way through the search: half a minute each


@pytest.fixture(scope="module", params=[n if n in QUICK else pytest.param(n, marks=LONG) for n in TREES])
def prepared(request, ray_instance, tmp_path_factory) -> tuple[str, Path, list[str]]:
    """A data set, the folder that its commands run in, and what they are told of where it is."""
    name: str = request.param
    folder = tmp_path_factory.mktemp("Daten é") / name
    given = overrides(TREES[name](folder))
    result = run("prepare", name, *given)
    assert result.exit_code == 0, result.output
    return name, folder, given


def test_what_was_prepared_is_not_prepared_again(prepared, monkeypatch):
    name, folder, given = prepared
    monkeypatch.chdir(folder)
    again = run("prepare", name, *given)
    assert again.exit_code == 0, again.output
    assert "of them there already" in again.output


def test_a_check_says_what_is_there_and_draws_it(prepared, monkeypatch):
    name, folder, given = prepared
    monkeypatch.chdir(folder)
    result = run("check", name, *given)
    assert result.exit_code == 0, result.output
    said = ("list: ", " clips there", "train", "validation", "a search trains on ", "a model sees: ", "picture sheet: ")
    for part in said:
        assert part in result.output
    picture = Image.open(folder / "runs" / "sheets" / f"{name}.png")
    assert len(picture.convert("L").getcolors(256) or range(300)) > 50  # no empty page


def test_a_search_runs_on_it_as_its_file_stands(prepared, monkeypatch):
    name, folder, given = prepared
    monkeypatch.chdir(folder)
    seeds = "confirm.seeds=2" if name == "vggsound" else "confirm=null"
    result = CliRunner().invoke(search_command, [file_of(name), *given, *SMALL, seeds])
    assert result.exit_code == 0, result.output
    assert "best unmodulated" in result.output
    assert ("confirmed: 2 pairs of fresh seeds" in " ".join(result.output.split())) is (name == "vggsound")
    assert not list(folder.rglob("test_readings.jsonl"))  # the test split is not read


def test_a_search_before_prepare_says_so(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = overrides(media_trees.vggsound(tmp_path))
    result = CliRunner().invoke(search_command, [file_of("vggsound"), *given, *SMALL])
    assert result.exit_code == 2
    assert "not prepared" in result.stderr
    assert "python -m search prepare" in result.stderr
    checked = run("check", "vggsound", *given)
    assert checked.exit_code == 1
    assert "not prepared" in checked.output


def test_too_many_unusable_clips_end_it_with_the_reasons_and_a_raised_limit_goes_on(
    ray_instance, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = overrides(media_trees.vggsound(tmp_path, damaged=2, silent=1))
    result = run("prepare", "vggsound", *given)
    assert result.exit_code == 1, result.output
    assert "cannot be decoded" in result.stderr
    assert "no sound" in result.stderr
    assert "max_quarantined" in result.stderr
    raised = run("prepare", "vggsound", *given, "dataset.max_quarantined=0.5")
    assert raised.exit_code == 0, raised.output
    assert "3 clips are quarantined" in raised.output


def test_data_that_need_no_preparing_say_so_and_can_be_checked(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("prepare", "demo")
    assert result.exit_code == 2
    assert "the data set digits needs no preparing" in result.stderr
    checked = run("check", "demo")
    assert checked.exit_code == 0, checked.output
    assert "audio [1, 129, 32], visual [1, 12, 12], 10 classes" in checked.output
    assert (tmp_path / "runs" / "sheets" / "demo.png").exists()


@pytest.mark.slow
def test_an_interrupted_prepare_goes_on_and_says_how(ray_instance, tmp_path, monkeypatch):
    """In a process of its own, with a Ray of its own: half a minute."""
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
    assert process.returncode in (0, 130), output  # it may have ended just before
    if process.returncode == 130:
        assert f"Go on with:  uv run {shlex.join(['python', *command[1:]])}" in output
        assert "Traceback" not in output
    result = run("prepare", "vggsound", *given)
    assert result.exit_code == 0, result.output
    assert "of them there already" in result.output
