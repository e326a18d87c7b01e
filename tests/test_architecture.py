"""Imports go one way, from the top floor down, and the light packages stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGES = ("ogmge", "datasets", "search")
MAY_IMPORT = {"ogmge": {"ogmge"}, "datasets": {"datasets"}, "search": set(PACKAGES)}
HEAVY = {"ray", "mlflow", "optuna", "pydantic", "rich", "click", "yaml"}
ONLY_WHERE_USED = {"librosa", "sklearn", "torchvision", "pyarrow", "av", "simplejpeg", "zlib_ng", "cv2", "soxr", "PIL"}
FLOORS = {  # package -> folders on each floor, from the top down
    "search": [
        {"cli"},
        {"commands"},
        {"report"},
        {"console"},
        {"models", "dry_run"},
        {"backend", "verdict"},
        {"tracking", "tuner"},
        {"run", "reference"},
        {"experiment"},
    ],
    "datasets": [{"publishers"}, {"loader"}, {"store"}, {"index"}, {"registry"}],
}
AT_HOME = {  # library -> where in `search` it may be imported
    "ray": ("backend",),
    "mlflow": ("tracking", "models"),
    "optuna": ("tuner", "report/plots/importance.py"),
    "rich": ("cli", "commands", "console"),
    "click": ("cli", "commands", "console"),
}


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """Return the packages that a file imports: all of them, or those that are imported with the file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def modules(path: Path) -> set[str]:
    """Return our modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.partition(".")[0] in PACKAGES}


def floor(package: str, folder: str) -> int:
    """Return the floor of a folder, or of a file beside the folders; the top floor is 0."""
    return next(number for number, folders in enumerate(FLOORS[package]) if folder in folders)


@pytest.mark.parametrize("package", FLOORS)
def test_a_folder_imports_from_lower_floors_only(package: str) -> None:
    folders = {part for names in FLOORS[package] for part in names}
    wrong = []
    for file in files(package):
        home = file.relative_to(ROOT / package).parts[0].removesuffix(".py")
        if home not in folders:  # `__init__`, `__main__`, and `datasets.memory`, which users import
            continue
        for name in modules(file):
            there = [*name.split("."), ""][1]
            if name.startswith(f"{package}.") and there in folders - {home}:
                wrong += [(str(file.relative_to(ROOT)), name)] * (floor(package, there) <= floor(package, home))
    assert wrong == []


@pytest.mark.parametrize("package", FLOORS)
def test_every_folder_has_a_floor(package: str) -> None:
    there = {path.name for path in (ROOT / package).iterdir() if list(path.glob("*.py"))}
    assert there == {folder for names in FLOORS[package] for folder in names} - {"registry"}


def test_beside_the_folders_of_search_there_are_two_files() -> None:
    assert {file.name for file in (ROOT / "search").glob("*.py")} == {"__init__.py", "__main__.py"}


def test_no_two_files_of_search_have_the_same_name() -> None:
    named = Counter(file.name for file in files("search"))
    assert [name for name, count in named.items() if count > 1 and not name.startswith("__")] == []


@pytest.mark.parametrize("library", AT_HOME)
def test_a_library_is_imported_where_it_is_at_home(library: str) -> None:
    users = [str(file.relative_to(ROOT / "search")) for file in files("search") if library in imports(file)]
    assert [user for user in users if not user.startswith(AT_HOME[library])] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    ours = {*PACKAGES, "benchmarks", "tests", "run_search"}
    wrong = {str(f.relative_to(ROOT)): imports(f) & (ours - MAY_IMPORT[package]) for f in files(package)}
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize("package", ["ogmge", "datasets"])
def test_the_lower_packages_know_nothing_of_the_search_stack(package: str) -> None:
    wrong = {str(f.relative_to(ROOT)): imports(f) & HEAVY for f in files(package)}
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize("package", ["ogmge", "datasets"])
def test_what_is_slow_to_import_is_imported_where_it_is_used(package: str) -> None:
    wrong = {str(f.relative_to(ROOT)): imports(f, top_level_only=True) & ONLY_WHERE_USED for f in files(package)}
    assert not {path: names for path, names in wrong.items() if names}


def test_no_package_imports_in_a_circle() -> None:
    """Every module can be the first one imported."""
    modules = [".".join(f.relative_to(ROOT).with_suffix("").parts) for p in ("ogmge", "datasets") for f in files(p)]
    code = (
        "import importlib, sys\n"
        f"for name in {[m.removesuffix('.__init__') for m in modules]}:\n"
        "    for known in [k for k in sys.modules if k.split('.')[0] in ('ogmge', 'datasets')]:\n"
        "        del sys.modules[known]\n"
        "    importlib.import_module(name)\n"
        f"assert not {HEAVY} & set(sys.modules), sorted({HEAVY} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_line_helps_without_loading_the_stack() -> None:
    code = "import sys, search.cli.main; assert not {'torch', 'ray', 'mlflow', 'optuna'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
