"""trainyard_watch.py: a watch goes on from where the connection broke, and says so when it cannot."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trainyard_kube as kube
from api_stand_in import StandIn, kubeconfig, page, stand_in, status
from trainyard_watch import follow

from tests.components.cluster.running import Cluster

# A Cluster keeps its connections until the program ends; here there are many in one process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Use = Callable[[Path], None]


class Proxy:
    """Passes bytes on to a server; `stop` breaks all connections and refuses new ones until `start`."""

    def __init__(self, host: str, port: int) -> None:
        self.to, self.port = (host, port), 0
        self._open: list[socket.socket] = []
        self.start()

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        for each in [self._listener, *self._open]:
            with suppress(OSError):  # the other side was first
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
                there = socket.create_connection(self.to, timeout=10)
            except OSError:
                return
            there.settimeout(None)
            self._open += [here, there]
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return


def made(api: kube.Cluster, name: str) -> None:
    api.create(api.namespaced("v1", "configmaps"), {"metadata": {"name": name, "labels": {"watched": "yes"}}})


def names(seen: list[tuple[str, Any]]) -> list[str]:
    return [f"{kind} {thing['metadata']['name']}" for kind, thing in seen if kind not in ("TICK", "RELISTED")]


def test_a_watch_goes_on_where_the_connection_broke(
    cluster: Cluster, api: kube.Cluster, use: Use, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The way to the API server is cut in mid-watch; what happens meanwhile is seen afterwards, and nothing twice."""
    address = urlsplit(api.server)
    proxy = Proxy(str(address.hostname), int(address.port or 443))
    config = cluster.kubectl("config", "view", "--raw", "--output=json").replace(
        f'"server": "{api.server}"', f'"server": "https://127.0.0.1:{proxy.port}", "tls-server-name": "{address.hostname}"'
    )
    (tmp_path / "config").write_text(config)
    use(tmp_path / "config")
    far = kube.connect(kube.Where(namespace=api.namespace))
    assert far.server.endswith(str(proxy.port))
    made(api, "before")
    seen: list[tuple[str, Any]] = []
    path = far.namespaced("v1", "configmaps")
    for kind, thing in follow(far, path, time.monotonic() + 40, labelSelector="watched=yes"):
        seen.append((kind, thing))
        if names(seen) == ["ADDED before"] and kind == "ADDED":
            made(api, "watched")
        elif names(seen)[-1:] == ["ADDED watched"] and kind == "ADDED":
            proxy.stop()
            made(api, "meanwhile")
            threading.Timer(2.5, proxy.start).start()
        elif names(seen)[-1:] == ["ADDED meanwhile"]:
            break
    proxy.stop()
    assert names(seen) == ["ADDED before", "ADDED watched", "ADDED meanwhile"]
    assert "RELISTED" not in [kind for kind, _ in seen] and "waiting for it" in capsys.readouterr().err


def test_a_deleted_object_and_a_quiet_time_are_told(api: kube.Cluster) -> None:
    made(api, "short")
    path, seen = api.namespaced("v1", "configmaps"), []
    for kind, thing in follow(api, path, time.monotonic() + 30, labelSelector="watched=yes"):
        seen.append((kind, thing))
        if kind == "TICK" and len(names(seen)) == 1:
            api.delete(path + "/short", seen[0][1]["metadata"]["uid"])
        elif kind == "DELETED":
            break
    assert names(seen) == ["ADDED short", "DELETED short"]


def test_a_watch_ends_at_its_deadline(api: kube.Cluster) -> None:
    began = time.monotonic()
    seen = list(follow(api, api.namespaced("v1", "configmaps"), began + 1.5, labelSelector="watched=yes"))
    assert names(seen) == [] and 1.4 < time.monotonic() - began < 6


@pytest.fixture
def script(tmp_path: Path, use: Use) -> Iterator[StandIn]:
    with stand_in() as running:
        use(kubeconfig(tmp_path / "config", running.address))
        yield running


def event(kind: str, name: str, version: str) -> dict[str, Any]:
    return {"type": kind, "object": {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": version}}}


def taken(count: int) -> list[tuple[str, Any]]:
    """The first `count` things that are no tick."""
    found = []
    with closing(follow(kube.connect(kube.Where()), "/api/v1/pods", time.monotonic() + 20)) as watch:
        for kind, thing in watch:
            found += [(kind, thing)] if kind != "TICK" else []
            if len(found) == count:
                break
    return found


def test_each_connection_begins_at_the_last_version_that_was_seen_bookmarks_included(script: StandIn) -> None:
    script.answers = [
        (200, {}, page(["a"], "10")),
        (200, {}, [event("MODIFIED", "a", "12"), event("BOOKMARK", "", "20")]),
        (200, {}, [event("ADDED", "b", "21")]),
    ]
    assert names(taken(3)) == ["ADDED a", "MODIFIED a", "ADDED b"]
    versions = [part for path in script.asked for part in path.split("&") if part.startswith("resourceVersion=")]
    assert versions == ["resourceVersion=10", "resourceVersion=20"]
    assert all("allowWatchBookmarks=true" in path for path in script.asked[1:])


@pytest.mark.parametrize(
    "gone",
    [
        (200, {}, [{"type": "ERROR", "object": status(410, "Expired", "too old resource version")}]),
        (410, {}, status(410, "Expired", "too old resource version")),
    ],
    ids=["as an event", "as an answer"],
)
def test_after_410_the_collection_is_listed_anew_and_that_is_said(script: StandIn, gone: Any) -> None:
    script.answers = [
        (200, {}, page(["a"], "10")),
        gone,
        (200, {}, page(["a", "c"], "90")),
        (200, {}, [event("ADDED", "d", "91")]),
    ]
    seen = taken(5)
    assert [kind for kind, _ in seen] == ["ADDED", "RELISTED", "ADDED", "ADDED", "ADDED"]
    assert names(seen) == ["ADDED a", "ADDED a", "ADDED c", "ADDED d"]


def test_what_breaks_off_is_waited_for_and_told_once(script: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    cut = {"content-length": "30"}
    script.answers = [
        (200, cut, page(["a"], "10")),
        (200, cut, page(["a"], "10")),
        (200, {}, page(["a"], "10")),
        (200, {}, ["no event"]),
        (200, {}, [event("ADDED", "b", "11")]),
    ]
    assert names(taken(2)) == ["ADDED a", "ADDED b"]
    assert capsys.readouterr().err.count("waiting for it") == 1


def test_a_server_that_is_busy_is_waited_for_and_a_refusal_is_not(script: StandIn) -> None:
    script.answers = [
        (200, {}, page(["a"], "10")),
        (500, {}, status(500, "InternalError", "etcd is busy")),
        (200, {}, [event("ADDED", "b", "11")]),
    ]
    assert names(taken(2)) == ["ADDED a", "ADDED b"]
    script.answers = [(200, {}, page([], "10")), (403, {}, status(403, "Forbidden", "no watch for you"))]
    with pytest.raises(kube.ApiError) as caught:
        taken(1)
    assert caught.value.code == "permission" and caught.value.rule["verbs"] == ["watch"]
