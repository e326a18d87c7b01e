"""Errors with runs: missing, unfinished, existing, changed and corrupt ones."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console

from search.backend.code_version import code_note
from search.commands.confirm import Outcome as Confirmed
from search.commands.run_trials import check_journal
from search.commands.search import Outcome
from search.console.notes import print_note
from search.experiment.schema import Experiment
from search.run.disk import resumable
from search.run.folder import RunFolder
from search.run.journal import Journal
from search.tuner.tuner import Tuner
from tests.wording.catalogue import Chapter, Entry, commanded, nothing
from tests.wording.laid_out import FINISHED, NOTHING, SEARCH, TRIAL, Trials, confirmed, searched, trained

GO_ON = "run_search.py mine.yaml --resume"
EXPORT = "python -m search export demo"


def damaged_experiment() -> None:
    searched()
    Path("runs/demo/experiment.yaml").write_text("name: [", encoding="utf-8")


def damaged_identity() -> None:
    searched()
    Path("runs/demo/run.json").write_text("{}", encoding="utf-8")


def folder_for_identity() -> None:
    searched()
    Path("runs/demo/run.json").unlink()
    Path("runs/demo/run.json").mkdir()


def folder_for_journal() -> None:
    searched()
    Path("runs/demo/tune/journal.jsonl").unlink()
    Path("runs/demo/tune/journal.jsonl").mkdir()


def with_event(**event: object) -> None:
    searched()
    journal = Journal(RunFolder(Path("runs/demo")).journal)
    journal.append(event)
    journal.close()


def on_other_data(lay: Callable[[], object], name: str) -> None:
    lay()
    identity = Path("runs", name, "run.json")
    identity.write_text(identity.read_text(encoding="utf-8").replace("vectors-60", "vectors-50"), encoding="utf-8")


def locked(held: ExitStack, lay: Callable[[], object], name: str) -> None:
    lay()
    lock = os.open(f"runs/{name}/.lock", os.O_CREAT | os.O_RDWR)
    held.callback(os.close, lock)
    fcntl.flock(lock, fcntl.LOCK_EX)


ON_50 = partial(on_other_data, searched, "demo")
OF_ONE = partial(trained, "demo")
ODD_STEP = "'space.optimizer.momentum={low: 0.1, high: 0.95, step: 0.2}'"
SEARCHES: list[tuple[str, str, str, Callable[[], object]]] = [
    ("A search that exists already", "run_search.py mine.yaml", "`runs/demo` is a search.", searched),
    ("A search with the name of a training", "run_search.py mine.yaml", "`runs/demo` is a training.", OF_ONE),
    ("A training that should be resumed as a search", GO_ON, "`runs/demo` is a training.", OF_ONE),
    ("Nothing to resume", GO_ON, "", nothing),
    ("A step that does not lead to the end of its range", f"{GO_ON} {ODD_STEP}", "", nothing),
    ("A resumed search with different settings", f"{GO_ON} trial.epochs=5 space.fusion=[sum]", "", searched),
    ("A resumed search with fewer trials than have begun", f"{GO_ON} search.trials=2", "", searched),
    ("A resumed search whose data have changed", GO_ON, "The data had 50 samples when the search began.", ON_50),
    ("A resumed search with a corrupt experiment", GO_ON, "`experiment.yaml` is truncated.", damaged_experiment),
    ("A resumed search with a corrupt identity", GO_ON, "`run.json` is incomplete.", damaged_identity),
    ("A resumed search with a folder for its identity", GO_ON, "`run.json` is a folder.", folder_for_identity),
    ("An export with a folder for the journal", EXPORT, "`journal.jsonl` is a folder.", folder_for_journal),
    ("A journal with an unknown event", EXPORT, "", partial(with_event, event="paused", number=0)),
    ("A journal with an unknown trial", EXPORT, "", partial(with_event, event="started", number=99)),
    ("A journal of a newer program", EXPORT, "", partial(with_event, event="suggested", number=9, version=99)),
]

LEARN = "run_search.py mine.yaml name=next"
LOSS = "search.metric=val/loss search.mode=min"
EARLIER: list[tuple[str, str, str, Callable[[], object]]] = [
    ("An earlier search that does not exist", f"{LEARN} search.learn_from=[dmo]", "", searched),
    ("An earlier search on different data", f"{LEARN} search.learn_from=[demo]", "Its data had 50 samples.", ON_50),
    ("An earlier search with a different metric", f"{LEARN} search.learn_from=[demo] {LOSS}", "", searched),
    ("A training as an earlier search", f"{LEARN} search.learn_from=[demo]", "", partial(trained, "demo")),
    ("A search that should learn from itself", f"{LEARN} search.learn_from=[next]", "", nothing),
    (
        "Several errors with earlier searches",
        f"{LEARN} 'search.learn_from=[demo, next, other, ./runs/demo]'",
        "",
        searched,
    ),
]


# ---- places that cannot be written ----


def with_a_folder(name: str) -> None:
    searched()
    Path("runs/demo", name).mkdir()


NEW, REPORT = "run_search.py mine.yaml name=next", "python -m search report demo"
PLACES: list[tuple[str, str, str, Callable[[], object]]] = [
    ("A file where the runs should be", NEW, "`runs` is a file.", Path("runs").touch),
    ("A link to a disk that is not mounted", NEW, "`runs` is a link.", partial(os.symlink, "/mnt/disk/runs", "runs")),
    ("A folder where a file should be", GO_ON, "`best.yaml` is a folder.", partial(with_a_folder, "best.yaml")),
    ("A name that is too long", f"{REPORT} -o {'x' * 260}.html", "", searched),
]


# ---- how a search ends ----

FAILED = "trial 0: NonFiniteLoss: the loss is not finite at epoch 0, step 0 (learning rate 10): lower the learning rate"
FULL = f"{os.strerror(errno.ENOSPC)}: runs/demo/tune/0003/last.pt"
NO_PAIR = "trial 1: RuntimeError: CUDA error: device-side assert triggered"
DONE = Outcome(complete=True, has_answer=True, failure=None, halted=None)


def interrupted(given: Experiment, runs: Path, *_: object, **__: object) -> Outcome:
    (runs / given.name).mkdir(parents=True)
    (runs / given.name / "experiment.yaml").touch()
    raise KeyboardInterrupt


def interrupted_early(*_: object, **__: object) -> Outcome:
    raise KeyboardInterrupt


def no_room(*_: object, **__: object) -> Outcome:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/demo/experiment.yaml")


def failing_disk(*_: object, **__: object) -> Outcome:
    with resumable():
        raise OSError(errno.EIO, os.strerror(errno.EIO), "runs/demo/tune/packing.json")


def deleted(*_: object, **__: object) -> Outcome:
    halted = cast(Tuner, SimpleNamespace(halted=FULL, record=SimpleNamespace(trials={0: None})))
    check_journal(halted, RunFolder(Path("runs/demo")))
    return DONE


def with_other_code(experiment: object, runs: object, console: Console, **_: object) -> Outcome:
    before = {"code": "1f", "program": "0.1.0", "commit": "a1b2c3d", "module.mine": "3c", "version.torch": "2.14.0"}
    now = {"code": "2e", "program": "0.1.0", "commit": "d4e5f6a, with changes", "module.mine": "4d"}
    print_note(console, str(code_note(before, {**now, "version.torch": "2.15.0"})))
    return DONE


def ends_as(outcome: Outcome) -> Callable[..., Outcome]:
    return lambda *_, **__: outcome


ENDS: list[tuple[str, str, Callable[..., Outcome]]] = [
    ("A search is interrupted", "The user presses Ctrl-C.", interrupted),
    ("A search is interrupted before its first trial", "The user presses Ctrl-C.", interrupted_early),
    (
        "All trials of a search fail",
        "The learning rate is 10.",
        ends_as(Outcome(complete=True, has_answer=False, failure=FAILED, halted=None)),
    ),
    (
        "The disk is full while a search runs",
        "",
        ends_as(Outcome(complete=False, has_answer=True, failure=None, halted=FULL)),
    ),
    ("The disk is full before a search starts", "", no_room),
    ("The disk fails while a search runs", "", failing_disk),
    ("The folder of a search is deleted while it runs", "", deleted),
    ("A search is resumed with other code", "", with_other_code),
    (
        "A confirmation fails",
        "",
        ends_as(Outcome(True, True, None, None, Confirmed(complete=True, halted=None, failure=NO_PAIR))),
    ),
]


# ---- after a search ----

ENDLESS = "python -m search confirm demo --sequential"
CONFIRM = "python -m search confirm demo"
CURVE = "python -m search probe demo --curve"
BASELINE = [trial for trial in FINISHED if trial[0] == "baseline"]
RUNNING = [*FINISHED[:3], ("baseline", (1, 0), [0.4], "running", "")]


def untested() -> None:
    searched(FINISHED, "dataset={name: 'tests.wording.own:Vectors'}")


def with_verdict() -> None:
    searched()
    confirmed()


def with_damaged_plan() -> None:
    with_verdict()
    Path("runs/demo/confirm/plan.json").write_text('{"seeds": 6', encoding="utf-8")


def with_damaged_verdict() -> None:
    with_verdict()
    Path("runs/demo/verdict.json").write_text('{"claim": "helps"', encoding="utf-8")


def with_newer_verdict() -> None:
    with_verdict()
    Path("runs/demo/verdict.json").write_text('{"version": 99}', encoding="utf-8")


def at_another_server() -> None:
    searched(FINISHED, "tracking.uri=http://mlflow.example.com:5000")


def with_another_training() -> None:
    trained("demo")
    folder = Path("runs/demo/probe/audio")
    folder.mkdir(parents=True)
    (folder / "last.pt").touch()
    (folder / "training.json").write_text("{}", encoding="utf-8")


def one_sided() -> None:
    """Create a search whose best baseline uses one modality."""
    trials: Trials = [("modulated", (0, 1), *FINISHED[0][2:]), ("baseline", (0, 1, 1), *FINISHED[1][2:])]
    searched(trials, "space.modalities=[[audio,visual],[audio]]", "search.trials=2")


def with_damaged_curves() -> None:
    searched()
    run = RunFolder(Path("runs/demo")).probe_curve
    run.tune.mkdir(parents=True)
    run.journal.write_text("{}", encoding="utf-8")
    (run.path / "plan.json").write_text('{"every": 1', encoding="utf-8")


def all_failed() -> None:
    modulated, baseline = NOTHING[0], BASELINE[0]
    searched([modulated, baseline, modulated, BASELINE[1]])


FOLLOWING: list[tuple[str, str, str, Callable[[], object]]] = [
    (
        "A confirmation of an unfinished search",
        CONFIRM,
        "One of four trials has not ended.",
        partial(searched, RUNNING),
    ),
    ("A confirmation of an arm without a result", CONFIRM, "Both modulated trials failed.", all_failed),
    ("A confirmation with different settings", f"{CONFIRM} trial.epochs=5", "", searched),
    ("A confirmation without a limit", ENDLESS, "", searched),
    ("A confirmation on a missing test split", f"{CONFIRM} --test", "", untested),
    ("A confirmation whose data have changed", CONFIRM, "The data had 50 samples.", ON_50),
    ("A confirmation with fewer seeds", f"{CONFIRM} --seeds 4", "It was started with 6 seeds.", with_verdict),
    ("A confirmation with a corrupt plan", CONFIRM, "`plan.json` is truncated.", with_damaged_plan),
    ("A confirmation of a training", CONFIRM, "`runs/demo` is a training.", partial(trained, "demo")),
    ("Probe curves of an unfinished search", CURVE, "One trial has not ended.", partial(searched, RUNNING)),
    ("Probe curves of an arm without a result", CURVE, "Both modulated trials failed.", all_failed),
    ("Probe curves of a model of one modality", CURVE, "The best baseline uses only the audio.", one_sided),
    ("Probe curves with too few epochs", f"{CURVE} --every 4", "Each training has 3 epochs.", searched),
    ("Probe curves of a training", CURVE, "`runs/demo` is a training.", partial(trained, "demo")),
    ("Probe curves with a corrupt plan", CURVE, "`plan.json` is truncated.", with_damaged_curves),
    ("A trial that does not exist", f"{EXPORT} --trial 9", "The search has four trials.", searched),
    ("A trial without a result", f"{EXPORT} --trial 0", "Trial 0 failed.", partial(searched, NOTHING)),
    ("A search without any result", EXPORT, "All four trials failed.", partial(searched, NOTHING)),
    ("An export to a missing folder", f"{EXPORT} -o models/best.yaml", "The folder `models` does not exist.", searched),
    ("An export of a confirmed search", EXPORT, "There is a verdict.", with_verdict),
    ("An export with a corrupt verdict", EXPORT, "`verdict.json` is truncated.", with_damaged_verdict),
    ("An export with a verdict of a newer program", EXPORT, "The verdict has version 99.", with_newer_verdict),
    ("An export of a training", EXPORT, "`runs/demo` is a training.", partial(trained, "demo")),
    ("An export without a confirmation", EXPORT, "", searched),
    ("A report on a corrupt run", "python -m search report demo", "", damaged_experiment),
    ("The MLflow page of runs on another server", "python -m search ui demo", "", at_another_server),
    (
        "Trainings on one modality with different settings",
        "python -m search probe demo --unimodal",
        "The encoders have been trained alone with a different learning rate.",
        with_another_training,
    ),
]


# ---- trainings ----

TRAIN = "python -m search train mine.yaml"
ALONE = TRIAL.format(name="alone")
WHOLE = ALONE.replace("Tested", "Whole")


def begun(*, all_data: bool) -> None:
    trained("alone")
    Path("runs/alone/train.json").write_text(json.dumps({"all_data": all_data, "epochs": None}), encoding="utf-8")


TRAININGS: list[tuple[str, str, str, str, Callable[[], object]]] = [
    (
        "A resumed training with other options",
        "--resume",
        ALONE,
        "It was started with `--all-data`.",
        partial(begun, all_data=True),
    ),
    ("A training with the name of a search", "name=demo", ALONE, "`runs/demo` is a search.", searched),
    (
        "A search that should be resumed as a training",
        "name=demo --resume",
        ALONE,
        "`runs/demo` is a search.",
        searched,
    ),
    ("`--all-data` without a confirmation", "--all-data", WHOLE, "", nothing),
]


def entries() -> Iterator[Entry]:
    for title, line, given, lay in [*SEARCHES, *EARLIER, *PLACES]:
        yield commanded(title, line, lay, file=SEARCH, given=given)
    with ExitStack() as held:
        lay = partial(locked, held, searched, "demo")
        given = "Another process is running the search in `runs/demo`."
        yield commanded("A search that another process is running", GO_ON, lay, file=SEARCH, given=given)
    for title, given, end in ENDS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("search.commands.search.search", end)
            yield commanded(title, "run_search.py mine.yaml", file=SEARCH, given=given)
    for title, line, given, lay in FOLLOWING:
        yield commanded(title, line, lay, given=given)
    for title, words, text, given, begin in TRAININGS:
        yield commanded(title, f"{TRAIN} {words}".rstrip(), begin, file=text, given=given)


CHAPTER = Chapter("runs", "Runs", entries)
