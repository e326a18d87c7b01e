"""Imports go one way: `ogmge`, `datasets` -> `search` -> `run_search.py`; and the light packages stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ogmge", "datasets", "search")
MAY_IMPORT = {"ogmge": {"ogmge"}, "datasets": {"datasets"}, "search": set(PACKAGES)}
HEAVY = {"ray", "mlflow", "optuna", "pydantic", "rich", "click", "yaml"}
ONLY_WHERE_USED = {"librosa", "sklearn", "torchvision", "pyarrow", "av", "simplejpeg", "zlib_ng", "cv2", "soxr", "PIL"}


def imports(path: Path, *, top_level_only: bool = False) -> set[str]:
    """The packages a file imports: all of them, or those that importing the file imports."""
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
