"""Running a command in a container of a pod, as `kubectl exec` does: an argument list, bytes in, bytes out, an exit code.

`make kit` copies this file; edit it in skills/kit/ only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import trainyard_shell as shell
from trainyard_cluster import headers_of
from trainyard_kube import ApiError, Cluster

MAX_OUTPUT_BYTES = 64 << 20
FRAME_BYTES = 1 << 20
STDIN, STDOUT, STDERR, STATUS = 0, 1, 2, 3


@dataclass(frozen=True)
class Ran:
    exit_code: int
    stdout: bytes
    stderr: bytes

    def text(self) -> str:
        return self.stdout.decode("utf-8", "replace")


def run_in_pod(
    cluster: Cluster,
    pod: str,
    container: str,
    command: list[str],
    *,
    stdin: bytes = b"",
    timeout_s: float = 60.0,
    on_stdout: Callable[[bytes], None] | None = None,
    on_stderr: Callable[[bytes], None] | None = None,
) -> Ran:
    """Run `command` and wait for its end. `on_stdout` and `on_stderr` get output as it comes (and it is missing in Ran).

    The protocol cannot close stdin: a command that reads it must know the length. Raises SkillError: timeout, unreachable,
    not-found, permission (create pods/exec), usage (the program is not in the image).
    """
    path = cluster.namespaced("v1", "pods", pod) + "/exec"
    socket = _open(cluster, path, container, command, bool(stdin))
    kept = {STDOUT: bytearray(), STDERR: bytearray(), STATUS: bytearray()}
    listeners = {STDOUT: on_stdout, STDERR: on_stderr}
    try:
        _send(socket, pod, command, stdin, timeout_s)
        for channel, part in _parts(socket, pod, command, timeout_s):
            if listener := listeners.get(channel):
                listener(part)
            elif channel in kept:
                kept[channel] += part
            if len(kept[STDOUT]) + len(kept[STDERR]) > MAX_OUTPUT_BYTES:
                raise shell.SkillError("internal", f"{command[0]} in {pod} prints more than {MAX_OUTPUT_BYTES >> 20} MiB")
        return Ran(_exit_code(bytes(kept[STATUS]), pod, command), bytes(kept[STDOUT]), bytes(kept[STDERR]))
    finally:
        socket.shutdown()  # not close(): its goodbye waits while output still comes, and swallows Ctrl-C


def _send(socket: Any, pod: str, command: list[str], stdin: bytes, timeout_s: float) -> None:
    from websocket import WebSocketConnectionClosedException, WebSocketTimeoutException

    socket.settimeout(timeout_s)
    try:
        for start in range(0, len(stdin), FRAME_BYTES):
            socket.send_binary(bytes([STDIN]) + stdin[start : start + FRAME_BYTES])
    except (WebSocketTimeoutException, TimeoutError) as error:
        raise _late(pod, command, timeout_s) from error
    except (WebSocketConnectionClosedException, OSError):
        return  # it has ended without reading everything: what came from it, and its Status, say how


def _late(pod: str, command: list[str], timeout_s: float) -> shell.SkillError:
    message = f"{command[0]} in pod {pod} did not end within {timeout_s:.0f} s (it may still run there)"
    return shell.SkillError("timeout", message, hint="the same call with a longer --timeout", retryable=True)


def _parts(socket: Any, pod: str, command: list[str], timeout_s: float) -> Iterator[tuple[int, bytes]]:
    """(channel, bytes) frame by frame until the server ends the stream.

    Not the client library's WSClient: output that comes faster than it is used piles up in it, and what it holds when the
    stream ends is lost to a loop that asks is_open() (kubernetes 37.0.2: 72 of 80 MB, with a reader slower than the pod).
    """
    from websocket import ABNF, WebSocketConnectionClosedException, WebSocketException, WebSocketTimeoutException

    deadline = time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0:
        socket.settimeout(left_s)
        try:
            kind, data = socket.recv_data(control_frame=True)
        except WebSocketTimeoutException:
            break
        except (WebSocketConnectionClosedException, OSError):
            return  # without a Status nobody takes this for an end
        except WebSocketException as error:
            raise shell.SkillError("unreachable", f"the stream to pod {pod} is garbled: {error}", retryable=True) from error
        if kind == ABNF.OPCODE_CLOSE:
            return
        if kind in (ABNF.OPCODE_BINARY, ABNF.OPCODE_TEXT) and len(data) > 1:
            yield data[0], data[1:]
    raise _late(pod, command, timeout_s)


def _open(cluster: Cluster, path: str, container: str, command: list[str], stdin: bool, *, again: bool = True) -> Any:
    from kubernetes.stream.ws_client import create_websocket
    from websocket import WebSocketBadStatusException, WebSocketException

    words = [("container", container), ("stdout", "1"), ("stderr", "1"), *([("stdin", "1")] if stdin else [])]
    url = cluster.server.replace("http", "ws", 1) + path + "?" + urlencode([*words, *(("command", word) for word in command)])
    used = cluster.current()
    headers = {"sec-websocket-protocol": "v4.channel.k8s.io", **headers_of(used)}
    try:
        socket = create_websocket(used.configuration, url, headers)
        cluster.was_taken()
        return socket
    except WebSocketBadStatusException as error:
        body = (error.resp_body or b"").decode("utf-8", "replace")
        refusal = ApiError(error.status_code, "", shell.clean(_message(body) or str(error), 300), "POST", path)
        if refusal.status == 401 and again and cluster.may_ask_again(refusal, used):
            return _open(cluster, path, container, command, stdin, again=False)
        raise refusal from error
    except (WebSocketException, OSError) as error:
        message = f"{cluster.server} does not open a stream to {path}: {shell.clean(str(error), 200)}"
        raise shell.SkillError(
            "unreachable", message, hint="is the pod's node up? kubectl get pod -o wide", retryable=True
        ) from error


def _message(body: str) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def _exit_code(last: bytes, pod: str, command: list[str]) -> int:
    """From the Status that ends the stream. None came: the connection broke, so nothing is known."""
    if not last:
        raise shell.SkillError("unreachable", f"the stream to pod {pod} broke before {command[0]} ended", retryable=True)
    try:
        return _code_of(json.loads(last), pod, command)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        message = f"the stream to pod {pod} ended with something else than a Status: {shell.clean(str(error), 100)}"
        raise shell.SkillError("unreachable", message, hint="the same call again", retryable=True) from error


def _code_of(status: Any, pod: str, command: list[str]) -> int:
    if status.get("status") == "Success":
        return 0
    causes = (status.get("details") or {}).get("causes") or []
    code = next((cause.get("message") for cause in causes if cause.get("reason") == "ExitCode"), None)
    if code is None:
        message = f"{command[0]} could not be started in pod {pod}: {shell.clean(str(status.get('message')), 300)}"
        raise shell.SkillError("usage", message, hint="is that program in the image?")
    return int(code)
