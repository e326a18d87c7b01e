"""CREMA-D: 91 actors say twelve sentences with six emotions (Cao et al., 2014)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from datasets.index import build, list_files, splits
from datasets.index.clips import Index, Source, SplitName
from datasets.publishers import common
from datasets.store.settings import Audio, Frames, Settings

if TYPE_CHECKING:
    from datasets.loader.loader import StoreData

ROWS = 7442  # clips of the 91 actors (CREMA-D's README), and 6,698 + 744 of the authors' csv
EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
ID = re.compile(r"(\d{4})_[A-Z]{3}_([A-Z]{3})_[A-Z]{1,2}")  # `1040_ITH_SAD_X` is one of them
TEST_SEED = 0  # the speakers of the test split are the same whatever is held out for validation


@dataclass(frozen=True, kw_only=True)
class CremaD:
    """Options of CREMA-D.

    Args:
        source: folder of `AudioWAV` (or `AudioMP3`), `VideoFlash` and `processedResults`.
        store: folder of what `prepare` makes.
        train_list: the OGM-GE authors' csv file of the training clips, rows of `id,EMOTION` (every actor is on both
            sides); from `source` where it is no whole path. Without the two lists whole speakers are the test split.
        test_list: that of the test clips, likewise.
        test_fraction: share of the speakers who are the test split, where there are no lists.
        frames: how many the model sees of each clip.
        stored_frames: how many are kept of each clip, evenly spaced; at least `frames`.
        validation_fraction: share of the training clips that is held out, by whole speakers.
        max_quarantined: largest share of clips that may be unusable, from 0 to 1; with more, `prepare` fails.
        split_seed: which training speakers are held out.
        allow_empty_classes: whether to go on where emotions have no clip at all.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    name: Literal["cremad"] = "cremad"
    source: str
    store: str
    train_list: str | None = None
    test_list: str | None = None
    test_fraction: float = 0.1
    frames: int = 1
    stored_frames: int = 10
    validation_fraction: float = 0.1
    max_quarantined: float = 0.05
    split_seed: int = 0
    allow_empty_classes: bool = False

    def __post_init__(self) -> None:
        common.refuse(
            frames=self.frames,
            stored_frames=self.stored_frames,
            max_quarantined=self.max_quarantined,
            validation_fraction=self.validation_fraction,
        )
        if (self.train_list is None) != (self.test_list is None):
            raise ValueError("`train_list` and `test_list` must be given both, or neither")
        if not 0 < self.test_fraction < 1:
            raise ValueError(f"`test_fraction` must be between 0 and 1, but got {self.test_fraction}")

    def index(self) -> Index:
        """The clips of the authors' lists, else of `summaryTable.csv`, else those found.

        Raises:
            DatasetError: no folder, broken rows, files that git-lfs has not fetched, or no clips.
        """
        source = build.folder(self.source, "CREMA-D's AudioWAV and VideoFlash")
        films = {path.stem: path for path in build.walk(source)}
        sounds = {path.stem: path for suffix in (".mp3", ".wav") for path in build.walk(source, (suffix,))}
        build.not_lfs([*films.values()])
        build.not_lfs([*sounds.values()])
        rows, notes = self._rows(source, sorted(set(films) | set(sounds)))

        def find(row: build.Listed) -> dict[str, Source] | None:
            film, sound = films.get(row.id), sounds.get(row.id)
            if film is None or sound is None:
                return None
            return {"audio": Source("audio", (sound,)), "visual": Source("video", (film,))}

        return build.gather(
            rows,
            find,
            classes=EMOTIONS,
            where=source,
            expected_rows=ROWS,
            notes=notes,
            allow_empty_classes=self.allow_empty_classes,
        )

    def _rows(self, source: Path, there: Sequence[str]) -> tuple[list[build.Listed], list[str]]:
        """What is listed, in its split, and what to say of the list and the split."""
        if self.train_list is not None and self.test_list is not None:
            rows = [*_authors(source, self.train_list, "train"), *_authors(source, self.test_list, "test")]
            return rows, [f"split: the authors' lists ({build.split_counts(rows)}); speakers are on both sides"]
        table = source / "processedResults" / "summaryTable.csv"
        notes = []
        if table.is_file():
            ids = list_files.read_columns(table, ["FileName"], lambda row: _parse(row["FileName"])[0])
        else:
            ids = [name for name in there if ID.fullmatch(name)]
            notes = [f"no {table.relative_to(source)}: the clips are those found"]
        test = splits.draw((name[:4] for name in ids), self.test_fraction, TEST_SEED)
        rows = [_clip(name, "test" if name[:4] in test else "train") for name in ids]
        said = f"split: by speaker, test {', '.join(sorted(test))} ({build.split_counts(rows)})"
        return rows, [*notes, said]

    def settings(self) -> Settings:
        """22,050 Hz, the first three seconds of the tiled sound: log spectrograms of 257 x 188."""
        return {
            "audio": Audio(sample_rate_hz=22050, seconds=3.0, n_fft=512, hop=353, tile=True),
            "visual": Frames(per_clip=self.stored_frames, count=self.frames),
        }

    def open(self) -> StoreData:
        """What `prepare` made.

        Raises:
            StoreError: not prepared, or damaged.
        """
        from datasets.loader.loader import open_store

        return open_store(
            self.store, self.settings(), held_out_fraction=self.validation_fraction, split_seed=self.split_seed
        )


def _parse(name: str) -> tuple[str, str]:
    """A clip's id and its emotion."""
    found = ID.fullmatch(name)
    if found is None:
        raise ValueError(f"an id is like 1001_IEO_ANG_HI, but this one is {name!r}")
    if found[2] not in EMOTIONS:
        raise ValueError(f"the emotion must be one of {', '.join(EMOTIONS)}, but is {found[2]!r}")
    return name, found[2]


def _clip(name: str, split: SplitName) -> build.Listed:
    return build.Listed(name, _parse(name)[1], split, group=name[:4])


def _authors(source: Path, name: str, split: SplitName) -> list[build.Listed]:
    def row(cells: list[str]) -> build.Listed:
        if len(cells) != 2:
            raise ValueError(f"it has {list_files.count(len(cells), 'cell')}")
        id_, emotion = _parse(cells[0])
        if emotion != cells[1]:
            raise ValueError(f"the id says {emotion}, the second cell {cells[1]}")
        return _clip(id_, split)

    path = build.list_file(source, name, f"{split}_list")
    return list_files.read(path, row, expected="id,EMOTION", header={"id", "filename", "emotion", "label"})
