"""Tables as they are out there: cells, columns and values of CSV and Parquet files, and the paths in them."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import pickle
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from datasets.index.clips import Clip, Source
from datasets.publishers.table import Table
from datasets.registry import DatasetError
from datasets.store.remote import local_folder, whereabouts
from tests.support.tells import tells

NAMES = ("a.mp4", "b.mp4", "c.mp4")


def reader(path: Path, **options: object) -> Table:
    return Table(source=str(path), store="", video="film", validation_fraction=0.5, **options)  # type: ignore[arg-type]


def clips(path: Path, **options: object) -> tuple[Clip, ...]:
    return reader(path, **options).index().clips


def refusal(path: Path, **options: object) -> list[str]:
    with pytest.raises(DatasetError) as caught:
        reader(path, **options).index()
    return str(caught.value).splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).touch()
    return tmp_path


def as_csv(folder: Path, content: str | bytes, name: str = "clips.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def as_parquet(folder: Path, name: str = "clips.parquet", **columns: object) -> Path:
    """Write a table of three rows; `columns` replace its own."""
    rows = {"film": NAMES, "label": ["x", "y", "x"], "split": ["train"] * 3, **columns}
    parquet.write_table(pyarrow.table(rows), folder / name)
    return folder / name


# ---- the columns ----


@pytest.mark.parametrize(
    ("names", "facts"),
    [
        ("film,label,split,label", ["column label", "columns 2 and 4"]),
        ("film,label,split, label ", ["column label", "columns 2 and 4"]),
        ("film,label,split,Label", ["column label", "columns 2 and 4", "label, Label"]),
        ('"film",label,split,"FILM"', ["column film", "columns 1 and 4", "film, FILM"]),
        ("film,label,split,SPLIT", ["column split", "columns 3 and 4"]),
    ],
)
@pytest.mark.parametrize("is_parquet", [False, True])
def test_two_columns_of_one_name_are_refused(folder, names, facts, is_parquet):
    rows = [("a.mp4", "x", "train", "1"), ("b.mp4", "y", "train", "2")]
    if is_parquet:
        columns = [pyarrow.array(column) for column in zip(*rows, strict=True)]
        path = folder / "clips.parquet"
        parquet.write_table(pyarrow.Table.from_arrays(columns, names=names.replace('"', "").split(",")), path)
    else:
        path = as_csv(folder, "\n".join([names, *map(",".join, rows)]))
    (said,) = refusal(path)
    tells(said, path, *facts)


def test_all_columns_that_are_there_twice_are_named_at_once(folder):
    first, second = refusal(as_csv(folder, "film,label,split,film,label\na.mp4,x,train,b.mp4,y\n"))
    tells(first, "column label", "columns 2 and 5")
    tells(second, "column film", "columns 1 and 4")


def test_columns_that_are_not_asked_for_may_share_a_name_and_case_may_tell_two_apart(folder):
    path = as_csv(folder, "film,label,split,note,note,,,Label\na.mp4,x,train,1,2,,,g\nb.mp4,y,train,,,,,h\n")
    assert [(clip.label, clip.group) for clip in clips(path, group="Label")] == [("x", "g"), ("y", "h")]


@pytest.mark.parametrize(("separator", "called"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("name", ["clips.csv", "clips.tsv", "clips.Csv"])
def test_another_separator_is_named(folder, separator, called, quoting, name):
    path = folder / name
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=separator, quoting=quoting).writerows(
            [("film", "label", "split"), ("a.mp4", "x, y", "train")]
        )
    (said,) = refusal(path)
    tells(said, path, called, "commas")


# ---- the cells of a CSV file ----

CAPTIONED = [
    ["film", "label", "split", "caption"],
    ["a.mp4", "x", "train", "one\ntwo\n\nthree"],
    ["b.mp4", "y", "train", 'says "no", and\r\ngoes'],
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_quoted_cell_may_hold_line_breaks_and_quotes(folder, end, encoding):
    path = folder / "clips.csv"
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(CAPTIONED)
    found = clips(path, group="caption")
    assert [clip.id for clip in found] == ["a.mp4", "b.mp4"]
    assert [clip.group for clip in found] == [row[3] for row in CAPTIONED[1:]]


def test_rows_below_line_breaks_keep_their_line_numbers(folder):
    text = 'film,label,split,caption\na.mp4,x,train,"1\n2"\n\nb.mp4,x,tset,"1\r\n2"\n,y,train,\n'
    first, second = refusal(as_csv(folder, text))
    tells(first, "line 5", "'tset'")
    tells(second, "line 7", "column film")


def test_a_quote_that_is_not_closed_spoils_its_line_alone(folder):
    text = 'film,label,split\na.mp4,"x,train\nb.mp4,y,tset\nc.mp4,"z",train\na.mp4,"x\n'
    first, second, third = refusal(as_csv(folder, text))
    tells(first, "line 2", "'a.mp4,\"x,train'", "quotes")
    tells(second, "line 3", "'tset'")
    tells(third, "line 5", "quotes")


@pytest.mark.parametrize("end", ["\n", " \n", "\t\r\n"])
def test_space_around_cells_and_after_quotes_is_no_part_of_them(folder, end):
    path = as_csv(
        folder, f'film, label ,split{end}  a.mp4 , "x ""1""" , train{end}b.mp4,y, "train"{end}'.replace('" ,', '",')
    )
    assert [(clip.id, clip.label) for clip in clips(path)] == [("a.mp4", 'x "1"'), ("b.mp4", "y")]


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        ("film,label,split\n".encode("utf-16"), ["line 1", "0xff", "UTF-16", "UTF-8"]),
        (b"\xfe\xff" + "film,label,split\n".encode("utf-16-be"), ["line 1", "0xfe", "UTF-16"]),
        ("film,label,split\n".encode("utf-16-le"), ["line 1", "NUL"]),
        (gzip.compress(b"film,label,split\n", mtime=0), ["line 1", "0x8b", "gzip"]),
        (b"PK\x03\x04\x14\x00\x06\x00", ["line 1", "NUL", "Excel"]),
        ("film,label,split\na.mp4,\xe9,train\n".encode("latin-1"), ["line 2", "0xe9", "UTF-8"]),
        ('film,label,split\ra.mp4,"x\r\xe9",train\r'.encode("latin-1"), ["line 3", "0xe9", "UTF-8"]),
    ],
)
def test_what_is_no_utf_8_is_named_with_what_to_do(folder, content, facts):
    (said,) = refusal(as_csv(folder, content))
    tells(said, folder / "clips.csv", *facts)


