"""Every program of every skill keeps shared-docs/contract.md; a new skill is found by itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import contract_rules as rules
import pytest
from contract_calls import Called, call, call_into, document_problems

from tests import kit_copies

ROOT = Path(__file__).resolve().parents[2]
SKILLS = sorted(path.parent for path in ROOT.glob("skills/*/SKILL.md"))
Rule = Callable[[Path], list[str]]


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
def test_every_skill_keeps_the_contract(skill: Path, rule: Rule) -> None:
    problems = rule(skill)
    assert not problems, "\n".join(problems)


def test_module_names_are_unique_over_all_skills() -> None:
    assert rules.clashing_modules(SKILLS) == []


def test_the_copies_of_the_kit_are_equal() -> None:
    assert kit_copies.differing() == []


def test_copies_are_marked_as_generated() -> None:
    """.gitattributes hides exactly the copies in a review, and never the file that a change is made in."""
    words = ["git", "ls-files", "skills/*/src/*.py", "skills/*/assets/*.yaml"]
    ours = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    asked = subprocess.run(
        ["git", "check-attr", "linguist-generated", *ours], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    marked = {line.split(": ")[0] for line in asked.splitlines() if line.endswith(": set")}
    copies = {str(path.relative_to(ROOT)) for places in kit_copies.copies().values() for path in places}
    assert marked == copies


# --- negative controls: the same rules find what is wrong with a small bad skill ---------------------------------

JUDGES = ("tests/skills/contract_*.py", "tests/kit_copies.py", "skills/kit/*.py", "Makefile")
"""What the controls are about: a rule is tried when one of these has changed."""

PROGRAM = '''#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
# ]
# ///
"""Say hello."""

import trainyard_shell as shell
import click


@shell.program("hello-sayer")
def cli() -> None:
    """Say hello."""


@cli.command(epilog=shell.examples("say_hello.py greet you", "say_hello.py greet me --json"))
@click.argument("name")
def greet(name: str) -> shell.Result:
    """Greet somebody."""
    if name.startswith("/nonexistent"):
        raise shell.SkillError("not-found", "nobody of that name", hint="say_hello.py greet you")
    return shell.Result({"greeting": f"hello {name}"})


if __name__ == "__main__":
    cli()
'''
WORDS = """---
name: hello-sayer
description: Say hello to somebody. Use when somebody should be greeted. Not for farewells.
license: Apache-2.0
---

# Hello

