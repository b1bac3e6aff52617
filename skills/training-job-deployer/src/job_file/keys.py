"""The job file's keys as rows for people, from its JSON Schema: key, type, default, meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

REQUIRED = ("name", "run")
DEEPEST = 4


def rows(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [*_of(schema["$defs"]["Job"], schema["$defs"], "", 0)]


def _of(part: dict[str, Any], defs: dict[str, Any], prefix: str, depth: int) -> Iterator[dict[str, Any]]:
    for name, described in part.get("properties", {}).items():
        inner = _inner(described, defs)
        key = f"{prefix}{name}"
        meaning = described.get("description") or (inner or {}).get("description") or ""
        default = "required" if key in REQUIRED else _shown(described.get("default"))
        yield {"key": key, "type": "section" if inner else _type(described), "default": default, "meaning": meaning}
        if inner and depth < DEEPEST:
            yield from _of(inner, defs, f"{key}.", depth + 1)


def _inner(described: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any] | None:
    """The section behind a key; None where it is a value."""
    choices = [described, *described.get("anyOf", [])]
    named = next((each["$ref"] for each in choices if "$ref" in each), None)
    found = defs.get(named.rpartition("/")[2]) if named else None
    return found if found and "properties" in found else None


def _type(described: dict[str, Any]) -> str:
    if "enum" in described:
        return " | ".join(str(each) for each in described["enum"])
    if "anyOf" in described:
        return " | ".join(_type(each) for each in described["anyOf"] if each.get("type") != "null")
    if described.get("type") == "array":
        return f"list of {_type(described.get('items', {}))}"
    if "$ref" in described:
        return str(described["$ref"]).rpartition("/")[2]
    return str(described.get("type", "any"))


def _shown(default: Any) -> str:
    if default is None or default == {} or default == []:
        return "-"
    return default if isinstance(default, str) else json.dumps(default)
