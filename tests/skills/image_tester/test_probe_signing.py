"""Only what the first process signed, in its order, counts."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import probing

PROBE = {"id": "it", "call": "probe_python.python"}


def line(document: dict[str, Any], key: str) -> bytes:
    text = json.dumps(document)
    return f"TY1 {hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()} {text}\n".encode()


def whole(key: str, **changed: Any) -> list[bytes]:
    documents = [
        {"id": "begin", "python": "3.11", "number": 1},
        {"id": "it", "index": 0, "state": "began", "number": 2},
        {"id": "it", "index": 0, "state": "done", "data": {"version": "3.11"}, "number": 3, **changed},
        {"id": "end", "probes": 1, "number": 4},
    ]
    return [line(each, key) for each in documents]


def read(lines: list[bytes], plan: Any) -> Any:
    return probing.module("tester_answer").read(b"".join(lines), plan)


def test_signed_lines_count() -> None:
    """Control of all others."""
    plan = probing.plan(PROBE)
    found = read(whole(plan.key), plan)
    assert found.complete and found.one("it").state == "done" and found.unsigned == 0


def test_another_key_does_not_count() -> None:
    plan = probing.plan(PROBE)
    found = read(whole("0" * 64), plan)
    assert not found.begin and not found.complete and found.one("it").state == "missing" and found.unsigned == 4


def test_a_line_of_another_test_does_not_count() -> None:
    """Recorded from the same image yesterday."""
    yesterday, today = probing.plan(PROBE), probing.plan(PROBE)
    assert not read(whole(yesterday.key), today).begin


def test_a_repeated_line_does_not_count() -> None:
    plan = probing.plan(PROBE)
    lines = whole(plan.key)
    found = read([*lines[:3], lines[2], lines[3]], plan)
    assert found.complete and len(found.of("it")) == 1 and found.unsigned == 1


def test_a_lost_line_is_no_pass() -> None:
    plan = probing.plan(PROBE)
    lines = whole(plan.key)
    found = read([*lines[:2], lines[3]], plan)
    assert not found.complete and found.one("it").state == "missing"


def test_a_changed_line_does_not_count() -> None:
    plan = probing.plan(PROBE)
    lines = [each.replace(b"3.11", b"3.12") for each in whole(plan.key)]
    assert not read(lines, plan).begin


def test_text_of_the_image_is_cleaned() -> None:
    plan = probing.plan(PROBE)
    found = read(whole(plan.key, data={"version": "3\x1b[31m"}, output="\x07bell"), plan)
    assert found.one("it").data["version"] == "3" and found.one("it").output == "bell"


def test_endless_garbage_is_bounded() -> None:
    plan = probing.plan(PROBE)
    found = read([b"x" * 100 + b"\n"] * 100_000, plan)
    assert not found.begin and found.unsigned > 1000
