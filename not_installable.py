"""Build backend of the whole project that refuses to build: the search runs in its clone; only `ogmge` is a package.

`uv run` and `uv sync` never call it, because of `package = false` in pyproject.toml.
"""

from typing import NoReturn


def _refuse(*_: object, **__: object) -> NoReturn:
    raise SystemExit(
        "ogmge-search cannot be installed: run it in its clone (`uv run run_search.py FILE`), or install its folder "
        '`ogmge` for your own training loop (`pip install ./ogmge` or `pip install "git+URL#subdirectory=ogmge"`)'
    )


get_requires_for_build_wheel = get_requires_for_build_editable = get_requires_for_build_sdist = _refuse
build_wheel = build_editable = build_sdist = _refuse
