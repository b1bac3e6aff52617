"""One JSON object a line over TCP, between a node of a job and the coordinator; both say something every second.

What comes in is data: bounded lines, known messages with fields of the right type, and nothing before the other side has proved
itself (launch_key.py). Whatever else comes costs its sender the connection. One that is silent for SILENCE_S counts as lost: a node
that lost its network closes nothing. Standard library only, as all of launch*: the launcher lives without torch.

    coordinator -> node   challenge (nonce)
    node -> coordinator   hello (node, nonce, proof)
    coordinator -> node   welcome (generation, proof)           and from now on, in either direction, what MESSAGES lists
"""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from trainyard.launch_key import Credentials, new_nonce

BEAT_S = 1.0
SILENCE_S = 10.0
HELLO_S = 10.0
"""For the exchange that opens a connection."""
MAX_LINE_BYTES = 4096
MAX_NUMBER = 2**31 - 1
MAX_WHY_CHARS = 500

Message = dict[str, Any]
LOST: Message = {"type": "lost"}
MESSAGES: dict[str, dict[str, type]] = {
    "beat": {},
    "challenge": {"nonce": str},
    "hello": {"node": int, "nonce": str, "proof": str},
    "welcome": {"generation": int, "proof": str},
    "ready": {"generation": int},
    "leaving": {},
    "ended": {"generation": int, "code": int, "why": str, "same": str, "final": bool},
    "look": {"generation": int, "ranks": str, "output": int, "busy": str, "sign": str},
    "start": {"generation": int, "port": int, "attempt": int},
    "abort": {"generation": int, "hang": bool},
    "finish": {"code": int, "why": str},
}


class ProtocolError(ValueError):
    """The peer said something that is not of this protocol."""


def encode(type: str, **fields: Any) -> bytes:
    """A line, never longer than a reader takes."""
    if isinstance(fields.get("why"), str):
        fields["why"] = fields["why"][:MAX_WHY_CHARS]
    line = json.dumps({"type": type, **fields}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
    assert len(line) <= MAX_LINE_BYTES, "six bytes a character at most, and only `why` is of any length"
    return line


def parse(line: bytes) -> Message:
    """Raises ProtocolError: anything but one of MESSAGES with just its fields."""
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError("a line that is too long")
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a line that is not JSON") from error
    kind = message.get("type") if isinstance(message, dict) else None
    fields = MESSAGES.get(kind) if isinstance(kind, str) else None
    if fields is None or message.keys() != {"type", *fields}:
        raise ProtocolError("an unknown message")
    if not all(_is(message[name], type) for name, type in fields.items()):
        raise ProtocolError(f"{kind} with a field of the wrong type")
    return dict(message)


def _is(value: object, kind: type) -> bool:
    """Exactly: a bool is not a number here."""
    return type(value) is kind and (not isinstance(value, int) or abs(value) <= MAX_NUMBER)


def take_lines(rest: bytearray) -> Iterator[bytes]:
    """The whole lines in `rest`, which keeps what follows. Raises ProtocolError where that cannot become one."""
    while (end := rest.find(b"\n")) >= 0:
        line = bytes(rest[:end])
        del rest[: end + 1]
        yield line
    if len(rest) > MAX_LINE_BYTES:
        raise ProtocolError("a line without an end")


class Wire:
    """A node's connection. Its messages are handed to `deliver`, with the wire, from a thread of its own: `welcome` is the first, LOST
    the last, once. `credentials` None: the other side is this very process."""

    def __init__(
        self,
        sock: socket.socket,
        deliver: Callable[[Wire, Message], None],
        credentials: Credentials | None,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._socket, self._deliver, self._credentials, self._silence_s = sock, deliver, credentials, silence_s
        self._send_lock = threading.Lock()
        sock.settimeout(BEAT_S)
        self.peer: str = sock.getpeername()[0] if credentials is not None else "127.0.0.1"
        self._nonce = new_nonce()
        self._challenge: str | None = None
        self._welcome = credentials is None
        threading.Thread(target=self._receive, daemon=True).start()

    def send(self, type: str, **fields: Any) -> None:
        """Never raises: a peer that is gone is told by LOST."""
        try:
            with self._send_lock:
                self._socket.sendall(encode(type, **fields))
        except OSError:
            self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # closed by the peer already
            self._socket.shutdown(socket.SHUT_RDWR)

    def _receive(self) -> None:
        try:
            for line in self._lines():
                message = parse(line)
                if not self._welcome:
                    self._greet(message)
                if self._welcome and message["type"] != "beat":
                    self._deliver(self, message)
        except (OSError, ProtocolError):
            pass  # reset, silent, or not our protocol: lost in any case
        finally:
            self._socket.close()
            self._deliver(self, dict(LOST))

    def _greet(self, message: Message) -> None:
        """Raises ProtocolError for a coordinator that does not know the key: an address may be somebody else's by now."""
        assert self._credentials is not None
        if message["type"] == "challenge" and self._challenge is None:
            self._challenge = message["nonce"]
            proof = self._credentials.proof("node", self._challenge, self._nonce)
            self.send("hello", node=self._credentials.node, nonce=self._nonce, proof=proof)
        elif message["type"] == "welcome" and self._challenge is not None:
            if not self._credentials.proves(message["proof"], "coordinator", self._challenge, self._nonce):
                raise ProtocolError("a coordinator with another key")
            self._welcome = True
        elif message["type"] != "beat":
            raise ProtocolError(f"{message['type']} before the welcome")

    def _lines(self) -> Iterator[bytes]:
        """Until the connection is closed or silent. Beats, meanwhile."""
        rest, began = bytearray(), time.monotonic()
        heard, beaten, looked = began, -math.inf, began
        while True:
            now = time.monotonic()
            if now - looked > BEAT_S + self._silence_s / 2:  # a look takes BEAT_S
                # This process was stopped, or its machine suspended: the other side was not silent for that long, and where it lies
                # within this process it could say nothing.
                heard += now - looked
            looked = now
            if now - heard > self._silence_s or (not self._welcome and now - began > HELLO_S):
                return
            if self._welcome and now - beaten >= BEAT_S:
                self.send("beat")
                beaten = now
            try:
                part = self._socket.recv(65536)
            except TimeoutError:
                continue
            if not part:
                return
            heard = time.monotonic()
            rest += part
            yield from take_lines(rest)


def connect(
    address: str,
    port: int,
    deliver: Callable[[Wire, Message], None],
    credentials: Credentials,
    silence_s: float = SILENCE_S,
) -> Wire | None:
    """None where nobody answers (yet)."""
    try:
        sock = socket.create_connection((address, port), timeout=5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Wire(sock, deliver, credentials, silence_s)
    except OSError:
        return None