# ---- the values of a Parquet file ----

NAN = float("nan")
DAY = datetime.datetime(2026, 1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    "labels",
    [
        pyarrow.array(["x", None, "y"]),
        pyarrow.array([1.0, NAN, 2.0]),
        pyarrow.array([1.0, None, 2.0], pyarrow.float16()),
        pyarrow.array([1, None, 2], pyarrow.int8()),
        pyarrow.array([True, None, False]),
        pyarrow.array([decimal.Decimal("1.5"), None, decimal.Decimal("2.5")]),
        pyarrow.array([DAY, None, DAY]),
        pyarrow.array([b"x", None, b"y"]),
        pyarrow.array(["x", None, "y"]).dictionary_encode(),
        pyarrow.array([1.0, NAN, 2.0]).dictionary_encode(),
        pyarrow.array(["x", "  ", "y"]),
    ],
    ids=lambda array: str(array.type)[:20],
)
def test_a_missing_value_is_no_class(folder, labels):
    (said,) = refusal(as_parquet(folder, label=labels))
    tells(said, folder / "clips.parquet", "row 2", "column label")


def test_a_column_of_missing_values_only_is_no_class(folder):
    assert len(refusal(as_parquet(folder, label=pyarrow.nulls(3)))) == 3


@pytest.mark.parametrize(
    ("labels", "texts"),
    [
        (pyarrow.array([1.0, 2.0, 1.0]), ["1", "2", "1"]),
        (pyarrow.array([0.5, 2.0, 1e20]), ["0.5", "2", "1e+20"]),
        (pyarrow.array([0.1, 2.0, 3.0], pyarrow.float32()), ["0.1", "2", "3"]),
        (pyarrow.array([1, 2, 3], pyarrow.uint16()), ["1", "2", "3"]),
        (pyarrow.array([2**53 + 1, 2, 3]), [str(2**53 + 1), "2", "3"]),
        (pyarrow.array([True, False, True]), ["True", "False", "True"]),
        (
            pyarrow.array([decimal.Decimal("1.50"), decimal.Decimal("2.00"), decimal.Decimal("3.25")]),
            ["1.50", "2.00", "3.25"],
        ),
        (pyarrow.array([DAY, DAY, DAY], pyarrow.timestamp("s")), [str(DAY)] * 3),
        (pyarrow.array([DAY.date()] * 3), [str(DAY.date())] * 3),
        (pyarrow.array([b"train", "ü".encode(), b" y "]), ["train", "ü", "y"]),
        (pyarrow.array([b"ab", b"cd", b"ef"], pyarrow.binary(2)), ["ab", "cd", "ef"]),
        (pyarrow.array(["x", "y", "x"], pyarrow.large_string()).dictionary_encode(), ["x", "y", "x"]),
        (pyarrow.array(["x", "nan", "None"]), ["x", "nan", "None"]),  # words, not missing values
    ],
    ids=lambda value: str(value.type)[:20] if isinstance(value, pyarrow.Array) else "",
)
def test_values_are_the_texts_that_a_csv_file_has(folder, labels, texts):
    assert [clip.label for clip in clips(as_parquet(folder, label=labels))] == texts


