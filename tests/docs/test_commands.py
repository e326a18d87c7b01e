"""Tests of the commands shown on the pages: each one is run by a test, or has a reason why not."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from playwright.sync_api import expect

from search.cli.main import main, search_command
from search.experiment.load import load
from search.report.facts import gather
from search.report.sentences import headline
from tests.docs import images
from tests.support import ROOT, films
from tests.support.browsers import chromium, watched
from tests.support.pages import block, blocks, commands
from tests.support.searches import ONE_WORKER
from tests.support.served import served
from tests.support.tells import tells


@dataclass(frozen=True)
class Run:
    """Command that a test of this file runs, with additional words that make it small."""

    test: str
    more: str = ""


@dataclass(frozen=True)
class By:
    """Command that another test covers in its own form."""

    file: str
    test: str


@dataclass(frozen=True)
class Not:
    """Command that no test runs."""

    reason: str


DEMO = "test_the_demos_commands_bring_an_answer_a_model_and_their_pages"
TABLE = "test_a_folder_of_clips_becomes_a_table_that_is_searched"
SHELL = "test_what_a_shell_is_told_works_as_it_stands"
AS_IT_STANDS = "test_a_search_runs_on_it_as_its_file_stands_and_confirms_where_it_is_asked_to"
SEVERAL = "test_two_processes_of_which_the_first_command_is_killed_train_what_one_does"
CONFIRM, EVALUATE, PROBE, PREPARE, TRACE = (
    f"search/commands/test_{name}" for name in ("confirm", "evaluate", "probe", "prepare_and_check", "trace_probes")
)
CLUSTER = By("search/backend/test_cluster", "test_a_cluster_prepares_a_store_and_searches_a_copy_of_it_with_all_nodes")
SERVER = By(
    "search/tracking/test_tracking_server", "test_a_search_goes_on_while_the_server_does_not_and_delivers_later"
)
WHOLE = Not("`.ci/run` or a developer runs it")
JOB = Not("jobs need Ray's dashboard, which is not one of our dependencies")
HOSTS = Not("it listens to a network; test_cluster.py starts two nodes on the loopback address instead")
SEARCH, COMMANDS = "uv run run_search.py", "uv run python -m search"
ONE_CORE = "search.resources.cpu=1 search.resources.gpu=0"

TESTED: dict[str, Run | By | Not] = {
    # run by this file, in this order
    f"{SEARCH} experiments/demo.yaml": Run(DEMO, f"search.trials=2 trial.epochs=1 confirm.seeds=2 '{ONE_WORKER}'"),
    f"{COMMANDS} confirm demo": Run(DEMO),
    f"{COMMANDS} confirm demo --test": Run(DEMO),
    f"{COMMANDS} export demo --optuna": Run(DEMO),
    "uvx optuna-dashboard runs/demo/optuna.log": Not("it downloads a package; test_optuna_log.py reads the file"),
    f"{COMMANDS} export demo -o best.yaml": Run(DEMO),
    f"{COMMANDS} train runs/demo/best.yaml": Run(DEMO),
    f"{COMMANDS} evaluate demo-best": Run(DEMO),
    f"{COMMANDS} evaluate models:/demo-best@champion": Run(DEMO),
    f"{COMMANDS} report demo": Run(DEMO),
    f"{COMMANDS} ui demo": Run(DEMO),
    f"{COMMANDS} prepare mine.yaml": Run(TABLE),
    f"{COMMANDS} check mine.yaml": Run(TABLE),
    f"{SEARCH} mine.yaml --dry-run": Run(TABLE, f"trial.encoder=small_conv trial.batch_size=4 {ONE_CORE}"),
    f"{SEARCH} mine.yaml name=try trial.encoder=small_conv trial.epochs=3 search.trials=4 confirm.seeds=2": Run(
        TABLE, f"trial.batch_size=4 trial.epochs=1 search.trials=2 {ONE_CORE}"
    ),
    "(umask 077; python -c \"import secrets; print(secrets.token_hex(32), end='')\" > ~/ray-token)": Run(SHELL),
    "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=~/ray-token": Run(SHELL),
    "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=~/ray-token RAY_API_SERVER_ADDRESS=http://127.0.0.1:8265": Run(
        SHELL
    ),
    'uv run python -c "import torch; print(torch.cuda.device_count())"': Run(SHELL),
    # covered by other tests
    "uv run python -m benchmarks.gpu": By(
        "benchmarks/test_gpu", "test_without_a_gpu_all_but_the_compiler_runs_on_the_cpu"
    ),
    f"{SEARCH} mine.yaml": By("docs/test_commands", TABLE),
    f"{SEARCH} mine.yaml --resume": By("search/commands/test_search", "test_more_trials_can_be_asked_for_on_resume"),
    f"{COMMANDS} confirm mine --test": By("docs/test_commands", DEMO),
    f"{COMMANDS} train runs/mine/best.yaml": By("docs/test_commands", DEMO),
    f"{SEARCH} experiments/demo.yaml name=wide search.trials=32": By("docs/test_commands", DEMO),
    f"{SEARCH} experiments/demo.yaml name=narrow 'space.fusion=[concat,gated]' 'search.learn_from=[wide]'": By(
        "search/commands/test_learn_from", "test_a_search_that_learned_goes_on_when_the_earlier_is_gone"
    ),
    f"{SEARCH} experiments/demo.yaml name=quick search.trials=4 trial.epochs=3 confirm.seeds=2": By(
        "docs/test_commands", DEMO
    ),
    f"{COMMANDS} confirm demo --sequential --seeds 40": By(
        CONFIRM,
        "test_seeds_can_be_added_until_it_is_clear_after_a_verdict_but_not_without_an_end",
    ),
    f"{COMMANDS} evaluate demo-best --against plain": By(EVALUATE, "test_two_models_are_compared_class_by_class"),
    f"{COMMANDS} evaluate runs/demo/tune/0003/best.pt --split validation": By(
        EVALUATE,
        "test_the_validation_split_gives_what_training_found_and_no_reading_of_the_test_split",
    ),
    f"{COMMANDS} evaluate mine.pt --data experiments/demo.yaml -o evaluations/mine": By(
        EVALUATE, "test_data_can_be_named_where_a_checkpoint_is_alone"
    ),
    f"{COMMANDS} confirm demo --seeds 20": By(CONFIRM, "test_more_seeds_later_are_judged_as_added"),
    f"{COMMANDS} probe demo-best --unimodal": By(
        PROBE, "test_encoders_are_trained_alone_with_the_trials_settings_and_once"
    ),
    f"{COMMANDS} probe demo --curve": By(TRACE, "test_the_file_has_what_the_journal_has"),
    f"{COMMANDS} probe plain modulated": By(PROBE, "test_two_models_stand_side_by_side"),
    f"{COMMANDS} probe runs/demo/tune/0003/best.pt --split test": By(
        PROBE, "test_a_reading_of_the_test_split_is_on_record_for_each_run"
    ),
    f"{COMMANDS} probe somewhere/best.pt --data experiments/demo.yaml": By(
        PROBE, "test_a_checkpoint_of_no_run_is_probed_on_data_that_are_named"
    ),
    f"{COMMANDS} prepare experiments/vggsound.yaml": By(PREPARE, "test_what_was_prepared_is_not_prepared_again"),
    f"{COMMANDS} check experiments/vggsound.yaml": By(PREPARE, "test_a_check_says_what_is_there_and_draws_it"),
    f"{SEARCH} experiments/vggsound.yaml": By(PREPARE, AS_IT_STANDS),
    f"{COMMANDS} train runs/demo/best.yaml name=all-gpus --workers 2": By(
        "search/commands/test_train_processes",
        SEVERAL,
    ),
    f"{SEARCH} experiments/vggsound.yaml search.address=HOST:PORT": CLUSTER,
    "uv run python -c \"from pyarrow import fs; fs.copy_files('/shared/stores/vggsound', "
    "'s3://bucket/stores/vggsound')\"": CLUSTER,
    "uv run mlflow server --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000": SERVER,
    f"{SEARCH} experiments/demo.yaml name=there tracking.uri=http://127.0.0.1:5000": SERVER,
    **{
        f"pip install {what}": By(
            "docs/test_plugin", "test_pip_installs_the_package_alone_from_a_folder_and_from_a_repository"
        )
        for what in ("./ogmge", '"git+URL#subdirectory=ogmge"')
    },
    'uv add "ogmge @ git+URL#subdirectory=ogmge"': By("docs/test_plugin", "test_uv_adds_it_to_a_project"),
    # not run by any test
    'pip install "./ogmge[models]"': Not("torchvision would be downloaded; test_plugin.py reads what the extra needs"),
    "pip install uv": Not("it downloads from a package index; `.ci/run` starts with it"),
    "uv run pytest": WHOLE,
    'uv run pytest -m "slow and not longer"': WHOLE,
    "uv run pytest -m longer": WHOLE,
    "uv run pytest --hypothesis-profile=thorough": WHOLE,
    "uv run ruff check .": WHOLE,
    "uv run ruff format --check .": WHOLE,
    "uv run mypy": WHOLE,
    "uv run pre-commit install": Not("it changes the clone"),
    f"{SEARCH} experiments/vggsound.yaml search.resources.gpu=auto search.budget.gpu_hours=100": Not(
        "it needs a GPU; test_resources.py and test_throughput.py cover packing"
    ),
    "uv run ray start --head --port=6379": HOSTS,
    "uv run ray start --address=HEAD:6379": HOSTS,
    "uv run ray start --head --port=6379 --dashboard-host=127.0.0.1 --dashboard-port=8265": JOB,
    "ray job submit --submission-id demo-1 --no-wait -- sh -c 'cd /shared/project && exec .venv/bin/python "
    "run_search.py experiments/demo.yaml search.address=auto'": JOB,
    "ray job status demo-1": JOB,
    "ray job logs demo-1": JOB,
    "ray job stop demo-1": JOB,
}


def words(command: str) -> list[str]:
    """Return the arguments that the click command receives from one of our command lines."""
    return shlex.split(command.removeprefix(SEARCH).removeprefix(COMMANDS))


def ours() -> list[str]:
    return [command for command in commands() if command.startswith((SEARCH, COMMANDS))]


# ---- shown and tested commands ----


def test_every_command_that_is_shown_is_tested_or_it_is_said_why_not():
    shown = commands()
    assert {command: pages for command, pages in shown.items() if command not in TESTED} == {}
    assert [command for command in TESTED if command not in shown] == []


def test_the_tests_that_are_named_are_there():
    for how in TESTED.values():
        if not isinstance(how, Not):
            file, test = (how.file, how.test) if isinstance(how, By) else ("docs/test_commands", how.test)
            assert f"\ndef {test}(" in (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8"), how


@pytest.mark.parametrize("command", ours())
def test_every_option_that_is_shown_is_one(command):
    group = search_command if command.startswith(SEARCH) else main
    name, *rest = ["run_search.py", *words(command)] if group is search_command else words(command)
    chosen = group if isinstance(group, click.Command) and not isinstance(group, click.Group) else main.commands[name]
    given = chosen.make_context(name, rest).params
    file = given.get("file")
    if file is not None and (ROOT / file).is_file():
        load(ROOT / file, [word.replace("HOST:PORT", "127.0.0.1:6379") for word in given["assignments"]])


def run(command: str, more: str = "") -> str:
    """Run one of our commands in this process; it must succeed. Return its output."""
    group = search_command if command.startswith(SEARCH) else main
    result = CliRunner().invoke(group, [*words(command), *shlex.split(more)])
    assert result.exit_code == 0, f"{command}\n{result.output}"
    return result.output


def python(code: str, **environment: str) -> str:
    """Run Python code in the working folder; it must succeed. Return its output."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# known errors of MLflow's page: a missing endpoint, and a layout that takes the browser two frames
