"""Times as Kubernetes writes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any


def seconds(time: Any) -> float | None:
    """Of a time as Kubernetes writes it; None where it is none."""
    try:
        return datetime.fromisoformat(time).timestamp() if isinstance(time, str) else None
    except (ValueError, OverflowError):
        return None
