"""Errors on the command line itself: commands, options, choices and their arguments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.wording.catalogue import Chapter, Entry, commanded

FILE = "name: mine\ndataset: {name: digits}\nspace: {fusion: [concat, sum]}\n"

LINES = [
    ("No experiment file", "run_search.py"),
    ("A misspelt option of the search", "run_search.py mine.yaml --dry"),
    ("A dry run with `--resume`", "run_search.py mine.yaml --dry-run --resume"),
    ("A command that does not exist", "python -m search verdict"),
    ("An option that does not exist", "python -m search confirm demo --budget 3"),
    ("A misspelt option", "python -m search confirm demo --seed 3"),
    ("An option without a value", "python -m search confirm demo --seeds"),
    ("An option with too small a value", "python -m search confirm demo --seeds 0"),
    ("A split that does not exist", "python -m search probe demo --split tset"),
    ("Probe curves of two searches", "python -m search probe demo vggsound --curve"),
    ("Probe curves on the test split", "python -m search probe demo --curve --split test --unimodal"),
    ("An option of `--curve` without `--curve`", "python -m search probe demo --every 2"),
    ("Two models instead of one", "python -m search evaluate plain modulated"),
    ("A folder instead of an experiment file", "python -m search train runs"),
    ("The folder of a run instead of its file", "python -m search train runs/plain"),
    ("The name of a run instead of a file", "python -m search train plain"),
    ("A misspelt run", "python -m search export dmo"),
    ("A run that does not exist", "python -m search ui cremad"),
    ("A misspelt model", "python -m search evaluate palin"),
    ("A search as another command", "python -m search search mine.yaml"),
    ("Another command as a search", "run_search.py confirm demo"),
    ("A key as an option", "run_search.py mine.yaml --trial.epochs=3"),
    ("A run's folder as an experiment file", "run_search.py runs/plain"),
]

SET = [
    ("An assignment without an equals sign", "trial.epochs 3"),
    ("A value of the wrong type on the command line", "trial.epochs=two"),
    ("A misspelt key on the command line", "search.trails=8"),
    ("A key on the command line without its section", "epochs=8"),
    ("A value on the command line that is not YAML", "'space.fusion=[concat'"),
    ("Several errors on the command line", "search.trails=8 trial.epoch=3 dataset.snr=2"),
]


def runs() -> None:
    """Create runs with some names, one of them with a model."""
    for name in ("demo", "plain", "vggsound"):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "experiment.yaml").touch()
    Path("runs/plain/best.pt").touch()
    Path("runs/plain/best.yaml").touch()


def entries() -> Iterator[Entry]:
    for title, line in LINES:
        yield commanded(title, line, runs)
    yield commanded("A run, before there are any runs", "python -m search confirm demo")
    words = "--dataset CREMAD --train --alpha 0.8 --fusion_method=sum"
    yield commanded("Options of the authors' code", f"run_search.py {words}")
    yield commanded("An experiment file in place of a run", "python -m search confirm mine.yaml", file=FILE)
    yield commanded("An experiment file in place of a model", "python -m search evaluate mine.yaml", file=FILE)
    yield commanded("An experiment file without its ending", "run_search.py mine", file=FILE)
    yield commanded("The folder of an experiment file", "run_search.py .", file=FILE)
    for title, words in SET:
        yield commanded(title, f"run_search.py mine.yaml {words}", file=FILE)


CHAPTER = Chapter("command_line", "The command line", entries)
