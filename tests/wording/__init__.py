"""What users are told: a catalogue of typical mistakes and of what is printed for each, exactly.

Each chapter is a module of cases and a Markdown file beside it. `uv run python -m tests.wording` writes the files anew,
and `tests/test_wording.py` holds them against what is printed now.
"""
