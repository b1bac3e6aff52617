"""One question to a container: the sources go in over stdin, one document (and files) comes out. What comes back is data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from checkpoint_pods.inside import MARK
from trainyard_exec import run_in_pod

SENT = (
    "checkpoint_pods.inside",
    "trainyard_output",
    "trainyard_calls",
    "trainyard_python",
    "trainyard_shell",
    "checkpoint_bytes",
    "checkpoint_names",
    "checkpoint_manifest",
    "checkpoint_format",
    "checkpoint_forms",
    "checkpoint_contents",
    "checkpoint_judgement",
    "checkpoint_folder.words",
    "checkpoint_folder.holder",
    "checkpoint_folder.look",
    "trainyard_files",
    "whose",
    "checkpoint_folder.verdict",
    "checkpoint_folder.verified",
    "checkpoint_folder.rows",
    "checkpoint_folder.removal_words",
    "checkpoint_folder.removal_plan",
    "checkpoint_folder.removal",
    "checkpoint_folder.in_use",
    "checkpoint_folder.rollback",
    "checkpoint_folder.verbs",
)
"""Standard library only, inside.py's stand-in for click aside."""
BOOTSTRAP = (
    "import sys,json;ask=json.loads(sys.stdin.buffer.read(int(sys.argv[1])));"
    "scope={'__name__':'checkpoint_pods.inside'};exec(ask['sources']['checkpoint_pods.inside'],scope);scope['main'](ask)"
)
"""Short, for it travels in the address of the request."""
MAX_DEPTH, MAX_ERROR_CHARS = 12, 400


@dataclass(frozen=True)
class Place:
    """A running container with Python in it, from which the volume can be seen."""

    cluster: kube.Cluster
    pod: str
    container: str
    python: str
    timeout_s: float
    options: str
    """What the caller gave to get here, for the next commands that are printed."""
    users: tuple[str, ...] = ()
    """Other running pods that use the claim."""

    def row(self) -> dict[str, Any]:
        return {"pod": self.pod, "container": self.container}


def payload(verb: str, words: dict[str, Any]) -> bytes:
    folder = Path(__file__).resolve().parents[1]
    sources = {name: (folder / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8") for name in SENT}
    return json.dumps({"sources": sources, "verb": verb, "words": words}).encode()


def call(place: Place, verb: str, words: dict[str, Any], on_bytes: Callable[[bytes], None] | None = None) -> dict[str, Any]:
    """The document that the container answers with, cleaned. With `on_bytes` stdout goes there and {} is returned.

    Raises SkillError as run_in_pod does, and `unreachable` where Python did not end well.
    """
    data = payload(verb, words)
    command = [place.python, "-c", BOOTSTRAP, str(len(data))]
    errors = StderrLines()
    ran = run_in_pod(
        place.cluster,
        place.pod,
        place.container,
        command,
        stdin=data,
        timeout_s=place.timeout_s,
        on_stdout=on_bytes,
        on_stderr=errors.feed,
    )
    if ran.exit_code:
        message = f"{place.python} in pod {place.pod} ended with exit code {ran.exit_code}: {errors.last}"
        hint = "137: the pod was stopped or out of memory; otherwise the message says what is wrong"
        raise shell.SkillError("unreachable", message, hint=hint, retryable=True)
    return document_in(ran.text(), place) if on_bytes is None else {}


class StderrLines:
    """Passes on what the container says to people, line by line, and remembers the last one."""

    def __init__(self) -> None:
        self.last, self._rest = "", ""

    def feed(self, part: bytes) -> None:
        *lines, self._rest = (self._rest + part.decode("utf-8", "replace"))[-100_000:].split("\n")
        for line in lines:
            self.last = shell.clean(line, MAX_ERROR_CHARS)
            shell.progress(self.last)


def document_in(text: str, place: Place) -> dict[str, Any]:
    """The answer in what was printed; whatever else an image prints is skipped."""
    lines = [line for line in text.splitlines() if line.startswith(MARK)]
    if not lines:
        message = f"{place.python} in pod {place.pod} printed no answer"
        raise shell.SkillError("unreachable", message, hint="is it a Python? --python names another one")
    return opened(lines[-1], place)


def opened(line: str, place: Place) -> dict[str, Any]:
    """One answer line. Raises the SkillError that it tells of."""
    try:
        document = cleaned(json.loads(line[len(MARK) :]), place)
    except (ValueError, RecursionError) as error:
        raise shell.SkillError("unreachable", f"pod {place.pod} answers no JSON: {error}", hint="the same call") from error
    if not isinstance(document, dict):
        raise shell.SkillError("unreachable", f"pod {place.pod} answers {type(document).__name__}", hint="the same call")
    told = document.get("error")
    if isinstance(told, dict):
        code = str(told.get("code"))
        raise shell.SkillError(
            code if code in shell.EXIT_CODES else "internal",
            str(told.get("message")),
            hint=str(told.get("hint") or "kubectl describe pod"),
            retryable=told.get("retryable") is True,
            data={**_mapping(document.get("data")), "place": place.row()},
            checks=_checks(document.get("checks")),
        )
    return document


def result_of(document: dict[str, Any], place: Place) -> shell.Result:
    """The verb's Result as it was in the container, with `place` added to its data."""
    result = _mapping(document.get("result"))
    return shell.Result(
        {**_mapping(result.get("data")), "place": place.row()},
        checks=_checks(result.get("checks")),
        changed=[str(line) for line in result.get("changed") or []],
        next=[str(line) for line in result.get("next") or []],
        truncated=result.get("truncated") is True,
        ok=result.get("ok") is True,
    )


def cleaned(value: Any, place: Place, depth: int = 0) -> Any:
    """Text without control characters and of bounded length; commands name this program and how to get here again."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        text = shell.clean(value)
        if text.startswith("manage_checkpoints.py "):
            return text.replace("manage_checkpoints.py", "pod_checkpoints.py", 1) + f" {place.options}"
        return text
    if isinstance(value, dict):
        return {shell.clean(str(key), 200): cleaned(item, place, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item, place, depth + 1) for item in value]
    return value


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _checks(value: Any) -> list[shell.Check]:
    rows = [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
    return [
        shell.Check(
            str(row.get("id")),
            row["status"] if row.get("status") in ("pass", "warn", "fail", "skipped") else "unknown",
            str(row.get("summary")),
            row.get("evidence") and str(row["evidence"]),
            row.get("fix") and str(row["fix"]),
        )
        for row in rows
    ]
