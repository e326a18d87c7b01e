"""`ogmge` installed in an environment of its own, as docs/plugin.md says, and the loops of other libraries there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.environments import UV, WITHOUT_TORCH, new_environment, run
from tests.support.pages import block, commands

PAGE = "docs/plugin.md"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
INSTALLED = r"""
import importlib, importlib.metadata as metadata, json, pkgutil, sys
import ogmge
for module in pkgutil.iter_modules(ogmge.__path__):
    importlib.import_module(f"ogmge.{module.name}")
found = metadata.distribution("ogmge")
print(json.dumps({
    "version": found.version,
    "requires": found.requires,
    "files": sorted(str(file) for file in found.files if "__pycache__" not in str(file)),
    "here": ogmge.__file__,
    "missing": [name for name in ("numpy", "torchvision", "search", "datasets") if not importlib.util.find_spec(name)],
}))
"""
BESIDE = """
import datasets
print(datasets.__file__)
print(datasets.Dataset.from_dict({"label": [0, 1, 1]}).filter(lambda row: row["label"] == 1).num_rows)
"""
# Counts the steps that leave the convolutions of exactly one encoder where they are, as a coefficient of 0 does.
WATCHED = """
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
before, still = [], []
def convolutions(optimizer):
    return [p for group in optimizer.param_groups for p in group["params"] if p.ndim == 4]
def remember(optimizer, *_):
    before[:] = [p.detach().clone() for p in convolutions(optimizer)]
def compare(optimizer, *_):
    still.append(sum(torch.equal(p, b) for p, b in zip(convolutions(optimizer), before, strict=True)))
register_optimizer_step_pre_hook(remember)
register_optimizer_step_post_hook(compare)
"""
AT_LAST = "\nprint('still:', still)\n"

pytestmark = pytest.mark.skipif(UV is None, reason="needs uv, which makes the environments: pip install uv")


def test_the_licence_of_the_package_is_the_projects():
    assert (ROOT / "ogmge/LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """Commit the files of the working tree that an installation reads to a new repository."""
    folder = tmp_path_factory.mktemp("clone") / "repository"
    shutil.copytree(ROOT / "ogmge", folder / "ogmge", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "not_installable.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    git = ("git", "-c", "user.name=tests", "-c", "user.email=tests@localhost")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "all")):
        run(*git, *words, cwd=folder)
    return folder


def shown(start: str, clone: Path) -> list[list[str]]:
    """Return the commands of the page that begin with a text, with the URL of the repository, split into words."""
    found = [command for command, pages in commands().items() if PAGE in pages and command.startswith(start)]
    return [shlex.split(command.replace("git+URL", f"git+{clone.as_uri()}")) for command in found]


@pytest.mark.slow
def test_pip_installs_the_package_alone_from_a_folder_and_from_a_repository(clone, tmp_path):
    python = new_environment(tmp_path / "env", "--seed")
    installs = [words for words in shown("pip install", clone) if "models" not in words[-1]]
    assert len(installs) == 2
    for words in installs:
        run(python, "-m", *words, "--no-deps", cwd=clone)  # or pip would download torch
        found = json.loads(run(python, "-c", INSTALLED, cwd=tmp_path))
        assert Path(found["here"]).is_relative_to(tmp_path / "env")
        assert found["missing"] == ["numpy", "torchvision", "search", "datasets"]
        assert found["version"] == VERSION
        assert [rule.replace(" ", "").replace('"', "'") for rule in found["requires"]] == [
            "torch>=2.11",
            "torchvision>=0.26;extra=='models'",
        ]
        ours = {f"ogmge/{file.name}" for file in (ROOT / "ogmge").glob("*.py")}
        files = {name for name in found["files"] if not name.startswith(f"ogmge-{VERSION}.dist-info/")}
        assert files == ours | {"ogmge/py.typed"}
        assert f"ogmge-{VERSION}.dist-info/licenses/LICENSE" in found["files"]
        run(python, "-m", "pip", "uninstall", "-y", "ogmge", cwd=tmp_path)


@pytest.mark.slow
def test_uv_adds_it_to_a_project(clone, tmp_path):
    [words] = shown("uv add", clone)
    run(UV, "init", "--bare", "--name", "mine", cwd=tmp_path)
    run(UV, "add", "--no-sync", *words[2:], cwd=tmp_path)  # a sync would download torch
    locked = {package["name"]: package for package in tomllib.loads((tmp_path / "uv.lock").read_text())["package"]}
    assert [need["name"] for need in locked["ogmge"]["dependencies"]] == ["torch"]
    assert "subdirectory=ogmge" in locked["ogmge"]["source"]["git"]
    assert not {"search", "ogmge-search", "ray"} & set(locked)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("-e",)])
def test_installing_the_whole_project_is_refused_with_a_sentence(clone, tmp_path, options):
    python = new_environment(tmp_path / "env", "--seed")
    with pytest.raises(AssertionError) as refused:
        run(python, "-m", "pip", "install", *options, ".", cwd=clone)
    printed = str(refused.value)
    assert "[1 lines of output]" in printed
    assert "Traceback" not in printed
    for fact in ("uv run run_search.py", "pip install ./ogmge", "subdirectory=ogmge"):
        assert fact in printed


@pytest.fixture(scope="module")
def python(clone, tmp_path_factory) -> Path:
    """Install `ogmge` beside the libraries of the group `loops`; return the Python of the environment."""
    folder = tmp_path_factory.mktemp("beside")
    made = new_environment(folder / "env")
    (folder / "without.txt").write_text(WITHOUT_TORCH)
    words = ("pip", "install", "--python", made, "--excludes", folder / "without.txt")
    run(UV, *words, "--group", "loops", clone / "ogmge", cwd=ROOT)
    return made


@pytest.mark.slow
def test_the_example_runs_beside_hugging_faces_datasets(python, tmp_path):
    example = block(PAGE, "python", "patterns =")
    (tmp_path / "example.py").write_text(example + BESIDE)
    *lines, place, rows = run(python, "-W", "error::UserWarning", "example.py", cwd=tmp_path).splitlines()
    k = [dict(re.findall(r"'(\w+)': ([\d.e-]+)", line)) for line in lines]
    assert [float(epoch["audio"]) < 0.7 < float(epoch["visual"]) for epoch in k] == [False, True, True, True, False]
    assert Path(place).is_relative_to(python.parents[1])
    assert rows == "2"


@pytest.mark.slow
@pytest.mark.longer
@pytest.mark.parametrize(
    ("library", "steps_per_epoch"), [("import lightning", 16), ("import Accelerator", 8), ("import Trainer", 16)]
)
def test_a_recipe_modulates_every_step_within_the_window(python, tmp_path, library, steps_per_epoch):
    recipe = block(PAGE, "python", library)
    sure = recipe.replace("alpha=0.5", "alpha=100.0")
    assert sure != recipe
    (tmp_path / "loop.py").write_text(block(PAGE, "python", "patterns =") + WATCHED + sure + AT_LAST)
    printed = run(python, "loop.py", cwd=tmp_path)
    still = json.loads(printed.rpartition("still:")[2])
    inside = [1 <= step // steps_per_epoch <= 3 for step in range(5 * steps_per_epoch)]
    assert still == [int(within) for within in inside]
