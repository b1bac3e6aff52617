"""An image started once, without rights and without a network, and what the probe in it says."""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainyard_docker
import trainyard_shell as shell
from builders import guarded

PROBE = Path(__file__).with_name("probe.py")
OWNER = "trainyard.dev/owner=image-builder"
MAX_LINES, MAX_LINE_CHARS = 500, 8000
MODULE = re.compile(r"[A-Za-z_]\w{0,100}(?:\.[A-Za-z_]\w{0,100}){0,5}", re.ASCII)
CONFINED = (
    "--network",
    "none",
    "--hostname",
    "localhost",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--pids-limit",
    "1024",
    "--shm-size",
    "1g",
)
"""hostname: without a name that resolves, torchrun waits for ten minutes."""


@dataclass
class Seen:
    """What came out of the container; a step begins with a mark that only our probe was told."""

    mark: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        if line.startswith(self.mark) and len(self.steps) < 100:
            try:
                found = json.loads(line[len(self.mark) :][:MAX_LINE_CHARS])
            except (ValueError, RecursionError):
                return
            if isinstance(found, dict):
                self.steps.append(found)
        elif len(self.lines) < MAX_LINES:
            self.lines.append(shell.clean(line, 400))


def smoke(image: str, imports: tuple[str, ...], memory: str, timeout_s: float) -> shell.Result:
    """Raises SkillError not-found (no such image), timeout, and whatever the daemon refuses."""
    wrong = [name for name in imports if not MODULE.fullmatch(name)]
    if wrong:
        raise shell.SkillError("usage", f"--import {shell.clean(wrong[0], 60)!r} is not a module", hint="--import numpy")
    docker = trainyard_docker.find()
    name = f"trainyard-smoke-{secrets.token_hex(6)}"
    words = [docker.program, "run", "--rm", "--name", name, "--label", OWNER, *CONFINED, "--memory", memory]
    words += ["--entrypoint", "python3", image, "-c", PROBE.read_text(encoding="utf-8")]
    seen = Seen(f"TRAINYARD-PROBE {secrets.token_hex(16)} ")
    words += [seen.mark, "torch", *imports]
    ended = guarded.run(words, seen.take, timeout_s=timeout_s, cleanup=[[docker.program, "rm", "-f", name]])
    if not seen.steps:
        _refuse(image, ended, seen, timeout_s)
    checks = _checks(image, seen, ended, timeout_s)
    data = {"image": image, "seconds": round(ended.seconds, 2), "steps": seen.steps, "output": seen.lines[-20:]}
    return shell.Result(data, checks)


def _refuse(image: str, ended: guarded.Ended, seen: Seen, timeout_s: float) -> None:
    said = " ".join(seen.lines[-6:])
    if re.search(r"No such image|pull access denied|manifest unknown|not found: manifest|Unable to find image", said):
        raise shell.SkillError(
            "not-found", f"there is no image {image}: {said[-400:]}", hint="build_image.py build FOLDER; `docker images`"
        )
    if ended.timed_out:
        raise shell.SkillError(
            "timeout", f"{image} did not start within {timeout_s:g} s", hint="--timeout SECONDS", retryable=True
        )


def _checks(image: str, seen: Seen, ended: guarded.Ended, timeout_s: float) -> list[shell.Check]:
    steps = seen.steps
    start = next((each for each in steps if each.get("step") == "start"), None)
    if start is None:
        said = "\n".join(seen.lines[-10:])
        fix = "the image needs python3 in its PATH"
        return [shell.Check("smoke.start", "fail", f"{image} does not start python3: exit code {ended.code}", said, fix)]
    checks = [
        shell.Check(
            "smoke.start",
            "pass",
            f"Python {start.get('python')} starts as user {start.get('uid')}",
            f"workdir {start.get('workdir')}",
        )
    ]
    if start.get("uid") == 0:
        checks.append(
            shell.Check(
                "smoke.user",
                "warn",
                "it runs as root; clusters that ask for runAsNonRoot refuse it",
                fix="USER 1000:1000 at the end of the Dockerfile",
            )
        )
    for each in steps:
        if each.get("step") == "import":
            checks.append(_import(each))
    reduced = next((each for each in steps if each.get("step") == "all-reduce"), None)
    if reduced is not None:
        ok = bool(reduced.get("ok"))
        told = "two ranks sum a tensor over gloo" if ok else f"two ranks do not: exit code {reduced.get('exit_code')}"
        checks.append(
            shell.Check(
                "smoke.all-reduce", "pass" if ok else "fail", told, None if ok else shell.clean(str(reduced.get("said")), 1500)
            )
        )
    elif ended.timed_out or ended.code:
        why = f"it took longer than {timeout_s:g} s" if ended.timed_out else f"the container ended with exit code {ended.code}"
        why += " (137: out of memory, or killed)" if ended.code == 137 else ""
        checks.append(shell.Check("smoke.all-reduce", "unknown", f"not reached: {why}", f"last step: {steps[-1].get('step')}"))
    else:
        checks.append(shell.Check("smoke.all-reduce", "skipped", "torch does not import"))
    return checks


def _import(each: dict[str, Any]) -> shell.Check:
    name, ok = shell.clean(str(each.get("name")), 100), bool(each.get("ok"))
    if ok:
        return shell.Check(
            "smoke.import",
            "pass",
            f"{name} {shell.clean(str(each.get('version') or ''), 60)} imports in {each.get('seconds')} s",
        )
    why = "did not end in time" if each.get("exit_code") is None else "does not import"
    return shell.Check(
        "smoke.import",
        "fail",
        f"{name} {why}",
        shell.clean(str(each.get("said")), 1500),
        f"is {name} installed for the image's python3?",
    )