def test_what_pandas_stores_is_read_as_it_was(folder):
    import pandas

    frame = pandas.DataFrame({"film": NAMES, "label": ["x", "y", "x"], "split": "train", "speaker": [1, None, 3]})
    frame["label"] = frame["label"].astype("category")
    frame["until"] = pandas.Series([2, pandas.NA, 3], dtype="Int64")
    frame.to_parquet(folder / "clips.parquet")
    found = clips(folder / "clips.parquet", group="speaker", end="until")
    assert [clip.group for clip in found] == ["1", None, "3"]
    assert [clip.sources["audio"].end_s for clip in found] == [2.0, None, 3.0]


def test_bytes_that_are_no_text_are_named_by_their_row(folder):
    (said,) = refusal(as_parquet(folder, label=pyarrow.array([b"x", None, b"\xff"])))
    tells(said, folder / "clips.parquet", "row 3", "column label", "UTF-8")


@pytest.mark.parametrize(
    "films",
    [
        [{"path": name, "bytes": b""} for name in NAMES],
        [[name] for name in NAMES],
        [datetime.timedelta(seconds=1)] * 3,
    ],
    ids=["struct", "list", "duration"],
)
def test_a_column_without_texts_is_refused(folder, films):
    path = as_parquet(folder, film=films)
    (said,) = refusal(path)
    tells(said, path, "column film", str(parquet.read_schema(path).field("film").type))


@pytest.mark.parametrize("name", ["clips.PARQUET", "clips.Parquet", "clips.pq", "clips.csv", "clips"])
def test_a_parquet_file_may_have_any_name(folder, name):
    assert [clip.id for clip in clips(as_parquet(folder, name))] == list(NAMES)


def test_rows_of_later_batches_have_their_own_numbers(folder):
    labels = ["x"] * 40_000
    labels[39_999] = ""
    path = folder / "clips.parquet"
    columns = {"film": ["a.mp4"] * 40_000, "label": labels, "split": ["train"] * 40_000}
    parquet.write_table(pyarrow.table(columns), path)
    (said,) = refusal(path)
    tells(said, "row 40000")


def test_a_parquet_file_that_is_cut_short_is_named(folder):
    path = as_parquet(folder)
    path.write_bytes(path.read_bytes()[:-20])
    tells(refusal(path)[0], path, "Parquet")


