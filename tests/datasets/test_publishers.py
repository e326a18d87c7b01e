"""Readers of the publishers' trees: clips found, clips missing, and errors."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from datasets.index import build
from datasets.index.build import Row, youtube_start
from datasets.index.clips import Index
from datasets.index.splits import find_overlaps
from datasets.publishers.ave import AVE
from datasets.publishers.cremad import CremaD
from datasets.publishers.kinetics_sounds import CLASSES, KineticsSounds
from datasets.publishers.table import Table
from datasets.publishers.ucf101 import UCF101
from datasets.publishers.vggsound import VGGSound
from datasets.registry import BUILT_IN, DatasetError, find
from tests.support import media_trees
from tests.support.tells import tells

READERS = [name for name in BUILT_IN if name != "digits"]


def splits(index: Index) -> dict[str, int]:
    return dict(Counter(clip.split for clip in index.clips))


def edit(path: Path, old: str, new: str) -> None:
    """Replace the first `old` in a list file."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def refusal(reader: object) -> str:
    with pytest.raises(DatasetError) as caught:
        reader.index()  # type: ignore[attr-defined]
    return str(caught.value)


# ---- all of them ----


@pytest.fixture(scope="module", params=READERS)
def made(request, tmp_path_factory):
    options = getattr(media_trees, request.param)(tmp_path_factory.mktemp(f"{request.param} ü"))
    return request.param, options


def test_a_whole_tree_is_found_whole(made):
    name, options = made
    reader = find(name)(**options)
    index = reader.index()
    assert not index.missing
    assert index.rows == len(index.clips)
    assert index.classes == tuple(sorted(index.classes))
    assert {clip.label for clip in index.clips} == set(index.classes)
    assert len({clip.id for clip in index.clips}) == len(index.clips)
    assert {"train", "test"} <= set(splits(index))
    assert not find_overlaps(index.clips).groups
    assert all(tuple(clip.sources) == tuple(reader.settings()) for clip in index.clips)
    assert all(path.exists() for clip in index.clips for s in clip.sources.values() for path in s.paths)
    assert reader.index() == index


