"""A mapping -> the structs of job_schema.py, with every finding and its path: walked key by key, because msgspec stops
at its first error.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any, get_args

import msgspec

from job_schema import Job, Section


@dataclass(frozen=True)
class Finding:
    """One thing wrong, and where: `$.nodes`."""

    path: str
    problem: str


def convert(value: Any, kind: type[Section], path: str, findings: list[Finding]) -> Section | None:
    """The struct, or None and what is wrong appended to `findings`."""
    if not isinstance(value, dict):
        findings.append(Finding(path, f"expected a mapping, got {_yaml_type(value)}"))
        return None
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    found = len(findings)
    for key in value:
        if key not in fields:
            findings.append(Finding(f"{path}.{key}", _unknown(str(key), list(fields), path)))
    converted = {}
    for key, field in fields.items():
        if key in value:
            converted[field.name] = _convert_value(value[key], field.type, f"{path}.{key}", findings)
        elif field.required:
            findings.append(Finding(f"{path}.{key}", "is missing"))
    return kind(**converted) if len(findings) == found else None


def _convert_value(value: Any, kind: Any, path: str, findings: list[Finding]) -> Any:
    section = _section_of(kind)
    if section:
        return convert(value, section, path, findings)
    if isinstance(value, dict) and _plain(kind) == dict[str, str]:
        return {key: _convert_text(key, item, f"{path}.{key}", findings) for key, item in value.items()}
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        findings.append(Finding(*_told(str(error), value, path)))
        return None


def _convert_text(key: Any, value: Any, path: str, findings: list[Finding]) -> Any:
    if not isinstance(key, str):
        findings.append(Finding(path, f"the key is {_yaml_type(key)}, not text; quote it"))
    if isinstance(value, int | float):
        findings.append(Finding(path, f"expected str, got {_yaml_type(value)}; quote it"))
    elif not isinstance(value, str):
        findings.append(Finding(path, f"expected str, got {_yaml_type(value)}"))
    return value


def _plain(kind: Any) -> Any:
    """`Annotated[X, ...]` -> X."""
    return get_args(kind)[0] if hasattr(kind, "__metadata__") else kind


def _section_of(kind: Any) -> type[Section] | None:
    """The struct in `Struct`, `Struct | None` or `Annotated[Struct | None, ...]`."""
    kind = _plain(kind)
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, Section) and not isinstance(kind, type(list[int])):
            return candidate
    return None


def _told(message: str, value: Any, path: str) -> tuple[str, str]:
    """msgspec's "Expected `int`, got `str` - at `$[0]`" -> ("$.nodes[0]", "expected int, got str")."""
    text, _, inner = message.partition(" - at `$")
    where = path + inner.rstrip("`")
    if text.startswith("Invalid enum value"):
        text = f"{text[len('Invalid enum value ') :]} is not one of the known values"
        return where, text + _choices(path)
    text = text[0].lower() + text[1:].replace("`", "")
    return where, text if inner or ", got" in text else f"{text}, got {value!r}"


def _choices(path: str) -> str:
    """The literal values a key takes, from the types themselves."""
    kind: Any = Job
    for name in path.removeprefix("$.").split("."):
        section = _section_of(kind)
        fields = {field.encode_name: field.type for field in msgspec.structs.fields(section)} if section else {}
        kind = fields.get(name)
    schema = msgspec.json.schema(kind) if kind is not None else {}
    options = [schema, *schema.get("anyOf", [])]
    values = [str(value) for option in options for value in option.get("enum", [])]
    return f": {', '.join(values)}" if values else ""


def _yaml_type(value: Any) -> str:
    return "null" if value is None else "mapping" if isinstance(value, dict) else type(value).__name__


def _unknown(key: str, known: list[str], path: str) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    for field in msgspec.structs.fields(Job):
        section = _section_of(field.type)
        if section and key in (inner.encode_name for inner in msgspec.structs.fields(section)):
            return f"unknown key here; it stands under {field.encode_name}:"
    if path != "$" and key in (field.encode_name for field in msgspec.structs.fields(Job)):
        return "unknown key here; it stands at the top"
    return f"unknown key; known here: {', '.join(known)}"
