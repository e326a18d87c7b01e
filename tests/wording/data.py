"""Errors in the publishers' files, in custom tables, and in the stores prepared from them."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from datasets.publishers.vggsound import VGGSound
from datasets.store.prepare import prepare
from tests.support import films, media_trees
from tests.support.tracks import Pictures, Sine, write_tracks
from tests.wording.catalogue import Chapter, Entry, commanded, nothing

CHECK, PREPARE = "python -m search check mine.yaml", "python -m search prepare mine.yaml"


def file(name: str, source: str, *more: str) -> str:
    """Return an experiment on the data of a publisher or of a table."""
    options = ", ".join([f"name: {name}", f"source: {source}", "store: store", *more])
    return f"name: mine\ndataset: {{{options}}}\n"


def put(path: str, *rows: str) -> None:
    """Write a list, or an empty file whose name alone matters."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def shown(path: str, rows: Sequence[str]) -> str:
    """Return a file and its rows as the catalogue shows them."""
    return f"`{path}`:\n\n```text\n" + "\n".join(rows) + "\n```"


# ---- VGGSound ----

LIST = "VGGSound/vggsound.csv"
CLIPS = ("aaaaaaaaaaa,0,dog barking,train", "bbbbbbbbbbb,10,playing harp,train", "ccccccccccc,20,playing harp,test")
VIDEOS = ("aaaaaaaaaaa_000000", "bbbbbbbbbbb_000010", "ccccccccccc_000020")


def vggsound(rows: Sequence[str], videos: Sequence[str] = VIDEOS) -> None:
    """Write a list, and empty files with the names of videos."""
    put(LIST, *rows)
    for name in videos:
        put(f"VGGSound/{name}.mp4")


def in_latin_1() -> None:
    put(LIST)
    Path(LIST).write_bytes("aaaaaaaaaaa,0,aboiement à minuit,train\n".encode("latin-1"))


BROKEN = (
    "aaaaaaaaaaa,0,child speech, kid speaking,train",
    "bbbbbbbbbbb,ten,playing harp,train",
    "ccccccccccc,20,playing harp,tset",
    'ddddddddddd,30,"playing harp,train',
    ",40,playing harp,train",
    "eeeeeeeeeee,-5,playing harp,train",
)
AGAIN = (*CLIPS, CLIPS[0], "bbbbbbbbbbb,10,dog barking,train", "ccccccccccc,20,playing harp,train")

VGGSOUND: list[tuple[str, Sequence[str], Sequence[str]]] = [
    ("Invalid rows in the list", BROKEN, VIDEOS),
    ("All videos are missing", CLIPS, ()),
    ("A class without videos", CLIPS, VIDEOS[1:]),
    ("Duplicate rows with another label and in another split", AGAIN, VIDEOS),
]


# ---- the other publishers ----


def ave(rows: Sequence[str]) -> None:
    put("AVE/Annotations.txt", "Church bell&aaaaaaaaaaa&good&0&10", "Frying (food)&bbbbbbbbbbb&good&0&10")
    put("AVE/trainSet.txt", "Church bell&aaaaaaaaaaa&good&0&10")
    put("AVE/testSet.txt", "Frying (food)&bbbbbbbbbbb&good&0&10")
    if rows:
        put("AVE/valSet.txt", *rows)


def cremad(rows: Sequence[str], content: str = "") -> None:
    put("CREMA-D/processedResults/summaryTable.csv", *rows)
    put("CREMA-D/VideoFlash/1001_IEO_HAP_HI.flv", content)
    put("CREMA-D/AudioWAV/1001_IEO_HAP_HI.wav")


def not_fetched(rows: Sequence[str]) -> None:
    cremad(["", "FileName"], rows[0])


def two_videos(rows: Sequence[str]) -> None:
    for emotion in media_trees.EMOTIONS:
        for folder, suffix in (("VideoFlash", "flv"), ("Cropped", "flv"), ("AudioWAV", "wav")):
            put(f"CREMA-D/{folder}/1001_IEO_{emotion}_HI.{suffix}")


