"""Calls of `manage_checkpoints.py plan`, and what to look for in its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from made_checkpoints import call


def plan(*words: str | Path) -> dict[str, Any]:
    answer = call("plan", *words)
    assert answer.code == 0, answer.document
    return answer.data


def size(data: dict[str, Any], name: str) -> int:
    return int(next(row["size_bytes"] for row in data["space"] if row["id"] == name))


def row(data: dict[str, Any], name: str) -> dict[str, Any]:
    return dict(next(row for row in data["intervals"] if row["id"] == name))


def told(data: dict[str, Any]) -> str:
    return "\n".join(data["assumptions"])
