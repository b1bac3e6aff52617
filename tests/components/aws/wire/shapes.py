"""What is wrong with a value by botocore's service model: types, required and unknown members, enums, patterns, lengths, ranges.

botocore's own validator checks types, required members and minima only.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel


@functools.cache
def service_model(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service_name=service)


def wrongs(shape: Any, value: Any, where: str = "") -> list[str]:
    """One line for each violation, in AWS's words where it has them. JSON: times are numbers, blobs base64."""
    check = CHECKS.get(shape.type_name)
    if check is None:
        return [f"{where or 'value'}: the type {shape.type_name} is not handled"]
    return check(shape, value, where)


def without_empty_lists(shape: Any, value: Any) -> Any:
    """An answer as it is checked: AWS answers empty lists where the model demands an element, buildsNotFound for one.

    A list that must be there stays.
    """
    if isinstance(value, dict) and shape.type_name == "structure":
        kept = {name: each for name, each in value.items() if each != [] or name in shape.required_members}
        known = shape.members
        return {name: without_empty_lists(known[name], each) if name in known else each for name, each in kept.items()}
    if isinstance(value, list) and shape.type_name == "list":
        return [without_empty_lists(shape.member, each) for each in value]
    return value


def structure(shape: Any, value: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [of_type(where, "a structure", value)]
    found = [f"Unknown member '{name}' at '{where or shape.name}'" for name in value if name not in shape.members]
    for name in shape.required_members:
        if value.get(name) is None:
            found.append(constraint("null", inside(where, name), "Member must not be null"))
    for name, member in shape.members.items():
        if value.get(name) is not None:
            found += wrongs(member, value[name], inside(where, name))
    return found


def listed(shape: Any, value: Any, where: str) -> list[str]:
    if not isinstance(value, list):
        return [of_type(where, "a list", value)]
    found = of_length(shape, value, where)
    for number, each in enumerate(value, 1):
        found += wrongs(shape.member, each, f"{where}.{number}.member")
    return found


def mapped(shape: Any, value: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [of_type(where, "a map", value)]
    found = of_length(shape, value, where)
    for key, each in value.items():
        found += wrongs(shape.key, key, where) + wrongs(shape.value, each, inside(where, key))
    return found


def string(shape: Any, value: Any, where: str) -> list[str]:
    if not isinstance(value, str):
        return [of_type(where, "a string", value)]
    found = of_length(shape, value, where)
    if shape.enum and value not in shape.enum:
        found.append(constraint(value, where, f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"))
    pattern = shape.metadata.get("pattern")
    if pattern and not re.fullmatch(python_pattern(pattern), value):
        found.append(constraint(value, where, f"Member must satisfy regular expression pattern: {pattern}"))
    return found


def number(shape: Any, value: Any, where: str) -> list[str]:
    whole = shape.type_name in ("integer", "long")
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return [of_type(where, "an integer" if whole else "a number", value)]
    return in_range(shape, value, value, where, "value")


def boolean(shape: Any, value: Any, where: str) -> list[str]:
    return [] if isinstance(value, bool) else [of_type(where, "a boolean", value)]


def timestamp(shape: Any, value: Any, where: str) -> list[str]:
    right = isinstance(value, (int, float)) and not isinstance(value, bool)
    return [] if right else [of_type(where, "a number of seconds", value)]


def blob(shape: Any, value: Any, where: str) -> list[str]:
    try:
        return of_length(shape, base64.b64decode(value, validate=True), where)
    except (binascii.Error, TypeError, ValueError):
        return [of_type(where, "base64", value)]


CHECKS = {
    "structure": structure,
    "list": listed,
    "map": mapped,
    "string": string,
    "integer": number,
    "long": number,
    "float": number,
    "double": number,
    "boolean": boolean,
    "timestamp": timestamp,
    "blob": blob,
}


def of_length(shape: Any, value: Any, where: str) -> list[str]:
    return in_range(shape, len(value), value, where, "length")


def in_range(shape: Any, size: float, value: Any, where: str, what: str) -> list[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    is_, bound = ("have", "length ") if what == "length" else ("have", "value ")
    found = []
    if least is not None and size < least:
        found.append(constraint(value, where, f"Member must {is_} {bound}greater than or equal to {least}"))
    if most is not None and size > most:
        found.append(constraint(value, where, f"Member must {is_} {bound}less than or equal to {most}"))
    return found


def constraint(value: Any, where: str, rule: str) -> str:
    return f"Value '{str(value)[:100]}' at '{where}' failed to satisfy constraint: {rule}"


def of_type(where: str, expected: str, value: Any) -> str:
    return f"'{where or 'body'}' is not {expected}: {str(value)[:100]!r}"


def inside(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


@functools.cache
def python_pattern(pattern: str) -> re.Pattern[str]:
    r"""The models are written for Java: its classes \p{...}, which stand inside brackets there, are not in Python's re."""
    for java, python in ((r"\p{L}", r"\w"), (r"\p{N}", r"\d"), (r"\p{Z}", r"\s")):
        pattern = pattern.replace(java, python)
    return re.compile(pattern)
