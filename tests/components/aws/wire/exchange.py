"""One HTTP/1.1 exchange: bodies with a length and chunked ones are read in pieces, and answers are written."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Headers = Mapping[str, str] | Message
"""Of a request: names in any case. In a test a plain mapping will do."""
PIECE = 1 << 16
SMALL_BODY = 64 << 20
"""The most that is read into memory: a layer part of 20 MiB is 27 MiB in base64."""


class BrokenBodyError(ConnectionError):
    """The peer went away in the middle of a body, or what came is not HTTP."""


class Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120

    @property
    def route(self) -> str:
        """The path alone."""
        return urlsplit(self.path).path

    @property
    def query(self) -> str:
        return urlsplit(self.path).query

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("Transfer-Encoding", "").lower()

    def parse_request(self) -> bool:
        self.untouched = True
        """Nothing of the body has been read."""
        return super().parse_request()

    def drain(self) -> None:
        """Before an answer that came early: read the body, so that the connection can go on, or close it where that is too late.

        A close with bytes unread is a reset, and the client may never see the answer.
        """
        left = SMALL_BODY
        if self.untouched:
            for piece in self.pieces():
                left -= len(piece)
                if left < 0:
                    break
            else:
                return
        self.close_connection = True

    def pieces(self) -> Iterator[bytes]:
        """The body of the request. Raises BrokenBodyError."""
        self.untouched = False
        if self.chunked:
            yield from self._chunks()
        else:
            yield from self._exactly(int(self.headers.get("Content-Length") or 0))

    def _exactly(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self.rfile.read1(min(left, PIECE))
            if not piece:
                raise BrokenBodyError(f"{left} bytes of the body are missing")
            left -= len(piece)
            yield piece

    def _chunks(self) -> Iterator[bytes]:
        """RFC 9112, 7.1; extensions and trailers are dropped."""
        while size := self._chunk_size():
            yield from self._exactly(size)
            self.rfile.readline(8)
        while self.rfile.readline(PIECE).strip():
            pass

    def _chunk_size(self) -> int:
        line = self.rfile.readline(1024)
        try:
            return int(line.partition(b";")[0], 16)
        except ValueError:
            raise BrokenBodyError(f"not the size of a chunk: {line!r}") from None

    def body(self, limit: int = SMALL_BODY) -> bytes:
        """The whole body. Raises BrokenBodyError above `limit` bytes."""
        got = bytearray()
        for piece in self.pieces():
            got += piece
            if len(got) > limit:
                raise BrokenBodyError(f"the body is over {limit} bytes")
        return bytes(got)

    def answer(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "content-length" not in {name.lower() for name in headers}:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:  # said, or the client sends its next request into a connection that is being closed
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def hang_up(self) -> None:
        """Break the connection with a reset, as a network that fails does."""
        # A linger of zero seconds: close sends RST instead of FIN (socket(7), SO_LINGER).
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *words: object) -> None:
        """Requests are kept as actions, not printed."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are ordinary here; everything else is printed."""
        import sys
        import traceback

        error = sys.exception()
        if not isinstance(error, (ConnectionError, TimeoutError, BrokenBodyError)) and not closed(error):
            traceback.print_exc()


def closed(error: BaseException | None) -> bool:
    """A file operation on a socket that `hang_up` closed."""
    return isinstance(error, (OSError, ValueError)) and ("closed file" in str(error) or getattr(error, "errno", 0) == 9)
