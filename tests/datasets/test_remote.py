"""Files at paths and URIs: in a folder, at a file:// URI, and in a bucket of a real S3 server."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyarrow import fs

from datasets.store import remote
from datasets.store.remote import Remote, RemoteError, whereabouts
from tests.support.tells import tells


@pytest.fixture(params=["path", "file", "s3"])
def place(request, tmp_path) -> Remote:
    folder = tmp_path / "Daten é #1"
    if request.param == "s3":
        return Remote(request.getfixturevalue("s3")(f"Daten %C3%A9 {tmp_path.name}".replace(" ", "%20")))
    return Remote(str(folder) if request.param == "path" else folder.as_uri())


def test_what_was_put_is_there_whole_under_its_name(place, tmp_path):
    mine, back = tmp_path / "mine", tmp_path / "back"
    mine.write_bytes(os.urandom(5 * 2**20))
    name = "run-1f/0003/last é.pt"
    assert not place.exists(name)
    assert place.read(name) is None
    assert not place.get(name, back)
    assert not back.exists()
    place.put(mine, name)
    assert place.exists(name)
    assert not place.exists("run-1f/0003")  # a folder is not a file
    assert place.get(name, back)
    assert back.read_bytes() == place.read(name) == mine.read_bytes()
    mine.write_bytes(b"shorter")
    place.put(mine, name)  # replaces the first file
    assert place.get(name, back)
    assert back.read_bytes() == b"shorter"
    place.delete(name)
    place.delete(name)  # may be repeated
    assert not place.exists(name)


def test_a_file_is_added_once_and_read_in_place_or_as_a_copy(place, tmp_path):
    name, copy = "prefixes/a.pt", tmp_path / "copies" / "a.pt"

    def write(path: Path, content: bytes = b"12345") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    assert place.add(name, write) == 5
    place.add(name, lambda path: write(path, b"other"))
    there = place.fetch(name, copy)
    assert there.read_bytes() == place.read(name) == b"12345"  # the first file is kept
    assert (there == copy) == (place.folder is None)
    assert not place.fetch("prefixes/none", tmp_path / "none").exists()
    for _ in range(2):
        place.delete_folder("prefixes")
        assert place.read(name) is None


def test_a_file_that_is_cut_short_while_it_is_written_is_not_there(tmp_path, monkeypatch):
    """A file gets its name once it is complete; until then the previous file stays."""
    mine = tmp_path / "mine"
    mine.write_bytes(b"before")
    Remote(str(tmp_path)).put(mine, "there/kept")
    mine.write_bytes(b"0123456789")
    monkeypatch.setattr(remote, "CHUNK_BYTES", 4)

    def refused(*paths: str) -> None:
        raise OSError("the connection is gone")

    whole = fs.LocalFileSystem()

    class Cut:
        type_name = whole.type_name
        create_dir, open_output_stream, delete_file = whole.create_dir, whole.open_output_stream, whole.delete_file
        move = staticmethod(refused)

    monkeypatch.setattr(fs, "FileSystem", SimpleNamespace(from_uri=lambda uri: (Cut(), str(tmp_path))))
    place = Remote(tmp_path.as_uri())
    with pytest.raises(RemoteError) as error:
        place.put(mine, "there/kept")
    tells(error.value, tmp_path.as_uri(), "the connection is gone")
    assert [(file.name, file.read_bytes()) for file in (tmp_path / "there").iterdir()] == [("kept", b"before")]


@pytest.mark.parametrize(
    ("where", "facts"),  # some in pyarrow's wording
    [
        ("nothing://bucket/x", ["Unrecognized filesystem type", "s3://bucket/folder"]),
        ("file://host/x", ["Unsupported hostname", "file:///folder"]),
        (
            "s3://key:word@bucket/x",
            ["s3://***@bucket/x", "password", "AWS_ACCESS_KEY_ID", "~/.aws/credentials"],
        ),
        ("abfs://box@account/x?client_secret=word", ["abfs://***@account/x", "password", "AWS_SECRET_ACCESS_KEY"]),
    ],
)
def test_a_uri_that_cannot_be_opened_is_refused(where, facts):
    with pytest.raises(RemoteError) as error:
        Remote(where)
    tells(error.value, *facts, *([] if "word" in where else [where]))
    assert "word@" not in str(error.value)
    assert "=word" not in str(error.value)


def test_a_place_that_refuses_is_named(tmp_path, s3):
    mine = tmp_path / "mine"
    mine.touch()
    with pytest.raises(RemoteError) as error:
        Remote("file:///proc/x").put(mine, "a")
    tells(error.value, "file:///proc/x", "written", os.strerror(errno.ENOENT))
    missing = s3("x").replace("//bucket/", "//missing/")
    with pytest.raises(RemoteError, match="NO_SUCH_BUCKET") as error:
        Remote(missing).put(mine, "a")
    tells(error.value, missing, "written")


def test_a_path_is_the_same_wherever_a_worker_is_at_home(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert whereabouts("a/b") == str(Path(tmp_path, "a", "b"))
    assert whereabouts("~/stores") == "/home/me/stores"
    assert whereabouts("s3://bucket/~/a?region=x") == "s3://bucket/~/a?region=x"
