"""Names that users' own code imports."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

PUBLIC = [
    ("ogmge", "Modulation"),
    ("ogmge", "Modulator"),
    ("ogmge", "unimodal_logits"),
    ("datasets", "InMemory"),
    ("datasets", "Split"),
    ("datasets.memory", "InMemory"),
    ("datasets.memory", "Split"),
    ("datasets.registry", "DatasetError"),
]


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_it_is_there(module, name):
    found = getattr(import_module(module), name)
    assert found.__name__ == name
    assert found.__doc__


def test_the_old_place_holds_the_same_classes():
    assert import_module("datasets.memory").InMemory is import_module("datasets").InMemory


def test_importing_datasets_does_not_import_torch():
    code = "import sys, datasets; assert 'torch' not in sys.modules; assert not hasattr(datasets, 'nothing')"
    subprocess.run([sys.executable, "-c", code], check=True)
