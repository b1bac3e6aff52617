"""`build_image.py explain`: a log from somewhere else, with or without the project it is about."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.calling import SKILLS, Answer, answer_of, call
from tests.skills.image_builder.image_call import BUILDER, project
from tests.skills.image_builder.image_diagnosis import DIAGNOSIS, PYTHON, failed

NO_GIT = "ERROR: Cannot find command 'git' - do you have 'git' installed and in your PATH?"
RUN = "RUN pip install git+https://example.com/x"
PLAIN = "\n".join(failed(2, RUN, NO_GIT))
TERMINAL = f""" => [1/3] FROM docker.io/library/python:3.11-slim                0.0s
 => ERROR [2/3] {RUN}   1.2s
------
 > [2/3] {RUN}:
0.712 Collecting git+https://example.com/x
0.713   {NO_GIT}
------
Dockerfile:2
--------------------
   1 |     # No space left on device
   2 | >>> {RUN}
--------------------
ERROR: failed to solve: process "/bin/sh -c pip install x" did not complete successfully: exit code: 1
"""
LOGS = {
    "plain": PLAIN,
    "terminal": TERMINAL,
    "windows": PLAIN.replace("\n", "\r\n"),
    "actions": "\n".join(f"2026-11-29T12:00:00.1234567Z {line}" for line in PLAIN.split("\n")),
    "cloudwatch": "\n".join(f"2026-11-29T12:00:00.123000+00:00 a1b2/c3d4 {line}" for line in PLAIN.split("\n")),
    "colours": "\n".join(f"\x1b[31m{line}\x1b[0m" for line in PLAIN.split("\n")),
    "one-line": NO_GIT,
}


def explain(folder: Path, text: str | bytes, *words: object) -> Answer:
    folder.mkdir(exist_ok=True)
    log = folder / "build.log"
    log.write_bytes(text if isinstance(text, bytes) else text.encode())
    return call(BUILDER, "explain", log, *words, timeout_s=30)


@pytest.mark.parametrize("form", LOGS)
def test_whoever_wrote_the_log_its_cause_is_found(tmp_path: Path, form: str) -> None:
    found = explain(tmp_path, LOGS[form])
    assert (found.code, found.data["class"]) == (0, "missing-program"), found
    assert set(found.data) == {"class", "cause", "means", "where", "fix", "evidence", "step"}
    assert found.document["checks"][0]["id"] == "build.missing-program" and NO_GIT in found.data["cause"]
    if form != "one-line":
        assert found.data["step"] == RUN and found.data["where"] == [f"Dockerfile:2: {RUN}"]


def test_with_the_project_its_own_lines_are_named(tmp_path: Path) -> None:
    folder = project(
        tmp_path / "net", {"Dockerfile": f"{PYTHON}COPY r.txt .\nRUN pip install -r r.txt\n", "r.txt": "six\ntorchh==9\n"}
    )
    log = "\n".join(failed(3, "RUN pip install -r r.txt", "ERROR: No matching distribution found for torchh==9"))
    found = explain(tmp_path / "logs", log, "--project", folder)
    assert found.data["class"] == "no-distribution" and found.data["where"][0] == "r.txt:2: torchh==9"
    assert explain(tmp_path / "logs", log).data["where"] == ["Dockerfile:3: RUN pip install -r r.txt"]


ROW = re.compile(r"\| (`[^|]+`) \| ([a-z-]+) \|")
TOLD = (SKILLS / "image-builder" / "references" / "build-failures.md").read_text().partition("The commonest messages")[2]
MESSAGES = [(said, row[2]) for row in ROW.finditer(TOLD) for said in re.findall("`([^`]+)`", row[1])]


@pytest.mark.parametrize(("said", "kind"), MESSAGES, ids=lambda value: str(value)[:40])
def test_the_table_of_messages_holds(said: str, kind: str) -> None:
    """As the only line of a step that failed; `none` is a line that stops no build."""
    building = ["Collecting flash-attn", "  Getting requirements to build wheel: started"] if kind == "isolation" else []
    log = [f"#4 ERROR: {said}: not found"] if kind == "none" else []
    found = DIAGNOSIS.read(None, [*log, *failed(2, "RUN x", *building, *([] if log else [said]))])
    assert found.kind == ("command" if kind == "none" else kind)


def test_the_package_of_a_library_is_named_without_a_project_too() -> None:
    found = DIAGNOSIS.read(None, ["ImportError: libGL.so.1: cannot open shared object file: No such file or directory"])
    assert found.kind == "system-library" and "apt-get install -y --no-install-recommends libgl1" in found.fix


def test_a_log_without_a_known_line_is_exit_1(tmp_path: Path) -> None:
    found = explain(tmp_path, "\n".join(failed(2, "RUN make", "this project's own words")))
    assert (found.code, found.data["class"]) == (1, "command")
    assert found.document["checks"][0]["status"] == "unknown" and "own words" in str(found.data["evidence"])


def test_stdin_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(PLAIN)
    with (tmp_path / "log").open() as log:
        words = [sys.executable, str(BUILDER), "explain", "-"]
        done = subprocess.run(words, stdin=log, capture_output=True, text=True, timeout=30, check=False)
    found = answer_of(done.returncode, done.stdout, done.stderr)
    assert (found.code, found.data["class"]) == (0, "missing-program")


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    assert explain(tmp_path, "\n \n").code == 2
    assert call(BUILDER, "explain", tmp_path / "nothing", timeout_s=30).code == 3
    assert call(BUILDER, "explain", tmp_path, timeout_s=30).code == 2
    assert explain(tmp_path, PLAIN, "--project", tmp_path / "nothing").code in (2, 3)
    assert explain(tmp_path, PLAIN.encode("utf-16")).data["class"] == "missing-program"
    huge = explain(tmp_path, b"x" * 100 + b"a line\n" * (10 << 17) + PLAIN.encode())
    assert huge.data["class"] == "missing-program" and huge.document["truncated"] is True
