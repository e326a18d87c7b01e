"""A table of single pictures: JPEG and PNG files as a modality."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from datasets.index.clips import Source
from datasets.loader.transforms import MEAN, STD
from datasets.publishers.table import Table
from datasets.store.frames import frames
from datasets.store.prepare import prepare, processes
from tests.support import ROOT
from tests.support.films import wav
from tests.support.media_trees import RATE, tone

COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200)}


DATASET = re.compile(r"dataset: \{name: table, source: clips.csv.*\}")  # in docs/own_data.md


def picture(path: Path, colour: tuple[int, ...], mode: str = "RGB") -> Path:
    path.parent.mkdir(exist_ok=True)
    image = Image.new("RGB", (160, 120), colour)
    (image.quantize(4) if mode == "P" else image.convert(mode)).save(path)
    return path


def table(folder: Path, kinds: list[str], sound: bool) -> Path:
    rows = [["photo", "speech", "label", "split"]]
    for n in range(12):
        label = list(COLOURS)[n % 2]
        photo = picture(folder / "photos" / f"{n}.{kinds[n % len(kinds)]}", COLOURS[label])
        speech = folder / "speech" / f"{n}.wav"
        if sound:
            wav(speech, tone(n % 2, n), RATE)
        split = ["train", "validation", "test"][n // 4]
        rows.append([str(photo.relative_to(folder)), f"speech/{n}.wav", label, split])
    with (folder / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / "clips.csv"


@pytest.mark.parametrize(("kinds", "sound"), [(["jpg", "png"], True), (["JPG", "jpeg", "PNG"], False)])
def test_pictures_are_prepared_and_seen_alone_or_with_a_sound(tmp_path, kinds, sound):
    documented = yaml.safe_load(DATASET.search((ROOT / "docs" / "own_data.md").read_text())[0])["dataset"]
    columns = {"seconds": 0.5} if sound else {"audio": None}
    places = {"source": str(table(tmp_path, kinds, sound)), "store": str(tmp_path / "store")}
    options = Table(**{**documented, **places, **columns})
    report = prepare("table", options.index(), options.settings(), tmp_path / "store", parallel=processes(1))
    assert (report.clips, report.quarantined) == (12, ())
    data = options.open()
    assert data.shapes["visual"] == (3, 224, 224)
    [(x, y)] = data.validation(batch_size=4)
    assert set(x) == ({"audio", "visual"} if sound else {"visual"})
    means = x["visual"].mean(dim=(2, 3)).numpy() * np.array(STD) + np.array(MEAN)
    for seen, label in zip(means * 255, y.tolist(), strict=True):
        assert np.abs(seen - COLOURS[data.classes[label]]).max() < 6


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "png"), ("L", "png"), ("L", "jpg"), ("P", "png"), ("RGBA", "png")]
)
def test_a_picture_of_any_colour_mode_becomes_one_colour_jpeg(tmp_path, mode, suffix):
    path = picture(tmp_path / f"a.{suffix}", (90, 90, 90), mode)
    [jpeg] = frames(Source("video", (path,)), 1, 256, 90)
    (tmp_path / "seen.jpg").write_bytes(jpeg)
    seen = Image.open(tmp_path / "seen.jpg")
    assert (seen.mode, seen.size) == ("RGB", (160, 120))
    assert np.abs(np.asarray(seen).astype(int) - 90).max() < 6


def test_a_picture_is_turned_as_its_orientation_tag_says(tmp_path):
    tag = Image.Exif()
    tag[0x0112] = 6  # to be turned right by a quarter
    left_is_white = np.zeros((120, 160, 3), np.uint8)
    left_is_white[:, :80] = 255
    Image.fromarray(left_is_white).save(tmp_path / "a.jpg", exif=tag)
    [jpeg] = frames(Source("video", (tmp_path / "a.jpg",)), 1, 256, 90)
    (tmp_path / "seen.jpg").write_bytes(jpeg)
    seen = np.asarray(Image.open(tmp_path / "seen.jpg"))
    assert seen.shape == (160, 120, 3)
    assert seen[:70].min() > 240
    assert seen[90:].max() < 15
