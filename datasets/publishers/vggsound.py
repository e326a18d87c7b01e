"""VGGSound: ten-second videos of 309 sounds (Chen et al., ICASSP 2020), as mirrors provide them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from datasets.index import build, list_files
from datasets.index.clips import Index, SplitName
from datasets.publishers.common import HoldOutOptions
from datasets.store.settings import PART, Audio, Settings

ROWS = 199_467  # of the publisher's vggsound.csv; a typical mirror has 197,957 of the videos
CLASSES = 309
SPLIT: dict[str, SplitName] = {"train": "train", "test": "test"}
HEADER = {"youtube id", "youtube_id", "ytid", "start seconds", "start", "train/test split"}


@dataclass(frozen=True, kw_only=True)
class VGGSound(HoldOutOptions):
    """Options of VGGSound.

    Args:
        source: folder with the videos, `{id}_{start}.mp4`, directly in it or in subfolders; the start may be padded.
        csv: list with id, start, label and split; a path relative to `source`, or absolute.
    """

    name: Literal["vggsound"] = "vggsound"
    csv: str = "vggsound.csv"
    validation_fraction: float = field(default=0.1, metadata=PART)

    def index(self) -> Index:
        """Return the clips of the list with their videos."""
        source = build.folder(self.source, "VGGSound's videos and vggsound.csv")
        rows = list_files.read(
            build.list_file(source, self.csv, "csv"), _row, expected="id,start,label,train|test", header=HEADER
        )
        classes = {row.label for row in rows}
        notes = [f"the list names {len(classes)} of {CLASSES} classes"] if len(classes) != CLASSES else []
        hidden: set[str] = set()
        find, on_videos = build.youtube_finder(source, 1, hidden)
        notes += on_videos
        return self.gather(rows, find, classes, source, expected_rows=ROWS, notes=notes, hidden=hidden)

    def settings(self) -> Settings:
        """Return settings for 129 x 626 log spectrograms: five seconds of audio at 16 kHz."""
        return {"audio": Audio(sample_rate_hz=16000, seconds=5.0, n_fft=256, hop=128), "visual": self.images}


def _row(cells: list[str]) -> build.Row:
    list_files.check_cells(cells, 4, "; a label with a comma must be quoted")
    name, start, label, split = cells
    if not name or not label:
        raise ValueError("the id or the label is empty")
    if split not in SPLIT:
        raise ValueError(f"the split must be train or test, but is {split!r}")
    return build.Row(f"{name}_{list_files.whole_number(start, 'the start'):06d}", label, SPLIT[split])
