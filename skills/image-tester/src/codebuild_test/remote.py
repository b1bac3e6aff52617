"""One test on CodeBuild: what StartBuild is asked for, and the container's answer out of the build's log."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import secrets
import signal
import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tester_container
import trainyard_codebuild as codebuilds
import trainyard_codebuild_log as running
import trainyard_files
import trainyard_shell as shell
from codebuild_test.ecr_image import Found
from tester_container import Limits, Ran
from tester_inspect import State
from trainyard_codebuild import Build

ASSETS = Path(__file__).resolve().parents[2] / "assets"
RUNNER = Path(__file__).with_name("remote_runner.py")
BUILDSPEC = "buildspec-test.yml"
MARK = "TRAINYARD-TEST"
HOST_IMAGE = "aws/codebuild/standard:8.0"
MAX_PROGRAM_CHARS = 100_000
"""Linux takes no longer variable than 128 KiB."""
MAX_PIECES, MAX_ANSWER_BYTES = 4000, 16 << 20
LATE_S = 30.0
"""So long after the build's end its last lines may still come."""


@dataclass
class Order:
    """What goes out, and the mark that the answer has."""

    request: dict[str, Any]
    mark: str
    pieces: dict[int, str] = field(default_factory=dict)
    count: int = 0

    def take(self, line: str) -> None:
        """A line of the log. The container's own output never stands there as it is, so the mark is the runner's."""
        words = line.split(" ", 4)
        if len(words) != 5 or words[:2] != [MARK, self.mark] or not (words[2].isdigit() and words[3].isdigit()):
            return
        count = int(words[3])
        if count <= MAX_PIECES:
            if count != self.count:  # a build that CodeBuild has started again says it anew
                self.pieces.clear()
            self.count, self.pieces[int(words[2])] = count, words[4]

    @property
    def is_whole(self) -> bool:
        return bool(self.count) and set(self.pieces) == set(range(1, self.count + 1))