def kinetics(rows: Sequence[str]) -> None:
    for name in ("train.csv", "validate.csv", "test.csv"):
        put(f"kinetics/{name}", *rows)


def ucf101(rows: Sequence[str]) -> None:
    put("UCF101/ucfTrainTestlist/classInd.txt", "1 ApplyEyeMakeup", "2 Archery")
    put("UCF101/ucfTrainTestlist/trainlist01.txt", *rows)
    put("UCF101/ucfTrainTestlist/testlist01.txt", "Archery/v_Archery_g01_c01.avi")


Lay = Callable[[Sequence[str]], None]
RESULTS, TRAINING = "CREMA-D/processedResults/summaryTable.csv", "UCF101/ucfTrainTestlist/trainlist01.txt"

PUBLISHERS: list[tuple[str, str, Lay, str, Sequence[str]]] = [
    (
        "Invalid rows of AVE",
        file("ave", "AVE"),
        ave,
        "AVE/valSet.txt",
        ["Church bell&c&good&2&2", "Church bell&d&0&2", "Church bell&e&good&soon&10"],
    ),
    (
        "Invalid clip names of CREMA-D",
        file("cremad", "CREMA-D"),
        cremad,
        RESULTS,
        [",FileName,VoiceVote", "1,1001_IEO_JOY_HI,A", "2,1001-IEO,A"],
    ),
    (
        "CREMA-D was not fetched with git-lfs",
        file("cremad", "CREMA-D"),
        not_fetched,
        "CREMA-D/VideoFlash/1001_IEO_HAP_HI.flv",
        ["version https://git-lfs.github.com/spec/v1"],
    ),
    (
        "Two videos of one id",
        file("cremad", "CREMA-D"),
        two_videos,
        "CREMA-D/Cropped/1001_IEO_HAP_HI.flv",
        ["another video than that in VideoFlash"],
    ),
    (
        "A misspelt class of Kinetics",
        file("kinetics_sounds", "kinetics", "classes: [bowling, absailing]"),
        kinetics,
        "kinetics/train.csv",
        ["label,youtube_id,time_start", "bowling,aaaaaaaaaaa,1", "abseiling,bbbbbbbbbbb,2"],
    ),
    (
        "A list of Kinetics without labels",
        file("kinetics_sounds", "kinetics"),
        kinetics,
        "kinetics/train.csv",
        ["youtube_id,time_start,time_end,split", "aaaaaaaaaaa,1,11,test"],
    ),
    (
        "A split of UCF101 without lists",
        file("ucf101", "UCF101", "split: 3"),
        ucf101,
        TRAINING,
        ["Archery/v_Archery_g08_c01.avi 2"],
    ),
    (
        "Invalid rows of UCF101",
        file("ucf101", "UCF101"),
        ucf101,
        TRAINING,
        [
            "Archery/v_Archery_g08_c01.avi 1",
            "Archer/v_Archery_g08_c02.avi 2",
            "Archery/v_Archery_g08_c03.avi",
            "Archery/Archery_c04.avi 2",
        ],
    ),
]


# ---- tables ----

COLUMNS, HEAD, ROW = "video: film", "film,label,split,from,to", "a.mp4,cat,train,0,10"


def table(rows: Sequence[str]) -> None:
    put("clips.csv", HEAD, *rows)
    for name in ("a", "b", "c"):
        put(f"{name}.mp4")
    put("images/1.jpg")


WRONG = [
    ",cat,train,0,10",
    "a.mp4,,train,0,10",
    "b.mp4,cat,tset,0,10",
    "c.mp4,cat,val,10,4",
    "c.mp4,cat",
    "a.mp4,cat,val,x,",
]
TABLES: list[tuple[str, str, Sequence[str]]] = [
    ("A misspelt column of the table", f"{COLUMNS}, label: clas", [ROW]),
    ("Invalid rows of the table", f"{COLUMNS}, begin: from, end: to", WRONG),
    ("A table without validation rows", COLUMNS, [ROW]),
    (
        "A table with validation rows, and `validation_fraction`",
        f"{COLUMNS}, validation_fraction: 0.1",
        [ROW, "b.mp4,cat,val,0,10"],
    ),
    ("A label of the table that is not a class", f"{COLUMNS}, classes: [cats, dogs]", [ROW, "b.mp4,cat,val,0,10"]),
    ("A table without rows", COLUMNS, []),
    (
        "A table with paths that leave its folder",
        f"{COLUMNS}, validation_fraction: 0.1",
        [ROW, "../../etc/passwd,cat,train,0,10", "/etc/passwd,cat,train,0,10"],
    ),
    (
        "Parts of a folder of images, without a sound that tells its length",
        "visual: film, begin: from, end: to, validation_fraction: 0.1",
        [ROW, "images,cat,train,0,10", "images,dog,train,10,20"],
    ),
]


