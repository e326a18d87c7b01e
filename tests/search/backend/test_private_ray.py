"""A Ray that a search starts is its user's alone, and writes down no key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from search.backend.private_ray import private_folder


def test_other_users_can_open_neither_its_logs_nor_its_token(ray_instance):
    folder = private_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "ray/session_latest/logs").is_dir()
    [token] = [folder / "token"] if "RAY_AUTH_TOKEN_PATH" in os.environ else []
    assert token.stat().st_mode & 0o777 == 0o600
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(token)


JOIN = "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False, logging_level='CRITICAL'); print('joined')"


@pytest.mark.parametrize("has_token", [True, False])
def test_it_is_joined_with_the_token_alone(ray_instance, has_token):
    own = {**os.environ, "RAY_AUTH_MODE": "token"} if has_token else {**os.environ, "RAY_AUTH_MODE": "disabled"}
    address = ray.get_runtime_context().gcs_address
    done = subprocess.run(
        [sys.executable, "-c", JOIN, address], env=own, capture_output=True, text=True, check=False, timeout=120
    )
    assert ("joined" in done.stdout) is has_token, done.stderr
    assert has_token or "InvalidAuthToken" in done.stderr


def files_with(text: str, folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file() and text.encode() in file.read_bytes()]


def test_a_search_writes_down_no_key_of_the_environment(searched):
    folder, result = searched
    key = os.environ["AWS_SECURITY_TOKEN"]
    assert key not in result.output
    assert files_with(key, folder) == []
    assert files_with(key, private_folder()) == []
