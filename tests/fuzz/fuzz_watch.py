"""What an API server, or what stands before it, sends for a list and for the watch behind it: objects, or a refusal in words."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.fuzz.documents import mutate_json_lines

COVERED = ["trainyard_watch", "trainyard_cluster", "trainyard_refusal"]
MAX_BYTES = 16_384
KIT = Path(__file__).resolve().parents[2] / "skills" / "kit"
PATH = "/apis/kubeflow.org/v1/namespaces/n/pytorchjobs"


def pod(version: str) -> dict[str, Any]:
    return {"metadata": {"name": "a", "uid": "u", "resourceVersion": version, "labels": {"a": "b"}}, "spec": {}, "status": {}}


def lines(*documents: Any) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in documents)


LIST = {"kind": "List", "metadata": {"resourceVersion": "10"}, "items": [pod("9")]}
GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old", "metadata": {}}
SEEDS = [
    lines(LIST, {"type": "ADDED", "object": pod("11")}, {"type": "DELETED", "object": pod("12")}),
    lines(LIST, {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "20"}}}, {"type": "ERROR", "object": GONE}),
    lines(
        {**LIST, "items": None, "metadata": {"resourceVersion": "1", "continue": "t"}}, {"type": "MODIFIED", "object": pod("2")}
    ),
]
WORDS = [
    b'"type"',
    b'"object"',
    b'"metadata"',
    b"ERROR",
    b"BOOKMARK",
    b"null",
    b"NaN",
    b"1e999",
    b"\xff",
    b"\\ud800",
]
mutate = mutate_json_lines


class Over(Exception):
    """The server has said everything."""


class Body:
    """What urllib3 gives for a body that comes in parts."""

    def __init__(self, raw: bytes) -> None:
        self.data = raw
        self._parts: Iterator[bytes] = (raw[at : at + 97] for at in range(0, len(raw), 97))
        self.status, self.headers = 200, {}

    def read1(self) -> bytes:
        return next(self._parts, b"")

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""


def target() -> Callable[[bytes], None]:
    sys.path.insert(0, str(KIT))
    import trainyard_shell
    import trainyard_watch
    from kubernetes import client
    from trainyard_cluster import Cluster
    from trainyard_kubeconfig import Access

    trainyard_watch.RETRY_S = 0.0
    sys.stderr = open("/dev/null", "w")  # noqa: SIM115  what the watch tells its user; libFuzzer writes by itself

    class Wire(Cluster):
        """The wire is the input: its first line answers the list, the rest is the watch."""

        def open(self, verb: str, path: str, query: Any, *_: Any, **__: Any) -> Any:
            if not self.bodies:
                raise Over
            return Body(self.bodies.pop(0))

    def read(data: bytes) -> None:
        cluster = Wire(access, "n", lambda: access)
        first, _, rest = data.partition(b"\n")
        cluster.bodies = [first, rest, first]
        try:
            for kind, thing in trainyard_watch.follow(cluster, PATH, time.monotonic() + 4):
                if kind in ("ADDED", "MODIFIED", "DELETED"):
                    assert all(isinstance(thing["metadata"][name], str) for name in ("name", "uid", "resourceVersion"))
                else:
                    assert (kind in ("TICK", "RELISTED")) and thing == {}, kind
        except (Over, trainyard_shell.SkillError):
            pass

    access = Access(client.Configuration(), "c", "n")
    return read
