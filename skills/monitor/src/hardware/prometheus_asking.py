"""The address of a Prometheus as a `Query`: what it refuses is a SkillError, and an answer without `data` is one too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import trainyard_prometheus as prometheus
import trainyard_shell as shell

if TYPE_CHECKING:
    from hardware.dcgm_series import Query

TIMEOUT_S = 60.0
"""For all questions of one look."""


def at_address(url: str, timeout_s: float = TIMEOUT_S) -> Query:
    """Raises SkillError usage where the text is not an address."""
    place, deadline = prometheus.server(url), time.monotonic() + timeout_s

    def query(path: str, words: dict[str, str]) -> dict[str, Any]:
        status, document = prometheus.ask(place, path, words, max(1.0, deadline - time.monotonic()))
        return data_of(document, status, words.get("query", ""))

    return query


def data_of(document: dict[str, Any], status: int, asked: str) -> dict[str, Any]:
    """`data` of an answer. Raises SkillError: unreachable where it is partial or none, permission, usage."""
    data = document.get("data")
    if status == 200 and document.get("status") == "success" and isinstance(data, dict):
        if document.get("warnings"):  # such as a store that did not answer: GPUs may be missing
            told = shell.clean(str(document["warnings"]), 300)
            raise shell.SkillError("unreachable", f"Prometheus answers with a part of the whole: {told}", retryable=True)
        return data
    said = shell.clean(str(document.get("error") or document.get("message") or f"HTTP {status}"), 300)
    if status in (401, 403):
        hint = "a Prometheus behind a sign-in: a port-forward past it; an AMP workspace: hyperpod-manager query-metrics"
        raise shell.SkillError("permission", f"Prometheus refuses: {said}", hint=hint)
    raise shell.SkillError(
        "unreachable", f"Prometheus cannot answer {asked[:100]}: {said}", hint="another --prometheus", retryable=True
    )
