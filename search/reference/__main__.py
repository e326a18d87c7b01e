"""`uv run python -m search.reference` regenerates docs/keys.md and docs/experiment.schema.json."""

from __future__ import annotations

from search.reference.files import generate

for path, text in generate().items():
    path.write_text(text, encoding="utf-8")
