"""The coordinator's side of all connections: one thread, no blocking call, and bounds on everything that a stranger can send.

A thread of its own, for the coordinator writes to the job's volume: while that hangs, nodes must go on hearing from node 0. Who connects is a stranger until it has proved that it belongs to this job (launch_key.py). Strangers are few at a time, send few
bytes, have HELLO_S, and never reach the coordinator. Standard library only.
"""

from __future__ import annotations

import contextlib
import queue
import resource
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from trainyard.launch_key import Credentials, new_nonce
from trainyard.launch_wire import BEAT_S, HELLO_S, LOST, SILENCE_S, Message, ProtocolError, encode, parse, take_lines

TICK_S = 0.2
MAX_STRANGERS = 128
MAX_UNSENT_BYTES = 65536
"""A node that reads nothing for so long is lost."""
READ_BYTES = 65536
FROM_NODES = ("beat", "ready", "leaving", "look", "ended")


class Peer:
    """One connection: a stranger's while `node` is None."""

    def __init__(self, sock: socket.socket, address: str, node: int | None = None) -> None:
        sock.setblocking(False)
        self.socket, self.address, self.node = sock, address, node
        self.is_open = True
        self.began = self.heard = time.monotonic()
        self.challenge, self.proof = new_nonce(), ""
        self._unread, self._unsent = bytearray(), bytearray()
        self._lock = threading.Lock()

    def send(self, type: str, **fields: Any) -> None:
        """Never raises: one that is gone, or does not read, is closed, and the hub reports it as lost."""
        line = encode(type, **fields)
        with self._lock:
            self._unsent += line
            self._flush()

    def welcome(self, generation: int) -> None:
        self.send("welcome", generation=generation, proof=self.proof)

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent and self.is_open:
                del self._unsent[: self.socket.send(self._unsent)]
        except BlockingIOError:
            if len(self._unsent) > MAX_UNSENT_BYTES:
                self.is_open = False
        except OSError:
            self.is_open = False

    def close(self) -> None:
        """The hub does it, soon."""
        self.is_open = False

    def end(self) -> None:
        with self._lock:
            self.is_open = False
            self.socket.close()

    def read(self) -> list[Message]:
        """What has come. Raises ProtocolError, and OSError where the connection is over."""
        try:
            part = self.socket.recv(READ_BYTES)
        except BlockingIOError:
            return []
        if not part:
            raise ConnectionResetError
        self._unread += part
        return [parse(line) for line in take_lines(self._unread)]


