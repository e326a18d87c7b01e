"""CREMA-D: 91 actors say twelve sentences with six emotions (Cao et al., 2014)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Literal

from datasets.index import build, list_files, splits
from datasets.index.clips import Index, Source, SplitName
from datasets.index.one_file import one_file_each
from datasets.publishers.common import HoldOutOptions
from datasets.store.settings import COUNT, PART, Audio, Settings

ROWS = 7442  # clips in CREMA-D's README, and 6,698 + 744 rows in the OGM-GE authors' CSV files
SOUNDS = (".wav", ".mp3")  # the preferred one first
EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
ID = re.compile(r"(\d{4})_[A-Z]{3}_([A-Z]{3})_[A-Z]{1,2}")  # one id ends in a single letter: `1040_ITH_SAD_X`
TEST_SEED = 0  # fixed, so that `split_seed` does not change the speakers of the test split


@dataclass(frozen=True, kw_only=True)
class CremaD(HoldOutOptions):
    """Options of CREMA-D.

    Args:
        source: folder with `AudioWAV` (or `AudioMP3`), `VideoFlash` and `processedResults`. Of several files of one
            clip, the one in the first of these folders is used.
        train_list: the OGM-GE authors' CSV file of training clips, with rows `id,EMOTION`; a path relative to `source`,
            or absolute. In their lists all speakers are in both splits; without lists, whole speakers form the test
            split.
        test_list: the authors' CSV file of test clips, in the same form.
        test_fraction: share of the speakers that forms the test split if no lists are given.
        validation_fraction: share of the training clips that is held out, in whole speakers.
        split_seed: seed that selects the training speakers to hold out.
    """

    name: Literal["cremad"] = "cremad"
    train_list: str | None = None
    test_list: str | None = None
    test_fraction: float = field(default=0.1, metadata=PART)
    frames: int = field(default=1, metadata=COUNT)
    validation_fraction: float = field(default=0.1, metadata=PART)

    def mistakes(self) -> Iterator[str]:
        yield from super().mistakes()
        if (self.train_list is None) != (self.test_list is None):
            yield "`train_list` and `test_list` must be set together, or neither of them"

    def index(self) -> Index:
        """Return the clips of the authors' lists, else of `summaryTable.csv`, else those found on disk.

        Raises:
            DatasetError: if the folder is missing, rows are broken, Git LFS has not fetched the files, or no clip is
                found.
        """
        source = build.folder(self.source, "CREMA-D's AudioWAV and VideoFlash")
        stem, hidden = attrgetter("stem"), set[str]()
        files = [*build.walk(source, hidden, (*build.VIDEOS, *SOUNDS))]
        films = [f for f in files if f.suffix.lower() not in SOUNDS]
        sounds = sorted((f for f in files if f.suffix.lower() in SOUNDS), key=lambda f: SOUNDS.index(f.suffix.lower()))
        videos, on_videos = one_file_each(films, stem, source, ["VideoFlash"])
        audio, on_audio = one_file_each(sounds, stem, source, ["AudioWAV", "AudioMP3"])
        build.check_not_lfs([*videos.values()])
        build.check_not_lfs([*audio.values()])
        rows, notes = self._rows(source, sorted(set(videos) | set(audio)))

        def find(row: build.Row) -> dict[str, Source] | None:
            if row.id not in videos or row.id not in audio:
                return None
            return {"audio": Source("audio", (audio[row.id],)), "visual": Source("video", (videos[row.id],))}

        notes += [*on_videos, *on_audio]
        return self.gather(rows, find, EMOTIONS, source, expected_rows=ROWS, notes=notes, hidden=hidden)

    def _rows(self, source: Path, there: Sequence[str]) -> tuple[list[build.Row], list[str]]:
        """Return the rows with their splits, and notes on the list and the split."""
        if self.train_list is not None and self.test_list is not None:
            rows = [*_authors_rows(source, self.train_list, "train"), *_authors_rows(source, self.test_list, "test")]
            return rows, [f"split: the authors' lists ({build.split_counts(rows)}); speakers are in both splits"]
        ids, notes = _ids(source, there)
        test = splits.draw((name[:4] for name in ids), self.test_fraction, TEST_SEED)
        rows = [_row(name, "test" if name[:4] in test else "train") for name in ids]
        said = f"split: by speaker, test speakers {', '.join(sorted(test))} ({build.split_counts(rows)})"
        return rows, [*notes, said]

    def settings(self) -> Settings:
        """Return settings for 257 x 188 log spectrograms: the first three seconds of the tiled audio at 22,050 Hz."""
        return {
            "audio": Audio(sample_rate_hz=22050, seconds=3.0, n_fft=512, hop=353, tile=True),
            "visual": self.images,
        }


def _ids(source: Path, there: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the ids of `summaryTable.csv`, or else those found on disk, and notes on them."""
    table = source / "processedResults" / "summaryTable.csv"
    if table.is_file():
        return list_files.read_columns(table, ["FileName"], lambda row: _parse(row["FileName"])[0]), []
    ids = [name for name in there if ID.fullmatch(name)]
    return ids, [f"no {table.relative_to(source)}: the clips are those found on disk"]


def _parse(name: str) -> tuple[str, str]:
    """Return a clip's id and its emotion."""
    found = ID.fullmatch(name)
    if found is None:
        raise ValueError(f"an id must look like 1001_IEO_ANG_HI, but is {name!r}")
    if found[2] not in EMOTIONS:
        raise ValueError(f"the emotion must be one of {', '.join(EMOTIONS)}, but is {found[2]!r}")
    return name, found[2]


def _row(name: str, split: SplitName) -> build.Row:
    return build.Row(name, _parse(name)[1], split, group=name[:4])


def _authors_rows(source: Path, name: str, split: SplitName) -> list[build.Row]:
    def parse(cells: list[str]) -> build.Row:
        list_files.check_cells(cells, 2)
        id_, emotion = _parse(cells[0])
        if emotion != cells[1]:
            raise ValueError(f"the id says {emotion}, but the second cell says {cells[1]}")
        return _row(id_, split)

    path = build.list_file(source, name, f"{split}_list")
    return list_files.read(path, parse, expected="id,EMOTION", header={"id", "filename", "emotion", "label"})
