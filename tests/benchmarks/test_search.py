"""Tests of the comparison with what a user would do instead: CPU time, and reading the results of each way."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.cpu_time import Used, measured
from benchmarks.curves import demo
from benchmarks.search import (
    ALPHAS,
    ENDS,
    FUSIONS,
    RATES,
    STARTS,
    Configuration,
    Result,
    Sizes,
    Training,
    best_of,
    claim,
    goals,
    grid,
    of_loop,
    of_ours,
    of_tune,
    quality,
    table,
    used_in,
)
from benchmarks.user_training import trial
from search.experiment.space import with_changes
from tests.support.tells import tells

PLAIN = Configuration("sum", 0.1)
OPEN = Configuration("film", 0.01, "ogm_ge", 0.5, 2, 7)

# ---- CPU time ----

BURN = """
import os, signal, sys, time
def burn():
    while time.process_time() < 0.8: pass
    os._exit(0)
"""
TREES = {
    "the command itself": "burn()",
    "a child that is waited for": "os.fork() or burn(); os.wait()",
    "a child that is not waited for and outlives the command": "os.fork() or (os.setsid(), os.fork() or burn())",
    "a child whose parent ignores SIGCHLD": (
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.fork() or burn()\n"
        "try: os.wait()\n"
        "except ChildProcessError: pass"
    ),
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_whatever_a_command_starts_counts(tree, tmp_path):
    used = measured([sys.executable, "-c", BURN + tree], folder=tmp_path, environment={}, out=tmp_path / "out.log")
    assert 0.5 < used.cpu < 1.5


def test_a_command_that_fails_says_so_and_is_counted_all_the_same(tmp_path):
    words = [sys.executable, "-c", "import os; print(os.environ['GIVEN']); raise SystemExit(3)"]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        measured(words, folder=tmp_path, environment={"GIVEN": "it is given"}, out=tmp_path / "0.used.log")
    assert caught.value.returncode == 3
    assert (tmp_path / "0.used.log").read_text() == "it is given\n"
    assert used_in(tmp_path).cpu > 0


def test_an_interruption_ends_all_and_what_was_used_counts(tmp_path):
    """The child is in its own session, which signals to the process group do not reach."""
    code = BURN + (
        "if not os.fork(): os.setsid(); open('child', 'w').write(str(os.getpid())); time.sleep(600)\ntime.sleep(600)"
    )
    call = (
        "from pathlib import Path; from benchmarks.cpu_time import measured; import sys; here = Path(sys.argv[1])\n"
        "measured([sys.executable, '-c', sys.argv[2]], folder=here, environment={}, out=here / '0.used.log')"
    )
    process = subprocess.Popen([sys.executable, "-c", call, str(tmp_path), code], stderr=subprocess.DEVNULL)
    child = tmp_path / "child"
    until = time.monotonic() + 60
    while not (child.exists() and child.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert not Path("/proc", child.read_text()).exists()
    assert used_in(tmp_path).cpu > 0


def test_times_of_one_after_the_other_add_up_and_the_larger_count_is_taken(tmp_path):
    for number, text in enumerate(['{"wall": 1, "reaped": 2, "seen": 8}', '{"wall": 2, "reaped": 4, "seen": 1}']):
        (tmp_path / f"{number}.used.json").write_text(text)
    assert used_in(tmp_path) == Used(3, 6, 9)
    assert used_in(tmp_path).cpu == 9
    assert used_in(tmp_path / "none").cpu == 0


# ---- what is asked ----


def test_the_grid_is_all_fusions_two_values_of_all_else_and_each_baseline_once():
    whole = grid(1000)
    assert len(set(whole)) == len(whole) == 8 + 64
    assert sum(point.method == "none" for point in whole) == len(FUSIONS) * len(RATES)
    assert grid(72) == whole
    few = grid(9)
    assert len(set(few)) == 9
    assert {point.method for point in few} == {"none", "ogm_ge"}


def test_a_users_training_is_the_demos_trial():
    """The grid's values also lie in the demo's space."""
    space = demo().space
    assert set(FUSIONS) == set(space["fusion"])
    assert set(RATES) < set(space["optimizer.lr"])
    for values, path in ((ALPHAS, "modulation.alpha"), (STARTS, "modulation.start"), (ENDS, "modulation.end")):
        assert all(space[path].low <= value <= space[path].high for value in values)
    changes = {"fusion": "film", "optimizer.lr": 0.01}
    changes |= {f"modulation.{name}": getattr(OPEN, name) for name in ("method", "alpha", "start", "end")}
    assert trial(asdict(OPEN), demo().trial.epochs) == with_changes(demo().trial, changes)
    assert trial(asdict(OPEN), 2, 7).seed == 7


# ---- what comes out ----


def test_what_each_way_leaves_is_read(tmp_path):
    file = tmp_path / "results.csv"
    file.write_text("sum,0.1,none,0.0,0,0,12,3,0.750000\nfilm,0.01,ogm_ge,0.5,2,7,12,3,0.5\n")
    assert of_loop(file) == [Training(PLAIN, 3, 12, 0.75), Training(OPEN, 3, 12, 0.5)]
    assert of_loop(tmp_path / "none.csv") == []

    names = "fusion,lr,method,alpha,start,end".replace(",", ",config/")
    file.write_text(
        f"best,training_iteration,config/{names}\n"
        "0.75,4,sum,0.1,none,0.3,2,5\n0.5,1,film,0.01,ogm_ge,0.5,2,7\n,,film,0.01,ogm,0.5,6,3\n"
    )
    short = Configuration("film", 0.01, "ogm", 0.5, 6, 6)  # a window that ends before it starts
    assert of_tune(file) == [Training(PLAIN, 0, 4, 0.75), Training(OPEN, 0, 1, 0.5), Training(short, 0, 0, None)]

    file.write_text(
        "arm,epochs_trained,epochs_inherited,fusion,optimizer.lr,modulation.method,modulation.alpha,modulation.start,"
        "modulation.end,val/accuracy\nbaseline,12,0,sum,0.1,,,,,0.75\nmodulated,4,8,film,0.01,ogm_ge,0.5,2,7,0.5\n"
    )
    assert of_ours(file) == [Training(PLAIN, 0, 12, 0.75), Training(OPEN, 0, 4, 0.5)]


def test_the_best_is_that_of_the_highest_accuracy_and_of_equal_ones_the_simpler():
    two = [Training(OPEN, 0, 1, 0.5), Training(PLAIN, 0, 1, 0.4)]
    assert best_of(two).configuration == OPEN
    assert best_of([*two, Training(PLAIN, 0, 1, 0.5)]).configuration == PLAIN
    assert best_of([*two, Training(PLAIN, 0, 1, None)]).configuration == OPEN


def result(cpu: float, *accuracies: float) -> Result:
    trainings = [Training(OPEN if n else PLAIN, 0, 12, value) for n, value in enumerate(accuracies)]
    return Result(trainings, Used(60, cpu, 0))


def test_the_table_has_what_was_used_and_the_best_of_each_kind():
    lines = table({"grid": result(7200, 0.5, 0.6, 0.7), "ours": result(900, 0.5)}).splitlines()
    assert lines[1].split() == ["grid", "3", "36", "2.000", "200.0", "1.0", "min"]
    assert lines[2].split() == ["ours", "1", "12", "0.250", "75.0", "1.0", "min"]
    assert [line.split()[:2] for line in lines[-3:]] == [["grid", "70.0%"], ["grid", "50.0%"], ["ours", "50.0%"]]
    tells(lines[-3], "film", 0.01, "ogm_ge", 0.5, "2-7")
    for line in lines[-2:]:
        tells(line, "sum", 0.1, "none")


@pytest.mark.parametrize(
    ("cpu", "ours", "time", "quality"),
    [
        (50, (0.6, 0.7, 0.8), ["0.50", "holds"], ["+10.00 ± 0.00", "holds"]),
        (51, (0.4, 0.5, 0.6), ["0.51", "MISSED"], ["-10.00 ± 0.00", "3 seeds"]),  # too few to tell
        (50, (0.40, 0.51, 0.59), ["0.50", "holds"], ["-10.00 ± 0.58", "MISSED"]),
        (50, (0.3, 0.7, 0.6), ["0.50", "holds"], ["-6.67 ± 8.82", "3 seeds"]),
    ],
)
def test_goals_say_whether_they_hold(cpu, ours, time, quality):
    said = goals({"tune": result(100, 0.5), "ours": result(cpu, 0.5)}, {"tune": (0.5, 0.6, 0.7), "ours": ours})
    for line, facts in zip(said.splitlines(), (["CPU-hours", 0.5, *time], quality), strict=True):
        tells(line, "ours", "tune", *facts)
        assert re.findall("holds|MISSED", line) == [fact for fact in facts if fact in ("holds", "MISSED")]


def test_goals_of_what_did_not_run_are_not_told():
    assert goals({"ours": result(1, 0.5)}, {"ours": (0.5, 0.6)}) == ""


def test_quality_is_the_mean_and_deviation_over_seeds():
    lines = quality({"tune": (0.5, 0.6, 0.7), "ours": (0.5,)}).splitlines()
    assert lines[1:] == ["tune  60.0 ± 10.0 %, n = 3", "ours  50.0 %, n = 1"]


def test_a_folder_that_keeps_a_run_of_other_sizes_is_refused(tmp_path):
    for _ in range(2):
        claim(tmp_path, Sizes(24, 12))
    with pytest.raises(SystemExit) as error:
        claim(tmp_path, Sizes(4, 12))
    tells(error.value, tmp_path, '"trials": 24', '"trials": 4')
