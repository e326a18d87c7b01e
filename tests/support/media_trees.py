"""Small folder trees in the publishers' layouts, containers and codecs; each function returns a reader's options."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.films import Array, jpegs, moving, wav, write

HEIGHT, WIDTH, FPS, RATE = 48, 64, 10, 16000
SOUNDS = ("child speech, kid speaking", "dog barking", "playing harp")
VGGSOUND_HEADER = ("# YouTube ID", "start seconds", "label", "train/test split")
EVENTS = ("Church bell", "Frying (food)", "Male speech, man speaking")
KINETICS = ("bowling", "playing drums", "tap dancing")
ACTIONS = ("ApplyEyeMakeup", "Archery", "HandstandPushups")
EMOTIONS = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")

Options = dict[str, object]


def shots(class_id: int, clip: int, seconds: float = 1.0) -> list[Array]:
    """Return a moving scene, brighter for later classes."""
    scene = moving(max(2, round(seconds * FPS)), HEIGHT, WIDTH, seed=1000 * class_id + clip)
    return [np.clip(shot * 0.6 + 40 * class_id, 0, 255).astype(np.uint8) for shot in scene]


def tone(class_id: int, clip: int, seconds: float = 1.0, rate: int = RATE) -> Array:
    """Return a noisy tone whose pitch encodes the class, in [-1, 1]: [1, samples]."""
    time = np.arange(round(seconds * rate)) / rate
    noise = 0.05 * np.random.default_rng(clip).standard_normal(len(time))
    return (0.5 * np.sin(2 * np.pi * 300 * (class_id + 1) * time) + noise)[None].astype(np.float32)


def film(path: Path, class_id: int, clip: int, *, seconds: float = 1.0, silent: bool = False) -> Path:
    """Write a video with H.264 and AAC."""
    sound = None if silent else tone(class_id, clip, seconds)
    return write(path, shots(class_id, clip, seconds), sound, fps=FPS, rate=RATE, options={"preset": "ultrafast"})


def damage(path: Path) -> None:
    """Truncate a file to its first third."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3])


