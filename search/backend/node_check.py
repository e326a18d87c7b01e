"""Whether each node of a cluster sees the same files, can write where it must, and has the packages it needs."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import search.backend.environment  # isort: skip # noqa: F401, it sets what Ray reads when it is imported

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from datasets.store.remote import Remote, RemoteError, is_uri, whereabouts
from datasets.store.store import MANIFEST
from search.experiment.mistakes import UserError

NEEDED = ("torch", "torchvision", "numpy", "pyarrow", "simplejpeg", "zlib_ng", "av", "soxr", "librosa")
NODE_S = 120.0


class ClusterError(UserError):
    """A cluster that cannot be joined, or whose nodes lack what is needed."""


def living_nodes() -> list[dict[str, Any]]:
    """Ray's nodes, but for those that have left it."""
    return [node for node in ray.nodes() if node["Alive"]]


def check_nodes(read: Mapping[str, str], written: Mapping[str, str]) -> None:
    """Checks that every node of the cluster sees the same files and has the packages that workers need.

    Args:
        read: option -> path of a file or folder, or URI of a store, that workers read.
        written: option -> path or URI of a folder that they write to; a mark is made in it, looked for and copied.

    Raises:
        ClusterError: a sentence for each node and what it lacks.
    """
    here = {option: whereabouts(where) for option, where in read.items()}
    task = ray.remote(num_cpus=0)(find_problems)
    with mark_folders(written) as marks:
        answers: dict[str, Any] = {}
        for node in living_nodes():
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            answers[name] = task.options(scheduling_strategy=there).remote(here, marks, NEEDED)
        lines = [f"the node {name} {problem}" for name, answer in answers.items() for problem in _answer(answer)]
    if lines:
        raise ClusterError("\n".join(lines))


@contextmanager
def mark_folders(written: Mapping[str, str]) -> Iterator[dict[str, tuple[str, str]]]:
    """Folders with a file in them: option -> path or URI, and the file's name.

    Raises:
        ClusterError: one cannot be written to.
    """
    marks = {option: (whereabouts(where), f".seen-{secrets.token_hex(8)}") for option, where in written.items()}
    try:
        if lines := [line for option, mark in marks.items() for line in _write_mark(option, *mark)]:
            raise ClusterError("\n".join(lines))
        yield marks
    finally:
        for mark in marks.values():
            _delete_mark(*mark)


def find_problems(read: Mapping[str, str], marks: Mapping[str, tuple[str, str]], needed: Collection[str]) -> list[str]:
    """On a node: what it does not see, what it cannot write to, and the packages that it does not have."""
    problems = []
    for option, where in read.items():
        problems += _look_for(option, where, MANIFEST if is_uri(where) else None)
    for option, (where, name) in marks.items():
        problems += _look_for(option, where, name) or _copy_mark(option, where, name)
    return problems + _look_for_packages(needed)


def _look_for_packages(needed: Collection[str]) -> list[str]:
    absent = [package for package in needed if find_spec(package) is None]
    return [f"lacks {', '.join(absent)}: install there what this machine has"] if absent else []


def _write_mark(option: str, where: str, name: str) -> list[str]:
    """Writes a file; a sentence where that cannot be."""
    try:
        with NamedTemporaryFile() as file:
            Remote(where).put(Path(file.name), name)
    except RemoteError as error:
        return [f"`{option}`: {error}"]
    return []


def _copy_mark(option: str, where: str, name: str) -> list[str]:
    """Writes a second file beside a mark; a sentence where that cannot be."""
    copied = f"{name}-{secrets.token_hex(4)}"
    problems = [f"fails: {line}" for line in _write_mark(option, where, copied)]
    _delete_mark(where, copied)
    return problems


def _delete_mark(where: str, name: str) -> None:
    with suppress(RemoteError):
        Remote(where).delete(name)


def _look_for(option: str, where: str, name: str | None) -> list[str]:
    """A sentence where there is no such path, or no file of that name in a folder."""
    try:
        if Remote(where).exists(name) if name else Path(where).exists():
            return []
    except RemoteError as error:
        return [f"fails: `{option}`: {error}"]
    return [
        f"does not see {where} (`{option}`): put it where all nodes see it under one name, such as a shared file "
        "system or an object store"
    ]


def _answer(reference: Any) -> list[str]:
    try:
        problems: list[str] = ray.get(reference, timeout=NODE_S)
    except RayError as error:
        return [f"runs none of our code ({str(error).strip().splitlines()[-1]})"]
    return problems
