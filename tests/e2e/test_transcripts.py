"""The commands that the documents show are run as shown, and print what is shown.

A ```console block holds lines `$ command` (from the repository root; $TMP is a fresh folder, one for each file) with the output
below: stdout and stderr together. `...` stands for anything within a line, alone on a line for any lines. `<!-- not run: reason -->`
directly above a block leaves it out. A command that fails must show what it prints, or it counts as broken.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.components.aws.running import Aws
from tests.components.cluster.running import Cluster
from tests.conftest import marked_processes

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    path
    for pattern in (
        "README.md",
        "skills/*/SKILL.md",
        "skills/*/references/*.md",
        "shared-docs/*.md",
        "training/examples/*.md",
        "training/recipes/*/README.md",
        "infrastructure/kubernetes/README.md",
    )
    for path in sorted(ROOT.glob(pattern))
]
ON_A_CLUSTER = ("skills/pytorchjob-manager/SKILL.md", "skills/ray-manager/SKILL.md")
"""Their commands go to the test cluster, in a namespace of the test's own."""
ON_AWS = ("skills/ecr-pusher/SKILL.md",)
"""Their commands go to the stand-in for AWS, in which there is nothing."""
DEADLINE_S = 240
MARK = "TRAINYARD_TRANSCRIPT"
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")


@dataclass
class Block:
    """One console block: commands with the lines expected of each."""

    line: int
    not_run: str | None = None
    steps: list[tuple[str, list[str]]] = field(default_factory=list)


def blocks_of(text: str) -> list[Block]:
    """The console blocks of a Markdown text."""
    found: list[Block] = []
    block, fence, above = None, "", ""
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.strip()
        if block is None:
            if match := re.fullmatch(r"(`{3,})console", bare):
                reason = NOT_RUN.fullmatch(above)
                block, fence = Block(number, reason[1] if reason else None), match[1]
        elif bare == fence:
            found.append(block)
            block = None
        elif bare.startswith("$ "):
            block.steps.append((bare[2:], []))
        elif block.steps and block.steps[-1][0].endswith("\\"):
            command, expected = block.steps.pop()
            block.steps.append((f"{command}\n{bare.removeprefix('> ')}", expected))
        elif block.steps:
            block.steps[-1][1].append(line.rstrip())
        above = bare or above
    return found


def matches(expected: list[str], printed: list[str]) -> bool:
    """Whether all printed lines are what is shown."""
    reachable = {0}  # counts of printed lines that the shown lines so far can account for
    for line in expected:
        if line.strip() == "...":
            reachable = set(range(min(reachable, default=len(printed) + 1), len(printed) + 1))
        else:
            pattern = re.compile(".*".join(re.escape(part) for part in line.split("...")))
            reachable = {at + 1 for at in reachable if at < len(printed) and pattern.fullmatch(printed[at])}
    return len(printed) in reachable


