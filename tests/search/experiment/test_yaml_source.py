"""YAML documents: numbers, errors with their lines, and overrides from the command line."""

from __future__ import annotations

import errno
import math
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from search.experiment.yaml_source import DEEPEST, Document, DocumentError, Dumper, format_path, override, parse, read
from tests.support.tells import tells


def value_of(text: str):
    return parse(f"a: {text}", "f.yaml").value["a"]


def refusal(text: str) -> str:
    with pytest.raises(DocumentError) as refused:
        parse(text, "f.yaml")
    return str(refused.value)


# ---- what values are ----


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2e-4", -2e-4),
        ("+1e+3", 1e3),
        ("1.e3", 1e3),
        (".5e1", 5.0),
        ("1.5e-3", 1.5e-3),
        ("1_0e3", 1e4),
        ("0.5", 0.5),
        ("-.inf", -math.inf),
        ("1e400", math.inf),
    ],
)
def test_a_number_with_an_exponent_is_a_float(text, number):
    found = value_of(text)
    assert type(found) is float
    assert found == number


@pytest.mark.parametrize(
    "text",
    [
        "e5",
        "1e",
        "12e",
        "1e5x",
        "_1e5",
        "-e5",
        "1.2.3",
        "10-20",
        "1e2.5",
        "one",
        "2020-01-01",
        "2020-99-99",
        "v1e3",
        "=",
    ],
)
def test_words_dates_and_versions_are_text(text):
    assert value_of(text) == text


@pytest.mark.parametrize("text", ["'1e-3'", '"1e-3"', "!!str 1e-3"])
def test_a_number_in_quotes_is_text(text):
    assert value_of(text) == "1e-3"


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("true", True), ("null", None), ("~", None), ("", None), ("[1, a]", [1, "a"]), ("{b: 1}", {"b": 1})],
)
def test_other_values_are_as_in_yaml(text, value):
    assert value_of(text) == value


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from("eE"), st.integers(0, 17))
def test_every_scientific_notation_of_a_float_is_read_as_python_reads_it(number, letter, digits):
    text = f"{number:.{digits}e}".replace("e", letter)
    assert value_of(text) == float(text)


_scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
# PyYAML normalises unusual line ends
_words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=8)
_texts = _words | st.from_regex(r"[-+]?[0-9_.]{0,3}[eE:]?[-+]?[0-9]{0,2}", fullmatch=True)
_values = st.recursive(
    _scalars | _texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3)
)


@settings(deadline=None)
@given(st.dictionaries(_texts, _values, max_size=4), st.booleans())
def test_what_is_written_is_read_again(value, flow):
    text = yaml.dump(value, Dumper=Dumper, allow_unicode=True, default_flow_style=flow)
    assert parse(text, "f.yaml").value == value


# ---- what is refused ----


def test_keys_that_stand_twice_are_all_named_with_both_lines():
    text = "a: 1\nb:\n  c: 1\n  d: {e: 1, e: 2}\n  c: 2\nl:\n- x: 1\n  x: 2\na: 3\n"
    found = [("`b.d.e`", "4 and 4"), ("`b.c`", "3 and 5"), ("`l[0].x`", "7 and 8"), ("`a`", "1 and 9")]
    for sentence, facts in zip(refusal(text).splitlines(), found, strict=True):
        tells(sentence, "f.yaml", *facts)


def test_the_same_key_in_two_mappings_is_no_mistake():
    assert parse("a: {b: 1}\nc: {b: 2}\nd: [{b: 3}, {b: 4}]\n", "f.yaml").value["c"] == {"b": 2}


@pytest.mark.parametrize(
    ("text", "line", "facts"),
    [
        ("1: a", 1, ["got 1"]),
        ("a:\n  ~: 1", 2, ["`a`", "~"]),
        ("a: [{yes: 1}]", 1, ["`a[0]`", "yes"]),
        ("? [a]\n: 1", 1, ["list"]),
        ("? {a: 1}\n: 1", 1, ["mapping"]),
    ],
)
def test_a_key_that_is_no_text_is_refused(text, line, facts):
    (sentence,) = refusal(text).splitlines()
    tells(sentence, "key", "text", f"line {line}", "f.yaml", *facts)


