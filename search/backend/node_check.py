"""Checks that each node of a cluster sees the same files, can write to its folders and has the required packages."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import search.backend.environment  # isort: skip # noqa: F401, it must set the environment before Ray is imported

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from datasets.store.remote import Remote, RemoteError, is_uri, whereabouts
from datasets.store.store import MANIFEST
from search.experiment.mistakes import UserError

NEEDED = ("torch", "torchvision", "numpy", "pyarrow", "simplejpeg", "zlib_ng", "av", "soxr", "librosa")
NODE_S = 120.0


class ClusterError(UserError):
    """A cluster that cannot be joined, or a node that lacks something."""


def living_nodes() -> list[dict[str, Any]]:
    """Return the nodes that are still part of the Ray cluster."""
    return [node for node in ray.nodes() if node["Alive"]]


def check_nodes(read: Mapping[str, str], written: Mapping[str, str]) -> None:
    """Check that every node of the cluster sees the same files and has the packages that workers need.

    Args:
        read: paths of files or folders, or URIs of stores, that workers read, by option.
        written: paths or URIs of folders that workers write to, by option. A marker file is written to each; every node
            must see it and be able to write another.

    Raises:
        ClusterError: if a node lacks something, with one sentence for each node and problem.
    """
    here = {option: whereabouts(where) for option, where in read.items()}
    task = ray.remote(num_cpus=0)(find_problems)
    with mark_folders(written) as marks:
        answers: dict[str, Any] = {}
        for node in living_nodes():
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
            answers[name] = task.options(scheduling_strategy=there).remote(here, marks, NEEDED)
        lines = [f"node {name} {problem}" for name, answer in answers.items() for problem in _answer(answer)]
    if lines:
        raise ClusterError("\n".join(lines))


@contextmanager
def mark_folders(written: Mapping[str, str]) -> Iterator[dict[str, tuple[str, str]]]:
    """Write a marker file to each folder; yield option -> (path or URI, name of the marker).

    Raises:
        ClusterError: if a folder cannot be written to.
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
    """Run on a node: return one sentence for each path it does not see or write to and for missing packages."""
    problems = []
    for option, where in read.items():
        problems += _look_for(option, where, MANIFEST if is_uri(where) else None)
    for option, (where, name) in marks.items():
        problems += _look_for(option, where, name) or _copy_mark(option, where, name)
    return problems + _look_for_packages(needed)


def _look_for_packages(needed: Collection[str]) -> list[str]:
    absent = [package for package in needed if find_spec(package) is None]
    return [f"lacks {', '.join(absent)}: install the same packages as on this machine"] if absent else []


def _write_mark(option: str, where: str, name: str) -> list[str]:
    """Write a marker file; return a sentence if that fails."""
    try:
        with NamedTemporaryFile() as file:
            Remote(where).put(Path(file.name), name)
    except RemoteError as error:
        return [f"`{option}`: {error}"]
    return []


def _copy_mark(option: str, where: str, name: str) -> list[str]:
    """Write a second marker next to the first; return a sentence if that fails."""
    copied = f"{name}-{secrets.token_hex(4)}"
    problems = [f"reports an error: {line}" for line in _write_mark(option, where, copied)]
    _delete_mark(where, copied)
    return problems


def _delete_mark(where: str, name: str) -> None:
    with suppress(RemoteError):
        Remote(where).delete(name)


def _look_for(option: str, where: str, name: str | None) -> list[str]:
    """Return a sentence if the path, or the file with this name in the folder, is missing."""
    try:
        if Remote(where).exists(name) if name else Path(where).exists():
            return []
    except RemoteError as error:
        return [f"reports an error: `{option}`: {error}"]
    return [
        f"does not see {where} (`{option}`): put it where all nodes see it at the same path or URI, such as on a "
        "shared file system or in an object store"
    ]


def _answer(reference: Any) -> list[str]:
    try:
        problems: list[str] = ray.get(reference, timeout=NODE_S)
    except RayError as error:
        return [f"cannot run the check ({str(error).strip().splitlines()[-1]})"]
    return problems