Run `src/say_hello.py greet NAME` when somebody should be greeted; everything in `src/` belongs to it.
"""


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    """A small skill that keeps the contract."""
    skill = tmp_path / "hello-sayer"
    (skill / "src").mkdir(parents=True)
    (skill / "SKILL.md").write_text(WORDS)
    (skill / "src" / "say_hello.py").write_text(PROGRAM)
    for module in kit_copies.ALWAYS:
        (skill / "src" / f"{module}.py").write_bytes((ROOT / "skills" / "kit" / f"{module}.py").read_bytes())
    return skill


@pytest.mark.when_changed(*JUDGES)
@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_a_good_skill_passes(hello: Path, rule: Rule) -> None:
    assert rule(hello) == []


FAULTS: list[tuple[Rule, str, str, str, str]] = [
    (rules.folder_problems, "say_hello.py", "# /// script", "# nothing", "no program"),
    (rules.header_problems, "say_hello.py", '"click>=8.1"', '"click"', "no lower bound"),
    (rules.words_problems, "SKILL.md", "name: hello-sayer", "name: hello", "the folder is"),
    (rules.words_problems, "SKILL.md", "Say hello to somebody.", "Say hello. " * 50, "characters"),
    (rules.words_problems, "SKILL.md", "# Hello", "# Hello\n" + "more\n" * 200, "lines"),
    (rules.words_problems, "SKILL.md", "# Hello", "# Hello\n" + "more words " * 900, "SKILL.md has"),
    (rules.words_problems, "SKILL.md", "license:", "version:", "unknown field"),
    (rules.lint_problems, "SKILL.md", "license:", "version:", "agentskills"),
    (rules.lint_problems, "SKILL.md", " Use when somebody should be greeted.", "", "skillsaw"),
    (rules.import_problems, "say_hello.py", "import click", "import click, run_folder", "run_folder"),
    (rules.help_problems, "say_hello.py", "import click", "import click, rich", "imports rich"),
    (rules.help_problems, "say_hello.py", ', "say_hello.py greet me --json"', "", "two examples"),
    (rules.usage_problems, "say_hello.py", "import click", 'import click\nprint("hello")', "not JSON alone"),
    (
        rules.usage_problems,
        "say_hello.py",
        '@click.argument("name")',
        '@click.argument("name", default="you")\n@click.option("--no-such-option", is_flag=True, expose_value=False)',
        "exit code",
    ),
    (rules.usage_problems, "say_hello.py", 'raise shell.SkillError("not-found", ', "raise ValueError(", "traceback"),
    (rules.usage_problems, "say_hello.py", "hello-sayer", "someone-else", "skill is"),
    (rules.terminal_problems, "trainyard_shell.py", "or sys.stdout.isatty()", "", "on a terminal prints"),
    (rules.terminal_problems, "trainyard_shell.py", 'if "--json" in words or', "if", "prints no JSON"),
    (rules.output_problems, "trainyard_output.py", 'code = EXIT_CODES["unreachable"]', "pass", "/dev/full"),
    (rules.output_problems, "trainyard_output.py", "if not isinstance(error, BrokenPipeError):", "if True:", "| head"),
    (
        rules.dependency_problems,
        "say_hello.py",
        "import trainyard_shell as shell\nimport click",
        "import click\nimport trainyard_shell as shell",
        "exit code",
    ),
    (rules.dependency_problems, "trainyard_python.py", 'os.environ.get("TRAINYARD_PYTHON")', "None", "did not go on"),
    (rules.alone_problems, "say_hello.py", "import click", "import click, yaml", "alone, by uv"),
    (
        rules.alone_problems,
        "say_hello.py",
        "import click",
        'import click\nopen(__file__ + "/../../../README.md")',
        "alone, by python",
    ),
]


@pytest.mark.when_changed(*JUDGES)
@pytest.mark.parametrize(("rule", "file", "old", "new", "expected"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_fault_is_found_by_its_rule(hello: Path, rule: Rule, file: str, old: str, new: str, expected: str) -> None:
    path = hello / file if file == "SKILL.md" else hello / "src" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert expected in "\n".join(rule(hello))


STREAM = """
@cli.command(epilog=shell.examples("say_hello.py stream", "say_hello.py stream --json"))
@click.option("--wrong", is_flag=True)
def stream(wrong: bool) -> shell.Result:
    for number in range(3):
        shell.progress("another line follows")
        shell.emit("line", line=str(number))
    if wrong:
        raise ValueError(number)
    return shell.Result({"lines": 3})


if __name__"""


@pytest.fixture
def streaming(hello: Path) -> Path:
    program = hello / "src" / "say_hello.py"
    program.write_text(PROGRAM.replace("if __name__", STREAM.lstrip()))
    return program


def test_a_stream_ends_where_stdout_cannot_be_written(streaming: Path) -> None:
    full = call_into(streaming, "stream", stdout="/dev/full")
    told = "say_hello.py: stdout cannot be written: No space left on device; the answer is lost, what was done stays done"
    assert (full.code, full.stderr.splitlines()) == (8, ["another line follows", told])
    gone = call_into(streaming, "stream", stdout="closed")
    assert (gone.code, gone.stderr) == (1, "another line follows\n")


@pytest.mark.parametrize(("words", "code"), [(("stream",), 0), (("stream", "--wrong"), 70)])
@pytest.mark.parametrize("stderr", ["/dev/full", "closed"])
def test_a_stderr_that_cannot_be_written_changes_nothing(
    streaming: Path, words: tuple[str, ...], code: int, stderr: str
) -> None:
    unheard = call_into(streaming, *words, stderr=stderr)
    assert document_problems(unheard, "hello-sayer", {code}) == []
    assert len(unheard.stdout.splitlines()) == 4


def test_closed_streams_are_streams_that_cannot_be_written(streaming: Path) -> None:
    closed = 'exec "$0" "$@" >&- 2>&-'
    assert call(streaming, "stream", before=("sh", "-c", closed, sys.executable)).code == 8


def test_links_and_underscores_are_found(hello: Path) -> None:
    (hello / "src" / "_private.py").write_text("")
    (hello / "link").symlink_to(hello / "SKILL.md")
    assert sorted(rules.folder_problems(hello)) == ["_private.py starts with an underscore", "link is a symbolic link"]


@pytest.fixture
def words(hello: Path) -> Path:
    """A folder in the skill's src/."""
    (folder := hello / "src" / "hello_words").mkdir()
    (folder / "greeting.py").write_text('def greet(name: str) -> str:\n    return f"hello {name}"\n')
    program = hello / "src" / "say_hello.py"
    used = PROGRAM.replace('f"hello {name}"', "words(name)")
    program.write_text(used.replace("import click", "import click\nfrom hello_words.greeting import greet as words"))
    return folder


