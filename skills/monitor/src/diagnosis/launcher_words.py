"""What the launcher itself concluded of the end: in runner.json and events.jsonl, and in the termination message of its pod, which is
there without the volume."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from diagnosis import cluster_words
from diagnosis.exits import rule_of_code
from diagnosis.case import Case
from diagnosis.facts import Found, Source
from diagnosis.rules import every_of
from diagnosis.run_history import event_text

OF_A_NODE = re.compile(r"^node (\d{1,5}) ended with -?\d{1,3}: ")
"""The coordinator's, in front of what that node's launcher has said."""
OF_A_RANK = re.compile(r"^rank \d+ (?:failed|exited with \d+|killed by \w+ \(\d+\))(?: \([^)]*\))?: ")
RANK = re.compile(r"(?:event hang .{0,12})?rank (\d{1,6})\b")
SIGNAL = re.compile(r"(?:rank (?P<rank>\d+) )?killed by SIG\w+ \((?P<signal>\d+)\)")
MAX_MESSAGE = 4096
"""Bytes that the kubelet keeps of a termination message."""


def found_in(case: Case) -> list[Found]:
    return [*_of_run_folder(case)] or [*_of_pods(case)]


def _of_run_folder(case: Case) -> Iterator[Found]:
    history, attempt = case.history, case.attempt
    if history is None:
        return
    base = "run/" if history.folder != case.evidence.root else ""
    newest = attempt is history.newest
    texts: list[tuple[str, str, int | None]] = []
    if attempt and attempt.reason:
        texts.append((f"{base}events.jsonl", attempt.reason, attempt.lines.get("ended")))
    if newest and history.reason and (not attempt or history.reason != attempt.reason):
        texts.append((f"{base}runner.json", history.reason, None))
    if newest and history.state == "stopped":
        texts.append((f"{base}runner.json", "state stopped", None))
    went_on = max((number for number, each in (attempt.events if attempt else []) if each.type == "goes-on"), default=0)
    for number, event in attempt.events if attempt else []:
        if number > went_on:
            texts.append((f"{base}events.jsonl", event_text(event), number))
    for file, text, line in texts:
        yield from _of_text(Source(file), text, line)


def _of_pods(case: Case) -> Iterator[Found]:
    for pod in case.evidence.pods:
        status = cluster_words.main_status(pod)
        ended = (status.get("state") or {}).get("terminated") if isinstance(status.get("state"), dict) else None
        reason = _reason(ended.get("message") if isinstance(ended, dict) else None)
        if reason:
            # No pod and no node of the source: node 0 tells what happened on another one.
            yield from _of_text(Source(f"pods/{pod.name}/pod.json (termination message)"), reason, None)


def _reason(message: object) -> str | None:
    """Of `{"trainyard": {"state": "failed", "reason": ...}}`, as training/trainyard/launch_record.py leaves it."""
    try:
        told = json.loads(str(message)[:MAX_MESSAGE])["trainyard"]
        reason = told["reason"] if told["state"] == "failed" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return reason if isinstance(reason, str) else None


def _of_text(source: Source, text: str, number: int | None) -> Iterator[Found]:
    own = OF_A_NODE.sub("", text)
    rank = int(match[1]) if (match := RANK.match(own)) else None
    rows = [(each, match.groupdict()) for each, match in every_of("runner", text)]
    told = OF_A_RANK.sub("", own)
    if told != own and not own.startswith("event"):
        rows += [(each, match.groupdict()) for each, match in every_of("log", told.partition(" (")[0])]
    if match := SIGNAL.search(own):
        rows.append((rule_of_code(-int(match["signal"]), rank is not None), {}))
    for each, more in rows:
        found = Found(each, source, text[:600], rank, line=number, uncaught=True)
        found.more = {name: value for name, value in more.items() if value}
        yield found