MLFLOWS_OWN = ("/users/current", "ResizeObserver loop completed with undelivered notifications")


def look(address: str) -> None:
    """Check that the verdict is visible at the address, and after three clicks from the front page, without any
    requests to other machines."""
    front, _, _ = address.partition("#")
    answer = headline(gather(Path("runs/demo")))
    with chromium() as browser:
        seen = watched(browser, front, viewport={"width": 1400, "height": 1000})
        page = seen.page
        for clicks in (False, True):
            page.goto(front if clicks else address)
            if clicks:
                page.get_by_text("Model training", exact=True).first.click()
                page.get_by_role("link", name="demo", exact=True).first.click()
                page.locator(f"a[href*='{address.rpartition('/')[2]}']", has_text="demo").click(timeout=60_000)
            expect(page.get_by_role("heading", name=answer)).to_be_visible(timeout=60_000)
        page.get_by_role("tab", name="Artifacts").click()
        page.get_by_text("report.html").first.click()
        report = page.frame_locator("iframe")
        expect(report.get_by_role("heading", level=1)).to_have_text(answer, timeout=60_000)
        report.locator("#curves").scroll_into_view_if_needed()
        expect(report.locator("#curves .main-svg").first).to_be_visible()
        assert seen.outside == []
        assert [trouble for trouble in seen.troubles if not any(known in trouble for known in MLFLOWS_OWN)] == []


