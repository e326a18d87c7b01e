"""Mistakes with runs: that are not there or not done, that exist already, and that are not what they were."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from search.commands.confirm import Outcome as Confirmed
from search.commands.search import Outcome
from search.run.folder import RunFolder
from tests.wording.catalogue import Chapter, Entry, commanded, nothing
from tests.wording.laid_out import FINISHED, NOTHING, SEARCH, TRIAL, Trials, confirmed, searched, trained

GO_ON = "run_search.py mine.yaml --resume"


def damaged_experiment() -> None:
    searched()
    Path("runs/demo/experiment.yaml").write_text("name: [", encoding="utf-8")


def damaged_identity() -> None:
    searched()
    Path("runs/demo/run.json").write_text("{}", encoding="utf-8")


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
SEARCHES: list[tuple[str, str, str, Callable[[], object]]] = [
    ("A search that exists already", "run_search.py mine.yaml", "`runs/demo` is a search.", searched),
    ("Nothing to resume", GO_ON, "", nothing),
    ("A resumed search with other settings", f"{GO_ON} trial.epochs=5 space.fusion=[sum]", "", searched),
    ("A resumed search on data that have changed", GO_ON, "The data had 50 samples when the search began.", ON_50),
    ("A resumed search whose experiment is damaged", GO_ON, "`experiment.yaml` is cut short.", damaged_experiment),
    ("A resumed search whose identity is damaged", GO_ON, "`run.json` is cut short.", damaged_identity),
]

LEARN = "run_search.py mine.yaml name=next"
LOSS = "search.metric=val/loss search.mode=min"
EARLIER: list[tuple[str, str, str, Callable[[], object]]] = [
    ("An earlier search that does not exist", f"{LEARN} search.learn_from=[dmo]", "", searched),
    ("An earlier search on other data", f"{LEARN} search.learn_from=[demo]", "They had 50 samples.", ON_50),
    ("An earlier search with another metric", f"{LEARN} search.learn_from=[demo] {LOSS}", "", searched),
    ("A training as an earlier search", f"{LEARN} search.learn_from=[demo]", "", partial(trained, "demo")),
    ("A search that is to learn from itself", f"{LEARN} search.learn_from=[next]", "", nothing),
    (
        "Several mistakes with earlier searches",
        f"{LEARN} 'search.learn_from=[demo, next, other, ./runs/demo]'",
        "",
        searched,
    ),
]


# ---- how a search ends ----

FAILED = "trial 0: NonFiniteLoss: the loss is not finite at epoch 0, step 0 (learning rate 10): lower the learning rate"
FULL = f"{os.strerror(errno.ENOSPC)}: runs/demo/tune/0003/last.pt"
NO_PAIR = "trial 1: RuntimeError: CUDA error: device-side assert triggered"
DONE = Outcome(complete=True, has_answer=True, failure=None, halted=None)


def interrupted(*_: object, **__: object) -> Outcome:
    raise KeyboardInterrupt


def no_room(*_: object, **__: object) -> Outcome:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/demo/experiment.yaml")


def ends_as(outcome: Outcome) -> Callable[..., Outcome]:
    return lambda *_, **__: outcome


ENDS: list[tuple[str, str, Callable[..., Outcome]]] = [
    ("A search is interrupted", "Somebody pressed Ctrl-C.", interrupted),
    (
        "All trials of a search failed",
        "The learning rate is 10.",
        ends_as(Outcome(complete=True, has_answer=False, failure=FAILED, halted=None)),
    ),
    (
        "The disk is full while a search runs",
        "",
        ends_as(Outcome(complete=False, has_answer=True, failure=None, halted=FULL)),
    ),
    ("The disk is full before a search begins", "", no_room),
    (
        "A confirmation failed",
        "",
        ends_as(Outcome(True, True, None, None, Confirmed(complete=True, halted=None, failure=NO_PAIR))),
    ),
]


# ---- what follows a search ----

ENDLESS = "python -m search confirm demo --sequential"
CONFIRM = "python -m search confirm demo"
CURVE = "python -m search probe demo --curve"
EXPORT = "python -m search export demo"
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
    """The best baseline takes one modality."""
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
    ("A search that is not done", CONFIRM, "One of four trials is still to end.", partial(searched, RUNNING)),
    ("An arm without a result", CONFIRM, "Both modulated trials failed.", all_failed),
    ("A confirmation of another search", f"{CONFIRM} trial.epochs=5", "", searched),
    ("A confirmation without an end", ENDLESS, "", searched),
    ("A confirmation on a test split that is not there", f"{CONFIRM} --test", "", untested),
    ("A confirmation on data that have changed", CONFIRM, "The data had 50 samples.", ON_50),
    ("A confirmation with fewer seeds", f"{CONFIRM} --seeds 4", "It began with 6 seeds.", with_verdict),
    ("A confirmation whose plan is damaged", CONFIRM, "`plan.json` is cut short.", with_damaged_plan),
    ("A confirmation of a training", CONFIRM, "`runs/demo` is a training.", partial(trained, "demo")),
    ("Curves of probes of a search that is not done", CURVE, "One trial is still to end.", partial(searched, RUNNING)),
    ("Curves of probes of an arm without a result", CURVE, "Both modulated trials failed.", all_failed),
    ("Curves of probes of a model of one modality", CURVE, "The best baseline takes the audio.", one_sided),
    ("Curves of probes with too few epochs", f"{CURVE} --every 4", "A training has 3 epochs.", searched),
    ("Curves of probes of a training", CURVE, "`runs/demo` is a training.", partial(trained, "demo")),
    ("Curves of probes whose plan is damaged", CURVE, "`plan.json` is cut short.", with_damaged_curves),
    ("A trial that there is not", f"{EXPORT} --trial 9", "The search has four trials.", searched),
    ("A trial without a result", f"{EXPORT} --trial 0", "Trial 0 failed.", partial(searched, NOTHING)),
    ("A search without any result", EXPORT, "All four trials failed.", partial(searched, NOTHING)),
    ("A file that cannot be written", f"{EXPORT} -o models/best.yaml", "There is no folder `models`.", searched),
    ("An export of the better in the confirmation", EXPORT, "There is a verdict.", with_verdict),
    ("An export of a confirmation whose verdict is damaged", EXPORT, "It is cut short.", with_damaged_verdict),
    ("An export of what a newer program confirmed", EXPORT, "The verdict is of version 99.", with_newer_verdict),
    ("A report on a run that is damaged", "python -m search report demo", "", damaged_experiment),
    ("The page of runs that are elsewhere", "python -m search ui demo", "", at_another_server),
    (
        "Trainings alone with other settings",
        "python -m search probe demo --unimodal",
        "The encoders were trained alone with another learning rate before.",
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
        "It began with `--all-data`.",
        partial(begun, all_data=True),
    ),
    ("All data, without a confirmation", "--all-data", WHOLE, "", nothing),
]


def entries() -> Iterator[Entry]:
    for title, line, given, lay in [*SEARCHES, *EARLIER]:
        yield commanded(title, line, lay, file=SEARCH, given=given)
    with ExitStack() as held:
        lay = partial(locked, held, searched, "demo")
        given = "Another process searches in `runs/demo`."
        yield commanded("A search that another process goes on with", GO_ON, lay, file=SEARCH, given=given)
    for title, given, end in ENDS:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("search.commands.search.search", end)
            yield commanded(title, "run_search.py mine.yaml", file=SEARCH, given=given)
    for title, line, given, lay in FOLLOWING:
        yield commanded(title, line, lay, given=given)
    for title, words, text, given, begin in TRAININGS:
        yield commanded(title, f"{TRAIN} {words}".rstrip(), begin, file=text, given=given)


CHAPTER = Chapter("runs", "Runs", entries)