# ---- the paths ----


@pytest.mark.parametrize(
    "name", ["~take1.mp4", "~root.mp4", "~/a.mp4", "~", "$HOME.mp4", "a\\b.mp4", "C:x.mp4", "%41.mp4"]
)
@pytest.mark.parametrize("allow_outside", [False, True])
def test_a_file_in_a_table_is_called_what_the_cell_says(folder, name, allow_outside):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"the very file")
    found = clips(as_csv(folder, f"film,label,split\n{name},x,train\n"), allow_outside=allow_outside)
    assert found[0].sources["visual"].paths[0].read_bytes() == b"the very file"


@pytest.mark.parametrize(
    "cell", ["clips\\a.mp4", "C:\\data\\a.mp4", "c:/data/a.mp4", "\\\\server\\share\\a.mp4", ".\\a.mp4", "x\\..\\a.mp4"]
)
@pytest.mark.parametrize("allow_outside", [False, True])
def test_a_path_of_windows_is_named_with_what_to_write(folder, cell, allow_outside):
    path = as_csv(folder, f"film,label,split\na.mp4,x,train\n{cell},x,train\n")
    (said,) = refusal(path, allow_outside=allow_outside)
    tells(said, path, "line 3", cell, "Windows", "with /")


def test_what_nobody_can_reach_is_missing(folder):
    cells = ["a\0.mp4", "x" * 300 + ".mp4", "a.mp4/b.mp4", "none.mp4"]
    index = reader(
        as_csv(folder, "film,label,split\n" + "".join(f"{cell},x,train\n" for cell in [*cells, *NAMES]))
    ).index()
    assert list(index.missing) == cells
    assert len(index.clips) == 3


def test_the_first_row_of_an_id_counts_though_its_file_is_missing(folder):
    path = as_csv(folder, "film,label,split,name\nnone.mp4,x,train,one\na.mp4,x,train,one\nb.mp4,x,train,two\n")
    index = reader(path, id="name").index()
    assert index.missing == ("one",)
    assert [clip.id for clip in index.clips] == ["two"]


def test_one_file_in_many_rows_is_a_folder_for_its_pictures_only(folder):
    (folder / "pictures").mkdir()
    path = as_csv(folder, "film,label,split,from\npictures,x,train,0\npictures,x,train,1\na.mp4,x,train,0\n")
    found = clips(path, begin="from")
    assert [(c.sources["audio"].kind, c.sources["visual"].kind) for c in found] == [
        ("audio", "images"),
        ("audio", "images"),
        ("audio", "video"),
    ]
    assert [c.sources["visual"].begin_s for c in found] == [0.0, 1.0, 0.0]


@pytest.mark.parametrize("source", ["~nobody_at_all/clips.csv", "~take1.csv"])
def test_an_option_that_names_no_user_is_a_missing_file(folder, source, monkeypatch):
    monkeypatch.chdir(folder)
    tells(refusal(Path(source))[0], source)
    (folder / source).parent.mkdir(exist_ok=True)
    (folder / source).write_text(f"film,label,split\n{folder / 'a.mp4'},x,train\n")
    assert len(clips(Path(source), allow_outside=True)) == 1


def test_a_store_that_names_no_user_is_a_folder_of_that_name(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert whereabouts("~nobody_at_all/store") == str(folder / "~nobody_at_all/store")
    assert local_folder("~nobody_at_all/store") == Path("~nobody_at_all/store")


def test_the_sources_of_a_row_are_a_mapping_that_workers_get(folder):
    path = as_csv(folder, "film,label,split,from\na.mp4,x,train,0.5\n")
    (clip,) = clips(path, begin="from")
    made = {
        "audio": Source("audio", (folder / "a.mp4",), 0.5),
        "visual": Source("video", (folder / "a.mp4",), 0.5),
    }
    assert clip.sources == made
    assert list(clip.sources) == list(made)
    assert "flow" not in clip.sources
    assert pickle.loads(pickle.dumps(clip)) == clip
    assert repr(clip.sources) == repr(made)
