"""UCF101: 101 actions in films of a few seconds (Soomro et al., 2012), with their optical flow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from datasets.index import build, list_files
from datasets.index.clips import Index, Source, SplitName
from datasets.publishers import common
from datasets.store.settings import Frames, Settings

if TYPE_CHECKING:
    from datasets.loader.loader import StoreData

ROWS = 13320  # of each split: 9,537 + 3,783, 9,586 + 3,734, 9,624 + 3,696
EXPECTED: dict[SplitName, str] = {"train": "Class/video.avi number", "test": "Class/video.avi"}
VIDEO = re.compile(r"v_\w+_g(?P<group>\d+)_c\d+")


@dataclass(frozen=True, kw_only=True)
class UCF101:
    """Options of UCF101.

    Args:
        source: folder of `UCF-101/{Class}/v_….avi` and of the lists; `jpegs_256/{video}` takes the place of the films'
            frames, and `tvl1_flow/u/{video}` and `tvl1_flow/v/{video}` that of flow computed from the films.
        store: folder of what `prepare` makes.
        split: which of the publisher's three divisions into training and test.
        list_folder: folder of `classInd.txt`, `trainlist0N.txt` and `testlist0N.txt`; from `source`, as the next three.
        films: folder of the films, in it or in folders of it; it need not be there where all else is.
        pictures: folder of JPEGs that take the place of the films' frames; it need not be there.
        flow: folder of JPEGs of flow, in place of what is computed from the films; it need not be there.
        frames: how many the model sees of each clip, of pictures and of flow.
        stored_frames: how many are kept of each clip, evenly spaced; at least `frames`.
        validation_fraction: share of the training clips of each class that is held out, by whole groups (films cut from
            one).
        max_quarantined: largest share of clips that may be unusable, from 0 to 1; with more, `prepare` fails.
        split_seed: which training groups are held out.
        allow_empty_classes: whether to go on where classes have no film at all.
    """

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid", "strict": True}

    name: Literal["ucf101"] = "ucf101"
    source: str
    store: str
    split: Literal[1, 2, 3] = 1
    list_folder: str = "ucfTrainTestlist"
    films: str = "UCF-101"
    pictures: str = "jpegs_256"
    flow: str = "tvl1_flow"
    frames: int = 3
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

    def index(self) -> Index:
        """The rows of the split's two lists, and where their pictures and flow are.

        Raises:
            DatasetError: no list, broken rows, no films, or a class without any.
        """
        source = build.folder(self.source, "UCF-101 and its lists")
        path = self._list(source, "classInd.txt")
        classes = list_files.read(path, _class, expected="a number and a class", separator=" ")
        rows = []
        for split, expected in EXPECTED.items():
            parse = partial(_row, split=split, numbers=dict(classes))
            path = self._list(source, f"{split}list0{self.split}.txt")
            rows += list_files.read(path, parse, expected=expected, separator=" ")
        files = _Files(source, self.films, self.pictures, self.flow)
        found = build.gather(
            rows,
            files.find,
            classes=[name for _, name in classes],
            where=source,
            expected_rows=ROWS,
            allow_empty_classes=self.allow_empty_classes,
        )
        return files.with_notes(found)

    def _list(self, source: Path, name: str) -> Path:
        return build.list_file(source / Path(self.list_folder).expanduser(), name, "list_folder")

    def settings(self) -> Settings:
        """Pictures and flow; there is no sound to most of the films."""
        shown = Frames(per_clip=self.stored_frames, count=self.frames)
        return {"visual": shown, "flow": shown}

    def open(self) -> StoreData:
        """What `prepare` made.

        Raises:
            StoreError: not prepared, or damaged.
        """
        from datasets.loader.loader import open_store

        return open_store(
            self.store, self.settings(), held_out_fraction=self.validation_fraction, split_seed=self.split_seed
        )


class _Files:
    """Films and folders by the video's name in small letters: `v_HandStandPushups_…` is of class HandstandPushups."""

    def __init__(self, source: Path, films: str, pictures: str, flow: str) -> None:
        top, given = (source / Path(name).expanduser() for name in (films, flow))
        self.films = {path.stem.casefold(): path for path in build.walk(top, (".avi",))}
        self.pictures = _folders(source / Path(pictures).expanduser())
        self.u, self.v = _folders(given / "u"), _folders(given / "v")
        self.without_flow = 0

    def find(self, row: build.Listed) -> dict[str, Source] | None:
        key = row.id.casefold()
        film = self.films.get(key)
        visual = _first(("images", self.pictures.get(key)), ("video", film))
        if key in self.u and key in self.v:
            flow: Source | None = Source("flow", (self.u[key], self.v[key]))
        else:
            flow = _first(("flow", film))
            self.without_flow += flow is None and visual is not None
        return {"visual": visual, "flow": flow} if visual and flow else None

    def with_notes(self, index: Index) -> Index:
        """The index, with what to say of where the flow comes from."""
        computed = sum(len(clip.sources["flow"].paths) == 1 for clip in index.clips)
        notes = [f"flow: {len(index.clips) - computed:,} clips have it as files, for {computed:,} it is computed"]
        if self.without_flow:
            notes.append(
                f"clips with pictures, but neither flow (u and v) nor a film to compute it from, which are therefore "
                f"missing: {self.without_flow:,}"
            )
        return replace(index, notes=(*index.notes, *notes))


def _first(*found: tuple[Literal["images", "video", "flow"], Path | None]) -> Source | None:
    return next((Source(kind, (path,)) for kind, path in found if path is not None), None)


def _folders(top: Path) -> Mapping[str, Path]:
    if not top.is_dir():
        return {}
    return {path.name.casefold(): path for path in sorted(top.iterdir()) if path.is_dir()}


def _row(cells: list[str], split: SplitName, numbers: Mapping[int, str]) -> build.Listed:
    """A row of a list; only the training list tells the class's number."""
    if len(cells) != (2 if split == "train" else 1):
        raise ValueError(f"it has {list_files.count(len(cells), 'cell')}")
    folder, _, name = cells[0].rpartition("/")
    video = name.removesuffix(".avi")
    found = VIDEO.fullmatch(video)
    if found is None:
        raise ValueError(f"a film is called like v_Archery_g08_c01.avi, but this one is {name!r}")
    if folder not in numbers.values():
        raise ValueError(f"{folder!r} is no class of classInd.txt")
    if split == "train" and numbers.get(list_files.whole_number(cells[1], "the class")) != folder:
        raise ValueError(f"in classInd.txt {cells[1]} is not {folder}")
    return build.Listed(video, folder, split, group=f"{folder}_g{found['group']}")


def _class(cells: list[str]) -> tuple[int, str]:
    if len(cells) != 2:
        raise ValueError(f"it has {list_files.count(len(cells), 'cell')}")
    return list_files.whole_number(cells[0], "the number"), cells[1]
