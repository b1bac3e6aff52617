"""shared-docs/contract.md as functions: each takes a skill's folder and returns what is wrong with it."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from contract_calls import (
    call,
    call_each,
    call_into,
    call_warm,
    document_problems,
    environment,
    help_of,
    on_a_terminal,
    verbs_of,
)

from tests.kit_copies import sources

HEAVY = {"kubernetes", "boto3", "botocore", "docker", "torch", "requests", "rich"}
BIN = Path(sys.executable).parent
HEADER = re.compile(r"^# /// script$(.*?)^# ///$", re.MULTILINE | re.DOTALL)
MODULES = {"pyyaml": "yaml", "websocket-client": "websocket"}
KIT = re.compile(r"trainyard_\w+\.py")
MAX_DESCRIPTION_CHARS, MAX_BODY_LINES = 450, 200
MAX_SKILL_CHARS = 9000
"""An assistant loads the whole file: 2,500 tokens, at 3.6 characters a token of such text."""
FIELDS = {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}


def header_of(script: Path) -> dict[str, Any] | None:
    """The PEP 723 metadata of a script, None where it has none."""
    block = HEADER.search(script.read_text(encoding="utf-8"))
    return tomllib.loads(re.sub(r"^# ?", "", block[1], flags=re.MULTILINE)) if block else None


def programs(skill: Path) -> list[Path]:
    """The scripts that a user calls: with a PEP 723 header and a `shell.program(`."""
    scripts = sorted((skill / "src").glob("*.py"))
    return [
        script
        for script in scripts
        if header_of(script) is not None and "@shell.program(" in script.read_text(encoding="utf-8")
    ]


def calls(skill: Path) -> list[tuple[Path, str]]:
    return [(program, verb) for program in programs(skill) for verb in verbs_of(program)]


# --- what lies in the folder -------------------------------------------------------------------------------------


def folder_problems(skill: Path) -> list[str]:
    """No links, no names that an installer drops, and at least one program."""
    paths = [path for path in skill.rglob("*") if "__pycache__" not in path.parts]
    problems = [f"{path.name} is a symbolic link" for path in paths if path.is_symlink()]
    problems += [f"{path.name} starts with an underscore" for path in paths if path.name.startswith("_")]
    problems += [f"{path.relative_to(skill)} is a program in a folder of src/" for path in programs_in_folders(skill)]
    return problems + ([] if programs(skill) else ["no program with a PEP 723 header in src/"])


def programs_in_folders(skill: Path) -> list[Path]:
    """Programs find their modules beside them: one that lies deeper would find none."""
    return [
        path for path in sources(skill) if path.parent.name != "src" and "@shell.program(" in path.read_text(encoding="utf-8")
    ]


def header_problems(skill: Path) -> list[str]:
    """Every dependency has a lower bound."""
    problems = []
    for program in programs(skill):
        header = header_of(program) or {}
        if header.get("requires-python") != ">=3.11":
            problems.append(f"{program.name}: requires-python is not >=3.11")
        bare = [each for each in header.get("dependencies", []) if ">=" not in each]
        problems += [f"{program.name}: {each} has no lower bound" for each in bare]
    return problems


def words_problems(skill: Path) -> list[str]:
    """SKILL.md: known fields, a description that fits every catalogue, a body that fits a context."""
    text = (skill / "SKILL.md").read_text(encoding="utf-8")
    parts = text.split("---\n", 2)
    if len(parts) != 3 or parts[0]:
        return ["SKILL.md does not start with front matter"]
    _, front, body = parts
    try:
        fields = yaml.safe_load(front)
        description = fields.get("description", "")
    except (yaml.YAMLError, AttributeError) as error:
        return [f"the front matter is no YAML mapping: {error}"]
    problems = [f"unknown field {field}" for field in sorted(set(fields) - FIELDS)]
    if fields.get("name") != skill.name:
        problems.append(f"name is {fields.get('name')!r}, the folder is {skill.name!r}")
    if not 20 <= len(description) <= MAX_DESCRIPTION_CHARS:
        problems.append(f"the description has {len(description)} characters, at most {MAX_DESCRIPTION_CHARS}")
    if len(text) > MAX_SKILL_CHARS:
        problems.append(f"SKILL.md has {len(text)} characters, at most {MAX_SKILL_CHARS}")
    if len(body.splitlines()) > MAX_BODY_LINES:
        problems.append(f"the body has {len(body.splitlines())} lines, at most {MAX_BODY_LINES}")
    missing = [program.name for program in programs(skill) if program.name not in body]
    return problems + [f"{name} is not told in SKILL.md" for name in missing]


def lint_problems(skill: Path) -> list[str]:
    """The open specification's own validator, and the linter, warnings included."""
    problems = []
    with _copied_alone(skill) as copy:
        for words in (["agentskills", "validate"], ["skillsaw", "lint", "--strict", "--quiet", "--no-color", "--no-plugins"]):
            command = [str(BIN / words[0]), *words[1:], str(copy)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment(), cwd=copy.parent)
            if done.returncode:
                problems.append(f"{words[0]}: {(done.stdout + done.stderr).strip()}")
    return problems