def order(
    found: Found, region: str, text: str, pythons: tuple[str, ...], limits: Limits, compute_type: str, queue_s: float
) -> Order:
    """The overrides of StartBuild for one test of `found`, whose probe is `text`."""
    import yaml

    mark = secrets.token_hex(16)
    words = tester_container.words(found.reference, "@PYTHON@", limits, {"trainyard.dev/test": mark})
    asked = {"words": words, "pythons": pythons, "limit_s": limits.timeout_s, "mark": mark}
    buildspec = yaml.safe_load((ASSETS / BUILDSPEC).read_text(encoding="utf-8"))
    buildspec["env"]["variables"] = {
        "TEST_PROBE": _packed(text.encode("ascii")),
        "TEST_RUNNER": _packed(RUNNER.read_bytes()),
    }
    variables = {
        "TEST_IMAGE": found.reference,
        "TEST_HOST": found.host,
        "TEST_REGION": region,
        "TEST_WORDS": json.dumps(asked),
    }
    minutes = int(limits.timeout_s // 60) + 30  # the pull of a large image takes some of it
    request = {
        "sourceTypeOverride": "NO_SOURCE",
        "artifactsOverride": {"type": "NO_ARTIFACTS"},
        "buildspecOverride": yaml.safe_dump(buildspec, sort_keys=False, width=1 << 20),
        "environmentTypeOverride": "LINUX_CONTAINER",
        "imageOverride": HOST_IMAGE,
        "imagePullCredentialsTypeOverride": "CODEBUILD",
        "computeTypeOverride": f"BUILD_GENERAL1_{compute_type}",
        "privilegedModeOverride": True,
        "environmentVariablesOverride": [
            {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in variables.items()
        ],
        "timeoutInMinutesOverride": min(2160, minutes),
        "queuedTimeoutInMinutesOverride": min(480, max(5, math.ceil(queue_s / 60))),
    }
    return Order(request, mark)


def _packed(program: bytes) -> str:
    packed = base64.b64encode(zlib.compress(program, 9)).decode("ascii")
    assert len(packed) < MAX_PROGRAM_CHARS, len(packed)
    return packed


def followed(order: Order, builds: Any, logs: Any, build_id: str, timeout_s: float) -> Build:
    """The build after its end; the answer's lines are taken on the way, the others shown."""

    def show(phase: str, line: str | None) -> None:
        if line is None:
            shell.progress(f"phase {phase}")
        elif line.startswith(f"{MARK} "):
            order.take(line)
        else:
            shell.progress(line)

    terminated = signal.signal(signal.SIGTERM, signal.default_int_handler)  # what the deployer sends at its Ctrl-C
    try:
        build = running.follow(builds, logs, build_id, timeout_s=timeout_s, show=show)
    except KeyboardInterrupt:
        raise _given_up(builds, build_id, "interrupted") from None
    except shell.SkillError as error:
        if error.code != "timeout":
            raise
        raise _given_up(builds, build_id, f"{build_id} did not end within {timeout_s:.0f} s") from error
    finally:
        signal.signal(signal.SIGTERM, terminated)
    until = time.monotonic() + LATE_S
    while build.status == "SUCCEEDED" and not order.is_whole and time.monotonic() < until:
        tail = running.LogTail(logs)
        for line in tail.lines(build):
            order.take(line)
        if tail.silent:
            raise _unreadable(build, tail.silent)
        time.sleep(1.0)
    return build


def _given_up(builds: Any, build_id: str, why: str) -> shell.SkillError:
    """It is stopped: only this process could read its answer."""
    try:
        while follower := codebuilds.get(builds, build_id).retry:  # CodeBuild has started it again
            build_id = follower
        codebuilds.stop(builds, build_id)
        told = f"the test {build_id} was stopped"
    except shell.SkillError as error:
        told = f"the test {build_id} ends by itself, for it cannot be stopped: {error}"
    return shell.SkillError(
        "timeout", f"{why}; {told}", hint="the same call tests again", retryable=True, data={"build_id": build_id}
    )


def _unreadable(build: Build, why: str) -> shell.SkillError:
    """Another test would end in the same way."""
    denied = "AccessDenied" in why
    hint = "allow it" if denied else "a project whose log is in CloudWatch Logs: --codebuild-project NAME"
    message = f"the test {build.id} has run, and its answer is in a log that cannot be read: {why}"
    return shell.SkillError("permission" if denied else "conflict", message, hint=hint, data={"build_id": build.id})


def answer(order: Order, build: Build) -> tuple[Ran, int, int]:
    """The container's run as if it had been here; lines without a signature; bytes of the unpacked image.

    Raises SkillError unreachable: the log does not hold the answer, or another one than the build exported.
    """
    packed = "".join(order.pieces[number] for number in sorted(order.pieces))
    if not order.is_whole or hashlib.sha256(packed.encode()).hexdigest() != build.exported.get("TEST_ANSWER"):
        message = (
            f"the log of {build.id} does not hold the answer of the test: {len(order.pieces)} of {order.count or '?'} lines"
        )
        raise shell.SkillError("unreachable", message, hint="the same call tests again", retryable=True)
    document = _unpacked(packed, build)
    state = document.get("state") or {}
    code = state.get("ExitCode")
    ran = Ran(
        output="\n".join(str(each) for each in document.get("lines") or []).encode("ascii", "replace"),
        error=shell.clean(str(document.get("error", "")), 4000),
        why=str(document.get("why", "")),
        state=State(
            code if isinstance(code, int) else None,
            state.get("OOMKilled") is True,
            shell.clean(str(state.get("Error") or ""), 600),
        ),
    )
    if fault := tester_container.fault_of_the_host(ran):
        raise fault
    size = document.get("size_bytes")
    return ran, int(document.get("unsigned") or 0), size if isinstance(size, int) else 0


def _unpacked(packed: str, build: Build) -> dict[str, Any]:
    try:
        unpacker = zlib.decompressobj()
        found = trainyard_files.parse(unpacker.decompress(base64.b64decode(packed, validate=True), MAX_ANSWER_BYTES))
        if not isinstance(found, dict):
            raise ValueError("no object")
    except (ValueError, zlib.error) as error:
        message = f"the answer in the log of {build.id} cannot be read: {error}"
        raise shell.SkillError("unreachable", message, hint="the same call tests again", retryable=True) from error
    return found
