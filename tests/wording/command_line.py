"""Mistakes on the command line itself: commands, options, choices, and what they are about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.wording.catalogue import Chapter, Entry, commanded

FILE = "name: mine\ndataset: {name: digits}\nspace: {fusion: [concat, sum]}\n"

LINES = [
    ("No experiment file", "run_search.py"),
    ("An option of the search that is misspelt", "run_search.py mine.yaml --dry"),
    ("A dry run that is to go on", "run_search.py mine.yaml --dry-run --resume"),
    ("A command that does not exist", "python -m search verdict"),
    ("An option that does not exist", "python -m search confirm demo --budget 3"),
    ("An option that is misspelt", "python -m search confirm demo --seed 3"),
    ("An option without its value", "python -m search confirm demo --seeds"),
    ("A value of an option that is too small", "python -m search confirm demo --seeds 0"),
    ("A split that does not exist", "python -m search probe demo --split tset"),
    ("Curves of probes of two searches", "python -m search probe demo vggsound --curve"),
    ("Curves of probes on a test split", "python -m search probe demo --curve --split test --unimodal"),
    ("An option of curves without curves", "python -m search probe demo --every 2"),
    ("Two models where one is expected", "python -m search evaluate plain modulated"),
    ("A folder in place of an experiment file", "python -m search train runs"),
    ("A run that is misspelt", "python -m search export dmo"),
    ("A run that does not exist", "python -m search ui cremad"),
    ("A model that is misspelt", "python -m search evaluate palin"),
]

SET = [
    ("Words on the command line without an equals sign", "trial.epochs 3"),
    ("A value of the wrong type on the command line", "trial.epochs=two"),
    ("A key on the command line that is misspelt", "search.trails=8"),
    ("A key on the command line without its section", "epochs=8"),
    ("A value on the command line that is no YAML", "'space.fusion=[concat'"),
]


def runs() -> None:
    """Lay out runs of some names, two of which hold one model."""
    for name in ("demo", "plain", "vggsound"):
        Path("runs", name).mkdir(parents=True)
        Path("runs", name, "experiment.yaml").touch()
    Path("runs/plain/best.pt").touch()


def entries() -> Iterator[Entry]:
    for title, line in LINES:
        yield commanded(title, line, runs)
    yield commanded("A run where there is none yet", "python -m search confirm demo")
    for title, words in SET:
        yield commanded(title, f"run_search.py mine.yaml {words}", file=FILE)


CHAPTER = Chapter("command_line", "The command line", entries)