@pytest.mark.parametrize(
    ("text", "got"),
    [
        ("", "an empty file"),
        ("# nothing", "an empty file"),
        ("hello", "text"),
        ("- a\n- b", "a list"),
        ("3", "a number"),
        ("1.5", "a number"),
        ("true", "true or false"),
    ],
)
def test_what_is_no_mapping_is_refused(text, got):
    tells(refusal(text), "mapping", got, "f.yaml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n\tb: 1", 2),
        ("a: [1, 2\nb: 3", 2),
        ("a: 1\nb: {c: 1\n", 3),
        ("a: 1\n---\nb: 2", 2),
        ("a: 1\nb: *nowhere", 2),
        ("a: 1\n  b: 2", 2),
        ("a: 'open\n\n", 3),
        ("%YAML 9.9\n---\na: 1", 1),
        ("a: 1\nb: \0", 2),
        ("a: 1\nb: \x07", 2),
        ("a: 1\nb: {<<: 3}", 2),
        ("a: 1\nb: !!str {c: 1}", 2),
        ("a: 1\nb: !!map [c]", 2),
        ("a: 1\nb: !mine c", 2),
        ("a: 1\nb: !!set {c}", 2),
        ("a: 1\nb: !!binary aGVsbG8=", 2),
        ("a: 1\nb: !!timestamp nonsense", 2),
    ],
)
def test_broken_yaml_is_refused_with_its_line(text, line):
    tells(refusal(text), f"f.yaml, line {line}")
    assert "\n" not in refusal(text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a:\n\tb: 1", "spaces instead of tabs"),
        ("a:\n  b:1\n  c: 2", "space after each colon"),
        ("a: [1", "the end of the text"),
        ("a: {b: 1,\n  c: 2\nd: 3", "in the mapping that opens on line 1 (f.yaml, line 3)"),
        ("x: 1\na: [1,\n  2\nd: 3", "in the list that opens on line 2 (f.yaml, line 4)"),
        ("x: 1\na: 'open\n\n", "in the text in quotes that opens on line 2 (f.yaml, line 4)"),
        ("a: [1, 2", "but got the end of the text (f.yaml, line 1)"),
    ],
)
def test_broken_yaml_is_told_in_plain_words(text, hint):
    tells(refusal(text), hint)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("!!int foo", ["64 bits", "'foo'"]),
        ("!!int ''", ["64 bits", "''"]),
        ("0b_", ["64 bits", "'0b_'"]),
        ("9" * 5000, ["64 bits", f"'{'9' * 60}'"]),
        ("0x" + "f" * 5000, ["64 bits", f"'0x{'f' * 58}'"]),
        (str(2**63), ["64 bits", f"'{2**63}'"]),
        ("!!float foo", ["a number", "'foo'"]),
        ("!!float ''", ["a number", "''"]),
        ("!!bool maybe", ["true or false", "'maybe'"]),
        (r'"\ud800"', ["text", r"'\ud800'"]),
    ],
)
def test_a_value_that_is_none_of_its_kind_is_refused_with_its_line(text, facts):
    tells(refusal(f"a: 1\nb: {text}"), "f.yaml, line 2", *facts)


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system", "!!python/object:os.x", "!!python/name:os.system", "!!python/tuple"],
)
def test_python_tags_are_refused(tag, tmp_path):
    mark = tmp_path / "ran"
    tells(refusal(f"a: {tag} ['touch {mark}']"), tag.replace("!!", "tag:yaml.org,2002:"), "f.yaml, line 1")
    assert not mark.exists()


DEEP = 20_000


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * DEEP,
        "a: " + "[" * DEEP + "]" * DEEP,
        "{a: " * DEEP + "1" + "}" * DEEP,
        "a: " + "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1),
        "a: &x [*x]",
        "a: &x {b: *x}",
        "a: &x [*x, *x, *x]",
        "&x\na: *x",
        "a: &x {<<: *x}",
        "a0: &a0 [x, x, x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{f'*a{i}, ' * 9}]\n" for i in range(12)),
        "a0: &a0 {k: v}\n" + "".join(f"a{i + 1}: &a{i + 1} {{<<: [{f'*a{i}, ' * 9}]}}\n" for i in range(12)),
    ],
    ids=["open", "lists", "mappings", "limit", "self", "self-map", "selves", "root", "merged", "bomb", "merge-bomb"],
)
def test_what_is_nested_without_end_is_refused(text):
    tells(refusal(text), f"{DEEPEST} levels", "f.yaml")


