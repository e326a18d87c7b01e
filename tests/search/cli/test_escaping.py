"""Names that contain commands for a terminal or formulas: shown as written, by real commands."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ogmge import fit
from search.experiment.load import load
from search.experiment.schema import as_values, to_yaml
from search.run.folder import write
from search.run.open_data import open_data
from tests.support import ROOT
from tests.support.tells import tells
from tests.support.terminals import run_in_terminal

OURS = re.compile(r"\x1b\[[\d;]*m|\x1b\[2K|\x1b\[\?25[lh]|\x1b\[1A|\r(?=\n|\x1b\[(?:2K|1A))|[\n\t]")  # what rich writes
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
TITLE, SHOWN = "\x1b]0;pwned\x07", r"\x1b]0;pwned\x07"  # sets the title of the window
LINK = '=HYPERLINK("http://x.example","y")'
BROKEN = "a\nnote: fine \u202egnp\r"

YAML = r"""
name: own
"dat\e]0;pwned\aset\nnote": {name: digits}
trial: {"epo\rchs": 3, fusion: "\e[2Jx"}
"""
EXPERIMENT = r"""
name: own
dataset:
  name: tests.support.own_data:WithTest
  samples: 90
  classes: ['=HYPERLINK("http://x.example","y")', "\e]0;pwned\a", "a\nnote: fine \u202Egnp\r"]
trial: {epochs: 1, batch_size: 16, encoder: mlp, modulation: {method: ogm, alpha: 0.5, parameters: all}}
"""
TABLE = f"""id,audio,label,split
1{TITLE},1.wav,{TITLE},train
2,2.wav,\u202eknil,validation
gone{TITLE},gone.wav,{TITLE},train
"""


def assert_harmless(written: str) -> None:
    assert CONTROL.findall(OURS.sub("", written)) == []


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


def on_terminal(folder: Path, *words: str, code: int = 0) -> str:
    command = f"export PYTHONPATH={shlex.quote(str(ROOT))}; {shlex.join([sys.executable, *words])}; test $? = {code}"
    return run_in_terminal(["sh", "-c", command], folder)


def test_keys_and_values_of_a_file(tmp_path):
    (tmp_path / "bad.yaml").write_text(YAML)
    piped = run(tmp_path, "-m", "search", "check", "bad.yaml")
    assert piped.returncode == 2
    for written in (piped.stdout + piped.stderr, on_terminal(tmp_path, "-m", "search", "check", "bad.yaml", code=2)):
        assert_harmless(written)
        tells(written, r"line 3: `dat\x1b]0;pwned\x07set\nnote` is not", r"line 4: `trial.epo\rchs`", r"'\x1b[2Jx'")
    assert len(piped.stderr.splitlines()) == 5  # the heading, and a line for each error


@pytest.mark.slow
def test_classes_of_a_model(tmp_path):
    (tmp_path / "own.yaml").write_text(EXPERIMENT)
    folder = tmp_path / "runs" / "own"
    folder.mkdir(parents=True)
    experiment = load(tmp_path / "own.yaml")
    write(folder / "experiment.yaml", to_yaml(as_values(experiment)))
    fit.train(experiment.trial, open_data(experiment.dataset), lambda metrics: None, folder=folder)
    words = ("-m", "search", "evaluate", "own", "--split", "validation")
    written = on_terminal(tmp_path, *words)
    assert_harmless(written)
    assert SHOWN in written
    for name in ("classes", "confusions"):
        text = (folder / f"{name}.csv").read_text()
        assert_harmless(text)
        assert not re.search(r'(^|,)"?[=@+]', text, re.MULTILINE)
    with (folder / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == [f"'{LINK}", SHOWN, "a\nnote: fine \\u202egnp\\r"]
    assert all(0 <= float(row["accuracy"]) <= 1 for row in rows)  # numbers stay numbers


def test_labels_ids_and_files_of_a_table(tmp_path):
    (tmp_path / "clips.csv").write_text(TABLE)
    for number in (1, 2):
        (tmp_path / f"{number}.wav").touch()
    options = "{name: table, source: clips.csv, store: store, id: id, audio: audio}"
    (tmp_path / "table.yaml").write_text(f"name: table\ndataset: {options}\n")
    checked = run(tmp_path, "-m", "search", "check", "table.yaml")
    assert checked.returncode == 1, checked.stderr
    assert_harmless(checked.stdout + checked.stderr)
    tells(checked.stdout, SHOWN, f"missing: gone{SHOWN}", r"\u202eknil")


@pytest.mark.parametrize("words", [["check", TITLE], ["check", "x.yaml", f"--{TITLE}"]])
def test_words_of_the_command_line(tmp_path, words):
    done = run(tmp_path, "-m", "search", *words)
    assert done.returncode == 2
    assert_harmless(done.stdout + done.stderr)
    tells(done.stderr, SHOWN)


PRINTS = """
import logging, sys, warnings
from rich.panel import Panel
from search.cli import main
print(TEXT, 1)
sys.stderr.writelines([TEXT, "2"])
logging.warning(TEXT + "3")
warnings.warn(TEXT + "4")
main._console().print(TEXT + "5", {"a": TEXT + "6"}, Panel(TEXT + "7"), style="red")
raise ValueError(TEXT + "8")
"""


def test_whatever_prints(tmp_path):
    text = f"begin {TITLE}{BROKEN}\udc80\x85 end "
    done = run(tmp_path, "-c", PRINTS.replace("TEXT", ascii(text)))
    assert done.returncode == 1
    assert_harmless(done.stdout + done.stderr)
    for number in range(1, 9):
        assert re.search(rf"\\x85 end (\\n')? *{number}", done.stdout + done.stderr), number
    assert (done.stdout + done.stderr).count(rf"{SHOWN}a") == 8
