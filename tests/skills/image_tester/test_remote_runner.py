"""The program that a host of CodeBuild runs, with a stand-in for `docker`: what it says into the log comes back whole, or not at all."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import probing
import pytest

RUNNER = probing.SRC / "codebuild_test" / "remote_runner.py"
DOCKER = """#!{python}
import sys
words = sys.argv[1:]
if words[:2] == ["image", "inspect"]:
    print('[{{"Size": 5}}]')
elif words[:2] == ["container", "inspect"]:
    print('[{{"State": {{"ExitCode": 0}}}}]')
elif words[0] == "create":
    {create}
elif words[0] == "start":
    sys.stdin.read()
    print(open({said!r}).read())
"""
MARK = "0" * 32


def ran(folder: Path, said: str, create: str = "print('c1')") -> tuple[list[str], str]:
    """The lines of the log, and TEST_ANSWER as the buildspec exports it."""
    (folder / "said").write_text(said)
    program = folder / "bin" / "docker"
    program.parent.mkdir(exist_ok=True)
    program.write_text(DOCKER.format(python=sys.executable, said=str(folder / "said"), create=create))
    program.chmod(0o755)
    asked = {"words": ["create", "@PYTHON@"], "pythons": ["python3"], "limit_s": 20, "mark": MARK}
    probe = base64.b64encode(zlib.compress(b"pass")).decode()
    env = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "TEST_WORDS": json.dumps(asked),
        "TEST_IMAGE": "i",
        "TEST_PROBE": probe,
    }
    answer = folder / "answer"
    words = [sys.executable, "-I", "-S", str(RUNNER), str(answer)]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.splitlines(), hashlib.sha256(answer.read_bytes()).hexdigest()


def read(lines: list[str], exported: str) -> Any:
    """As the program reads it from CloudWatch Logs."""
    remote = probing.module("codebuild_test.remote")
    order = remote.Order({}, MARK)
    build = probing.module("trainyard_codebuild").Build(
        {
            "id": "p:1",
            "logs": {"groupName": "g", "streamName": "s"},
            "exportedEnvironmentVariables": [{"name": "TEST_ANSWER", "value": exported}],
        }
    )
    for line in probing.module("trainyard_codebuild_log").LogTail(Pages(lines)).lines(build):
        order.take(line)
    return remote.answer(order, build)[0]


class Pages:
    """CloudWatch Logs with one page."""

    def __init__(self, lines: list[str]) -> None:
        self.events = [{"message": line} for line in lines]

    def get_log_events(self, **asked: Any) -> dict[str, Any]:
        return {"events": [] if "nextToken" in asked else self.events, "nextForwardToken": "f/1"}


def signed(lines: int) -> str:
    chance = random.Random(1)
    return "\n".join(f"TY1 {chance.randbytes(200).hex()}" for _ in range(lines))


def test_a_long_answer_comes_back_whole(tmp_path: Path) -> None:
    """Its lines in the log are shorter than what a reader of the log takes of one."""
    said = signed(200)
    lines, exported = ran(tmp_path, said)
    assert len(lines) > 5 and read(lines, exported).output.decode() == said


def test_an_answer_that_is_torn_is_none(tmp_path: Path) -> None:
    """A line that is lost or changed, or another build's answer: exit 8, and the same call again."""
    lines, exported = ran(tmp_path, signed(40))
    for wrong, digest in ((lines[1:], exported), ([*lines[:-1], lines[-1][:-4] + "AAAA"], exported), (lines, "0" * 64)):
        with pytest.raises(Exception, match="does not hold the answer"):
            read(wrong, digest)


def test_a_build_that_was_started_again_says_its_own(tmp_path: Path) -> None:
    """CodeBuild's automatic retry prints under the same mark; the answer before it, of another length, is forgotten."""
    before, _ = ran(tmp_path, signed(200))
    lines, exported = ran(tmp_path, signed(40))
    assert read([*before, *lines], exported).output.decode() == signed(40)


def test_a_host_that_cannot_make_the_container(tmp_path: Path) -> None:
    """Its disk is full: nothing is said about the image."""
    lines, exported = ran(
        tmp_path, "", "sys.exit('Error response from daemon: write /var/lib/docker/x: no space left on device')"
    )
    with pytest.raises(Exception, match="says nothing about the image"):
        read(lines, exported)