def serve(command: str) -> None:
    """Check a command that serves a page: it prints the address, the page is correct, and Ctrl-C ends it."""
    with served(*words(command)) as address:
        look(address)


@pytest.mark.slow
def test_the_demos_commands_bring_an_answer_a_model_and_their_pages(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    said = {}
    for command, how in TESTED.items():
        if isinstance(how, Run) and how.test == DEMO:
            said[command] = serve(command) if " ui " in command else run(command, how.more)
    tells(said[f"{SEARCH} experiments/demo.yaml"], "demo", "2 pairs")
    tells(said[f"{COMMANDS} train runs/demo/best.yaml"], "models:/demo-best@champion")
    files = re.findall(r"^\| `(runs/.*?)`(?:, `(runs/.*?)`)? \|", (ROOT / "docs/start.md").read_text(), re.MULTILINE)
    assert len(files) == 7
    for path in (path for row in files for path in row if path):
        assert (tmp_path / path).exists(), path
    images.photograph_run(tmp_path / "runs/demo", tmp_path)
    assert {image.name for image in tmp_path.glob("*.png")} == {"report.png", "mlflow.png"}
    printed = python("\n".join(blocks("docs/mlflow.md", "python")))
    assert "tags.trial" in printed
    assert "(2, 10)" in printed


@pytest.mark.slow
@pytest.mark.longer
def test_a_folder_of_clips_becomes_a_table_that_is_searched(ray_instance, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(24):
        label, who = ("cough", "laugh")[number % 2], f"speaker{number // 2}"
        clip = tmp_path / "data/mine/clips" / label / f"{who}_{number}.mp4"
        films.write(clip, films.moving(10, 64, 96, seed=number), films.chirp(0.6, 16000), rate=16000)
    made = python(block("docs/own_data.md", "python", "make_table"), HOME=str(tmp_path))
    tells(made, "24 clips")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text(block("docs/own_data.md", "yaml", "name: mine"))
    said = [run(command, how.more) for command, how in TESTED.items() if isinstance(how, Run) and how.test == TABLE]
    tells(said[0], "24 clips")
    tells(said[1], "runs/sheets/mine.png")
    tells(said[2], f"{SEARCH} mine.yaml")
    tells(said[3], "try", "2 pairs")


@pytest.mark.slow
def test_what_a_shell_is_told_works_as_it_stands(tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("python", "uv"):
        (tmp_path / "bin" / name).write_text(
            f'#!/bin/sh\n[ "$1" = run ] && shift 2\nexec {shlex.quote(sys.executable)} "$@"\n'
        )
        (tmp_path / "bin" / name).chmod(0o755)
    lines = [command for command, how in TESTED.items() if isinstance(how, Run) and how.test == SHELL]
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    script = "\n".join(["set -eu", *lines, 'echo "$RAY_AUTH_MODE $RAY_AUTH_TOKEN_PATH"'])
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(rf"\d+\ntoken {tmp_path}/ray-token\n", done.stdout)
    token = tmp_path / "ray-token"
    assert re.fullmatch("[0-9a-f]{64}", token.read_text())
    assert token.stat().st_mode & 0o077 == 0
