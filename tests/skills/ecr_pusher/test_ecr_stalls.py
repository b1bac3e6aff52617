"""Whoever accepts and then neither reads nor answers: --timeout ends the call with exit 7, wherever it waits, and the same call completes it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecr_call import Pusher
from ecr_made_images import Made, oci

from tests.calling import Answer
from tests.components.images.fixtures import full_images

STALL_S = 60.0


@contextmanager
def silent(drip_s: float | None = None) -> Iterator[str]:
    """host:port of a server that accepts and says nothing; or an endless header, a byte every `drip_s`."""

    def drip(client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while drip_s is not None:
                time.sleep(drip_s)
                client.sendall(b"x")

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                held.append(listener.accept()[0])
                if drip_s is not None:
                    threading.Thread(target=drip, args=(held[-1],), daemon=True).start()

    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=5)
    for each in held:
        each.close()


def late(pusher: Pusher, verb: str, *words: object, timeout_s: int = 1, **env: str) -> Answer:
    """The answer of a call with so much time. Loading and ending may take some more, on a busy machine too."""
    began = time.monotonic()
    done = pusher.call(verb, *words, "--timeout", timeout_s, **env)
    assert (done.code, done.error["code"], done.error["retryable"]) == (7, "timeout", True), done
    assert f"not done within {timeout_s} s" in done.error["message"] and time.monotonic() - began < 15, done
    return done


def test_an_aws_that_drips(pusher: Pusher, image: Made) -> None:
    """A byte now and then keeps a time-out of one read from ever being reached."""
    with silent(drip_s=0.1) as place:
        late(pusher, "push", image.word, "--repository", "team/net", "--tag", "1", AWS_ENDPOINT_URL=f"http://{place}")


def test_a_docker_that_does_not_answer(pusher: Pusher, repository: str) -> None:
    with silent() as place:
        late(pusher, "push", "net:1", "--repository", repository, "--tag", "1", DOCKER_HOST=f"tcp://{place}")


def test_a_registry_that_does_not_answer(pusher: Pusher, repository: str, image: Made) -> None:
    """Of two regions the second has no time left, and says so too."""
    pusher.ecr("us-west-2").create_repository(repositoryName=repository)
    pusher.aws.cut(0, method="GET", path="manifests", stall_s=STALL_S)
    both = ("--region", "us-east-1", "--region", "us-west-2")
    done = late(pusher, "push", image.word, "--repository", repository, "--tag", "1", *both, timeout_s=3)
    assert [each["error"]["code"] for each in done.data["regions"]] == ["timeout", "timeout"]
    assert pusher.call("push", image.word, "--repository", repository, "--tag", "1", *both).code == 0


def test_a_registry_that_does_not_read(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """The layer is longer than what a socket holds, so the write hangs; threads that hang hold up no exit."""
    big = oci(tmp_path / "big.tar", [os.urandom(20_000_000), b"small"])
    pusher.aws.cut(100_000, method="PATCH", stall_s=STALL_S, times=9)  # what is shorter passes
    words = (big.word, "--repository", repository, "--tag", "1")
    late(pusher, "push", *words, timeout_s=3)
    assert pusher.aws.control("cuts_done") == 1 and pusher.tagged(repository) == {}
    pusher.aws.reset()
    pusher.call("ensure-repo", repository)
    assert pusher.call("push", *words).code == 0


@full_images
def test_a_registry_that_does_not_tell_its_layers(pusher: Pusher, repository: str, image: Made) -> None:
    assert pusher.call("push", image.word, "--repository", repository, "--tag", "1").code == 0
    pusher.aws.cut(0, method="HEAD", path="blobs", times=9, stall_s=STALL_S)
    late(pusher, "verify", f"{repository}:1", timeout_s=3)
    assert pusher.aws.control("cuts_done") > 0
