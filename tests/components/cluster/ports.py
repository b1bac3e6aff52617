"""A port of this machine's loopback on the loopback of a cluster's network, which has no route to it: for a registry, say."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.components.cluster.place import Place

CLONE_NEWNET = 0x40000000
PIECE_BYTES = 1 << 16


@contextmanager
def shared_port(place: Place, port: int) -> Iterator[None]:
    """Inside the cluster's network 127.0.0.1:`port` is this machine's 127.0.0.1:`port`. As root."""
    listener = _listener(Path("/run/netns") / place.name, port)
    threading.Thread(target=_serve, args=(listener, port), daemon=True).start()
    try:
        yield
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # closing alone does not wake accept()
        listener.close()


def _listener(network: Path, port: int) -> socket.socket:
    """A socket belongs to the network in which it was made, whichever thread uses it later (network_namespaces(7))."""
    found: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            with network.open() as namespace:
                if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(network))
            found.append(socket.create_server(("127.0.0.1", port)))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=make)  # only this thread changes its network
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _serve(listener: socket.socket, port: int) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_connect, args=(client, port), daemon=True).start()


def _connect(client: socket.socket, port: int) -> None:
    with client, suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30) as server:
        server.settimeout(None)
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _copy(source: socket.socket, goal: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            goal.sendall(piece)
    with suppress(OSError):
        goal.shutdown(socket.SHUT_WR)
