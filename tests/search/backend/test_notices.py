"""Collected warnings while something else is on the screen."""

from __future__ import annotations

import io
import logging
import warnings

import pytest
from rich.console import Console

from search.backend.notices import collect_notices
from search.console.notes import notes_at_the_end
from tests.support.tells import tells


def test_ours_are_told_once_at_the_end_and_the_libraries_never(capsys: pytest.CaptureFixture[str]):
    screen = Console(file=io.StringIO(), width=300)
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    try:
        with notes_at_the_end(screen):
            for number in (1, 2):
                logging.getLogger("search.x").warning("damaged: %s", "[red]this")
                logging.getLogger("ogmge.y").warning("of trial %d", number)
            logging.getLogger("elsewhere.of_a_library").warning("noise")
            logging.getLogger("elsewhere.of_a_library").error("broken")
            warnings.warn("a library's", UserWarning, stacklevel=1)
            screen.print("what is shown")
    finally:
        logging.getLogger().removeHandler(handler)
    shown, first, *others = screen.file.getvalue().splitlines()
    assert shown == "what is shown"
    tells(first, "damaged: [red]this", 2)
    for line, text in zip(others, ("of trial 1", "of trial 2", "broken"), strict=True):
        assert line.endswith(text)
    assert capsys.readouterr().err == ""


def test_they_are_told_also_where_it_ends_in_an_error_and_then_all_is_as_before():
    screen, root = Console(file=io.StringIO()), logging.getLogger()
    plain = logging.StreamHandler()
    root.addHandler(plain)
    before = list(root.handlers)

    def interrupted() -> None:
        with notes_at_the_end(screen):
            logging.getLogger("datasets").warning("a clip")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    [line] = screen.file.getvalue().splitlines()
    tells(line, "a clip")
    assert sorted(map(id, root.handlers)) == sorted(map(id, before))
    root.removeHandler(plain)


def test_an_error_that_came_with_one_is_named():
    with collect_notices() as notices:
        try:
            raise ValueError("of a kind")
        except ValueError:
            logging.getLogger("search").warning("it failed", exc_info=True)
        [notice] = notices.take()
        tells(notice, "it failed", "ValueError: of a kind")
        assert notices.take() == []