class Hub:
    def __init__(
        self, nodes: int, run_id: str, key: bytes | None, say: Callable[[str], None], hello_s: float = HELLO_S
    ) -> None:
        self.nodes, self.run_id, self.key, self._say, self._hello_s = nodes, run_id, key, say, hello_s
        self.inbox: queue.SimpleQueue[tuple[Peer, Message]] = queue.SimpleQueue()
        """What nodes that belong here have said: `hello` first, `lost` last."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._strangers = make_room(nodes)
        self._selector = selectors.DefaultSelector()
        self._peers: dict[int, Peer] = {}
        """By file descriptor."""
        self._server: socket.socket | None = None
        self._looked = self._beaten = time.monotonic()
        self._turned_away, self._told = 0, -1e9

    def listen(self, port: int) -> None:
        """On all addresses of this host, IPv6 too where there is any: clusters of either kind exist. Raises OSError: taken."""
        backlog = self.nodes + MAX_STRANGERS
        if socket.has_dualstack_ipv6():
            self._server = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
        else:
            self._server = socket.create_server(("", port), backlog=backlog)
        self._server.setblocking(False)
        self._selector.register(self._server, selectors.EVENT_READ)

    def local(self) -> socket.socket:
        """Node 0's own end of a connection that no port leads to; to be called before `start`."""
        ours, theirs = socket.socketpair()
        peer = self._add(Peer(ours, "127.0.0.1", node=0))
        self.inbox.put((peer, {"type": "hello", "node": 0}))
        return theirs

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._poll()
        for peer in list(self._peers.values()):
            self._drop(peer)
        if self._server is not None:
            self._server.close()
        self._selector.close()

    def _poll(self) -> None:
        ready = [key for key, _ in self._selector.select(TICK_S)]
        self._forgive_a_pause()
        for peer in [self._peers[key.fd] for key in ready if key.fileobj is not self._server]:
            for message in self._read(peer):
                self.inbox.put((peer, message))
        if any(key.fileobj is self._server for key in ready):
            self._accept()
        self._beat()
        for peer in [peer for peer in self._peers.values() if not peer.is_open or self._is_late(peer)]:
            self._drop(peer)
            if peer.node is not None:
                self.inbox.put((peer, dict(LOST)))

    def _forgive_a_pause(self) -> None:
        """This process was stopped, or its machine suspended: nobody else was silent for that long."""
        now = time.monotonic()
        if now - self._looked > SILENCE_S / 2:
            for peer in self._peers.values():
                peer.heard += now - self._looked
        self._looked = now

    def _accept(self) -> None:
        assert self._server is not None
        strangers = [peer for peer in self._peers.values() if peer.node is None]
        if len(strangers) >= self._strangers:  # the oldest: one that belongs here needs milliseconds
            self._drop(min(strangers, key=lambda peer: peer.began))
        try:
            sock, address = self._server.accept()
        except OSError:  # it gave up, or too many files are open for the moment
            for peer in strangers[:1]:
                peer.close()
            return time.sleep(0.05)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = self._add(Peer(sock, str(address[0])))
        peer.send("challenge", nonce=peer.challenge)

    def _read(self, peer: Peer) -> list[Message]:
        try:
            messages = peer.read()
            for message in messages:
                self._check(peer, message)
        except ProtocolError as error:
            self._turn_away(peer, str(error))
            return []
        except OSError:
            peer.close()
            return []
        peer.heard = time.monotonic()
        return [message for message in messages if message["type"] != "beat"]

    def _check(self, peer: Peer, message: Message) -> None:
        """A hello, proved, and after it what a node may say. Raises ProtocolError."""
        if peer.node is not None:
            if message["type"] not in FROM_NODES:
                raise ProtocolError(f"{message['type']} from a node")
            return
        if message["type"] != "hello" or not 0 < message["node"] < self.nodes:
            raise ProtocolError("no hello of a node of this job")
        credentials = Credentials(self.run_id, message["node"], self.key)
        if not credentials.proves(message["proof"], "node", peer.challenge, message["nonce"]):
            raise ProtocolError("a hello with another key, or of another run")
        peer.proof = credentials.proof("coordinator", peer.challenge, message["nonce"])
        peer.node = message["node"]

    def _turn_away(self, peer: Peer, why: str) -> None:
        """Told once a minute: whoever floods the port must not flood the log."""
        peer.close()
        self._turned_away += 1
        if time.monotonic() - self._told > 60:
            self._say(f"a connection from {peer.address} is closed: {why} ({self._turned_away} so far)")
            self._told = time.monotonic()

    def _beat(self) -> None:
        now = time.monotonic()
        due = now - self._beaten >= BEAT_S
        self._beaten = now if due else self._beaten
        for peer in self._peers.values():
            if due and peer.node is not None:
                peer.send("beat")
            else:
                peer.flush()

    def _is_late(self, peer: Peer) -> bool:
        if peer.node is None:
            return self._looked - peer.began > self._hello_s
        return peer.node != 0 and self._looked - peer.heard > SILENCE_S  # node 0 is this process

    def _add(self, peer: Peer) -> Peer:
        self._peers[peer.socket.fileno()] = peer
        self._selector.register(peer.socket, selectors.EVENT_READ)
        return peer

    def _drop(self, peer: Peer) -> None:
        del self._peers[peer.socket.fileno()]
        self._selector.unregister(peer.socket)
        peer.end()


def make_room(nodes: int) -> int:
    """How many strangers may be connected at once, so that files are left for the nodes and for starting the ranks."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = nodes + 512
    if 0 <= soft < wanted:  # -1: no limit
        soft = wanted if hard < 0 else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MAX_STRANGERS if soft < 0 else max(8, min(MAX_STRANGERS, (soft - nodes) // 4))
