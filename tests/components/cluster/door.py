"""A door between a program and the API server that can be shut: connections break, new ones are refused, until it opens again."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import yaml

LOOK_S = 0.05


class Door:
    """Forwards 127.0.0.1:port to an address while it is open."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.port = 0
        self._cuts = 0
        self._is_open = threading.Event()
        self._threads: list[threading.Thread] = []

    def open(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._is_open.set()
        self._start(self._accept, listener)

    def shut(self) -> None:
        """Returns when nothing is connected any more."""
        self._is_open.clear()
        self.cut()
        for thread in self._threads:
            thread.join(timeout=10)
        self._threads.clear()

    def cut(self) -> None:
        """Break what is connected; new connections are let through."""
        self._cuts += 1

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with listener:
            while self._is_open.is_set():
                if select.select([listener], [], [], LOOK_S)[0]:
                    self._start(self._forward, listener.accept()[0], self._cuts)

    def _forward(self, near: socket.socket, cuts: int) -> None:
        with near, socket.create_connection(self.target) as far:
            other = {near: far, far: near}
            while self._cuts == cuts:
                for source in select.select(list(other), [], [], LOOK_S)[0]:
                    try:
                        data = source.recv(65536)
                        other[source].sendall(data)
                    except OSError:
                        return
                    if not data:
                        return


def door_to(kubeconfig: Path, folder: Path) -> tuple[Door, Path]:
    """An open door to the kubeconfig's API server, and a kubeconfig that goes through it."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    server = urlsplit(cluster["server"])
    door = Door(str(server.hostname), server.port or 443)
    door.open()
    cluster.update({"server": f"https://127.0.0.1:{door.port}", "tls-server-name": server.hostname})
    through = folder / "through-the-door.kubeconfig"
    through.write_text(yaml.safe_dump(config))
    return door, through
