"""What may be handed on: texts and objects without the secrets that can be told in them, and without what a terminal would obey.

What a secret is, trainyard_secrets.py says. Secret objects are not read at all.
"""

from __future__ import annotations

import re
from typing import Any

import trainyard_shell as shell
from evidence_folder.cutting import Cut, short_lines
from trainyard_hiding import HIDDEN, hidden, hidden_words
from trainyard_secrets import is_secret

KEYS = (
    re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]{0,20000}?-----END [A-Z ]{0,40}-----"),
    re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[\s\S]*\Z"),
    re.compile(r"\A(?:(?!-----BEGIN )[\s\S]){0,20000}?-----END [A-Z ]{0,30}PRIVATE KEY-----"),
)
"""A key, and the halves of one that was cut through. trainyard_secrets.py knows the first too, but takes its lines away with it."""
WHOLE_COPIES = ("kubectl.kubernetes.io/last-applied-configuration", "kubectl-client-side-apply")
"""Annotations that hold the object once more, as text, with every value that it had."""
PLAIN_KEYS = ("key", "name")
"""Keys that name a thing in Kubernetes' objects: `key: node.kubernetes.io/...`."""


def clean_cut(cut: Cut) -> bytes:
    """Both ends cleaned, with the marker in a line of its own between them."""
    if not cut.missing:
        return clean_text(cut.head)
    head, tail = clean_text(cut.head), clean_text(cut.tail)
    return head + (b"" if head.endswith(b"\n") or not head else b"\n") + cut.marker + b"\n" + tail


def clean_text(raw: bytes) -> bytes:
    """Lines stay lines, and their numbers stay. A carriage return stays too: progress bars are drawn with it."""
    text = short_lines(raw).decode("utf-8", "replace").replace("\r\n", "\n")
    text = "\r".join(map(shell.visible, text.split("\r")))
    for key in KEYS if "PRIVATE KEY" in text else ():
        text = key.sub(_same_lines, text)
    return hidden(text).encode("utf-8", "replace")


def _same_lines(found: re.Match[str]) -> str:
    return HIDDEN + "\n" * found[0].count("\n")


def clean_object(value: Any, name: str = "") -> Any:
    """A document of JSON; `name` is the key it stands under."""
    if isinstance(value, dict):
        return _clean_members(value)
    if isinstance(value, list):
        if name in ("command", "args", "words", "argv") and all(isinstance(word, str) for word in value):
            return [shell.visible(word) for word in hidden_words(value)]
        return [clean_object(each, name) for each in value]
    if isinstance(value, str):
        text = shell.visible(value)
        return HIDDEN if name not in PLAIN_KEYS and is_secret(name, text) and name else hidden(text)
    return value


def _clean_members(members: dict[str, Any]) -> dict[str, Any]:
    variable = members.get("name")
    if isinstance(variable, str) and isinstance(members.get("value"), str):  # an environment variable, a header of a probe
        members = {**members, "value": clean_object(members["value"], variable)}
    return {
        shell.visible(str(key)): HIDDEN if key in WHOLE_COPIES else clean_object(value, str(key))
        for key, value in members.items()
        if key != "managedFields"
    }
