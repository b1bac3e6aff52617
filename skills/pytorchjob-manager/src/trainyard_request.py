"""A job crosses the skills as one document: the keys of the job file, and what was found out since it was read.

A request is read like the job file, which is a request that nobody has answered anything to yet. Every mistake is found in one reading,
key by key, for msgspec stops at its first one.
`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import click
import msgspec
import trainyard_quantity
import trainyard_shell as shell
from click.core import ParameterSource
from trainyard_hiding import hidden, in_words
from trainyard_job import Job, Request, Section
from trainyard_mapping import read_mapping as read_mapping
from trainyard_mapping import read_stdin
from trainyard_secrets import is_secret, kind_of


@dataclass(frozen=True)
class Finding:
    """One thing wrong, and where: `$.nodes`."""

    path: str
    problem: str


def read(path: Path | str, *, without: dict[str, str] | None = None) -> Request:
    """The request, or the job file, at `path`; `-` is a JSON document on stdin.

    `without`: keys that the caller can do without, and what stands for them.

    Raises SkillError: not-found, permission, usage (with one failed check for each mistake).
    """
    mapping = read_stdin() if str(path) == "-" else read_mapping(Path(path))
    findings: list[Finding] = []
    if isinstance(mapping, dict):
        mapping = {**(without or {}), **mapping}
    request = convert(mapping, Request, "$", findings)
    if isinstance(request, Request):
        findings += quantities(request)
    findings += secrets_in(mapping)
    if findings or not isinstance(request, Request):
        raise refusal(path, findings)
    return request


def secrets_in(mapping: Any) -> list[Finding]:
    """Values that are secrets, by path and never by value: whoever sees the job file, its records or its manifest would see them."""
    return list(_secrets_in(mapping, "$"))


def _secrets_in(value: Any, path: str) -> Iterator[Finding]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets_in(item, f"{path}.{key}")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _secrets_in(item, f"{path}[{at}]")
    elif isinstance(value, str):
        section, _, name = path.removeprefix("$.").partition(".")
        if path == "$.run":
            yield from _secrets_in_run(value)
        elif section == "env" and is_secret(name, value):
            yield Finding(
                path, "looks like a secret; name it under `secrets:` instead, as secret/key: a Secret and a key in it"
            )
        elif section != "env" and (kind := kind_of(value)):
            yield Finding(path, f"holds {kind}; a secret is named under `secrets:`")


def _secrets_in_run(line: str) -> Iterator[Finding]:
    try:
        words = shlex.split(line.replace("\\\n", " "))
    except ValueError:
        words = line.split()
    for name in in_words(words):
        told = f"{name!r} carries a secret, and everybody who sees the process sees it"
        yield Finding("$.run", f"{told}; the script reads it from a variable, which `secrets:` names")


def was_said(option: str) -> bool:
    """Whether the option of this name stands on the command line: it counts before the request."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def within_bounds(asked: dict[str, Any]) -> dict[str, Any]:
    """`asked`, by names of options: what an option would refuse is refused in a request too. Raises click.BadParameter."""
    context = click.get_current_context()
    for option in context.command.params:
        value = asked.get(option.name or "")
        if isinstance(value, int | float | str):
            option.type.convert(value, option, context)
    return asked


def name_of(request: Request, given: str | None) -> str:
    """The request's name. Raises SkillError usage where the caller says another one."""
    if given not in (None, request.name):
        raise shell.SkillError("usage", f"NAME is {given}, and the request's is {request.name}", hint="leave NAME out")
    return request.name


def words_of(line: str) -> list[str]:
    """The `run` line, split like a shell would. Raises SkillError usage."""
    try:
        words = shlex.split(line.replace("\\\n", " "))
    except ValueError as error:
        raise shell.SkillError("usage", f"$.run: cannot be split into words: {str(error).lower()}") from error
    if not words or not words[0] or "\0" in line:
        raise shell.SkillError("usage", "$.run: is empty or holds a NUL character", hint="run: torchrun train.py --steps 400")
    return words


def saving_variables(job: Job) -> dict[str, str]:
    """What the runtime reads where the script gives no value of its own (shared-docs/run-folder.md)."""
    saves = job.checkpoints
    return {
        "TRAINYARD_ROLLING_STEPS": str(saves.rolling_steps),
        "TRAINYARD_KEEP_ROLLING": str(saves.keep_rolling),
        "TRAINYARD_KEEP_EPOCHS": str(saves.keep_epochs),
    }


def refusal(path: Path | str, findings: list[Finding]) -> shell.SkillError:
    """The first mistake in words, all of them as checks."""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return shell.SkillError(
        "usage",
        hidden(f"{'stdin' if str(path) == '-' else path}: {findings[0].path}: {findings[0].problem}{more}"),
        hint="correct the file; `deploy.py schema` prints every key",
        checks=[shell.Check(finding.path, "fail", shell.clean(hidden(finding.problem), 400)) for finding in findings],
    )


# --- a mapping -> structs ------------------------------------------------------------------------------------------


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


def quantities(section: Section, path: str = "$") -> list[Finding]:
    """What is wrong with the text of keys that take a quantity (trainyard_job.OF_CPU, OF_BYTES), here and in the sections below."""
    found = []
    for field in msgspec.structs.fields(section):
        value, where = getattr(section, field.name), f"{path}.{field.encode_name}"
        kind = next((each.extra["quantity"] for each in getattr(field.type, "__metadata__", ()) if each.extra), None)
        if isinstance(value, Section):
            found += quantities(value, where)
        elif kind and isinstance(value, str) and not value == field.default == "auto":
            problem = trainyard_quantity.problem(kind, value)
            if problem and field.default == "auto":
                problem = problem.replace("is not a quantity", "is neither auto nor a quantity")
            found += [Finding(where, problem)] if problem else []
    return found


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
            return f"unknown key here; it belongs under {field.encode_name}:"
    if path != "$" and key in (field.encode_name for field in msgspec.structs.fields(Job)):
        return "unknown key here; it belongs at the top level"
    return f"unknown key; known here: {', '.join(known)}"
