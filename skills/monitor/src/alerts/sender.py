"""Sends each occurrence once, beside the watch: a receiver that fails or hangs ends nothing, and delays nothing but the end, by its deadline."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import trainyard_shell as shell
from alerts.memory import Memory
from alerts.occurrences import Alert, Seen
from alerts.receivers import Failed, Receiver
from trainyard_output import shown

TIMEOUT_S = 30.0
AGAIN_S, AGAIN_AT_MOST_S = 60.0, 3600.0
"""After a delivery that failed, the next try of that alert; longer each time."""
MAX_HANGING = 4
"""Deliveries that did not even end at their deadline: more are not begun."""


@dataclass
class Sender:
    receiver: Receiver
    timeout_s: float = TIMEOUT_S
    sent: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Kind -> why its newest delivery failed."""
    _memory: Memory | None = None
    _due: dict[str, float] = field(default_factory=dict)
    """Kind/key -> not before this moment, after a failure."""
    _pause: dict[str, float] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, run: str, seen: Seen) -> None:
        """Returns at once. `run`: what tells this run from any other."""
        memory = self._memory = self._memory or Memory(run, self.receiver.identity)
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        with self._lock:
            busy = {name.partition("/")[0] for name in self._busy}
        memory.forget(seen.over - busy)
        for alert in seen.alerts:
            self._begin(memory, alert)

    def _begin(self, memory: Memory, alert: Alert) -> None:
        name = f"{alert.kind}/{alert.key}"
        with self._lock:
            wait = name in self._busy or self._due.get(name, 0.0) > time.monotonic() or len(self._threads) >= MAX_HANGING
            if wait or memory.knows(alert.kind, alert.key):
                return
            self._busy.add(name)
        thread = threading.Thread(target=self._deliver, args=(memory, alert, name), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _deliver(self, memory: Memory, alert: Alert, name: str) -> None:
        try:
            with memory.alone(self.timeout_s):
                if memory.knows(alert.kind, alert.key):  # another watch has sent it meanwhile
                    return
                self.receiver.deliver(json.dumps(shown(alert.payload)).encode(), self.timeout_s)
                memory.tell(alert.kind, alert.key)
            with self._lock:
                self.sent.append(alert.kind)
                self.failed.pop(alert.kind, None)
        except Failed as error:
            shell.progress(f"the alert {alert.kind} did not arrive: {error}")
            with self._lock:
                pause_s = self._pause.get(name, AGAIN_S)
                self._due[name], self._pause[name] = time.monotonic() + pause_s, min(2 * pause_s, AGAIN_AT_MOST_S)
                self.failed[alert.kind] = str(error)
        finally:
            with self._lock:
                self._busy.discard(name)

    def close(self) -> None:
        """Waits for what is under way, until the deadline."""
        deadline = time.monotonic() + self.timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._lock:
            for name in self._busy:
                self.failed[name.partition("/")[0]] = f"{self.receiver.told} had not answered after {self.timeout_s:.0f} s"

    def data(self) -> dict[str, Any]:
        with self._lock:
            return {"to": self.receiver.told, "sent": list(self.sent[-100:]), "failed": dict(self.failed)}