@pytest.mark.when_changed(*JUDGES)
def test_a_folder_in_src_is_read_by_every_check(hello: Path, words: Path) -> None:
    assert [problem for rule in rules.RULES for problem in rule(hello)] == []
    assert types_and_lint(hello) == (0, 0)
    (words / "__init__.py").write_text("")
    assert rules.folder_problems(hello) == ["__init__.py starts with an underscore"]
    (words / "__init__.py").unlink()
    (words / "other.py").write_text(PROGRAM.replace("import click", "import click, yaml"))
    assert rules.folder_problems(hello) == ["src/hello_words/other.py is a program in a folder of src/"]
    assert rules.import_problems(hello) == ["other.py imports yaml, which no header names"]
    (words / "other.py").write_text("import os\nx: int = ''\n")
    assert types_and_lint(hello) == (2, 1)
    (hello / "src" / "hello_words.py").write_text("")
    assert rules.clashing_modules([hello]) == ["hello_words is in hello-sayer, hello-sayer"]


def test_a_module_of_the_same_name_elsewhere_does_not_hide_a_folder(hello: Path, words: Path, tmp_path: Path) -> None:
    """A training project may well have a `metrics.py` or a `places.py`, and its PYTHONPATH is the caller's."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / f"{words.name}.py").write_text("")
    here = {"PYTHONPATH": str(tmp_path / "project")}
    assert call(hello / "src" / "say_hello.py", "greet", "you", **here).code == 0
    kit = hello / "src" / "trainyard_shell.py"
    kit.write_text(kit.read_text().replace("trainyard_python.claim_folders()", ""))
    assert call(hello / "src" / "say_hello.py", "greet", "you", **here).code == 1, "control: it would be hidden"


def types_and_lint(skill: Path) -> tuple[int, int]:
    """Exit codes of `make types-skills` and of ruff, as `make check` calls it."""
    types = subprocess.run(["make", "-s", "types-skills", f"SKILLS={skill}"], cwd=ROOT, capture_output=True, timeout=300)
    lint = ["ruff", "check", "-q", "--no-cache", "--ignore", "E402,I001", "--config", ROOT / "pyproject.toml", skill]
    return types.returncode, subprocess.run([rules.BIN / lint[0], *lint[1:]], capture_output=True, timeout=60).returncode


def test_a_copy_of_the_kit_is_needed_where_a_folder_uses_it(hello: Path, words: Path) -> None:
    kit = ROOT / "skills" / "kit"
    assert not kit_copies.used_by(hello, "trainyard_yaml", kit)
    (words / "other.py").write_text("import trainyard_yaml\n")
    assert kit_copies.used_by(hello, "trainyard_yaml", kit)


def test_a_module_in_two_skills_and_one_that_hides_the_library_are_found(hello: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "src"
    other.mkdir(parents=True)
    for name in ("say_hello.py", "trainyard_shell.py", "logging.py", "words/a.py"):
        (other / name).parent.mkdir(exist_ok=True)
        (other / name).write_text("")
    (hello / "src" / "words").mkdir()
    (hello / "src" / "words" / "b.py").write_text("")
    assert rules.clashing_modules([hello, other.parent]) == [
        "say_hello is in hello-sayer, other",
        "words is in hello-sayer, other",
        "logging hides the standard library's",
    ]


ENVELOPE = '{"ok": true, "skill": "s", "verb": "v", "data": {}, "checks": [], "changed": [], "next": [], "truncated": false}'
UNKNOWN = '[{"id": "a", "status": "unknown", "summary": "", "evidence": null, "fix": null}]'


@pytest.mark.parametrize(
    ("code", "stdout", "expected"),
    [
        (0, ENVELOPE, ""),
        (0, '{"type": "line"}\n' + ENVELOPE, ""),
        (0, '{"line": 1}\n' + ENVELOPE, "has no type"),
        (1, ENVELOPE, "ok does not fit"),
        (0, "", "no document"),
        (0, "hello\n" + ENVELOPE, "not JSON alone"),
        (0, ENVELOPE.replace('"next": [], ', ""), "missing or too many"),
        (0, ENVELOPE.replace("[]", UNKNOWN, 1), "ok with a check that is unknown"),
        (0, ENVELOPE.replace("[]", UNKNOWN.replace("unknown", "healthy"), 1), "not a check"),
    ],
)
def test_a_wrong_document_is_found(code: int, stdout: str, expected: str) -> None:
    problems = document_problems(Called(("s.py", "v"), code, stdout, ""), "s", {0, 1})
    assert (expected in "\n".join(problems)) if expected else problems == []
