"""Version of what a run leaves on disk."""

from __future__ import annotations

import json

import pytest

from search.run.folder import RunFolder, require_readable
from search.run.version import VERSION, VersionError, read_values
from tests.support.tells import tells


@pytest.mark.parametrize("text", ["{}", f'{{"version": {VERSION}}}', '{"version": "9"}', "[1]", "", None])
def test_what_is_not_newer_is_read(tmp_path, text):
    for name in ("run.json", "verdict.json"):
        if text is not None:
            (tmp_path / name).write_text(text)
    require_readable(RunFolder(tmp_path))


@pytest.mark.parametrize("name", ["run.json", "verdict.json"])
def test_what_is_newer_is_refused(tmp_path, name):
    (tmp_path / name).write_text(f'{{"version": {VERSION + 1}}}')
    for read in (lambda: read_values(tmp_path / name), lambda: require_readable(RunFolder(tmp_path))):
        with pytest.raises(VersionError) as error:
            read()
        tells(error.value, tmp_path, VERSION, VERSION + 1)


@pytest.mark.parametrize("text", ["[1]", "", "{", "7"])
def test_what_holds_no_values_is_damaged(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"line|run\.json"):
        read_values(tmp_path / "run.json")


@pytest.mark.parametrize(("given", "role"), [({}, "ablation"), ({"version": VERSION}, "twin")])
def test_values_without_a_version_are_told_in_todays_words(tmp_path, given, role):
    (tmp_path / "verdict.json").write_text(json.dumps({**given, "role": "twin"}))
    assert read_values(tmp_path / "verdict.json") == {**given, "role": role}
