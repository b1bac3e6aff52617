"""What was asked of a cluster, written before it is asked: after a kill the next call knows it, and does not ask twice.

One small file a cluster, under XDG_STATE_HOME. A request is `preparing` (nothing was sent), `asked` (sent, no answer known), `accepted`
or `over`. Nothing here is needed to read a cluster; without the file a call only knows less.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trainyard_files as files
import trainyard_shell as shell

Request = dict[str, Any]
PREPARING, ASKED, ACCEPTED, OVER = "preparing", "asked", "accepted", "over"
KEPT_S = 24 * 3600.0
"""A request is older than any replacement or token then (tokens last 8 hours)."""
MAX_REQUESTS = 40
MAX_BYTES = 4 << 20
MEMBERS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "verb": str,
    "phase": str,
    "asked_at": (int, float),
    "nodes": list,
    "sent": list,
}


def folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "trainyard" / "hyperpod"


class Journal:
    def __init__(self, cluster_arn: str) -> None:
        self.path = folder() / (re.sub(r"[^a-z0-9]+", "-", cluster_arn.partition(":sagemaker:")[2].lower()) + ".json")

    def open_requests(self) -> list[Request]:
        """Those that are not over, the oldest first. Raises SkillError conflict for a damaged file; permission, unreachable."""
        return [each for each in self._read() if each["phase"] != OVER]

    def open(self, verb: str, *, nodes: list[dict[str, Any]], **members: Any) -> Request:
        """A new request in the phase `preparing`, on the disk."""
        request: Request = {"id": secrets.token_hex(8), "verb": verb, "phase": PREPARING, "asked_at": time.time()}
        request |= {"nodes": nodes, "sent": [], "pid": os.getpid(), "host": socket.gethostname(), **members}
        self.put(request)
        return request

    def put(self, request: Request) -> None:
        """In the place of the one with its id. On the disk when this returns. What has no id is not kept."""
        if not request["id"]:
            return
        with self._locked():
            before = [each for each in self._read() if each["id"] != request["id"]]
            young = [each for each in before if time.time() - each["asked_at"] < KEPT_S]
            self._write([*young, request][-MAX_REQUESTS:])

    def close(self, request: Request) -> None:
        request["phase"] = OVER
        self.put(request)

    def _read(self) -> list[Request]:
        hint = f"look at it, and at the cluster with `wait`; then remove it: rm {self.path}"
        try:
            raw = files.read_regular(self.path, MAX_BYTES)
            document = files.parse(raw)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except files.Unusable as error:
            raise shell.SkillError("conflict", f"{self.path} cannot be used: {error}", hint=hint) from error
        except OSError as error:
            raise shell.SkillError("permission", f"{self.path} cannot be read: {error.strerror}", hint=hint) from error
        listed = document.get("requests") if isinstance(document, dict) else None
        if not isinstance(listed, list) or not all(map(_is_request, listed)):
            raise shell.SkillError("conflict", f"{self.path} is damaged: it does not hold requests", hint=hint)
        return listed

    def _write(self, requests: list[Request]) -> None:
        files.replace_file(self.path, json.dumps({"version": 1, "requests": requests}, indent=1).encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self.path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            hint = "nothing is sent without it: free some space, or set XDG_STATE_HOME to another folder"
            raise shell.cannot_write(self.path, error, hint) from error


def _is_request(value: Any) -> bool:
    if not isinstance(value, dict) or not all(isinstance(value.get(name), kind) for name, kind in MEMBERS.items()):
        return False
    return all(isinstance(each, dict) and isinstance(each.get("group"), str) for each in value["nodes"])


def is_at_work(request: Request) -> bool:
    """Whether the process that made it still runs on this machine: then it is that one's to go on with."""
    pid = request.get("pid")
    if request.get("host") != socket.gethostname() or not isinstance(pid, int) or pid in (0, os.getpid()):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # there, and somebody else's: the number was given again
        return False
    return True


def take_over(request: Request) -> None:
    """It is this process's from now on."""
    request |= {"pid": os.getpid(), "host": socket.gethostname()}


def about(request: Request, words: set[str]) -> list[dict[str, Any]]:
    """Its nodes that one of these words means: instance id, logical id or name, as they were when it was asked."""
    return [each for each in request["nodes"] if words & {each.get("instance_id"), each.get("logical_id"), each.get("node")}]


def when(request: Request) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(request["asked_at"]))
