"""Files that are generated from the schema."""

from __future__ import annotations

import json
from pathlib import Path

from search.experiment.program import ROOT
from search.reference.json_schema import experiment_schema
from search.reference.keys import page

DOCS = ROOT / "docs"


def generate() -> dict[Path, str]:
    """Return the content of each generated file."""
    schema = experiment_schema()
    return {
        DOCS / "keys.md": page(schema),
        DOCS / "experiment.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
    }
