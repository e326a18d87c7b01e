"""List files: quoted, with and without headers, from Windows, with errors that name every broken row."""

from __future__ import annotations

import csv
import errno
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.index import list_files
from datasets.registry import DatasetError
from tests.support.tells import tells

cell = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1).map(str.strip).filter(bool)
rows = st.lists(st.tuples(cell, cell), min_size=1, max_size=8)


def pair(cells: list[str]) -> tuple[str, ...]:
    if len(cells) != 2:
        raise ValueError(f"it has {list_files.count(len(cells), 'cell')}")
    return tuple(cells)


@given(rows, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.booleans(), st.booleans())
def test_what_csv_writes_is_read_back(tmp_path_factory, written, end, bom, blank, last):
    out = io.StringIO()
    csv.writer(out, lineterminator=end + end * blank, quoting=csv.QUOTE_ALL).writerows(written)
    text = out.getvalue() if last else out.getvalue().rstrip("\r\n")
    path = tmp_path_factory.mktemp("lists") / "list.csv"
    path.write_bytes(text.encode("utf-8-sig" if bom else "utf-8"))
    assert list_files.read(path, pair, expected="a,b") == written


@pytest.mark.parametrize(
    ("text", "separator", "expected"),
    [
        ('x,"child speech, kid speaking"\n', ",", [("x", "child speech, kid speaking")]),
        ('x, "said ""no"""  \n', ",", [("x", 'said "no"')]),
        ('Male speech, man "speaking&x\n', "&", [('Male speech, man "speaking', "x")]),
        ("Name,Label\na,b\n", ",", [("a", "b")]),
        ("# name,label\na,b\n", ",", [("a", "b")]),
        ("a,b\nname,label\n", ",", [("a", "b"), ("name", "label")]),  # only the first row can be a header
        ("\n\n a , b \n\n", ",", [("a", "b")]),
        ("ü,日本\n", ",", [("ü", "日本")]),
        ("a,b\x0bc\n", ",", [("a", "b\x0bc")]),
    ],
)
def test_rows_as_they_come(tmp_path, text, separator, expected):
    path = tmp_path / "list.csv"
    path.write_text(text, encoding="utf-8")
    assert list_files.read(path, pair, expected="a,b", separator=separator, header={"name"}) == expected


def error(path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        list_files.read(path, pair, expected="a,b", header={"name"})
    return str(caught.value)


def test_all_broken_rows_are_named_with_their_lines_twenty_of_them_shown(tmp_path):
    path = tmp_path / "list.csv"
    said = error(path, b'a,b\nx\n\na,b,c\na,"b\n').splitlines()
    facts = [("line 2", "'x'", "1 cell"), ("line 4", "'a,b,c'", "3 cells"), ("line 5", "'a,\"b'", "quotes")]
    assert len(said) == len(facts)
    for line, its in zip(said, facts, strict=True):
        tells(line, path, "a,b", *its)
    many = error(path, b"x\n" * 50).splitlines()
    assert len(many) == 21
    tells(many[-1], 30)
    assert "line" not in many[-1]
    assert len(error(path, b"x" * 100_000)) < 300


@pytest.mark.parametrize("content", [b"", b"\n\r\n", b"\xef\xbb\xbf", b"name,label\n"])
def test_an_empty_list_is_named(tmp_path, content):
    said = error(tmp_path / "list.csv", content)
    tells(said, tmp_path / "list.csv", "a,b")
    assert "line" not in said


def test_what_is_no_utf_8_is_named_by_its_line(tmp_path):
    said = error(tmp_path / "list.csv", b"a,b\n\xfc,b\n")
    tells(said, tmp_path / "list.csv", "line 2", "UTF-8", "0xfc")
    tells(error(tmp_path / "list.csv", "a,b\n".encode("utf-16")), "line 1", "UTF-8", "0xff")


def test_no_list_is_named(tmp_path):
    with pytest.raises(DatasetError) as told:
        list_files.read(tmp_path / "list.csv", pair, expected="a,b")
    tells(told.value, tmp_path / "list.csv", os.strerror(errno.ENOENT))


def test_columns_by_name(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text('\ufeffid,more,label\r\na,,x\r\nb,1,"y, z"\r\n', encoding="utf-8")
    assert list_files.read_columns(path, ["label", "id"], lambda row: (row["id"], row["label"])) == [
        ("a", "x"),
        ("b", "y, z"),
    ]
    with pytest.raises(DatasetError) as told:
        list_files.read_columns(path, ["id", "split"], dict)
    tells(told.value, path, "id, split", "'id,more,label'")
    path.write_text("id,label\n")
    with pytest.raises(DatasetError) as told:
        list_files.read_columns(path, ["id"], dict)
    tells(told.value, path, "rows", "header")
    assert "line" not in str(told.value)
    path.write_text("id,label\na,b\nc\n")
    with pytest.raises(DatasetError) as told:
        list_files.read_columns(path, ["id"], dict)
    tells(told.value, path, "line 3", "'c'", "1 cell")
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "1.5"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(ValueError, match="the start") as told:
        list_files.whole_number(text, "the start")
    tells(told.value, repr(text))


@pytest.mark.parametrize("text", ["30", "000030", "30.0", "3e1"])
def test_a_whole_number_is_written_in_many_ways(text):
    assert list_files.whole_number(text, "the start") == 30


@pytest.mark.parametrize(("separator", "called"), [(";", "semicolons"), ("\t", "tabs")])
def test_another_separator_is_named_in_each_row(tmp_path, separator, called):
    first, second = error(tmp_path / "list.csv", f"a{separator}b\n\nc{separator}d\n".encode()).splitlines()
    tells(first, "line 1", called, "commas")
    tells(second, "line 3", called, "commas")


def test_a_list_may_have_line_breaks_in_quotes(tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes(b'name,label\r\nx,"one\r\ntwo"\r\ny,z\r\n')
    assert list_files.read(path, pair, expected="a,b", header={"name"}) == [("x", "one\r\ntwo"), ("y", "z")]
