"""What came out of the container -> the answers of the probes. A line without the right signature, number or shape does not count."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any

import trainyard_files
import trainyard_shell as shell
from tester_bundle import Plan

MAX_OUTPUT_BYTES = 8 << 20
MAX_LINE_BYTES = 1 << 18
MAX_TEXT_CHARS = 4000
STATES = ("done", "failed", "unproven", "absent", "raised", "died", "timeout", "flooded", "memory")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The answer of one item of a probe."""

    id: str
    index: int
    state: str
    """One of STATES; `missing`: the container ended before."""
    step: str = ""
    """Where it was."""
    seconds: float = 0.0
    data: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    """What was wrong, in the words of the probe or of the exception."""
    needs: str = ""
    """unproven: gpu, network, data, time."""
    output: str = ""
    """The end of what the child printed: text of the image."""

    def said(self) -> str:
        """All text that a cause may stand in."""
        return f"{self.text}\n{self.output}"


@dataclass
class Answers:
    """All of a container."""

    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    begin: dict[str, Any] = field(default_factory=dict)
    """Python's version, path and machine; empty where Python never ran the probe."""
    complete: bool = False
    last: str = ""
    """The probe that had begun last."""
    unsigned: int = 0
    """Lines that are not ours."""

    def of(self, id: str) -> list[Outcome]:
        return self.outcomes.get(id, [])

    def one(self, id: str) -> Outcome | None:
        found = self.of(id)
        return found[0] if found else None

    def data(self, id: str) -> dict[str, Any]:
        """What a probe found; {} where it did not come to its end."""
        found = self.one(id)
        return found.data if found and found.state == "done" else {}


def read(output: bytes, plan: Plan) -> Answers:
    """The signed lines in their order; every item of the plan has an outcome."""
    answers = Answers()
    number = 0
    for line in output[:MAX_OUTPUT_BYTES].split(b"\n"):
        document = _signed(line, plan.key) if line else None
        if document is None or document.get("number") != number + 1:
            answers.unsigned += bool(line.strip())
            continue
        number += 1
        _take(answers, document)
    answers.complete = answers.complete and all(len(answers.of(each.id)) == len(each.items) for each in plan.probes)
    for each in plan.probes:
        found = answers.outcomes.setdefault(each.id, [])
        found += [Outcome(id=each.id, index=at, state="missing") for at in range(len(found), len(each.items))]
    return answers


def _signed(line: bytes, key: str) -> dict[str, Any] | None:
    words = line.split(b" ", 2)
    if len(words) != 3 or words[0] != b"TY1" or len(line) > MAX_LINE_BYTES:
        return None
    mark = hmac.new(key.encode(), words[2], hashlib.sha256).hexdigest()
    if not hmac.compare_digest(words[1], mark.encode()):
        return None
    try:
        document = trainyard_files.parse(words[2])
    except trainyard_files.Unusable:
        return None
    return document if isinstance(document, dict) else None


def _take(answers: Answers, document: dict[str, Any]) -> None:
    id, state = str(document.get("id")), document.get("state")
    if id == "begin":
        answers.begin = {name: shell.clean(str(value), 300) for name, value in document.items() if name != "number"}
    elif id == "end":
        answers.complete = True
    elif state == "began":
        answers.last = id
    elif state in STATES:
        found = answers.outcomes.setdefault(id, [])
        found.append(_outcome(id, len(found), str(state), document))


def _outcome(id: str, index: int, state: str, document: dict[str, Any]) -> Outcome:
    data, seconds = document.get("data"), document.get("seconds")
    return Outcome(
        id=id,
        index=index,
        state=state,
        step=shell.clean(str(document.get("step", "")), 300),
        seconds=float(seconds) if isinstance(seconds, int | float) else 0.0,
        data=_cleaned(data) if isinstance(data, dict) else {},
        text=shell.clean(_words(state, document), MAX_TEXT_CHARS),
        needs=shell.clean(str(document.get("needs", "")), 20),
        output=shell.clean(str(document.get("output", "")), MAX_TEXT_CHARS),
    )


def _words(state: str, document: dict[str, Any]) -> str:
    if state == "raised":
        return f"{document.get('type')}: {document.get('text')}"
    if state == "timeout":
        return f"it did not end within {document.get('limit_s')} s"
    if state == "flooded":
        return "it sent more results than a probe has"
    if state == "memory":
        limit = document.get("limit_bytes")
        return f"the kernel ended it for want of memory{f', the limit is {limit >> 20} MiB' if isinstance(limit, int) else ''}"
    if state == "died":
        signal, code = document.get("signal"), document.get("code")
        return f"its process was ended by signal {signal}" if signal else f"its process ended by itself with exit code {code}"
    return str(document.get("text", ""))


def _cleaned(value: Any) -> Any:
    """Text of the image is data: no control characters, bounded."""
    if isinstance(value, dict):
        return {shell.clean(str(key), 100): _cleaned(each) for key, each in list(value.items())[:200]}
    if isinstance(value, list):
        return [_cleaned(each) for each in value[:500]]
    return shell.clean(value) if isinstance(value, str) else value
