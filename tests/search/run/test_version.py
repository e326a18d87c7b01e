"""The version of what a run leaves on disk."""

from __future__ import annotations

import doctest

import pytest

from search.run import version
from search.run.version import VERSION, VersionError, require_readable
from tests.support.tells import tells


def test_the_example_in_the_documentation_holds():
    assert doctest.testmod(version) == (0, 1)


@pytest.mark.parametrize("text", ["{}", f'{{"version": {VERSION}}}', '{"version": "9"}', "[1]", "", None])
def test_what_is_not_newer_is_read(tmp_path, text):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    require_readable(tmp_path / "run.json")


def test_what_is_newer_is_refused(tmp_path):
    (tmp_path / "run.json").write_text(f'{{"version": {VERSION + 1}}}')
    with pytest.raises(VersionError) as error:
        require_readable(tmp_path / "run.json")
    tells(error.value, tmp_path, VERSION, VERSION + 1)
