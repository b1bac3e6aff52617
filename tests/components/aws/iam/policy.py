"""Whether statements of policies allow an action on a resource.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html; moto's own evaluation knows neither
resources nor conditions. Identity-based policies only: no boundaries, no resource policies, no policy variables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Statement = Mapping[str, Any]
ALLOWED, DENIED, UNMENTIONED = "allowed", "denied", "unmentioned"


def decide(statements: Iterable[Statement], action: str, resources: Iterable[str], context: Mapping[str, str]) -> str:
    """An explicit deny wins. `resources`: names of one thing, any of which may be what a policy says."""
    names = list(resources)
    effects = {each["Effect"] for each in statements if applies(each, action, names, context)}
    return DENIED if "Deny" in effects else ALLOWED if "Allow" in effects else UNMENTIONED


def applies(statement: Statement, action: str, resources: list[str], context: Mapping[str, str]) -> bool:
    return (
        about(statement, "Action", [action], fold=True)
        and about(statement, "Resource", resources)
        and conditions_hold(statement.get("Condition", {}), context)
    )


def about(statement: Statement, element: str, names: list[str], *, fold: bool = False) -> bool:
    """Action or NotAction, Resource or NotResource."""
    if f"Not{element}" in statement:
        return not matches(listed(statement[f"Not{element}"]), names, fold=fold)
    return matches(listed(statement.get(element, [])), names, fold=fold)


def matches(patterns: list[str], names: list[str], *, fold: bool = False) -> bool:
    return any(like(pattern, name, fold=fold) for pattern in patterns for name in names)


def like(pattern: str, name: str, *, fold: bool = False) -> bool:
    """`*` and `?` are wildcards; everything else is itself."""
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    return re.fullmatch(expression, name, re.DOTALL | (re.IGNORECASE if fold else 0)) is not None


def listed(value: Any) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]


Test = Callable[[str, str], bool]
TESTS: dict[str, tuple[Test, bool]] = {
    "StringEquals": (lambda wanted, got: wanted == got, True),
    "StringNotEquals": (lambda wanted, got: wanted == got, False),
    "StringEqualsIgnoreCase": (lambda wanted, got: wanted.lower() == got.lower(), True),
    "StringLike": (like, True),
    "StringNotLike": (like, False),
    "ArnEquals": (like, True),
    "ArnLike": (like, True),
    "ArnNotLike": (like, False),
    "Bool": (lambda wanted, got: wanted.lower() == got.lower(), True),
}
"""Operator -> its test, and whether one wanted value must pass (else none may)."""


def conditions_hold(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    """All of them. Raises NotImplementedError for an operator that is not handled: no policy is read wrongly in silence."""
    held = {name.lower(): value for name, value in context.items()}
    for operator, keys in conditions.items():
        plain = operator.removeprefix("ForAnyValue:").removeprefix("ForAllValues:")
        name, if_exists = plain.removesuffix("IfExists"), plain.endswith("IfExists")
        for key, wanted in keys.items():
            if not holds(name, listed(wanted), held.get(key.lower()), if_exists=if_exists):
                return False
    return True


def holds(operator: str, wanted: list[str], got: str | None, *, if_exists: bool) -> bool:
    if operator == "Null":
        return (got is None) == (wanted == ["True"] or wanted == ["true"])
    if operator not in TESTS:
        raise NotImplementedError(f"the condition operator {operator} is not handled in tests/components/aws/iam/policy.py")
    test, one_must = TESTS[operator]
    if got is None:
        return if_exists or not one_must
    return any(test(each, got) for each in wanted) == one_must
