"""Version of the code that trains: what it notices, and when the journal records it."""

from __future__ import annotations

from pathlib import Path

from search.backend.code_version import CODE, code_version, describe_changes
from search.run.journal import read
from tests.search.tuner.test_tuner import events, opened, simulate
from tests.support.tells import tells


def test_a_change_of_the_users_module_is_named_and_one_of_another_file_is_none(tmp_path: Path) -> None:
    module = tmp_path / "mine.py"
    module.write_text("a = 1")
    before = code_version([str(module)])
    (tmp_path / "other.py").write_text("")
    assert describe_changes(before, code_version([str(module)])) == []
    module.write_text("a = 2")
    assert describe_changes(before, code_version([str(module)])) == ["your module mine"]


def test_a_change_of_this_program_is_named_by_version_and_commit_and_a_commit_without_one_is_not() -> None:
    now = code_version([])
    assert describe_changes({**now, "commit": "a1b2c3d"}, now) == []
    (changed,) = describe_changes({**now, CODE: "1f", "program": "0.0.9", "commit": "a1b2c3d, with changes"}, now)
    tells(changed, "this program (0.0.9 a1b2c3d, with changes then", f"{now['program']} {now['commit']}".strip())


def test_a_package_that_is_new_or_has_another_version_is_named() -> None:
    now = code_version([])
    before = {**now, "version.torch": "1.0"}
    del before["version.numpy"]
    torch, numpy = describe_changes(before, now)
    tells(torch, "torch (1.0 then", now["version.torch"])
    tells(numpy, "numpy (not installed then", now["version.numpy"])


def test_the_journal_records_the_code_when_a_trial_begins_with_another(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for code in ({"code": "1"}, {"code": "1"}, {"code": "2"}):
        tuner = opened(path)
        tuner.code = code
        simulate(tuner, steps=12)
        assert read(path).code == code
    assert [event["code"] for event in events(path) if "code" in event] == [{"code": "1"}, {"code": "2"}]
