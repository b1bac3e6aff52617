"""A buildspec, as CodeBuild reads it: https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

Document = dict[str, Any]
PHASES = ("install", "pre_build", "build", "post_build")
ON_FAILURE = re.compile(r"ABORT|CONTINUE|RETRY(-(?P<times>\d+))?(-(?P<pattern>.+))?")
RETRIES = 3
"""Of RETRY without a number."""


class BuildspecError(ValueError):
    """The text after YAML_FILE_ERROR."""


@dataclass(frozen=True)
class OnFailure:
    """What a failed phase leads to."""

    next: str = ""
    """ABORT, CONTINUE, RETRY, or nothing: the ordinary transitions."""
    times: int = 0
    pattern: str = ""
    """RETRY: only where this is found in the output of the phase."""


@dataclass(frozen=True)
class Phase:
    commands: tuple[str, ...] = ()
    finally_commands: tuple[str, ...] = ()
    on_failure: OnFailure = OnFailure()


@dataclass(frozen=True)
class Buildspec:
    one_shell: bool
    """0.2; version 0.1 runs each command in a shell of its own."""
    shell: str
    """sh or bash."""
    variables: dict[str, str]
    parameters: dict[str, str]
    """Variable -> name in Parameter Store."""
    secrets: dict[str, str]
    """Variable -> secret-id:json-key:version-stage:version-id."""
    exported: tuple[str, ...]
    phases: dict[str, Phase]
    artifacts: Document = field(default_factory=dict)


def read(text: str) -> Buildspec:
    """Raises BuildspecError. Every scalar stays the text that it is: `- true` is the command true."""
    try:
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  # BaseLoader makes strings, lists and maps only
    except yaml.YAMLError as error:
        raise BuildspecError(f"stat buildspec: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise BuildspecError("mapping expected at line 1")
    if document.get("version") not in ("0.1", "0.2"):
        raise BuildspecError("Unknown version: use 0.2")
    environment = section(document, "env")
    phases = section(document, "phases")
    if unknown := set(phases) - set(PHASES):
        raise BuildspecError(f"Unknown phases: {', '.join(sorted(unknown))}")
    return Buildspec(
        one_shell=document["version"] == "0.2",
        shell=environment.get("shell", "sh"),
        variables=section(environment, "variables"),
        parameters=section(environment, "parameter-store"),
        secrets=section(environment, "secrets-manager"),
        exported=tuple(environment.get("exported-variables") or ()),
        phases={name: phase(section(phases, name)) for name in PHASES if name in phases},
        artifacts=section(document, "artifacts"),
    )


def section(document: Document, name: str) -> Document:
    found = document.get(name) or {}
    if not isinstance(found, dict):
        raise BuildspecError(f"Expected {name} to be of map type")
    return found


def phase(document: Document) -> Phase:
    return Phase(
        commands(document, "commands", "Commands"),
        commands(document, "finally", "Finally"),
        on_failure(str(document.get("on-failure") or "")),
    )


def commands(document: Document, name: str, shown: str) -> tuple[str, ...]:
    found = document.get(name) or []
    if not isinstance(found, list):
        raise BuildspecError(f"Expected {shown} to be of list type")
    for number, command in enumerate(found):
        if not isinstance(command, str):
            raise BuildspecError(
                f"Expected {shown}[{number}] to be of string type: found subkeys instead, value of the key tag might be empty"
            )
    return tuple(found)


def on_failure(text: str) -> OnFailure:
    if not text:
        return OnFailure()
    found = ON_FAILURE.fullmatch(text)
    if found is None:
        raise BuildspecError(f"Invalid on-failure: {text}")
    if not text.startswith("RETRY"):
        return OnFailure(text)
    return OnFailure("RETRY", int(found["times"] or RETRIES), found["pattern"] or "")
