"""Code shared by several tests."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