def clashing_modules(skills: list[Path]) -> list[str]:
    """What stands in src/ of two skills, twice in one, or hides a module of the standard library; the kit's copies aside."""
    owners = defaultdict(list)
    for skill in skills:
        for path in sorted((skill / "src").iterdir()):
            if (path.suffix == ".py" or any(path.rglob("*.py"))) and not KIT.fullmatch(path.name):
                owners[path.stem].append(skill.name)
    clashes = [f"{module} is in {', '.join(names)}" for module, names in sorted(owners.items()) if len(names) > 1]
    return clashes + [f"{module} hides the standard library's" for module in sorted(set(owners) & set(sys.stdlib_module_names))]


def import_problems(skill: Path) -> list[str]:
    """A skill imports its siblings, the standard library and what a program's header names; anything else it must try for."""
    headers = [header_of(program) or {} for program in programs(skill)]
    packages = {re.split("[<>=!~ ]", each)[0].lower() for header in headers for each in header.get("dependencies", [])}
    known = {MODULES.get(name, name.replace("-", "_")) for name in packages} | set(sys.stdlib_module_names)
    known |= {script.relative_to(skill / "src").parts[0].removesuffix(".py") for script in sources(skill)}
    return [
        f"{script.name} imports {name}, which no header names"
        for script in sources(skill)
        for name in sorted(_imported(ast.parse(script.read_text(encoding="utf-8"))) - known)
    ]


def _imported(node: ast.AST) -> set[str]:
    """Top-level names of absolute imports below `node`, without those in a `try` that expects them to fail.

    A module that is a copy of one of the runtime has two ways to its siblings, and here takes the one without the package.
    """
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").partition(".")[0]} if node.level == 0 else {"." * node.level}
    if isinstance(node, ast.Try) and any("ImportError" in ast.dump(handler) for handler in node.handlers):
        return set()
    if isinstance(node, ast.If) and ast.unparse(node.test) == "IN_TRAINYARD":
        return {name for child in node.orelse for name in _imported(child)}
    return {name for child in ast.iter_child_nodes(node) for name in _imported(child)}


# --- what the programs do ----------------------------------------------------------------------------------------


def help_problems(skill: Path) -> list[str]:
    """`--help` of the program and of each verb: exit 0, two examples a verb, nothing heavy imported."""

    def one(item: tuple[Path, str]) -> list[str]:
        program, verb = item
        called = call(program, *verb.split(), "--help", PYTHONPROFILEIMPORTTIME="1")
        problems = [] if called.code == 0 and "Usage:" in called.stdout else [f"{called}: no help"]
        imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in called.stderr.splitlines() if "|" in line}
        problems += [f"{called}: imports {module}" for module in sorted(imported & HEAVY)]
        examples = called.stdout.partition("Examples:\n")[2]
        if verb and len(re.findall(rf"^ +{re.escape(program.name)} ", examples, re.MULTILINE)) < 2:
            problems.append(f"{called}: fewer than two examples")
        return problems

    found = calls(skill)
    return call_each(one, [(program, "") for program in programs(skill)] + found) + ([] if found else ["no verbs in --help"])


def usage_problems(skill: Path) -> list[str]:
    """Wrong words: one JSON document on stdout, exit 2."""

    def one(item: tuple[Path, tuple[str, ...], set[int]]) -> list[str]:
        program, words, codes = item
        with tempfile.TemporaryDirectory() as empty:
            return document_problems(call_warm(program, *words, cwd=empty), skill.name, codes)

    wrong: list[tuple[Path, tuple[str, ...], set[int]]] = []
    for program in programs(skill):
        wrong += [(program, words, {2}) for words in ((), ("no-such-verb",), ("--no-such-option",))]
    for program, verb in calls(skill):
        wrong += [(program, (verb, "--no-such-option"), {2}), (program, (verb, "--format", "poem"), {2})]
        wrong.append((program, (verb,), _codes_without_arguments(program, verb)))
        if arguments := _required_arguments(program, verb):
            wrong.append((program, (verb, *["/nonexistent/\x1b[31mthing"] * len(arguments)), {2, 3}))
    return call_each(one, wrong)


def _required_arguments(program: Path, verb: str) -> list[str]:
    usage = re.sub(r"\s+", " ", help_of(program, verb).partition("Usage:")[2].partition("\n\n")[0])
    return re.findall(r" ([A-Z][A-Z0-9_]*)(?:\.\.\.)?(?= |$)", usage.partition("[OPTIONS]")[2])


