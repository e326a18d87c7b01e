"""`check` of prepared data shows its progress in a terminal, and leaves nothing of it behind."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from datasets import registry
from datasets.store.prepare import prepare, processes
from search.commands.check import check
from search.experiment.load import load
from tests.datasets.test_single_pictures import table
from tests.support.tells import tells
from tests.support.terminals import screen


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_check_shows_how_far_it_is_while_it_reads_the_list_and_the_store(tmp_path, is_terminal):
    source, store = table(tmp_path, ["png"], sound=False), tmp_path / "store"
    columns = "visual: photo, frames: 1, stored_frames: 1"
    (tmp_path / "a.yaml").write_text(
        f"name: a\ndataset: {{name: table, source: {source}, store: {store}, {columns}}}\n"
    )
    experiment = load(tmp_path / "a.yaml")
    options = registry.options(experiment.dataset)
    prepare("table", options.index(), options.settings(), store, parallel=processes(1), clips_per_shard=4)
    written = io.StringIO()
    console = Console(file=written, force_terminal=is_terminal, width=120)
    assert check(experiment, tmp_path / "sheets", console)
    shown = written.getvalue()
    if is_terminal:
        assert all(part in shown for part in ("reading the list and looking for its files", "reading the store", "3/3"))
        shown = screen(shown)
    assert "reading" not in shown
    tells(shown, "12 clips in 3 shards")
