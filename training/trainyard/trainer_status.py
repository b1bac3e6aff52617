"""Progress for Kubeflow's Trainer: on a TrainJob, rank 0 tells it, and `status.trainerStatus` shows it (KEP-2779, Trainer 2.2 and later).

The controller sets KUBEFLOW_TRAINER_SERVER_URL, _TOKEN and _CA_CERT (paths) in the pods where its gate TrainJobStatus is on; it takes a
POST of 64 kB at most, with `lastUpdatedTime`, names and values of 1 to 64 characters, and 5 requests a second for all jobs together.
The token is rotated within the hour, so its file is read for each request.
"""

from __future__ import annotations

import json
import os
import ssl
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainyard.aside import Aside
from trainyard.speaking import warn

EVERY_S, AT_MOST_S = 15.0, 600.0
"""Between two requests; after failures it doubles up to the second."""
TIMEOUT_S = 5.0
END_S = 3.0
"""The last word may take this long."""
MAX_FILE_BYTES = 64 << 10
MOST, MAX_CHARS, MAX_INT = 32, 64, 2**31 - 1
NOT_METRICS = ("time", "incarnation", "blocked_s")
PREFIXES = ("KUBEFLOW_TRAINER_SERVER_", "KUBEFLOW_TRAINER_STATUS_")
"""As the controller of 2.3 sets them, and as notes on the proposal have them."""


class TrainerStatus:
    """`tell` a step's record; whatever happens to it, the training goes on. Without the controller's variables nothing is told."""

    def __init__(
        self,
        aside: Aside,
        total_steps: int | None,
        environment: Mapping[str, str] | None = None,
        *,
        every_s: float = EVERY_S,
        end_s: float = END_S,
    ) -> None:
        own = os.environ if environment is None else environment
        prefix = next((each for each in PREFIXES if own.get(f"{each}URL")), PREFIXES[0])
        self._url, self._token, self._ca = (own.get(f"{prefix}{each}", "") for each in ("URL", "TOKEN", "CA_CERT"))
        self._aside, self._total = aside, total_steps
        self._began: tuple[float, int] | None = None
        """When the first step of this start was told, and which it was."""
        self._every_s, self._end_s = every_s, end_s
        self._due, self._wait_s, self._warned = 0.0, every_s, False

    @property
    def is_wanted(self) -> bool:
        return urlsplit(self._url).scheme == "https" and bool(self._token)

    def tell(self, step: int, record: Mapping[str, Any]) -> None:
        if not self.is_wanted:
            return
        now = time.monotonic()
        self._began = self._began or (now, step)
        if now >= self._due:
            self._due = now + self._wait_s
            self._send(status_of(step, self._total, record, self._left_s(now, step)))

    def end(self, step: int, record: Mapping[str, Any], *, finished: bool) -> None:
        """The last word; it is waited for, a little."""
        if self.is_wanted and step:
            self._send(status_of(step, step if finished else self._total, record, 0.0 if finished else None))
            self._aside.drain(self._end_s)

    def _left_s(self, now: float, step: int) -> float | None:
        since, first = self._began or (now, step)
        if not self._total or step <= first:
            return None
        return (now - since) / (step - first) * max(0, self._total - step)

    def _send(self, status: dict[str, Any]) -> None:
        self._aside.put("trainer-status", lambda: self._post(json.dumps({"trainerStatus": status}).encode()))

    def _post(self, body: bytes) -> None:
        try:
            post(self._url, _text(self._token), self._ca, body)
            self._wait_s = self._every_s
        except (OSError, ValueError) as error:  # refused, unreachable, a certificate, a token that is not there yet
            self._wait_s = min(AT_MOST_S, self._wait_s * 2)
            self._due = time.monotonic() + self._wait_s
            if not self._warned:
                self._warned = True
                warn(f"trainyard: the Trainer does not take the progress ({str(error)[:200]}); training goes on")


def status_of(step: int, total: int | None, record: Mapping[str, Any], left_s: float | None) -> dict[str, Any]:
    """What `status.trainerStatus` holds, within the bounds of its schema."""
    status: dict[str, Any] = {
        "lastUpdatedTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "metrics": _metrics(step, record),
    }
    if total:
        status["progressPercentage"] = max(0, min(100, 100 * step // total))
    if left_s is not None:
        status["estimatedRemainingSeconds"] = max(0, min(MAX_INT, round(left_s)))
    return status


def _metrics(step: int, record: Mapping[str, Any]) -> list[dict[str, str]]:
    told = {"step": step, **{key: value for key, value in record.items() if key not in NOT_METRICS}}
    numbers = {key: value for key, value in told.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    shown = (
        (str(key)[:MAX_CHARS], f"{value:.8g}" if isinstance(value, float) else str(value)[:MAX_CHARS])
        for key, value in numbers.items()
    )
    return [{"name": name, "value": value} for name, value in shown if name][:MOST]


def _text(path: str) -> str:
    with Path(path).open("rb") as file:
        return file.read(MAX_FILE_BYTES).decode().strip()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to the address that the controller named, and to no other."""

    def redirect_request(self, *args: Any, **words: Any) -> None:
        return None


def post(url: str, token: str, ca_file: str, body: bytes) -> None:
    """Raises OSError (HTTPError and certificate errors are some), ValueError. No proxy: the server is in the cluster."""
    context = ssl.create_default_context(cafile=ca_file or None)
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect())
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S) as answer:
        answer.read(MAX_FILE_BYTES)
