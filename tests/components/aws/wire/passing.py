"""Pass an exchange on to another server on loopback, in pieces, and its answer back."""

from __future__ import annotations

import http.client
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from tests.components.aws.wire.exchange import PIECE, Exchange

HOP_BY_HOP = {"connection", "keep-alive", "expect", "upgrade", "proxy-authorization", "te", "trailer"}
TIMEOUT_S = 120


def request_headers(exchange: Exchange) -> dict[str, str]:
    """All but those of this hop. Host stays as it came: moto routes by it."""
    return {name: value for name, value in exchange.headers.items() if name.lower() not in HOP_BY_HOP}


@contextmanager
def asked(
    port: int, method: str, path: str, headers: Mapping[str, str], pieces: Iterable[bytes] = ()
) -> Iterator[http.client.HTTPResponse]:
    """The other server's answer; its body is still to be read. The framing of `pieces` is what `headers` say."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.putrequest(method, path, skip_host="host" in {name.lower() for name in headers}, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        chunked = "chunked" in {name.lower(): value for name, value in headers.items()}.get("transfer-encoding", "")
        for piece in pieces:
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            connection.send(b"0\r\n\r\n")
        yield connection.getresponse()
    finally:
        connection.close()


def answer_pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while piece := answer.read1(PIECE):
        yield piece


def pass_back(
    exchange: Exchange, answer: http.client.HTTPResponse, headers: Mapping[str, str], pieces: Iterable[bytes]
) -> None:
    """Status, `headers` and `pieces`, chunked where the length is unknown."""
    exchange.send_response_only(answer.status)
    for name, value in headers.items():
        exchange.send_header(name, value)
    empty = exchange.command == "HEAD" or answer.status in (204, 304)
    known = "content-length" in {name.lower() for name in headers}
    if not known and not empty:
        exchange.send_header("Transfer-Encoding", "chunked")
    exchange.end_headers()
    if empty:
        return
    for piece in pieces:
        exchange.wfile.write(piece if known else b"%x\r\n%b\r\n" % (len(piece), piece))
    if not known:
        exchange.wfile.write(b"0\r\n\r\n")


def answer_headers(answer: http.client.HTTPResponse) -> dict[str, str]:
    """All but those of this hop; several of one name are joined."""
    found: dict[str, str] = {}
    for name, value in answer.getheaders():
        if name.lower() not in HOP_BY_HOP | {"transfer-encoding"}:
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found
