"""Running things on the head of a cluster: a command, or one of our scripts in assets/."""

from __future__ import annotations

import json
import re
from typing import Any

import trainyard_shell as shell
from trainyard_exec import run_in_pod
from trainyard_kube import Cluster

from ray_manifest import ASSETS
from ray_objects import Head

SCRIPT_S = 60.0
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def script(cluster: Cluster, head: Head, name: str, *words: str, timeout_s: float = SCRIPT_S) -> Any:
    """Run assets/NAME on the head and return the JSON of its last line. Raises SkillError unreachable with its last words."""
    source = (ASSETS / name).read_text(encoding="utf-8")
    ran = run_in_pod(cluster, head.pod, head.container, ["python", "-c", source, *words], timeout_s=timeout_s)
    last = ran.text().strip().rpartition("\n")[2]
    try:
        if ran.exit_code == 0:
            return json.loads(last)
    except ValueError:
        pass
    said = ran.stderr.decode("utf-8", "replace").strip() or last
    message = f"{name} on {head.pod} failed (exit {ran.exit_code}): {shell.clean(said[-600:])}"
    raise shell.SkillError(
        "unreachable", message, hint="is the head healthy? manage_ray.py status, logs --rank 0", retryable=True
    )


def stream(cluster: Cluster, head: Head, command: list[str], timeout_s: float) -> tuple[int, int]:
    """Run a command on the head; its output comes as lines of a stream, stderr in between. (exit code, lines)."""
    lines = Lines(head.pod)
    source = (ASSETS / "on_head.py").read_text(encoding="utf-8")
    words = ["python", "-c", source, "run", *command]
    try:
        ran = run_in_pod(cluster, head.pod, head.container, words, timeout_s=timeout_s, on_stdout=lines.take)
    finally:
        lines.end()
    return ran.exit_code, lines.count


def tidy(line: str) -> str:
    """A line of a job as data; Ray's own lines come in colours."""
    return shell.clean(COLOUR.sub("", line))


class Lines:
    """Bytes as they come -> one object a line."""

    def __init__(self, pod: str) -> None:
        self.pod, self.count, self._rest = pod, 0, b""

    def take(self, part: bytes) -> None:
        *lines, self._rest = (self._rest + part).split(b"\n")
        for line in lines:
            self._emit(line)

    def end(self) -> None:
        if self._rest:
            self._emit(self._rest)
        self._rest = b""

    def _emit(self, line: bytes) -> None:
        self.count += 1
        shell.emit("log", rank=0, pod=self.pod, line=tidy(line.decode("utf-8", "replace")))
