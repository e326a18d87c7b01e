"""AVE: ten-second videos of 28 audio-visual events (Tian et al., ECCV 2018)."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Literal

from datasets.index import build, list_files
from datasets.index.clips import Index, Source, SplitName
from datasets.index.one_file import one_file_each
from datasets.publishers.common import VideoOptions
from datasets.store.settings import COUNT, LENGTH, Audio, Settings

ROWS = 4143  # of Annotations.txt, and of the three lists together (3,339 + 402 + 402); 4,096 ids
SETS: dict[str, SplitName] = {"trainSet.txt": "train", "valSet.txt": "validation", "testSet.txt": "test"}
HEADER = {"category", "videoid", "starttime"}


@dataclass(frozen=True, kw_only=True)
class AVE(VideoOptions):
    """Options of AVE. The validation split is the publisher's.

    Args:
        source: folder with `Annotations.txt`, the three lists and `AVE/{id}.mp4`.
        part: part of the video that makes a sample: the whole `clip` of ten seconds, or only the `event` in it.
        sample_rate_hz: sample rate of the audio that the model sees, in Hz; audio files are resampled to it.
        seconds: length of the audio that the model sees of each clip, in seconds.
        n_fft: window length of the spectrogram, in samples.
        hop: step between windows of the spectrogram, in samples.
    """

    name: Literal["ave"] = "ave"
    part: Literal["clip", "event"] = "clip"
    sample_rate_hz: int = field(default=16000, metadata=COUNT)
    seconds: float = field(default=10.0, metadata=LENGTH)
    n_fft: int = field(default=256, metadata=COUNT)
    hop: int = field(default=128, metadata=COUNT)

    def index(self) -> Index:
        """Return the clips of the three lists with their videos; the classes are those of `Annotations.txt`."""
        source = build.folder(self.source, "AVE's lists and videos")
        annotated = self._rows(source, "Annotations.txt", "train")
        rows = [row for name, split in SETS.items() for row in self._rows(source, name, split)]
        hidden: set[str] = set()
        videos, notes = one_file_each(build.walk(source, hidden), attrgetter("stem"), source, ["AVE"])

        def find(row: build.Row) -> dict[str, Source] | None:
            return build.audiovisual(videos.get(row.id), row.begin_s, row.end_s)

        classes = {row.label for row in annotated}
        return self.gather(rows, find, classes, source, expected_rows=ROWS, notes=notes, hidden=hidden)

    def _rows(self, source: Path, name: str, split: SplitName) -> list[build.Row]:
        def parse(cells: list[str]) -> build.Row:
            list_files.check_cells(cells, 5, "; cells are separated by '&'")
            label, id_, _, begin, end = cells
            begin_s, end_s = list_files.seconds(begin, "StartTime"), list_files.seconds(end, "EndTime")
            if not label or not id_:
                raise ValueError("the category or the id is empty")
            if begin_s >= end_s:
                raise ValueError(f"the event must begin before it ends, but its times are {begin} and {end}")
            if self.part == "clip":
                return build.Row(id_, label, split)
            return build.Row(id_, label, split, begin_s=begin_s, end_s=end_s)

        path = build.list_file(source, name, "source")
        return list_files.read(
            path, parse, expected="Category&VideoID&Quality&StartTime&EndTime", separator="&", header=HEADER
        )

    def settings(self) -> Settings:
        """Return settings for log spectrograms (129 x 1,251 with the defaults) and frames."""
        audio = Audio(sample_rate_hz=self.sample_rate_hz, seconds=self.seconds, n_fft=self.n_fft, hop=self.hop)
        return {"audio": audio, "visual": self.images}
