"""Pages of this skill that its messages name: by their whole path, for whoever reads them stands in a project of their own."""

from __future__ import annotations

from pathlib import Path

OWN_PROJECT = Path(__file__).resolve().parents[2] / "references" / "own-project.md"
