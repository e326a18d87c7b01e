"""AVE: ten-second films of 28 audio-visual events (Tian et al., ECCV 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from datasets.index import build, list_files
from datasets.index.clips import Index, SplitName
from datasets.publishers import common
from datasets.store.settings import Audio, Frames, Settings

if TYPE_CHECKING:
    from datasets.loader.loader import StoreData

ROWS = 4143  # 3,339 + 402 + 402, of Annotations.txt and of the three lists; 4,096 ids
SETS: dict[str, SplitName] = {"trainSet.txt": "train", "valSet.txt": "validation", "testSet.txt": "test"}
HEADER = {"category", "videoid", "starttime"}


@dataclass(frozen=True, kw_only=True)
class AVE:
    """Options of AVE. Its own validation set is the validation set.

    Args:
        source: folder of `Annotations.txt`, the three lists and `AVE/{id}.mp4`.
        store: folder of what `prepare` makes.
        part: what a sample is made of: the whole `clip` of ten seconds, or the seconds of the `event` in it.
        frames: how many the model sees of each clip.
        stored_frames: how many are kept of each clip, evenly spaced; at least `frames`.
        sample_rate_hz: samples a second of the sound that the model sees; the files' is resampled to it.
        seconds: how much sound the model sees of each clip.
        n_fft: length of a spectrogram's window, in samples.
        hop: step from window to window, in samples.
        max_quarantined: largest share of clips that may be unusable, from 0 to 1; with more, `prepare` fails.
        allow_empty_classes: whether to go on where classes have no film at all.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    name: Literal["ave"] = "ave"
    source: str
    store: str
    part: Literal["clip", "event"] = "clip"
    frames: int = 3
    stored_frames: int = 10
    sample_rate_hz: int = 16000
    seconds: float = 10.0
    n_fft: int = 256
    hop: int = 128
    max_quarantined: float = 0.05
    allow_empty_classes: bool = False

    def __post_init__(self) -> None:
        common.refuse(
            frames=self.frames,
            stored_frames=self.stored_frames,
            max_quarantined=self.max_quarantined,
            validation_fraction=None,
        )
        self.settings()

    def index(self) -> Index:
        """The rows of the three lists, and where their films are; classes are those of `Annotations.txt`.

        Raises:
            DatasetError: no list, broken rows, no films, or a class without any.
        """
        source = build.folder(self.source, "AVE's lists and films")
        annotated = self._rows(source, "Annotations.txt", "train")
        rows = [row for name, split in SETS.items() for row in self._rows(source, name, split)]
        films = {path.stem: path for path in build.walk(source)}
        return build.gather(
            rows,
            lambda row: build.audiovisual(films.get(row.id), row.begin_s, row.end_s),
            classes={row.label for row in annotated},
            where=source,
            expected_rows=ROWS,
            allow_empty_classes=self.allow_empty_classes,
        )

    def _rows(self, source: Path, name: str, split: SplitName) -> list[build.Listed]:
        def row(cells: list[str]) -> build.Listed:
            if len(cells) != 5:
                raise ValueError(f"it has {list_files.count(len(cells), 'cell')} between the '&'")
            label, id_, _, begin, end = cells
            begin_s, end_s = list_files.seconds(begin, "StartTime"), list_files.seconds(end, "EndTime")
            if not label or not id_:
                raise ValueError("the category or the id is empty")
            if begin_s >= end_s:
                raise ValueError(f"the event must begin before it ends, but it has {begin} and {end}")
            if self.part == "clip":
                return build.Listed(id_, label, split)
            return build.Listed(id_, label, split, begin_s=begin_s, end_s=end_s)

        path = build.list_file(source, name, "source")
        return list_files.read(
            path, row, expected="Category&VideoID&Quality&StartTime&EndTime", separator="&", header=HEADER
        )

    def settings(self) -> Settings:
        """Log spectrograms, of 129 x 1,251 with the defaults."""
        sound = Audio(sample_rate_hz=self.sample_rate_hz, seconds=self.seconds, n_fft=self.n_fft, hop=self.hop)
        return {"audio": sound, "visual": Frames(per_clip=self.stored_frames, count=self.frames)}

    def open(self) -> StoreData:
        """What `prepare` made.

        Raises:
            StoreError: not prepared, or damaged.
        """
        from datasets.loader.loader import open_store

        return open_store(self.store, self.settings(), held_out_fraction=None)