def trimmed(lines: list[str]) -> list[str]:
    """Without trailing blanks and without empty lines at the end."""
    lines = [line.rstrip() for line in lines]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def environment(folder: Path, mark: str) -> dict[str, str]:
    """What a newcomer has after `make setup`: .venv first on the PATH, a home of its own, nothing of a run."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith("TRAINYARD_") or key == "TRAINYARD_TEST_SESSION"
    }
    kept.setdefault("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
    (folder / "home").mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {
        **kept,
        "PATH": path,
        "TMP": str(folder),
        "TMPDIR": str(folder),
        "HOME": str(folder / "home"),
        "GLOO_SOCKET_IFNAME": "lo",
        MARK: mark,
    }


def run_step(command: str, expected: list[str], env: dict[str, str], record: Path) -> str | None:
    """Run one command; what is wrong with its output, or None."""
    # Into a file, not a pipe: a process that the command leaves running must not keep us waiting for its end.
    with record.open("wb") as output:
        try:
            done = subprocess.run(
                ["bash", "-c", command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=env,
                cwd=ROOT,
                timeout=DEADLINE_S,
            )
        except subprocess.TimeoutExpired:
            return f"$ {command}\ndid not end within {DEADLINE_S} s"
    printed = trimmed(record.read_text(errors="replace").splitlines())
    shown = trimmed(expected)
    if matches(shown, printed) and (done.returncode == 0 or shown):
        return None
    return "\n".join([f"$ {command}", f"exit {done.returncode}", "--- shown", *shown, "--- printed", *printed])


def run_document(text: str, folder: Path, **more: str) -> list[str]:
    """Run all blocks of a document in order; stops at the first command that differs. Ends whatever they left running."""
    mark = secrets.token_hex(8)
    env = {**environment(folder, mark), **more}
    try:
        for block in blocks_of(text):
            if block.not_run:
                continue
            if not block.steps:
                return [f"line {block.line}: a console block without a command"]
            for command, expected in block.steps:
                if problem := run_step(command, expected, env, folder / ".output"):
                    return [f"line {block.line}: {problem}"]
        return []
    finally:
        end_all(f"{MARK}={mark}")


LOOKS = 4


def end_all(mark: str) -> None:
    """Kill the processes that carry the mark, and those that they start meanwhile.

    In the middle of its exec a process shows no environment (proc(5)): only after several looks without one, none is left.
    """
    deadline, without = time.monotonic() + 20, 0
    while without < LOOKS and time.monotonic() < deadline:
        left = marked_processes(mark)
        without = 0 if left else without + 1
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    assert not left, f"cannot be ended: {left}"


@pytest.mark.parametrize(
    "document",
    [path for path in DOCUMENTS if str(path.relative_to(ROOT)) not in (*ON_A_CLUSTER, *ON_AWS)],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_document_prints_what_it_shows(document: Path, tmp_path: Path) -> None:
    problems = run_document(document.read_text(), tmp_path)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("document", ON_A_CLUSTER)
def test_a_document_about_a_cluster_prints_what_it_shows(
    cluster: Cluster, namespace: str, document: str, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(cluster.kubeconfig.read_text())
    cluster.kubectl("config", "set-context", "--current", f"--namespace={namespace}", user=kubeconfig)
    problems = run_document((ROOT / document).read_text(), tmp_path, KUBECONFIG=str(kubeconfig))
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("document", ON_AWS)
def test_a_document_about_aws_prints_what_it_shows(aws: Aws, document: str, tmp_path: Path) -> None:
    problems = run_document((ROOT / document).read_text(), tmp_path, **aws.environment)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (f"{path.relative_to(ROOT)}:{block.line}", block.not_run)
        for path in DOCUMENTS
        for block in blocks_of(path.read_text())
        if block.not_run
    ],
)
def test_a_block_is_left_out_for_a_reason(place: str, reason: str) -> None:
    """One skipped test a block, so that the summary counts them."""
    pytest.skip(f"by design: {place}: {reason}")


@pytest.mark.parametrize("skill", sorted(ROOT.glob("skills/*/SKILL.md")), ids=lambda path: path.parent.name)
def test_every_skill_shows_a_command_that_is_run(skill: Path) -> None:
    assert any(block.steps and not block.not_run for block in blocks_of(skill.read_text()))


# --- negative controls -------------------------------------------------------------------------------------------


def document(*lines: str) -> str:
    return "\n".join(["# Text", "```console", *lines, "```", ""])


@pytest.mark.parametrize(
    "lines",
    [
        ["$ echo one; echo two", "one", "two"],
        ["$ echo one; echo two >&2", "...", "two"],
        ["$ seq 9", "1", "...", "5", "...", "9"],
        ["$ echo one two three", "one...three"],
        ["$ echo one \\", "> two", "one two"],
        ["$ false || echo no", "no"],
        ["$ ls /nonexistent-thing", "ls: ...", ""],
        ['$ echo hello > "$TMP/file"', '$ cat "$TMP/file"', "hello"],
        ["$ true"],
    ],
)
def test_what_is_right_passes(tmp_path: Path, lines: list[str]) -> None:
    assert run_document(document(*lines), tmp_path) == []


@pytest.mark.parametrize(
    "lines",
    [
        ["$ echo one; echo two", "one"],
        ["$ echo one", "one", "two"],
        ["$ echo one", "on"],
        ["$ echo one"],
        ["$ seq 9", "1", "...", "5", "4", "...", "9"],
        ["$ echo one two three", "one...four"],
        ["$ echo a.c", "a+c"],
        ["$ false"],
        ["$ no-such-command-here"],
        ["no command"],
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, lines: list[str]) -> None:
    assert len(run_document(document(*lines), tmp_path)) == 1


@pytest.mark.parametrize(
    ("above", "left_out"), [("<!-- not run: takes long -->", True), ("<!-- not run: takes long -->\nwords", False)]
)
def test_only_a_reason_directly_above_leaves_a_block_out(tmp_path: Path, above: str, left_out: bool) -> None:
    assert (run_document(document("$ false").replace("# Text", above), tmp_path) == []) is left_out


def test_what_a_command_leaves_running_is_ended(tmp_path: Path) -> None:
    text = document(f'$ setsid sleep 600 > "{tmp_path}/out" 2>&1 & echo $! > "$TMP/pid"')
    assert run_document(text, tmp_path) == []
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while lives(pid, "sleep"):  # a killed process is there for a moment longer
        assert time.monotonic() < deadline
        time.sleep(0.05)


def lives(pid: int, name: str) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return f"({name})" in stat and stat.rpartition(")")[2].split()[0] not in "ZX"