OTHER_TABLES: list[tuple[str, Sequence[str]]] = [
    ("A table with two columns of one name", ["film,label,split,Label", "a.mp4,cat,train,dog"]),
    ("A table with semicolons", ["film;label;split", "a.mp4;cat;train"]),
    ("A table with paths of Windows", [HEAD, "clips\\a.mp4,cat,train,0,10", "C:/clips/a.mp4,cat,train,0,10"]),
]


def in_utf_16() -> None:
    Path("clips.csv").write_bytes(f"{HEAD}\n{ROW}\n".encode("utf-16"))


def parquet_table(**columns: list[object]) -> None:
    """Write a table of one row; `columns` replace its own."""
    rows = {"film": ["a.mp4"], "label": ["cat"], "split": ["train"], **columns}
    parquet.write_table(pyarrow.table(rows), "clips.parquet")


# ---- preparing, and the prepared store ----


class Videos:
    """Nine decodable videos and the store prepared from them.

    Args:
        folder: folder that holds them, to be copied.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        media_trees.vggsound(folder, train=2, test=1, mirror=False)
        options = VGGSound(source=str(folder / "VGGSound"), store="")
        prepare("vggsound", options.index(), options.settings(), folder / "store", parallel=map)

    def alone(self) -> None:
        """Copy the videos to the working folder."""
        shutil.copytree(self.folder / "VGGSound", "VGGSound")

    def with_store(self) -> None:
        """Copy the videos and the store."""
        shutil.copytree(self.folder, ".", dirs_exist_ok=True)


def unusable() -> None:
    """Make the first four videos unusable, each for a different reason."""
    first, second, third, fourth, *_ = sorted(Path("VGGSound").glob("*.mp4"))
    media_trees.damage(first)
    media_trees.film(second, 0, 0, silent=True)
    third.write_bytes(b"")
    fourth.write_text("<html>Video unavailable</html>")


def from_a_mac() -> None:
    """Put beside the videos what macOS writes."""
    for video in sorted(Path("VGGSound").glob("*.mp4")):
        video.with_name(f"._{video.name}").write_bytes(b"\0\5\x16\7")
    Path("VGGSound/.DS_Store").touch()


def of_odd_levels() -> None:
    """Make the first video silent, and give the second float samples at the scale of integers."""
    first, second, *_ = sorted(Path("VGGSound").glob("*.mp4"))
    films.write(first, films.moving(10, 48, 64), np.zeros((1, 44100)))
    loud = films.write(second.with_suffix(".mkv"), films.moving(10, 48, 64), LOUD, codecs=("mpeg4", "pcm_f32le"))
    loud.replace(second)


def without_decoder() -> None:
    """Replace the first video by a pipe, and the codec of the second by an unknown one."""
    first, second, *_ = sorted(Path("VGGSound").glob("*.mp4"))
    first.unlink()
    os.mkfifo(first)
    second.write_bytes(second.read_bytes().replace(b"avc1", b"xvc1").replace(b"mp4a", b"xp4a"))


def truncated(name: str, options: Mapping[str, str]) -> None:
    """Replace the first video by a file of another kind, of which the end is missing."""
    whole = write_tracks(Path(name), (Pictures(), Sine()), dict(options))
    sorted(Path("VGGSound").glob("*.mp4"))[0].write_bytes(whole.read_bytes()[:-1000])


def without_shard() -> None:
    Path("store/shard-00000.arrow").unlink()


def cut_short() -> None:
    shard = Path("store/shard-00000.arrow")
    shard.write_bytes(shard.read_bytes()[:-100])


def with_a_bit_flipped() -> None:
    shard = Path("store/shard-00000.arrow")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def damaged_manifest() -> None:
    manifest = Path("store/manifest.json")
    manifest.write_text(manifest.read_text(encoding="utf-8").replace("dog", "cat"), encoding="utf-8")


def relabelled() -> None:
    text = Path(LIST).read_text(encoding="utf-8")
    Path(LIST).write_text(text.replace("dog barking,train", "playing harp,train", 1), encoding="utf-8")


def file_at_the_store() -> None:
    Path("store").touch()


CAN = file("vggsound", "VGGSound")
FEWER_FRAMES = file("vggsound", "VGGSound", "stored_frames: 5")
LOUD = 32768 * films.chirp(1.0, 44100)
ALLOWED = file("vggsound", "VGGSound", "max_quarantined: 0.5")
TINY = file("vggsound", "VGGSound", "max_quarantined: 1.0", "max_megapixels: 0.001")
UNKNOWN = CAN.replace("store: store", "store: 'cloud://bucket/vggsound'")
SECRET = CAN.replace("store: store", "store: 's3://me:secret@bucket/vggsound'")
FROM_A_CLUSTER = CAN.replace("store: store", "store: 's3://bucket/vggsound'") + "search: {address: '10.0.0.1:6379'}\n"
SEARCHED = FEWER_FRAMES + "space: {fusion: [concat, sum]}\n"

ONE_IS_TRUNCATED = "The end of one of nine videos is missing."
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}

VIDEOS_ALONE: list[tuple[str, str, str, str, Callable[[], None]]] = [
    ("Videos are prepared", PREPARE, CAN, "", nothing),
    ("Unusable videos", PREPARE, CAN, "Four of nine videos are unusable.", unusable),
    ("Unusable videos, within the limit", PREPARE, ALLOWED, "Four of nine videos are unusable.", unusable),
    (
        "Silent audio, and audio beyond full scale",
        PREPARE,
        ALLOWED,
        "Two of nine videos have odd levels.",
        of_odd_levels,
    ),
    ("Hidden files among the videos", CHECK, CAN, "macOS left a `._` file for each video.", from_a_mac),
    ("A pipe, and a video without a decoder", PREPARE, ALLOWED, "Two of nine videos are unusable.", without_decoder),
    ("A truncated MPEG-TS file", PREPARE, ALLOWED, ONE_IS_TRUNCATED, partial(truncated, "a.ts", {})),
    ("A truncated fragmented file", PREPARE, ALLOWED, ONE_IS_TRUNCATED, partial(truncated, "a.mp4", FRAGMENTED)),
    ("Frames larger than the limit", PREPARE, TINY, "", nothing),
    ("A file at the path of the store", PREPARE, CAN, "`store` is a file.", file_at_the_store),
    ("A store with an unknown kind of URI", PREPARE, UNKNOWN, "", nothing),
    ("A store with a password in its URI", PREPARE, SECRET, "", nothing),
    ("A store with a URI, prepared on a cluster", PREPARE, FROM_A_CLUSTER, "", nothing),
]
PREPARED: list[tuple[str, str, str, str, Callable[[], None]]] = [
    ("Videos are prepared a second time", PREPARE, CAN, "The store is complete.", nothing),
    ("A store is checked", CHECK, CAN, "The store is complete.", nothing),
    ("Different settings for the same store", PREPARE, FEWER_FRAMES, "`store` has 10 frames per video.", nothing),
    ("A label in the list has changed", PREPARE, CAN, "The store was prepared with the old label.", relabelled),
    ("An edited manifest of a store", CHECK, CAN, "`store/manifest.json` was edited.", damaged_manifest),
    ("A missing shard", CHECK, CAN, "`store/shard-00000.arrow` was deleted.", without_shard),
    ("A truncated shard", CHECK, CAN, "The end of `store/shard-00000.arrow` is missing.", cut_short),
    ("A corrupt shard", CHECK, CAN, "A bit of `store/shard-00000.arrow` is flipped.", with_a_bit_flipped),
]


@contextmanager
def in_this_process() -> Iterator[None]:
    """Let `prepare` write its shards in this process, without Ray."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.backend.cluster.local_ray", nullcontext)
        patch.setattr("search.commands.prepare.ray_map", map)
        yield