def test_aliases_and_merges_of_a_reasonable_size_are_fine():
    found = parse("a: &x {b: 1, c: 2}\nd: *x\ne:\n  <<: *x\n  c: 3\n", "f.yaml")
    assert found.value == {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 2}, "e": {"b": 1, "c": 3}}


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("ab01e-+.:,[]{}&*!?|>'\"%#~<= \n\t") | st.characters(), max_size=40))
def test_any_text_is_a_document_or_an_error_that_names_the_file(text):
    sentences = []
    try:
        assert isinstance(parse(text, "f.yaml"), Document)
    except DocumentError as error:
        sentences = str(error).splitlines()
    for sentence in sentences:
        tells(sentence, "f.yaml")


@pytest.mark.parametrize("text", [r'"\Uffffffff"', r'"\U00110000"', r'"\x"', r'"\q"'])
def test_a_character_that_cannot_be_is_refused(text):
    tells(refusal(f"a: {text}"), "f.yaml")


# ---- files ----


def test_a_file_is_read_as_utf8(tmp_path):
    path = tmp_path / "ok.yaml"
    path.write_bytes("name: größer\n".encode())
    document = read(path)
    assert (document.value, document.source) == ({"name": "größer"}, str(path))


HIDDEN = "experiments/._demo.yaml"  # which macOS leaves on some disks


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("demo", "experiments/demo.yaml or runs/demo/best.yaml"),
        ("demo.yaml", "experiments/demo.yaml"),
        ("other", "runs/other/best.yaml"),
        ("runs/other", "runs/other/best.yaml"),
        ("runs/empty", None),
        ("experiments", "experiments/demo.yaml"),
        ("xyz", None),
    ],
)
def test_the_name_or_folder_of_a_run_is_answered_with_its_files(tmp_path, monkeypatch, asked, meant):
    monkeypatch.chdir(tmp_path)
    for path in ("experiments/demo.yaml", "runs/demo/best.yaml", "runs/other/best.yaml", "runs/empty/run.json", HIDDEN):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    with pytest.raises(DocumentError) as refused:
        read(Path(asked))
    _, _, hint = str(refused.value).partition("; ")
    assert hint == (f"did you mean {meant}?" if meant else "")


@pytest.mark.parametrize(
    ("name", "content", "facts"),
    [
        ("missing.yaml", None, [os.strerror(errno.ENOENT)]),
        ("missing/too.yaml", None, [os.strerror(errno.ENOENT)]),
        (".", None, ["a folder instead of a file"]),
        ("latin1.yaml", b"a: gr\xf6\xdfer", ["UTF-8", "0xf6", "line 1"]),
        ("torch.pt", b"PK\x03\x04\x00\x00\x80\x02", ["UTF-8", "0x80", "line 1", "checkpoint"]),
        ("zeros.bin", bytes(100), ["text", "#x00"]),
        ("list.yaml", b"- a", ["mapping", "list"]),
        ("long.yaml", b"a: " + bytes(10_000_000), ["at most 10 MB"]),
        ("/dev/zero", None, ["a device instead of a file"]),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, facts):
    path: Path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DocumentError) as refused:
        read(path)
    tells(refused.value, path, *facts)


# ---- places ----

