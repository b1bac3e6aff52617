"""The monitor as its users call it, for a run on a cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tests.calling import SKILLS, Answer, call

PROGRAM = SKILLS / "monitor" / "src" / "monitor_training.py"


@dataclass(frozen=True)
class Monitor:
    kubeconfig: Path
    namespace: str | None
    folder: Path
    """Where it is called, and what it writes goes to."""

    def __call__(self, verb: str, *words: object, streams: bool = False, timeout_s: float = 120) -> Answer:
        where = ["-n", self.namespace] if self.namespace else []
        env = {"KUBECONFIG": str(self.kubeconfig)}
        return call(PROGRAM, verb, *words, *where, env=env, cwd=self.folder, timeout_s=timeout_s, streams=streams)

    def as_user(self, kubeconfig: Path) -> Monitor:
        return replace(self, kubeconfig=kubeconfig)


def bad(answer: Answer) -> dict[str, str]:
    """The checks that are no pass, by their ids."""
    return {check["id"]: check["status"] for check in answer.document["checks"] if check["status"] not in ("pass", "skipped")}
