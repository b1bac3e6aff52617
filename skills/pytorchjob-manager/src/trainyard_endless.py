"""Causes that no time removes: a job that has had one for long will not run by itself, and to wait for it is to wait for ever.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

CANNOT_PASS = {
    "container.start": 30.0,
    "image.invalid": 30.0,
    "pod.os": 30.0,
    "volume.lost": 30.0,
    "image.not-found": 120.0,
    "volume.deleting": 120.0,
}
"""Findings that go only when somebody changes the job, the image or the claim; and for how many seconds one must have stood: somebody
may be pushing the image at this moment."""
WAITS = ("pending", "restarting")


class Standing:
    """Since when each finding of one job has stood, for whoever looks at it now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._since = clock, dict[str, float]()

    def endless(self, status: dict[str, Any]) -> dict[str, Any] | None:
        """The finding of this status (`state`, `findings`) that has stood for so long that nothing will come of waiting."""
        now, findings = self._clock(), status.get("findings") or []
        self._since = {each["id"]: self._since.get(each["id"], now) for each in findings}
        old = [id for id, since in self._since.items() if now - since >= CANNOT_PASS.get(id, math.inf)]
        return next((each for each in findings if each["id"] in old), None) if status.get("state") in WAITS else None


def sentence(status: dict[str, Any], finding: dict[str, Any]) -> str:
    return f"it is {status['state']} and will stay so: {finding['id']}: {finding['summary']}"