def _codes_without_arguments(program: Path, verb: str) -> set[int]:
    """A verb that needs arguments must say so; any other may do its work in the empty folder it is called in."""
    needs = _required_arguments(program, verb) or "[required]" in help_of(program, verb)
    return {2} if needs else {0, 1, 2, 3, 8}


def terminal_problems(skill: Path) -> list[str]:
    """On a terminal a person reads words, not JSON; with --json the document all the same."""
    problems = []
    for program, verb in calls(skill)[:1]:
        text = on_a_terminal(program, verb, "--no-such-option")
        if text.lstrip().startswith("{") or f"{skill.name}: " not in text or "next: " not in text:
            problems.append(f"`{program.name} {verb}` on a terminal prints {text[:80]!r}")
        if not on_a_terminal(program, verb, "--no-such-option", "--json").lstrip().startswith("{"):
            problems.append(f"`{program.name} {verb} --json` on a terminal prints no JSON")
    return problems


def output_problems(skill: Path) -> list[str]:
    """A full stdout is exit 8 and one line on stderr, a reader that went away is silence, and stderr changes nothing."""

    def one(program: Path) -> list[str]:
        problems = []
        for words in (("no-such-verb",), ("no-such-verb", "--format", "table"), ("--help",)):
            full = call_into(program, *words, stdout="/dev/full")
            if full.code != 8 or len(full.stderr.splitlines()) != 1 or "No space left on device" not in full.stderr:
                problems.append(f"{full} > /dev/full: {full.stderr[-300:]!r}")
        gone = call_into(program, "no-such-verb", stdout="closed")
        if gone.code != 2 or gone.stderr:
            problems.append(f"{gone} | head: {gone.stderr[-300:]!r}")
        unheard = call_into(program, "no-such-verb", stderr="/dev/full")
        return problems + document_problems(unheard, skill.name, {2})

    return call_each(one, programs(skill))


def dependency_problems(skill: Path) -> list[str]:
    """Without click: error 8 with the command that brings it; with TRAINYARD_PYTHON the program runs there, tried once."""

    def one(program: Path) -> list[str]:
        without = (sys.executable, "-S", "-E")
        called = call(program, "no-such-verb", before=without)
        problems = document_problems(called, skill.name, {8})
        if "uv run" not in called.stdout or "pip install" not in called.stdout:
            problems.append(f"{called} without packages: the hint names no command")
        moved = call(program, "--help", before=without, TRAINYARD_PYTHON=sys.executable)
        if moved.code or "Usage:" not in moved.stdout:
            problems.append(f"{moved} did not go on with TRAINYARD_PYTHON")
        with tempfile.TemporaryDirectory() as folder:
            bare = Path(folder) / "python"
            bare.write_text(f'#!/bin/sh\ntouch "{folder}/start.$$.$(date +%N)"\nexec "{sys.executable}" -S -E "$@"\n')
            bare.chmod(0o755)
            again = call(program, "no-such-verb", before=without, TRAINYARD_PYTHON=str(bare))
            starts = len(list(Path(folder).glob("start.*")))
        problems += document_problems(again, skill.name, {8})
        return problems + ([] if starts == 1 else [f"{again}: TRAINYARD_PYTHON was tried {starts} times"])

    return call_each(one, programs(skill))


def alone_problems(skill: Path) -> list[str]:
    """Copied out alone into an empty place it works, with this Python and with nothing but `uv run`."""
    # uv keeps its cache at home. What the first call of the copy compiles, the others need not.
    env = {"HOME": os.environ.get("HOME", "/"), "PYTHONDONTWRITEBYTECODE": ""}
    uv = (str(BIN / "uv"), "run", "--quiet", "--python", sys.executable)

    def one(item: tuple[Path, str]) -> list[str]:
        program, verb = item
        if not (arguments := _required_arguments(program, verb)):
            return []
        called = call(program, verb, *["/nonexistent/thing"] * len(arguments), before=uv, cwd=program.parents[2], **env)
        return document_problems(called, skill.name, {2, 3})

    with _copied_alone(skill) as copy:
        problems = call_each(one, calls(copy))
        for program in programs(copy):
            for before in (uv, (sys.executable,)):
                called = call(program, "--help", before=before, cwd=copy.parent, **env)
                if called.code or "Usage:" not in called.stdout:
                    problems.append(f"{called} alone, by {Path(before[0]).name}: {(called.stdout + called.stderr)[-400:]}")
        return problems


@contextmanager
def _copied_alone(skill: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / skill.name
        shutil.copytree(skill, copy, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        yield copy


RULES = [
    folder_problems,
    header_problems,
    words_problems,
    import_problems,
    lint_problems,
    help_problems,
    usage_problems,
    terminal_problems,
    output_problems,
    dependency_problems,
    alone_problems,
]