def test_options_are_strict_and_known(made):
    name, options = made
    kind = find(name)
    adapter = TypeAdapter(kind)
    assert adapter.validate_json(json.dumps({"name": name, **options})) == kind(**options)
    for wrong in ({"sauce": 1}, {"frames": "3"}, {"frames": 0}, {"max_quarantined": 1.5}, {"name": "other"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            adapter.validate_json(json.dumps({**options, **wrong}))
    with pytest.raises(ValueError, match="`stored_frames`") as error:
        kind(**options, frames=11)
    tells(error.value, "`frames`", "10 < 11")


def test_no_folder_no_files(made, tmp_path):
    name, options = made
    absent = find(name)(**{**options, "source": str(tmp_path / "nowhere")})
    assert str(tmp_path / "nowhere") in refusal(absent)
    source = Path(str(options["source"]))
    top = source.parent if source.is_file() else source
    shutil.copytree(
        top,
        tmp_path / "lists",
        ignore=lambda _, names: [n for n in names if n.endswith((".mp4", ".avi", ".wav", ".flv", ".jpg"))],
    )
    for folder in sorted((p for p in (tmp_path / "lists").rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()
    bare = tmp_path / "lists" / (source.name if source.is_file() else "")
    clips = find(name)(**options).index().clips
    said = refusal(find(name)(**{**options, "source": str(bare)}))
    tells(said, bare, f"{len(clips)} listed", f"`{clips[0].id}`", "`dataset.source`")


def test_home_is_expanded(made, monkeypatch):
    name, options = made
    source = Path(str(options["source"]))
    monkeypatch.setenv("HOME", str(source.parent))
    assert find(name)(**{**options, "source": f"~/{source.name}"}).index().clips


# ---- VGGSound ----


@pytest.mark.parametrize(
    "quirks",
    [
        {"mirror": False},
        {"padded": False},
        {"header": media_trees.VGGSOUND_HEADER},
        {"bom": True, "end": "\r\n"},
        {"header": media_trees.VGGSOUND_HEADER, "bom": True, "mirror": False, "padded": False},
    ],
)
def test_vggsounds_quirks_change_nothing(tmp_path, quirks):
    plain, other = (
        VGGSound(**media_trees.vggsound(tmp_path / str(i), train=2, test=1, **q)).index()
        for i, q in enumerate(({}, quirks))
    )
    assert [(c.id, c.label, c.split) for c in plain.clips] == [(c.id, c.label, c.split) for c in other.clips]
    assert plain.classes == other.classes == ("child speech, kid speaking", "dog barking", "playing harp")


@pytest.fixture
def vggsound(tmp_path):
    options = media_trees.vggsound(tmp_path, train=2, test=1)
    return VGGSound(**options), Path(options["source"])


def test_classes_are_those_listed_whatever_films_are_there(vggsound):
    reader, source = vggsound
    whole = reader.index()
    (next(source.rglob("-1_aB_00_4x_000000.mp4"))).unlink()
    part = reader.index()
    assert part.classes == whole.classes
    assert part.missing == ("-1_aB_00_4x_000000",)
    assert part.clips == tuple(clip for clip in whole.clips if clip.id not in part.missing)


def test_a_class_without_any_film_is_refused_unless_allowed(vggsound):
    reader, source = vggsound
    for path in source.rglob("-1_aB*.mp4"):
        path.unlink()
    said = refusal(reader)
    assert len(said.splitlines()) == 1
    tells(said, source, "'dog barking': 3", "`dataset.allow_empty_classes: true`")
    allowed = VGGSound(source=str(source), store="", allow_empty_classes=True).index()
    assert "dog barking" in allowed.classes
    assert sum("dog barking" in note for note in allowed.notes) == 1


def test_vggsounds_broken_rows_are_all_named(vggsound):
    reader, source = vggsound
    edit(
        source / "vggsound.csv",
        '-0_aB_00_4x,0,"child speech, kid speaking",train',
        "-0_aB_00_4x,0,child speech, kid speaking,train",
    )
    edit(source / "vggsound.csv", "-1_aB_01_4x,10,", "-1_aB_01_4x,ten,")
    edit(source / "vggsound.csv", "playing harp,test", "playing harp,tset")
    said = refusal(reader).splitlines()
    facts = [("line 1", "5 cells", "comma"), ("line 5", "start", "number", "'ten'"), ("line 9", "split", "'tset'")]
    assert len(said) == len(facts)
    for line, its in zip(said, facts, strict=True):
        tells(line, source / "vggsound.csv", "id,start,label,train|test", *its)


def test_rows_that_come_again_are_noted_and_kept_once(vggsound):
    reader, source = vggsound
    whole = reader.index()
    with (source / "vggsound.csv").open("a") as file:
        file.write("-1_aB_00_4x,0,dog barking,train\n-2_aB_00_4x,000000,dog barking,test\n")
    index = reader.index()
    assert index.clips == whole.clips
    assert index.rows == whole.rows + 2
    same, relabelled, moved = (note for note in index.notes if "_aB_" in note)
    tells(same, "label", 1, "(-1_aB_00_4x_000000)")
    tells(relabelled, "label", 1, "(-2_aB_00_4x_000000)")
    tells(moved, "split", 1, "(-2_aB_00_4x_000000)")


def test_what_lies_about_is_no_film(vggsound):
    reader, source = vggsound
    whole = reader.index()
    for name in (
        "._-0_aB_00_4x_000000.mp4",
        "-0_aB_00_4x_000000.mp4.part",
        "readme.mp4",
        ".trash/-0_aB_00_4x_000000.mp4",
    ):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(b"")
    (source / "loop").symlink_to(source, target_is_directory=True)
    index = reader.index()
    (skipped,) = set(index.notes) - set(whole.notes)
    assert skipped == "hidden files are skipped: 2 files (._-0_aB_00_4x_000000.mp4, .trash)"
    assert replace(index, notes=whole.notes) == whole


def test_the_list_may_lie_elsewhere_and_films_behind_a_link(vggsound, tmp_path):
    _, source = vggsound
    linked = tmp_path / "linked"
    linked.mkdir()
    for folder in source.glob("vggsound_*"):
        os.symlink(folder, linked / folder.name)
    reader = VGGSound(source=str(linked), store="", csv=str(source / "vggsound.csv"))
    assert len(reader.index().clips) == 9
    tells(refusal(VGGSound(source=str(linked), store="")), linked / "vggsound.csv", "`dataset.csv`")


@pytest.mark.parametrize(
    ("stem", "numbers", "key"),
    [
        ("---g-f_I2yQ_000001", 1, ("---g-f_I2yQ", 1)),
        ("0HQsAGUnQ_0_6", 1, ("0HQsAGUnQ_0", 6)),
        ("__12_34_56__000007_000017", 2, ("__12_34_56_", 7)),
        ("abc", 1, None),
        ("abc_12", 2, None),
        ("_12", 1, None),
        ("abc_²", 1, None),
    ],
)
def test_a_films_name_is_its_id_and_start(stem, numbers, key):
    assert youtube_start(stem, numbers) == key


# ---- AVE ----


@pytest.mark.parametrize("header", [True, False])
def test_aves_own_splits_are_taken(tmp_path, header):
    index = AVE(**media_trees.ave(tmp_path, header=header)).index()
    assert splits(index) == {"train": 12, "validation": 6, "test": 6}
    assert index.classes == ("Church bell", "Frying (food)", "Male speech, man speaking")


def test_an_event_is_the_part_of_the_clip_that_is_listed(tmp_path):
    options = media_trees.ave(tmp_path)
    whole, event = (AVE(**options, part=part).index().clips for part in ("clip", "event"))
    assert {s.end_s for clip in whole for s in clip.sources.values()} == {None}
    assert [clip.sources["audio"].end_s for clip in event] == [float(2 - int(c.id[6:8]) % 2) for c in event]


def test_an_ave_id_with_two_labels_keeps_its_first(tmp_path):
    index = AVE(**media_trees.ave(tmp_path, twice=True)).index()
    assert len(index.clips) == 24
    assert index.clips[0].label == "Church bell"
    (note,) = (note for note in index.notes if media_trees.youtube(0, 0) in note)
    tells(note, "label", 1)


def test_aves_broken_rows_and_foreign_labels(tmp_path):
    options = media_trees.ave(tmp_path, leave_out=1)
    source = Path(options["source"])
    assert len(AVE(**options).index().missing) == 1
    edit(source / "valSet.txt", "Church bell&", "Curch bell&")
    tells(refusal(AVE(**options)), source, "3 classes", "'Curch bell'", "'Church bell'?")
    edit(source / "valSet.txt", "&good&0&2", "&good&2&2")
    edit(source / "valSet.txt", "&good&0", "&0")
    first, second = refusal(AVE(**options)).splitlines()
    tells(first, source / "valSet.txt", "line 1", "Category&VideoID&Quality&StartTime&EndTime", "2 and 2")
    tells(second, source / "valSet.txt", "line 2", "Category&VideoID&Quality&StartTime&EndTime", "4 cells")


# ---- CREMA-D ----


def test_without_the_authors_lists_speakers_are_on_one_side(tmp_path):
    options = media_trees.cremad(tmp_path, actors=5)
    index = CremaD(**options, test_fraction=0.4).index()
    test = {clip.group for clip in index.clips if clip.split == "test"}
    assert len(test) == 2
    assert not find_overlaps(index.clips).groups
    tells(index.notes[0], "speaker", ", ".join(sorted(test)), "train 18", "test 12")
    again = CremaD(**options, test_fraction=0.4, split_seed=7).index()
    assert again.clips == index.clips  # the seed changes the validation speakers, never the test speakers


def test_the_authors_lists_are_taken_and_named(tmp_path):
    options = media_trees.cremad(tmp_path, actors=3, authors=True)
    index = CremaD(**options).index()
    assert find_overlaps(index.clips).groups
    tells(index.notes[0], "authors", *(f"{split} {count}" for split, count in splits(index).items()))
    path = Path(options["source"]) / "train.csv"
    edit(path, ",HAP", ",SAD")
    number = 1 + path.read_text().splitlines().index("1001_IEO_HAP_HI,SAD")
    said = refusal(CremaD(**options))
    assert len(said.splitlines()) == 1
    tells(said, path, f"line {number}", "id,EMOTION", "HAP", "SAD")


def test_a_clip_lacks_where_either_file_does_and_sound_may_be_mp3(tmp_path):
    options = media_trees.cremad(tmp_path, actors=2)
    source = Path(options["source"])
    whole = CremaD(**options).index()
    (source / "AudioWAV/1001_IEO_HAP_HI.wav").unlink()
    (source / "VideoFlash/1001_IEO_SAD_HI.flv").unlink()
    assert CremaD(**options).index().missing == ("1001_IEO_HAP_HI", "1001_IEO_SAD_HI")
    media_trees.write(
        source / "AudioMP3/1001_IEO_HAP_HI.mp3", None, media_trees.tone(0, 0), rate=16000, codecs=("", "libmp3lame")
    )
    index = CremaD(**options).index()
    assert index.missing == ("1001_IEO_SAD_HI",)
    assert {c.id: c.split for c in index.clips}.items() < {c.id: c.split for c in whole.clips}.items()
    shutil.rmtree(source / "processedResults")
    found = CremaD(**options).index()
    assert found.missing == ("1001_IEO_SAD_HI",)
    assert ["processedResults/summaryTable.csv" in note for note in found.notes] == [True, False, False]
    assert not any("summaryTable.csv" in note for note in index.notes)


def test_files_that_git_lfs_has_not_fetched_are_refused(tmp_path):
    options = media_trees.cremad(tmp_path, actors=2)
    path = Path(options["source"]) / "VideoFlash/1001_IEO_ANG_HI.flv"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    tells(refusal(CremaD(**options)), path, "git lfs pull")


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("1001_IEO_JOY_HI", ["'JOY'", "ANG, DIS, FEA, HAP, NEU, SAD"]),
        ("1001-IEO", ["'1001-IEO'", "1001_IEO_ANG_HI"]),
    ],
)
def test_a_cremad_id_that_cannot_be_is_named(tmp_path, name, facts):
    options = media_trees.cremad(tmp_path, actors=2)
    path = Path(options["source"]) / "processedResults/summaryTable.csv"
    edit(path, "1001_IEO_HAP_HI", name)
    said = refusal(CremaD(**options))
    assert len(said.splitlines()) == 1
    tells(said, path, "line 3", *facts)


# ---- Kinetics-Sounds ----

FEW = {"train": 2, "validation": 1, "test": 1}  # clips per class


def test_there_are_31_classes():
    assert len(CLASSES) == len(set(CLASSES)) == 31
    assert list(CLASSES) == sorted(CLASSES)


@pytest.mark.parametrize("class_folders", [True, False])
def test_kinetics_other_classes_are_left_out(tmp_path, class_folders):
    index = KineticsSounds(**media_trees.kinetics_sounds(tmp_path, class_folders=class_folders, **FEW)).index()
    assert splits(index) == {"train": 6, "validation": 3, "test": 3}
    assert index.classes == ("bowling", "playing drums", "tap dancing")


def test_the_authors_lists_are_read_by_name_or_number(tmp_path):
    options = media_trees.kinetics_sounds(tmp_path, authors=True, **FEW)
    index = KineticsSounds(**options).index()
    assert splits(index) == {"train": 9, "test": 3}
    own = {clip.id: clip.label for clip in index.clips}
    path = Path(options["source"]) / "my_train.txt"
    edit(path, ",10,1", ",10,playing drums")
    assert {clip.id: clip.label for clip in KineticsSounds(**options).index().clips} == own
    kinetics = KineticsSounds(**media_trees.kinetics_sounds(tmp_path / "other", **FEW)).index()
    assert {clip.id: clip.label for clip in kinetics.clips} == own
    edit(path, ",10,1", ",10,3")
    said = refusal(KineticsSounds(**options))
    assert len(said.splitlines()) == 1
    tells(said, path, "line 5", "id_start,10,class", "below 3")


def test_a_class_that_no_list_knows_is_refused_with_what_is_near(tmp_path):
    options = media_trees.kinetics_sounds(tmp_path, **FEW)
    said = refusal(KineticsSounds(**{**options, "classes": ("bowling", "absailing")}))
    tells(said, options["source"], "`dataset.classes`", "'absailing'", "'abseiling'?")
    assert "bowling" not in said
    with pytest.raises(ValueError, match="`classes`") as error:
        KineticsSounds(**{**options, "classes": ("bowling", "bowling")})
    tells(error.value, "['bowling']")


def test_a_list_without_labels_is_refused(tmp_path):
    options = media_trees.kinetics_sounds(tmp_path, **FEW)
    path = Path(options["source"]) / "test.csv"
    with path.open() as file:
        rows = [row[1:] for row in csv.reader(file)]
    media_trees.text(path, rows)
    said = refusal(KineticsSounds(**options))
    tells(said, path, "label, youtube_id, time_start", "'youtube_id,time_start,time_end,split'")
    assert "test" not in splits(KineticsSounds(**options, test_list=None).index())


# ---- UCF101 ----


def test_ucf101s_groups_splits_and_spelling(tmp_path):
    index = UCF101(**media_trees.ucf101(tmp_path)).index()
    assert splits(index) == {"train": 18, "test": 6}
    assert Counter(clip.group for clip in index.clips if clip.label == "Archery") == {
        f"Archery_g{g:02d}": 2 for g in (8, 9, 10, 11)
    }
    hand = [clip for clip in index.clips if clip.label == "HandstandPushups"]
    assert len(hand) == 8
    assert {len(clip.sources["flow"].paths) for clip in hand} == {2}


@pytest.mark.parametrize(
    ("there", "kinds"),
    [
        ({"flow": True}, ("video", 2)),
        ({"flow": False}, ("video", 1)),
        ({"pictures": True, "flow": True}, ("images", 2)),
        ({"pictures": True, "films": False}, ("images", 2)),
        ({"pictures": True, "flow": False}, ("images", 1)),
        ({"class_folders": False}, ("video", 2)),
    ],
)
def test_pictures_and_flow_are_taken_where_given_and_from_the_film_where_not(tmp_path, there, kinds):
    index = UCF101(**media_trees.ucf101(tmp_path, groups=2, **there)).index()
    assert not index.missing
    assert {(c.sources["visual"].kind, len(c.sources["flow"].paths)) for c in index.clips} == {kinds}
    as_files, computed = ("0", "12") if kinds[1] == 1 else ("12", "0")
    (note,) = (note for note in index.notes if "flow" in note)
    assert re.findall(r"\d+", note) == [as_files, computed]


def test_half_a_flow_without_a_film_is_missing(tmp_path):
    options = media_trees.ucf101(tmp_path, groups=2, pictures=True, films=False)
    shutil.rmtree(Path(options["source"]) / "tvl1_flow/v/v_Archery_g08_c01")
    index = UCF101(**options).index()
    assert index.missing == ("v_Archery_g08_c01",)
    tells(index.notes[-1], "images", "u and v", 1)


def test_ucf101s_broken_rows(tmp_path):
    options = media_trees.ucf101(tmp_path, groups=2)
    lists = Path(options["source"]) / "ucfTrainTestlist"
    edit(lists / "trainlist01.txt", "Archery_g08_c01.avi 2", "Archery_g08_c01.avi 1")
    edit(lists / "trainlist01.txt", "Archery/v_Archery_g08_c02", "Archer/v_Archery_g08_c02")
    edit(lists / "trainlist01.txt", ".avi 3", ".avi")
    edit(lists / "trainlist01.txt", "_g08_c02.avi 3", "_c02.avi 3")
    said = refusal(UCF101(**options)).splitlines()
    facts = [
        ("line 3", "classInd.txt", 1, "Archery"),
        ("line 4", "classInd.txt", "'Archer'"),
        ("line 5", "1 cell"),
        ("line 6", "'v_HandStandPushups_c02.avi'", "v_Archery_g08_c01.avi"),
    ]
    assert len(said) == len(facts)
    for line, (number, *its) in zip(said, facts, strict=True):
        tells(line, lists / "trainlist01.txt", number, "Class/video.avi number")
        tells(line.rpartition(": ")[2], *its)  # the part after the quoted row
    tells(refusal(UCF101(**options, split=3)), lists / "trainlist03.txt", "`dataset.list_folder`")


# ---- tables ----


@pytest.mark.parametrize("parquet", [False, True])
@pytest.mark.parametrize("one_video", [False, True])
def test_a_table_of_ones_own(tmp_path, parquet, one_video):
    options = media_trees.table(tmp_path, parquet=parquet, one_video=one_video)
    index = Table(**options).index()
    assert splits(index) == {"train": 8, "validation": 4, "test": 4}
    assert index.clips[0].group == "train-0"
    assert {c.sources["visual"].kind for c in index.clips} == {"video" if one_video else "images"}
    assert Table(**options).settings().keys() == {"audio", "visual"}


def test_a_table_of_one_modality(tmp_path):
    options = {**media_trees.table(tmp_path), "visual": None}
    reader = Table(**options)
    assert tuple(reader.settings()) == ("audio",)
    assert reader.index().clips[0].id == "sounds/cat 0.wav"


def rewritten(options: dict[str, object], change) -> dict[str, object]:
    """Change each row of the table."""
    path = Path(str(options["source"]))
    with path.open(newline="", encoding="utf-8") as file:
        rows = [change(dict(row)) for row in csv.DictReader(file)]
    media_trees.text(path, [list(row.values()) for row in rows], header=list(rows[0]))
    return options


def test_one_film_may_be_many_clips(tmp_path):
    options = media_trees.table(tmp_path, one_video=True)
    halves = iter(range(100))
    rewritten(
        options, lambda row: {**row, "video": "films/cat 0.mp4", "from": (i := next(halves)) / 2, "to": i / 2 + 0.5}
    )
    index = Table(**options, begin="from", end="to").index()
    assert len(index.clips) == 16
    assert index.clips[3].id == "films/cat 0.mp4@1.5"
    assert (index.clips[3].sources["audio"].begin_s, index.clips[3].sources["visual"].end_s) == (1.5, 2.0)


def test_a_tables_classes_and_ids_may_be_given(tmp_path):
    options = media_trees.table(tmp_path)
    numbers = iter(range(100))
    rewritten(options, lambda row: {**row, "name": f"clip{next(numbers)}"})
    index = Table(**options, id="name", classes=("dog", "eel", "cat"), allow_empty_classes=True).index()
    assert index.classes == ("cat", "dog", "eel")
    assert index.clips[0].id == "clip0"
    tells(refusal(Table(**options, classes=("dog", "eel"))), options["source"], "2 classes", "'cat'")


@pytest.mark.parametrize(
    ("change", "facts"),
    [
        ({"label": ""}, ["column label"]),
        ({"audio": " "}, ["column audio"]),
        ({"split": "tset"}, ["'tset'", "train", "validation", "test"]),
    ],
)
@pytest.mark.parametrize("parquet", [False, True])
def test_a_tables_broken_rows_are_named(tmp_path, change, facts, parquet):
    options = rewritten(media_trees.table(tmp_path), lambda row: {**row, **change})
    if parquet:
        from pyarrow import csv as reader
        from pyarrow import parquet as writer

        path = Path(str(options["source"]))
        writer.write_table(reader.read_csv(path), path.with_suffix(".parquet"))
        options["source"] = str(path.with_suffix(".parquet"))
    lines = refusal(Table(**options)).splitlines()
    assert len(lines) == 16
    for number, line in enumerate(lines, start=1):
        tells(line, options["source"], f"row {number}" if parquet else f"line {number + 1}", *facts)


@pytest.mark.parametrize("cell", ["{root}/a.wav", "../a.wav", "sounds/../../a.wav", "link/../../a.wav"])
def test_a_tables_paths_leave_its_folder_only_with_an_option(tmp_path, cell):
    options = media_trees.table(tmp_path)
    folder = Path(options["source"]).parent
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    (tmp_path / "deeper" / "other").mkdir(parents=True)
    (tmp_path / "deeper" / "a.wav").write_bytes(b"RIFF")
    (folder / "link").symlink_to(tmp_path / "deeper" / "other")
    cell = cell.format(root=tmp_path)
    rewritten(options, lambda row: {**row, "audio": cell if row["label"] == "cat" else row["audio"]})
    lines = refusal(Table(**options)).splitlines()
    assert len(lines) == 8
    tells(lines[0], options["source"], "line 2", cell, "`dataset.allow_outside: true`")
    index = Table(**options, id="visual", allow_outside=True).index()
    assert index.clips[0].sources["audio"].paths[0].read_bytes() == b"RIFF"


def test_a_tables_paths_may_be_absolute_and_wind_inside_its_folder(tmp_path):
    options = media_trees.table(tmp_path)
    folder = Path(options["source"]).parent
    (tmp_path / "link").symlink_to(folder)
    rewritten(options, lambda row: {**row, "audio": f"pictures/../{row['audio']}", "visual": folder / row["visual"]})
    for source in (options["source"], tmp_path / "link" / "clips.csv"):
        index = Table(**{**options, "source": str(source)}).index()
        assert splits(index) == {"train": 8, "validation": 4, "test": 4}


def test_at_most_twenty_rows_that_leave_the_folder_are_listed(tmp_path):
    options = media_trees.table(tmp_path, train=20)
    rewritten(options, lambda row: {**row, "audio": "../../etc/passwd"})
    *lines, more = refusal(Table(**options)).splitlines()
    assert len(lines) == 20
    tells(more, 28)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_that_is_a_pipe_is_refused(tmp_path, suffix):
    options = media_trees.table(tmp_path)
    pipe = tmp_path / f"pipe{suffix}"
    os.mkfifo(pipe)
    tells(refusal(Table(**{**options, "source": str(pipe)})), pipe, "named pipe")


def test_a_tables_columns_and_kind_are_named(tmp_path):
    options = media_trees.table(tmp_path)
    columns = "label, split, audio, visual, speakr"
    said = refusal(Table(**{**options, "group": "speakr"}))
    tells(said, options["source"], columns, "'audio,visual,label,split,speaker'")
    wrong = Path(options["source"]).with_suffix(".parquet")
    wrong.write_bytes(b"label,split\n")
    tells(refusal(Table(**{**options, "source": str(wrong)})), wrong, "Parquet")
    parquet = media_trees.table(tmp_path / "p", parquet=True)
    tells(refusal(Table(**{**parquet, "group": "speakr"})), parquet["source"], columns)
    for files in ({}, {"video": "v", "audio": "a"}):
        with pytest.raises(ValueError, match="`video`") as error:
            Table(source="", store="", **files)
        tells(error.value, "`audio`", "`visual`")


def test_a_tables_validation_part_is_its_own_or_held_out(tmp_path):
    options = media_trees.table(tmp_path)
    said = refusal(Table(**options, validation_fraction=0.1))
    tells(said, options["source"], "validation", "`dataset.validation_fraction`")
    without = media_trees.table(tmp_path / "w", validation=0)
    tells(refusal(Table(**without)), without["source"], "validation", "`dataset.validation_fraction`", 0.1)
    assert splits(Table(**without, validation_fraction=0.2).index()) == {"train": 8, "test": 4}


# ---- what they share ----


def test_a_hundred_foreign_labels_are_one_error(tmp_path):
    rows = [Row(f"clip{i}", f"label{i}", "train") for i in range(100)]
    with pytest.raises(DatasetError) as error:
        build.gather(rows, lambda row: None, classes={"a"}, where=tmp_path)
    *shown, rest = str(error.value).splitlines()
    assert len(shown) == 20
    tells(rest, 80)


def beside(path: Path, other: Path) -> Path:
    """Put another file, with other content, of the same id."""
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_bytes(path.read_bytes() + b" ")
    return other


@pytest.mark.parametrize(
    ("name", "file", "other", "is_noted"),
    [
        ("cremad", "VideoFlash/1001_IEO_ANG_HI.flv", "VideoMP4_cropped/1001_IEO_ANG_HI.mp4", True),
        ("cremad", "VideoFlash/1001_IEO_ANG_HI.flv", "A/1001_IEO_ANG_HI.avi", True),
        ("cremad", "AudioWAV/1001_IEO_ANG_HI.wav", "Z/1001_IEO_ANG_HI.wav", True),
        ("cremad", "AudioWAV/1001_IEO_ANG_HI.wav", "AudioMP3/1001_IEO_ANG_HI.mp3", False),  # the publisher has both
        ("ave", "AVE/-0_aB_00_4x.mp4", "0/-0_aB_00_4x.mp4", True),
        ("ave", "AVE/-0_aB_00_4x.mp4", "Z/-0_aB_00_4x.mkv", True),
        ("vggsound", "vggsound_00/-0_aB_00_4x_000000.mp4", "z/-0_aB_00_4x_0.mp4", True),
        ("kinetics_sounds", "train/bowling/-0_aB_00_4x_000000_000010.mp4", "z/-0_aB_00_4x_000000_000012.mp4", True),
        ("ucf101", "UCF-101/Archery/v_Archery_g08_c01.avi", "UCF-101/Z/V_archery_g08_c01.avi", True),
        ("ucf101", "tvl1_flow/u/v_Archery_g08_c01", "tvl1_flow/u/v_archery_g08_c01", True),
    ],
)
def test_of_two_files_of_one_id_the_publishers_own_counts_and_both_are_named(tmp_path, name, file, other, is_noted):
    sizes = {"cremad": {"actors": 2}, "ucf101": {"groups": 2, "clips": 1}}
    options = getattr(media_trees, name)(tmp_path, **sizes.get(name, {"train": 1, "test": 1}))
    source = Path(str(options["source"]))
    before = find(name)(**options).index()
    if (source / file).is_dir():
        shutil.copytree(source / file, source / other)
    else:
        beside(source / file, source / other)
    after = find(name)(**options).index()
    assert after.clips == before.clips
    assert any(source / file in s.paths for clip in after.clips for s in clip.sources.values())
    notes = [note for note in after.notes if Path(other).name in note]
    assert len(notes) == is_noted
    for note in notes:
        tells(note, 1, source / file, source / other)