PLACED = """\
# a comment
name: x

trial:
  modulation: {method: ogm,
               alpha: 1}
  schedule:
    milestones:
    - 3
    - 9
space:
  optimizer.lr: [1, 2]
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("name",), 2),
        (("trial",), 4),
        (("trial", "modulation"), 5),
        (("trial", "modulation", "method"), 5),
        (("trial", "modulation", "alpha"), 6),
        (("trial", "schedule", "milestones"), 8),
        (("trial", "schedule", "milestones", 1), 10),
        (("space", "optimizer.lr", 1), 12),
        (("trial", "nowhere"), 4),
        (("trial", "modulation", "start", "deep"), 5),
        (("trial", "schedule", "milestones", 7), 8),
    ],
)
def test_a_place_is_the_line_of_the_key_or_of_the_nearest_thing_around_it(path, line):
    document = parse(PLACED, "f.yaml")
    assert document.line(path) == line
    assert document.where(path) == f"f.yaml, line {line}"


@pytest.mark.parametrize("path", [("nowhere",), ()])
def test_where_nothing_around_it_is_known_the_place_is_the_file(path):
    document = Document("f.yaml", {"a": 1}, {("a",): 1})
    assert document.line(path) is None
    assert document.where(path) == "f.yaml"


def test_what_the_command_line_sets_comes_from_there_with_all_that_is_in_it():
    document = parse(PLACED, "f.yaml")
    override(document, ["trial.modulation={method: none, alpha: 2}", "trial.optimizer.lr=1"])
    for path in [("modulation",), ("modulation", "alpha"), ("optimizer",), ("optimizer", "lr"), ("optimizer", "name")]:
        assert document.where(("trial", *path)) == "command line"
    assert document.where(("trial", "schedule")) == "f.yaml, line 7"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("space", "optimizer.lr", 2), "space.optimizer.lr[2]"),
        (("trial", "schedule", "milestones", 0), "trial.schedule.milestones[0]"),
        (("name",), "name"),
        ((), ""),
    ],
)
def test_a_path_in_words(path, text):
    assert format_path(path) == text


def test_a_part_is_found_by_its_path():
    document = parse(PLACED, "f.yaml")
    assert document.get(("trial", "schedule", "milestones", 1)) == 9
    for path in [("nowhere",), ("name", "x"), ("trial", "schedule", "milestones", 2), ("trial", 0)]:
        with pytest.raises(KeyError):
            document.get(path)


def test_taking_out_what_is_not_there_changes_nothing():
    document = parse(PLACED, "f.yaml")
    before = parse(PLACED, "f.yaml").value
    for path in [("nowhere",), ("name", "x"), ("nowhere", "x"), ("trial", "schedule", "milestones", "x")]:
        document.remove(path)
        assert document.value == before


# ---- the command line ----


@pytest.mark.parametrize(
    ("assignments", "value"),
    [
        (["a=2"], {"a": 2, "b": {"c": [1, 2]}}),
        (["b.c=3"], {"a": 1, "b": {"c": 3}}),
        (["b.d=x"], {"a": 1, "b": {"c": [1, 2], "d": "x"}}),
        (["b.d.e=1e-3"], {"a": 1, "b": {"c": [1, 2], "d": {"e": 1e-3}}}),
        (["b.c=[-12,-4]"], {"a": 1, "b": {"c": [-12, -4]}}),
        (["b={x: 1, y: [2]}"], {"a": 1, "b": {"x": 1, "y": [2]}}),
        (["a.deep=1"], {"a": {"deep": 1}, "b": {"c": [1, 2]}}),
        (["a="], {"a": None, "b": {"c": [1, 2]}}),
        (["a=x=y"], {"a": "x=y", "b": {"c": [1, 2]}}),
        (["a='1'"], {"a": "1", "b": {"c": [1, 2]}}),
        (["a=3", "a=4"], {"a": 4, "b": {"c": [1, 2]}}),
        (["b=1", "b.c=2"], {"a": 1, "b": {"c": 2}}),
        ([], {"a": 1, "b": {"c": [1, 2]}}),
    ],
)
def test_the_command_line_replaces_parts_by_dotted_path(assignments, value):
    document = parse("a: 1\nb: {c: [1, 2]}", "f.yaml")
    override(document, assignments)
    assert document.value == value


SPACE = "trial: {fusion: sum}\nspace: {fusion: [sum, film], optimizer.lr: [1, 2], optimizer.name: [sgd]}"


@pytest.mark.parametrize(
    ("assignment", "space"),
    [
        ("space.optimizer.lr=[3]", {"fusion": ["sum", "film"], "optimizer.lr": [3], "optimizer.name": ["sgd"]}),
        ("space={fusion: [sum]}", {"fusion": ["sum"]}),
        ("trial.optimizer.lr=1", {"fusion": ["sum", "film"], "optimizer.name": ["sgd"]}),
        ("trial.fusion=film", {"optimizer.lr": [1, 2], "optimizer.name": ["sgd"]}),
        ("trial.seed=1", {"fusion": ["sum", "film"], "optimizer.lr": [1, 2], "optimizer.name": ["sgd"]}),
        ("search.trials=4", {"fusion": ["sum", "film"], "optimizer.lr": [1, 2], "optimizer.name": ["sgd"]}),
    ],
)
def test_a_key_of_the_space_stays_whole_and_what_is_set_in_trial_is_searched_no_more(assignment, space):
    document = parse(SPACE, "f.yaml")
    override(document, [assignment])
    assert document.value["space"] == space


def test_what_is_set_in_trial_needs_no_space():
    document = parse("name: x", "f.yaml")
    override(document, ["trial.fusion=sum"])
    assert document.value == {"name": "x", "trial": {"fusion": "sum"}}


@pytest.mark.parametrize(
    ("assignment", "facts"),
    [
        ("a", ["key=value", "'a'"]),
        ("=1", ["key=value", "'=1'"]),
        ("", ["key=value", "''"]),
        ("a b=1", ["key=value", "'a b=1'"]),
        ("--resume", ["key=value", "'--resume'"]),
        ("a={b: 1, b: 2}", ["`a`", "`b`", "1 and 1"]),
        ("a={1: 2}", ["`a`", "text", "got 1"]),
        ("a=!!int x", ["`a`", "64 bits", "'x'"]),
        ("a=\udcff", ["`a`", "text", "#xdcff"]),
    ],
)
def test_an_assignment_that_cannot_be_read_is_refused(assignment, facts):
    with pytest.raises(DocumentError) as refused:
        override(Document("f.yaml", {}), [assignment])
    tells(refused.value, "(command line)", *facts)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["[1, 2", "{a: ", "&x [*x]", "[" * DEEP, "!!python/name:os.system x", "'open", "a: b: c", "--- 1\n--- 2"]
)
def test_an_assignment_whose_value_is_no_yaml_is_refused(text):
    with pytest.raises(DocumentError) as refused:
        override(Document("f.yaml", {}), [f"trial.seed={text}"])
    tells(refused.value, "`trial.seed`", "(command line)")
    assert len(str(refused.value).splitlines()) == 1


@settings(deadline=None)
@given(st.lists(st.from_regex(r"(trial|space|a)(\.[a-z.]{0,4})?=", fullmatch=True), max_size=3), st.text(max_size=10))
def test_any_assignments_are_taken_or_refused(keys, text):
    document = parse(PLACED, "f.yaml")
    sentences = []
    try:
        override(document, [key + text for key in keys])
    except DocumentError as error:
        sentences = str(error).splitlines()
    assert all("command line" in sentence for sentence in sentences)
    assert sentences or all(document.line((re.split(r"\W", key)[0],)) is not None for key in keys)


@pytest.mark.parametrize(
    ("assignment", "left"),
    [
        ("trial.optimizer={lr: 0.1}", ["fusion", "optimizers.lr"]),
        ("trial.optimizer.lr=0.1", ["fusion", "optimizer.name", "optimizers.lr"]),
        ("trial.fusion=sum", ["optimizer.lr", "optimizer.name", "optimizers.lr"]),
        ("trial.epochs=3", ["fusion", "optimizer.lr", "optimizer.name", "optimizers.lr"]),
    ],
)
def test_a_section_that_is_set_is_searched_no_more_nor_what_is_below_it(assignment, left):
    document = parse("space: {fusion: [1], optimizer.lr: [1], optimizer.name: [1], optimizers.lr: [1]}", "f.yaml")
    override(document, [assignment])
    assert sorted(document.value["space"]) == left


def test_a_file_in_utf_16_is_called_that(tmp_path):
    (tmp_path / "mine.yaml").write_bytes("name: mine\n".encode("utf-16"))
    with pytest.raises(DocumentError, match="UTF-16"):
        read(tmp_path / "mine.yaml")
