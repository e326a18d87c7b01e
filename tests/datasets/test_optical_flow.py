"""Optical flow: the publisher's images in pairs, or computed with the publishers' sign and scale."""

from __future__ import annotations

import re

import numpy as np
import pytest
import simplejpeg

from datasets.index.clips import Source
from datasets.store.optical_flow import flow, to_grey
from datasets.store.source_file import Unusable
from tests.support.films import jpegs, moving, numbered, texture, write


def levels(blobs: list[bytes]) -> np.ndarray:
    """Return the grey levels, [pairs, 2 (u, v), height, width]."""
    shown = np.stack([simplejpeg.decode_jpeg(blob, colorspace="GRAY")[..., 0] for blob in blobs])
    return shown.reshape(-1, 2, *shown.shape[1:]).astype(float)


def test_displacement_becomes_grey_levels_as_the_publishers_have_it():
    assert to_grey(np.array([-99, -20, -10, 0, 10, 20, 99], np.float32)).tolist() == [0, 0, 64, 128, 191, 255, 255]


@pytest.mark.parametrize("step", [2, -3, 6])
def test_the_computed_flow_of_a_moving_camera_is_its_movement(tmp_path, step):
    """A scene that moves left by `step` pixels per frame has u = -step and v = 0."""
    film = write(tmp_path / "a.mp4", moving(20, 128, 160, step=step), options={"crf": "10"})
    found = levels(flow(Source("flow", (film,)), 4, 256, 95))
    assert found.shape == (4, 2, 128, 160)
    inner = (found[..., 30:-30, 30:-30] - 127.5) * 40 / 255
    assert np.median(inner[:, 0]) == pytest.approx(-step, abs=0.4)
    assert np.median(inner[:, 1]) == pytest.approx(0, abs=0.4)


def test_vertical_movement_is_v(tmp_path):
    scene = texture(256, 128, np.random.default_rng(0))
    film = write(tmp_path / "a.mp4", [np.roll(scene, 3 * i, axis=0)[:128] for i in range(10)], options={"crf": "10"})
    found = (levels(flow(Source("flow", (film,)), 2, 256, 95))[..., 30:-30, 30:-30] - 127.5) * 40 / 255
    assert np.median(found[:, 0]) == pytest.approx(0, abs=0.4)
    assert np.median(found[:, 1]) == pytest.approx(3, abs=0.4)


@pytest.mark.parametrize(("frames", "per_clip", "pairs"), [(30, 10, 10), (6, 10, 5), (11, 10, 10), (2, 1, 1)])
def test_there_is_one_pair_less_than_frames_at_most(tmp_path, frames, per_clip, pairs):
    film = write(tmp_path / "a.mp4", moving(frames, 64, 96))
    assert len(flow(Source("flow", (film,)), per_clip, 256, 90)) == 2 * pairs


def test_the_computed_flow_is_the_same_each_time(tmp_path):
    film = Source("flow", (write(tmp_path / "a.avi", moving(12, 96, 128), codecs=("mpeg4", "mp3")),))
    assert flow(film, 5, 256, 90) == flow(film, 5, 256, 90)


def test_one_frame_has_no_flow(tmp_path):
    film = write(tmp_path / "a.mp4", numbered(1))
    with pytest.raises(Unusable, match=r"^too short: "):
        flow(Source("flow", (film,)), 5, 256, 90)


def published(folder, count: int):
    u = jpegs(folder / "u", [np.full((32, 48), 2 * i, np.uint8) for i in range(count)])
    v = jpegs(folder / "v", [np.full((32, 48), 2 * i + 101, np.uint8) for i in range(count)])
    return Source("flow", (u, v))


def test_given_flow_is_read_in_pairs_evenly_spaced_byte_for_byte(tmp_path):
    source = published(tmp_path, 40)
    found = flow(source, 4, 256, 90)
    assert levels(found).mean(axis=(2, 3)).tolist() == [[2 * i, 2 * i + 101] for i in (5, 15, 25, 35)]
    assert found[1] == (tmp_path / "v" / "frame000006.jpg").read_bytes()


def test_coloured_or_larger_flow_images_become_grey_and_small(tmp_path):
    u, v = (jpegs(tmp_path / name, [np.full((80, 120, 3), 90, np.uint8)]) for name in "uv")
    found = flow(Source("flow", (u, v)), 4, 40, 90)
    assert [simplejpeg.decode_jpeg_header(blob)[:3] for blob in found] == [(40, 60, "Gray")] * 2


def test_folders_that_do_not_match_are_told(tmp_path):
    source = published(tmp_path, 5)
    (tmp_path / "v" / "frame000003.jpg").unlink()
    with pytest.raises(Unusable, match=r"^cannot be decoded: ") as error:
        flow(source, 4, 256, 90)
    assert re.findall(r"\d+|\b[uv]\b", str(error.value)) == ["5", "u", "4", "v"]