def entries() -> Iterator[Entry]:
    yield commanded("The folder of the videos is missing", CHECK, file=file("vggsound", "VGGSound"))
    yield commanded(
        "The list is missing",
        CHECK,
        partial(put, "VGGSound/aaaaaaaaaaa_000000.mp4"),
        file=file("vggsound", "VGGSound"),
    )
    yield commanded(
        "A list that is not in UTF-8",
        CHECK,
        in_latin_1,
        file=file("vggsound", "VGGSound"),
        given="The list is encoded in Latin-1.",
    )
    for title, rows, videos in VGGSOUND:
        there = f"{shown(LIST, rows)}\n\nVideos: {', '.join(videos) or 'none'}."
        yield commanded(title, CHECK, partial(vggsound, rows, videos), file=file("vggsound", "VGGSound"), given=there)
    for title, text, lay, path, rows in PUBLISHERS:
        yield commanded(title, CHECK, partial(lay, rows), file=text, given=shown(path, rows))
    for title, options, rows in TABLES:
        given = shown("clips.csv", [HEAD, *rows])
        yield commanded(title, CHECK, partial(table, rows), file=file("table", "clips.csv", options), given=given)
    for title, rows in OTHER_TABLES:
        given = shown("clips.csv", rows)
        yield commanded(
            title, CHECK, partial(put, "clips.csv", *rows), file=file("table", "clips.csv", COLUMNS), given=given
        )
    yield commanded(
        "A table in UTF-16",
        CHECK,
        in_utf_16,
        file=file("table", "clips.csv", COLUMNS),
        given="The table is encoded in UTF-16.",
    )
    yield commanded(
        "A Parquet table with a column of lists",
        CHECK,
        partial(parquet_table, film=[["a.mp4"]]),
        file=file("table", "clips.parquet", COLUMNS),
        given="The column `film` of `clips.parquet` holds lists.",
    )
    yield commanded(
        "A Parquet table with bytes that are not text",
        CHECK,
        partial(parquet_table, label=[b"\xff"]),
        file=file("table", "clips.parquet", COLUMNS),
        given="The column `label` of `clips.parquet` holds the byte 0xff.",
    )
    yield commanded(
        "A `.parquet` file that is not Parquet",
        CHECK,
        partial(put, "clips.parquet", HEAD),
        file=file("table", "clips.parquet", COLUMNS),
        given=shown("clips.parquet", [HEAD]),
    )
    with TemporaryDirectory() as folder, in_this_process():
        yield from _preparing(Videos(Path(folder)))


def _preparing(videos: Videos) -> Iterator[Entry]:
    """Yield the entries on videos and on the store prepared from them."""
    for begun, rows in ((videos.alone, VIDEOS_ALONE), (videos.with_store, PREPARED)):
        for title, line, text, given, lay in rows:
            yield commanded(title, line, begun, lay, file=text, given=given)
    with ExitStack() as held:
        yield commanded(
            "Another process prepares the same store",
            PREPARE,
            videos.with_store,
            partial(_prepare_beside, held),
            file=CAN,
            given="Another process is writing `store`.",
        )
    yield commanded("Data that need no preparation", PREPARE, file="name: mine\ndataset: {name: digits}\n")
    yield commanded("Data that need no preparation are checked", CHECK, file=DIGITS)


DIGITS = "name: mine\ndataset: {name: digits}\nspace: {fusion: [concat, sum]}\n"


def _prepare_beside(held: ExitStack) -> None:
    lock = os.open("store/lock", os.O_RDWR)
    held.callback(os.close, lock)
    fcntl.flock(lock, fcntl.LOCK_EX)


CHAPTER = Chapter("data", "Data", entries)
