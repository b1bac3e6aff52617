"""The dated tables in assets/: base images, GPU builds, rules. Read once, by their names."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).resolve().parent.parent / "assets"


@functools.cache
def table(name: str) -> dict[str, Any]:
    """The mapping in assets/NAME.yaml. A damaged one is a bug of ours, so nothing is caught here."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast; both are safe
    loaded: dict[str, Any] = yaml.load((ASSETS / f"{name}.yaml").read_text(encoding="utf-8"), Loader=loader)  # noqa: S506
    return loaded


def date_of(name: str) -> str:
    """The day until which the table holds what was known."""
    return str(table(name)["date"])
