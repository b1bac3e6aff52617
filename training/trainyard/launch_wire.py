"""One JSON object a line over TCP, between a node of a job and the coordinator; both say something every second.

A connection that is silent for SILENCE_S counts as lost: a node that lost its network closes nothing. What comes in is data:
bounded lines, JSON only. Standard library only, as all of launch*: the launcher lives without torch.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

BEAT_S = 1.0
SILENCE_S = 10.0
MAX_LINE_BYTES = 4096

Message = dict[str, Any]
LOST: Message = {"type": "lost"}


class Wire:
    """A connection whose messages are handed to `deliver`, with the wire, from a thread of its own; the last one is LOST, once."""

    def __init__(self, sock: socket.socket, deliver: Callable[[Wire, Message], None], silence_s: float = SILENCE_S) -> None:
        self._socket, self._deliver, self._silence_s = sock, deliver, silence_s
        self._send_lock = threading.Lock()
        sock.settimeout(BEAT_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer: str = sock.getpeername()[0]
        threading.Thread(target=self._receive, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()

    def send(self, type: str, **fields: Any) -> None:
        """Never raises: a peer that is gone is told by LOST."""
        line = json.dumps({"type": type, **fields}).encode() + b"\n"
        try:
            with self._send_lock:
                self._socket.sendall(line)
        except OSError:
            self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closed by the peer already
            self._socket.shutdown(socket.SHUT_RDWR)

    def _beat(self) -> None:
        while self._socket.fileno() >= 0:
            self.send("beat")
            time.sleep(BEAT_S)

    def _receive(self) -> None:
        try:
            for message in self._messages():
                if message.get("type") != "beat":
                    self._deliver(self, message)
        except (OSError, ValueError):
            pass  # reset, silent, or not our protocol: lost in any case
        finally:
            self._socket.close()
            self._deliver(self, dict(LOST))

    def _messages(self) -> Iterator[Message]:
        rest, heard = b"", time.monotonic()
        while True:
            try:
                part = self._socket.recv(65536)
            except TimeoutError:
                if time.monotonic() - heard > self._silence_s:
                    return
                continue
            if not part:
                return
            heard = time.monotonic()
            *lines, rest = (rest + part).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                raise ValueError("a line without an end")
            for line in lines:
                message = json.loads(line)
                if not isinstance(message, dict):
                    raise ValueError("not an object")
                yield message


def connect(address: str, port: int, deliver: Callable[[Wire, Message], None], silence_s: float = SILENCE_S) -> Wire | None:
    """None where nobody answers (yet)."""
    try:
        return Wire(socket.create_connection((address, port), timeout=5), deliver, silence_s)
    except OSError:
        return None
