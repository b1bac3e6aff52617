"""What a program asks of the API server, written down on the way: a proxy on loopback that passes every byte on.

One request a connection, so that each is seen; streams (watch, log, exec) run through it until either side ends.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Serve = Callable[[Reader, Writer], Awaitable[None]]
Permission = tuple[str, str, str]
"""(API group, resource with its subresource, verb), as a rule of a Role has them."""
VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}
HEAD_END, PIECE_BYTES, CONNECT_S = b"\r\n\r\n", 65536, 10.0


@dataclass
class Record:
    """A kubeconfig that leads through the proxy, and what was asked there so far."""

    kubeconfig: Path
    written: str
    """What was written there."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    """(method, path with its query)"""

    def permissions(self) -> set[Permission]:
        """What was asked for, whether it was allowed or not."""
        found = {found for method, target in self.requests if (found := permission(method, target))}
        # A stream into a pod needs both, for one request: test_permissions_jobs.py.
        return found | {("", "pods/exec", "create") for each in found if each == ("", "pods/exec", "get")}


def permission(method: str, target: str) -> Permission | None:
    """What a request needs; None: nothing that a rule names (discovery, which everybody may)."""
    url = urlsplit(target)
    match = re.fullmatch(r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)/(?:namespaces/[^/]+/(?=[^/]))?(?P<rest>.+)", url.path)
    if not match:
        return None
    resource, name, *below = (*match["rest"].split("/"), "")
    subresource = [part for part in below if part]
    verb = VERBS[method]
    if verb == "get" and not name:
        verb = "watch" if parse_qs(url.query).get("watch") in (["1"], ["true"]) else "list"
    return (match["group"] or "", "/".join([resource, *subresource]), verb)


@contextmanager
def recorded(kubeconfig: Path, folder: Path) -> Iterator[Record]:
    """The user of `kubeconfig` (token, CA) through the proxy; the new kubeconfig lies in `folder`."""
    config = json.loads(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    requests: list[tuple[str, str]] = []
    passing = partial(_serve, upstream=urlsplit(cluster["server"]), trust=authority(cluster), requests=requests)
    with _in_a_thread(passing) as port:
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
        record = Record(folder / f"recorded-{kubeconfig.name}", json.dumps(config), requests)
        record.kubeconfig.write_text(record.written)
        record.kubeconfig.chmod(0o600)
        yield record


def authority(cluster: dict[str, str]) -> ssl.SSLContext:
    import base64

    if "certificate-authority" in cluster:
        return ssl.create_default_context(cafile=cluster["certificate-authority"])
    return ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())


@contextmanager
def _in_a_thread(serve: Serve) -> Iterator[int]:
    """The port where `serve` answers, in one thread with an event loop.

    Not a thread a direction: one that reads from a TLS connection while another writes to it lost the body of 29 requests in
    6,000. OpenSSL takes no two calls for a connection at once, and Python 3.11 holds no lock around them.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        starting = asyncio.start_server(serve, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(starting, loop).result(CONNECT_S)
        yield server.sockets[0].getsockname()[1]
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(CONNECT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CONNECT_S)
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    streams = asyncio.all_tasks() - {asyncio.current_task()}
    for stream in streams:
        stream.cancel()
    await asyncio.gather(*streams, return_exceptions=True)


async def _serve(
    client: Reader, back: Writer, upstream: SplitResult, trust: ssl.SSLContext, requests: list[tuple[str, str]]
) -> None:
    with closing(back), suppress(OSError, asyncio.IncompleteReadError):  # either side went away: so does this stream
        head = await client.readuntil(HEAD_END)
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        requests.append((method, target))
        if b"upgrade: websocket" not in head.lower():
            head = re.sub(rb"(?im)^connection:.*\r\n", b"", head).replace(HEAD_END, b"\r\nConnection: close" + HEAD_END)
        opening = asyncio.open_connection(upstream.hostname, upstream.port, ssl=trust)
        server, there = await asyncio.wait_for(opening, CONNECT_S)
        with closing(there):
            there.write(head)
            ways = [asyncio.create_task(_pass_on(client, there)), asyncio.create_task(_pass_on(server, back))]
            _, other = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in other:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)


async def _pass_on(source: Reader, target: Writer) -> None:
    while piece := await source.read(PIECE_BYTES):
        target.write(piece)
        await target.drain()
