"""Catalogue of all messages and screens for users: typical errors, with the exact output of each.

Each chapter is a module of cases and a Markdown file of the same name. `uv run python -m tests.wording` rewrites the
files; `tests/test_wording.py` compares them with the current output.
"""
