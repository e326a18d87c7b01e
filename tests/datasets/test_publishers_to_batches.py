"""From each publisher's tree, with `prepare`, to batches with the recipes' shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from datasets.registry import find
from datasets.store.prepare import prepare
from tests.support import media_trees

SHAPES = {
    "cremad": {"audio": (1, 257, 188), "visual": (3, 224, 224)},
    "vggsound": {"audio": (1, 129, 626), "visual": (3, 3, 224, 224)},
    "ave": {"audio": (1, 129, 1251), "visual": (3, 3, 224, 224)},
    "kinetics_sounds": {"audio": (1, 128, 1024), "visual": (3, 3, 224, 224)},
    "ucf101": {"visual": (3, 3, 224, 224), "flow": (3, 2, 224, 224)},
    "table": {"audio": (1, 129, 626), "visual": (3, 3, 224, 224)},
}
TREES = {
    "cremad": {"actors": 3},
    "vggsound": {"train": 4, "test": 1},
    "ave": {"train": 2, "validation": 1, "test": 1},
    "kinetics_sounds": {"train": 2, "validation": 1, "test": 1},
    "ucf101": {"groups": 3, "clips": 1},
}


def here(function, tasks):
    return map(function, tasks)


@pytest.mark.parametrize("name", SHAPES)
def test_a_tree_becomes_batches(name, tmp_path):
    options = getattr(media_trees, name)(tmp_path, **TREES.get(name, {}))
    reader = find(name)(**options)
    index = reader.index()
    report = prepare(name, index, reader.settings(), Path(reader.store), parallel=here)
    assert (report.clips, report.quarantined) == (len(index.clips), ())
    data = reader.open()
    assert data.shapes == SHAPES[name]
    assert tuple(data.classes) == index.classes
    test = sum(clip.split == "test" for clip in index.clips)
    seen = {
        "train": list(data.train(batch_size=2, seed=0, epoch=0)),
        "validation": list(data.validation(batch_size=2)),
        "test": list(data.test(batch_size=2, reason="a test of the readers")),
    }
    assert sum(len(y) for _, y in seen["test"]) == test
    assert sum(len(y) for _, y in seen["validation"]) >= 1
    for batches in seen.values():
        for x, y in batches:
            assert {key: tuple(value.shape[1:]) for key, value in x.items()} == data.shapes
            assert len(y) == len(x["visual"])
            assert all(value.isfinite().all() for value in x.values())
    labels = torch.cat([y for _, y in seen["test"]]).tolist()
    assert labels == [index.classes.index(clip.label) for clip in index.clips if clip.split == "test"]