def text(
    path: Path,
    rows: Iterable[Sequence[object]],
    *,
    header: Sequence[str] = (),
    separator: str = ",",
    bom: bool = False,
    end: str = "\n",
) -> Path:
    """Write a list file; cells are quoted, if necessary, only when commas separate them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8-sig" if bom else "utf-8", newline="") as file:
        for row in [*([header] if header else []), *rows]:
            if separator == ",":
                csv.writer(file, lineterminator=end).writerow(row)
            else:
                file.write(separator.join(map(str, row)) + end)
    return path


def youtube(class_id: int, clip: int) -> str:
    """Return an id of eleven characters with dashes and underscores, which are easily confused with separators."""
    return f"-{class_id}_aB_{clip:02d}_4x"[:11]


def options(root: Path, source: Path, **more: object) -> Options:
    return {"source": str(source), "store": str(root / "store"), **more}


def cremad(
    root: Path,
    *,
    actors: int = 4,
    clips: int = 1,
    table: bool = True,
    authors: bool = False,
    leave_out: Collection[str] = (),
    damaged: int = 0,
) -> Options:
    """Write `AudioWAV/{id}.wav`, `VideoFlash/{id}.flv` and the table of results, with `clips` per actor and emotion."""
    source = root / "CREMA-D"
    sentences = ("IEO", "TIE", "IOM", "IWW")[:clips]
    levels = {"IEO": "HI"}
    listed = [
        f"{1001 + a}_{sentence}_{emotion}_{levels.get(sentence, 'XX')}"
        for a in range(actors)
        for sentence in sentences
        for emotion in EMOTIONS
    ]
    for number, name in enumerate(listed):
        if name not in leave_out:
            class_id = sorted(EMOTIONS).index(name[9:12])
            wav(source / f"AudioWAV/{name}.wav", tone(class_id, number), RATE)
            sound = tone(class_id, number, rate=22050)
            flv = source / f"VideoFlash/{name}.flv"
            write(flv, shots(class_id, number), sound, fps=FPS, rate=22050, codecs=("flv", "libmp3lame"))
            if number < damaged:
                flv.write_bytes(b"")
    if table:
        header = ("", "FileName", "VoiceVote", "VoiceLevel")
        rows = [(i, name, name[9], 60) for i, name in enumerate(listed, start=1)]
        text(source / "processedResults/summaryTable.csv", rows, header=header)
    if not authors:
        return options(root, source)
    test = set(listed[:: max(2, len(listed) // 6) + 1])
    for name, rows in (("train.csv", [n for n in listed if n not in test]), ("test.csv", sorted(test))):
        text(source / name, [(n, n[9:12]) for n in rows])
    return options(root, source, train_list="train.csv", test_list="test.csv")


def vggsound(
    root: Path,
    *,
    train: int = 6,
    test: int = 2,
    mirror: bool = True,
    padded: bool = True,
    leave_out: int = 0,
    damaged: int = 0,
    silent: int = 0,
    **listed: Any,
) -> Options:
    """Write the list and videos, flat or in folders `vggsound_00 …`.

    The last `leave_out` videos of the list are missing. The first ones are damaged, the next ones silent. `listed` are
    arguments of `text`.
    """
    source = root / "VGGSound"
    rows = []
    for clip in range(train + test):
        for class_id, label in enumerate(SOUNDS):
            rows.append((youtube(class_id, clip), 10 * clip, label, "train" if clip < train else "test"))
    for number, (name, start, label, _) in enumerate(rows[: len(rows) - leave_out]):
        folder = source / f"vggsound_{number % 3:02d}" if mirror else source
        path = folder / (f"{name}_{start:06d}.mp4" if padded else f"{name}_{start}.mp4")
        still = damaged <= number < damaged + silent
        film(path, SOUNDS.index(label), number, silent=still)
        if number < damaged:
            damage(path)
    text(source / "vggsound.csv", rows, **listed)
    return options(root, source)


def ave(
    root: Path,
    *,
    train: int = 4,
    validation: int = 2,
    test: int = 2,
    header: bool = True,
    twice: bool = False,
    leave_out: int = 0,
    seconds: float = 2.0,
) -> Options:
    """Write `AVE/{id}.mp4` and the lists; with `twice`, the first training video is listed again with another label."""
    source = root / "AVE_Dataset"
    lists: dict[str, list[tuple[object, ...]]] = {"trainSet.txt": [], "valSet.txt": [], "testSet.txt": []}
    made = []
    for clip in range(train + validation + test):
        name = "trainSet.txt" if clip < train else "valSet.txt" if clip < train + validation else "testSet.txt"
        for class_id, label in enumerate(EVENTS):
            lists[name].append((label, youtube(class_id, clip), "good", 0, round(seconds) - clip % 2))
            made.append((source / f"AVE/{youtube(class_id, clip)}.mp4", class_id, clip))
    for path, class_id, clip in made[: len(made) - leave_out]:
        film(path, class_id, clip, seconds=seconds)
    if twice:
        lists["trainSet.txt"].append((EVENTS[1], youtube(0, 0), "good", 0, 1))
    names = ("Category", "VideoID", "Quality", "StartTime", "EndTime") if header else ()
    for name, rows in lists.items():
        text(source / name, rows, separator="&")
    text(source / "Annotations.txt", [row for rows in lists.values() for row in rows], header=names, separator="&")
    return options(root, source)


def kinetics_sounds(
    root: Path,
    *,
    train: int = 4,
    validation: int = 2,
    test: int = 2,
    class_folders: bool = True,
    authors: bool = False,
    leave_out: int = 0,
) -> Options:
    """Write videos to `train`, `val` and `test`, flat or in class folders.

    The lists are like those of Kinetics, with one additional class, or like those of the OGM-GE authors.
    """
    source = root / "kinetics400"
    parts = {"train": range(train), "val": range(train, train + validation)}
    parts["test"] = range(train + validation, train + validation + test)
    rows: dict[str, list[tuple[object, ...]]] = {part: [] for part in parts}
    made = []
    for part, numbers in parts.items():
        for clip in numbers:
            for class_id, label in enumerate((*KINETICS, "abseiling")):
                name, start = youtube(class_id, clip), 7 * clip
                folder = source / part / label if class_folders else source / part
                made.append((folder / f"{name}_{start:06d}_{start + 10:06d}.mp4", class_id, clip))
                if authors and label in KINETICS:
                    rows[part].append((f"{name}_{start}", 10, class_id))
                elif not authors:
                    rows[part].append((label, name, start, start + 10, part))
    for path, class_id, clip in made[: len(made) - leave_out]:
        film(path, class_id, clip)
    if authors:
        text(source / "my_train.txt", rows["train"] + rows["val"])
        text(source / "my_test.txt", rows["test"])
        named = {"train_list": "my_train.txt", "validation_list": None, "test_list": "my_test.txt"}
        return options(root, source, classes=KINETICS, **named)
    header = ("label", "youtube_id", "time_start", "time_end", "split")
    for part, name in (("train", "train.csv"), ("val", "validate.csv"), ("test", "test.csv")):
        text(source / name, rows[part], header=header)
    return options(root, source, classes=KINETICS)


def ucf101(
    root: Path,
    *,
    groups: int = 4,
    clips: int = 2,
    pictures: bool = False,
    flow: bool = True,
    films: bool = True,
    class_folders: bool = True,
) -> Options:
    """Write `UCF-101/{Class}/v_….avi` (MPEG-4) with `clips` per group; the last group is the test split.

    As in the publisher's files, `v_HandStandPushups_…` has a capital S, but the folder of its flow does not.
    """
    source = root / "UCF101"
    rows: dict[str, list[tuple[object, ...]]] = {"train": [], "test": []}
    for class_id, action in enumerate(ACTIONS):
        for group in range(8, 8 + groups):
            for number in range(1, clips + 1):
                spelt = action.replace("Handstand", "HandStand")
                video = f"v_{spelt}_g{group:02d}_c{number:02d}"
                scene = shots(class_id, 100 * group + number)
                if films:
                    folder = source / "UCF-101" / action if class_folders else source / "UCF-101"
                    write(folder / f"{video}.avi", scene, fps=FPS, codecs=("mpeg4", ""))
                if pictures:
                    jpegs(source / "jpegs_256" / video, scene)
                if flow:
                    for way, axis in (("u", 0), ("v", 1)):
                        grey = [np.roll(shot[..., 0], 3, axis=axis) for shot in scene[1:]]
                        jpegs(source / "tvl1_flow" / way / video.replace(spelt, action), grey)
                test = group == 7 + groups
                row = (f"{action}/{video}.avi",) if test else (f"{action}/{video}.avi", class_id + 1)
                rows["test" if test else "train"].append(row)
    lists = source / "ucfTrainTestlist"
    text(lists / "classInd.txt", list(enumerate(ACTIONS, start=1)), separator=" ", end="\r\n")
    for split, listed in rows.items():
        text(lists / f"{split}list01.txt", listed, separator=" ", end="\r\n")
    return options(root, source)


def table(
    root: Path,
    *,
    parquet: bool = False,
    one_video: bool = False,
    train: int = 4,
    validation: int = 2,
    test: int = 2,
) -> Options:
    """Write audio files and image folders, or videos, with two clips per speaker and class."""
    source = root / "my data ü"
    rows = []
    for clip in range(train + validation + test):
        split = "train" if clip < train else "val" if clip < train + validation else "test"
        for class_id, label in enumerate(("cat", "dog")):
            name = f"{label} {clip}"
            if one_video:
                film(source / f"films/{name}.mp4", class_id, clip)
                files = {"video": f"films/{name}.mp4"}
            else:
                wav(source / f"sounds/{name}.wav", tone(class_id, clip), RATE)
                jpegs(source / f"pictures/{name}", shots(class_id, clip))
                files = {"audio": f"sounds/{name}.wav", "visual": f"pictures/{name}"}
            rows.append({**files, "label": label, "split": split, "speaker": f"{split}-{clip // 2}"})
    if parquet:
        import pyarrow
        from pyarrow import parquet as file

        file.write_table(pyarrow.Table.from_pylist(rows), source / "clips.parquet")
    else:
        text(source / "clips.csv", [list(row.values()) for row in rows], header=list(rows[0]))
    columns = {"video": "video"} if one_video else {"audio": "audio", "visual": "visual"}
    return options(root, source / ("clips.parquet" if parquet else "clips.csv"), group="speaker", **columns)
