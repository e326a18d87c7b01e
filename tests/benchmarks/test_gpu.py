"""Tests of the command that measures a GPU, on the CPU, which runs the same code."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu.__main__ import MEASUREMENTS, OUTPUT, Result, format_row, has_figures, main, run
from benchmarks.gpu.process import NO_ROW, Measure, rows_of
from benchmarks.gpu.rows import Row, load_of
from benchmarks.gpu.same_bits import differing
from benchmarks.gpu.step_cost import ADDED
from benchmarks.gpu.waits import forbid_waits, waits
from tests.support import ROOT, gpu_measures
from tests.support.tells import tells

CPU = load_of(torch.device("cpu"))
SENTENCE = "`python -m benchmarks.gpu` has not been run on a GPU yet"
ENOUGH_S = "900"  # for a busy machine
OPTIONAL = ("ray", "mlflow", "optuna", "pydantic", "scipy", "sklearn", "librosa", "yaml", "pyarrow", "av", "simplejpeg")
OPTIONAL += ("soxr", "zlib_ng", "cv2", "rich", "click", "psutil", "pynvml", "plotly")


def measured(folder: Path, *words: str, **environment: str) -> tuple[dict[str, Any], str]:
    """Run the command; return its JSON and what it printed."""
    output = folder / "gpu.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--output", str(output), "--seconds", ENOUGH_S, *words],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text(encoding="utf-8")), done.stdout


def rows(result: dict[str, Any], measurement: str) -> dict[str, dict[str, Any]]:
    """Return the rows of a measurement by case."""
    return {row["case"]: row for row in result["rows"] if row["measurement"] == measurement}


@pytest.mark.slow
@pytest.mark.longer
def test_without_a_gpu_all_but_the_compiler_runs_on_the_cpu(tmp_path: Path) -> None:
    result, printed = measured(tmp_path)
    assert not result["is_gpu"]
    assert result["device"] == "CPU"
    assert {row["measurement"] for row in result["rows"]} == MEASUREMENTS.keys()
    left_out = [row for row in result["rows"] if row["status"] != "measured"]
    assert [(row["measurement"], row["status"]) for row in left_out] == [
        (name, "skipped") for name in ("step", "memory", "distributed", "sharing", "compile")
    ]
    assert {row["reason"] for row in left_out[:-1]} == {"needs a GPU"}
    tells(left_out[-1]["reason"], "CPU", "python -m benchmarks.speed --compile")
    assert {row["is_met"] for row in result["rows"]} == {None}  # a CPU says nothing about a GPU
    for row in result["rows"]:
        line = next(line for line in printed.splitlines() if row["case"] in line and row["measurement"] in line)
        assert all(name in line for name in row["values"])
    check_values(result)


def check_values(result: dict[str, Any]) -> None:
    numbers = [value for row in result["rows"] for value in row["values"].values() if isinstance(value, float)]
    assert all(map(math.isfinite, numbers))
    steps = rows(result, "step")
    assert 0 < steps["OGM, fp32"]["values"]["added_calls"] <= ADDED  # a CPU has more calls for the noise
    assert steps["OGM, fp32"]["values"]["waits"] == 0 < steps["OGM-GE, equations, fp32"]["values"]["waits"]
    assert {case.partition(",")[0] for case in rows(result, "precision")} == {"fp32", "bf16", "fp16"}
    assert rows(result, "precision")["fp16, channels-last"]["values"]["loss_scale"] > 0
    same = rows(result, "deterministic")["deterministic"]["values"]
    assert [value for name, value in same.items() if name.startswith("differing")] == [0, 0, 0]
    assert max(rows(result, "sigma")["in pieces, mean of 100 sigma"]["values"].values()) < 1e-6
    limited = rows(result, "memory")["resumed after a lack of memory"]
    assert limited["values"] == {"error": "RuntimeError", "is_recognised": True, "differing": 0}
    assert rows(result, "transforms")["crops"]["values"]["max_difference_levels"] <= 1
    assert rows(result, "transforms")["log spectrogram"]["values"]["max_difference"] == 0
    assert rows(result, "distributed")["gloo, 1 process"]["values"]["loss_difference"] == 0
    assert rows(result, "reading").keys() == {"mapped files", "store of JPEG frames"}
    assert rows(result, "sharing")["2 at a time"]["values"]["times_one"] > 0


@pytest.mark.slow
def test_with_torch_alone_what_needs_other_libraries_is_skipped_by_name(tmp_path: Path) -> None:
    for name in OPTIONAL:
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('No module named {name}', name={name!r})\n")
    result, _ = measured(tmp_path, "--only", "transforms", "reading", PYTHONPATH=str(tmp_path))
    found = {row["case"]: (row["status"], row["reason"]) for row in result["rows"]}
    assert found == {
        "crops": ("measured", ""),
        "log spectrogram": ("measured", ""),
        "mel filter bank": ("skipped", "needs librosa"),
        "mapped files": ("measured", ""),
        "store of JPEG frames": ("skipped", "needs av"),
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("measure", "limit_s", "status", "words"),
    [
        (gpu_measures.raises, 300, "failed", ["ValueError: no such thing on cpu"]),
        (gpu_measures.dies, 300, "failed", ["exit code -11"]),
        (gpu_measures.lacks, 300, "skipped", ["needs two GPUs"]),
    ],
)
def test_a_measurement_that_fails_keeps_its_rows_and_says_why(
    measure: Measure, limit_s: float, status: str, words: list[str]
) -> None:
    first, last = rows_of(measure, CPU, limit_s)
    assert first == Row("first", {"ms": 1.0})
    assert (last.case, last.status) == (NO_ROW, status)
    tells(last.reason, *words)
    assert "\n" not in last.reason


@pytest.mark.slow
def test_a_measurement_that_is_interrupted_leaves_neither_processes_nor_files() -> None:
    found = rows_of(gpu_measures.hangs, CPU, 300)
    first = next(found)
    found.close()  # type: ignore[attr-defined]
    status = Path(f"/proc/{first.values['pid']}/status")
    assert not status.exists() or "zombie" in status.read_text()
    assert not Path(str(first.values["folder"])).exists()


@pytest.mark.slow
def test_a_measurement_ends_with_its_time() -> None:
    *_, last = rows_of(gpu_measures.hangs, CPU, 0.5)
    assert last == Row(NO_ROW, status="failed", reason="not done after 0.5 s")


def test_without_time_left_nothing_starts_and_the_rows_say_how_to_run_it() -> None:
    found = dict(run(list(MEASUREMENTS), CPU, 0.0))
    assert found.keys() == MEASUREMENTS.keys()
    assert {row.status for row in found.values()} == {"skipped"}
    tells(found["sharing"].reason, "no time left", "--only sharing")


@pytest.mark.parametrize(("file", "word"), [("none/gpu.json", "existing folder"), ("gpu.json", "figures of a GPU")])
def test_a_file_that_cannot_or_should_not_be_written_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: str, word: str
) -> None:
    (tmp_path / "gpu.json").write_text('{"is_gpu": true}')
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu", "--output", str(tmp_path / file)])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    tells(printed.err, "--output", tmp_path / file, word)
    assert (tmp_path / "gpu.json").read_text() == '{"is_gpu": true}'


def test_waits_are_forbidden_in_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    with forbid_waits(torch.device("cpu")):
        pass
    assert modes == []
    with pytest.raises(ValueError, match="broken"), forbid_waits(torch.device("cuda")):
        raise ValueError("broken")
    assert modes == ["error", "default"]


def test_only_torch_s_own_error_counts_as_a_wait() -> None:
    def fail(text: str) -> None:
        raise RuntimeError(text)

    assert waits(lambda: fail("called a synchronizing CUDA operation"))
    assert not waits(lambda: None)
    with pytest.raises(RuntimeError, match="misaligned"):
        waits(lambda: fail("CUDA error: misaligned address"))


def test_states_with_the_same_gap_are_the_same() -> None:
    gap = {"a": torch.tensor([math.nan])}
    assert differing(gap, {"a": torch.tensor([math.nan])}) == 0
    assert differing({"a": torch.tensor(0.0)}, {"a": torch.tensor(-0.0)}) == 1


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({"a": torch.tensor([1.0, 2.0]), "b": [3, {"c": 4}]}, 0),
        ({"a": torch.tensor([1.0, 2.0000002]), "b": [3, {"c": 4}]}, 1),
        ({"a": torch.tensor([1.0, 2.0]), "b": [3, {"c": 5}]}, 1),
        ({"a": torch.tensor([1.0, 2.0]), "b": [3]}, 1),
        ({"a": torch.tensor([1.0, 2.0])}, 1),
        ({"a": torch.tensor([1.0, 2.0], dtype=torch.float64), "b": [3, {"c": 4}]}, 1),
    ],
)
def test_states_are_compared_to_the_bit(other: dict[str, Any], expected: int) -> None:
    assert differing({"a": torch.tensor([1.0, 2.0]), "b": [3, {"c": 4}]}, other) == expected


def test_a_number_that_is_not_finite_is_text_in_the_file(tmp_path: Path) -> None:
    Result(CPU, rows=[("sigma", Row("large", {"error": math.inf, "ms": 1.23456}))]).write(tmp_path / "gpu.json")
    [row] = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["rows"]
    assert row["values"] == {"error": "inf", "ms": 1.235}


def test_a_line_of_the_table_says_whether_its_goal_is_met() -> None:
    for is_met, word in ((True, "met"), (False, "MISSED")):
        tells(format_row("step", Row("OGM", {"ratio": 1.2}, goal="at most 1.05", is_met=is_met)), "at most 1.05", word)
    assert "goal" not in format_row("step", Row("OGM", {"ratio": 1.2}, goal="at most 1.05"))


@pytest.mark.parametrize("page", ["gpu.md", "performance.md"])
def test_the_pages_say_that_no_gpu_was_measured_until_one_is(page: str) -> None:
    text = " ".join((ROOT / "docs" / page).read_text(encoding="utf-8").split())
    assert (SENTENCE in text) is not has_figures(OUTPUT)
