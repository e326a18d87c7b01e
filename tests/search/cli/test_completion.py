"""Completion in bash: the script is sourced, and its function is called with the current line, as bash does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from search.cli.completion import assignments
from search.cli.main import main
from search.reference.json_schema import experiment_schema
from search.reference.keys import sections
from tests.support import ROOT

SCRIPT = ROOT / "search" / "cli" / "completion.bash"
# `complete` and `compopt` need a line editor; here their arguments are printed.
SHELL = """
compopt() { echo "compopt $*"; }
source "$SCRIPT"
{ eval "$BETWEEN"; } >/dev/null
COMP_LINE=$LINE COMP_POINT=${#LINE}
"$(complete -p uv | sed -n 's/.* -F \\([^ ]*\\) .*/\\1/p')" uv "$WORD" ""
printf '%s\\n' "${COMPREPLY[@]}"
"""
NO_SPACE = ["compopt -o nospace"]  # after a `=`
UV = f"""#!/bin/sh
# what `uv run` does, without looking for packages
shift
[ "$1" = python ] && shift
PYTHONPATH={ROOT} exec {sys.executable} "$@"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder with several runs, of which `demo-best` is a single training, and with a `uv`."""
    for name in ("demo", "demo-best", "vggsound"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "experiment.yaml").touch()
    (tmp_path / "runs" / "demo-best" / "best.pt").touch()
    (tmp_path / "run_search.py").symlink_to(ROOT / "run_search.py")
    (tmp_path / "uv").write_text(UV, encoding="utf-8")
    (tmp_path / "uv").chmod(0o755)
    return tmp_path


def offered(folder: Path, line: str, *, before: str = "", between: str = "") -> list[str]:
    """Return the completions at the end of a line; bash starts a new word after a space, `=` and `:`."""
    word = re.split(r"[ =:]", line)[-1]
    told = {"SCRIPT": str(SCRIPT), "LINE": line, "WORD": word, "BETWEEN": between}
    environment = {**os.environ, **told, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", before + SHELL]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("python -m search ", sorted(main.commands)),
        ("python -m search con", ["confirm"]),
        ("python -m search confirm de", ["demo", "demo-best"]),
        ("python -m search confirm demo --s", ["--seeds", "--sequential"]),
        ("python -m search confirm demo search.addr", [*NO_SPACE, "search.address="]),
        ("python -m search evaluate de", ["demo-best"]),
        ("python -m search evaluate demo-best --against ", ["demo-best"]),
        ("python -m search evaluate demo-best --split ", ["test", "validation"]),
        ("python -m search probe demo-best d", ["demo-best"]),
        ("python -m search train runs/de", [""]),  # a file: completed by bash
        ("run_search.py x.yaml --dry", ["--dry-run"]),
        ("run_search.py experiments/de", [""]),
        ("run_search.py x.yaml search.sam", [*NO_SPACE, "search.sampler="]),
        ("run_search.py x.yaml search.sampler=", ["tpe", "random", "grid", "qmc", "gp", "cmaes", "nsga2"]),
        ("run_search.py x.yaml name=y search.sampler=t", ["tpe"]),
        ("run_search.py x.yaml dataset.name=v", ["vggsound"]),
        ("run_search.py x.yaml trial.deterministic=", ["true", "false"]),
        ("run_search.py x.yaml search.resources.gpu=", ["auto"]),
        ("run_search.py x.yaml search.trials=", [""]),
        (
            "run_search.py x.yaml space.schedule.",
            [*NO_SPACE, *(f"space.schedule.{k}=" for k in ("name", "milestones", "gamma"))],
        ),
    ],
)
def test_a_word_is_completed(folder, line, words):
    assert offered(folder, f"uv run {line}") == words


OTHERS = '_uv() { COMPREPLY=("uv\'s $1 $2"); }; complete -o nosort -F _uv uv\n'


@pytest.mark.parametrize("between", ["", f"source {SCRIPT}"], ids=["once", "sourced twice"])
@pytest.mark.parametrize(
    "line", ["uv ru", "uv run python -m pyt", "uv run run_search.p", "uv run python -m searcher c"]
)
def test_what_is_not_ours_is_left_to_the_completion_of_uv(folder, line, between):
    word = line.rpartition(" ")[2]
    assert offered(folder, line, before=OTHERS, between=between) == [f"uv's uv {word}"]
    assert offered(folder, line, between=between) == [""]


def test_every_key_of_the_experiment_file_is_offered():
    schema = experiment_schema()
    keys = {key.path for section in sections(schema) for key in section.keys}
    ranges = {key for key in keys if key.startswith("space.PATH.")}
    searched = {f"space.{path}" for path in schema["properties"]["space"]["properties"]}
    found = assignments(click.Context(main), main.params[0], "")
    assert len(found) == len(set(found))
    named = {"trial.encoder.name", "trial.fusion.name"}  # of a factory with arguments
    assert set(found) == {f"{key}=" for key in (keys - ranges) | searched | named}
