"""New virtual environments that use the torch of the running one: a copy would take minutes and gigabytes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

UV = os.environ.get("UV") or shutil.which("uv")
WITHOUT_TORCH = "torch\ntorchvision\n"


def run(*command: object, cwd: Path) -> str:
    """Run a command outside of the clone's environment; return what it prints.

    Raises:
        AssertionError: if it fails; the message is all that it printed.
    """
    hidden = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _link_torch(folder: Path) -> None:
    """Link torch and everything that it requires, and nothing else of the running environment, into a folder."""
    folder.mkdir()
    names, seen = ["torch"], set()
    while names:
        if (name := names.pop()) in seen:
            continue
        seen.add(name)
        try:
            package = distribution(name)
        except PackageNotFoundError:  # required on another platform
            continue
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(package.locate_file(top))))
        names += [re.split(r"[^\w.-]", rule)[0] for rule in package.requires or () if "extra ==" not in rule]


def new_environment(folder: Path, *options: str) -> Path:
    """Create an environment that has torch alone; return its Python.

    The folder of links comes last on the path, so that whatever is installed later takes precedence, and no installer
    changes what the links lead to.
    """
    run(UV, "venv", "--python", sys.executable, *options, folder, cwd=folder.parent)
    _link_torch(folder / "torch_of_the_tests")
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "torch_of_the_tests.pth").write_text(f"{folder / 'torch_of_the_tests'}\n")
    return folder / "bin" / "python"
