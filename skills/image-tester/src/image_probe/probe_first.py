"""The first process of the container: starts a child for each probe, ends it at its time limit, and signs what it answers.

It runs with `-I -S`: nothing of the image but Python itself is loaded here. Results go to stdout, one line each,
`TY1 HMAC-SHA256 JSON`, by a key that came with this text and goes to no child. It cannot be traced, so no child reads key or stdout.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import select
import signal
import subprocess
import sys
import time

from image_probe import probe_bundle, probe_memory
from image_probe.probe_report import bounded

MAX_SAID_BYTES = 1 << 20
MAX_OUTPUT_BYTES = 4000
BOOT = "import sys; exec(compile(sys.stdin.read(), 'image_probe', 'exec'))"
PR_SET_DUMPABLE = 4


def main(plan: dict[str, object], parts: list[tuple[str, str]]) -> None:
    _hide()
    first = First(str(plan["key"]), parts, dict(os.environ))
    first.say({"id": "begin", "python": sys.version.split()[0], "executable": sys.executable, "machine": os.uname().machine})
    probes = plan["probes"]
    assert isinstance(probes, list)
    for spec in probes:
        first.probe(spec)
    first.say({"id": "end", "probes": len(probes)})


def _hide() -> None:
    try:
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass


class First:
    """The signer of results."""

    def __init__(self, key: str, parts: list[tuple[str, str]], environment: dict[str, str]) -> None:
        self._key, self._parts, self._environment, self._number = key.encode("ascii"), parts, environment, 0

    def say(self, document: dict[str, object]) -> None:
        self._number += 1
        text = json.dumps({**document, "number": self._number})
        mark = hmac.new(self._key, text.encode("ascii"), hashlib.sha256).hexdigest()
        sys.stdout.write("TY1 " + mark + " " + text + "\n")
        sys.stdout.flush()

    def probe(self, spec: dict[str, object]) -> None:
        """Runs one probe; a child that does not come back is the answer of its item, and another child takes the rest."""
        items = spec["items"]
        assert isinstance(items, list)
        first = 0
        while first < len(items):
            self.say({"id": spec["id"], "index": first, "state": "began"})
            child = Child(spec, first, self._parts, self._environment)
            answers = child.run()
            for answer in answers:
                self.say({**answer, "id": spec["id"]})
            first += len(answers)


class Child:
    """One process, its two pipes, and its end."""

    def __init__(self, spec: dict[str, object], first: int, parts: list[tuple[str, str]], environment: dict[str, str]) -> None:
        self._word = os.urandom(16).hex()
        self._first, self._step, self._output, self._rest = first, "start Python", b"", b""
        self._answers: list[dict[str, object]] = []
        self._since = time.monotonic()
        self._limit_s = float(str(spec["limit_s"]))
        items = spec["items"]
        assert isinstance(items, list)
        self._items = len(items)
        self._kills = probe_memory.kills()
        self._results, theirs = os.pipe()
        told = {**spec, "first": first, "handle": theirs, "word": self._word}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-c", BOOT],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs],
                cwd="/",
                env={**environment, **_extra(spec)},
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        self._text = probe_bundle.text(parts, "probe_child", told).encode("ascii")

    def run(self) -> list[dict[str, object]]:
        """The answers of this child; the last is about the item that it ended in, where it did not reach the end."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(self._text)
            self._process.stdin.close()
        except OSError:
            pass  # it did not read the probe: its end says why
        why = self._read([self._results, self._process.stdout.fileno()])
        _end_all(self._process)
        if (why or not self._answers or self._process.returncode) and self._next() < self._items:
            self._answers.append(self._end(why))
        self._process.stdout.close()
        os.close(self._results)
        return self._answers

    def _read(self, handles: list[int]) -> str:
        """Until the child is gone; "timeout" or "flooded" where it is to be ended."""
        said = 0
        while handles:
            left_s = self._since + self._limit_s - time.monotonic()
            if left_s <= 0:
                return "timeout"
            ready, _, _ = select.select(handles, [], [], min(left_s, 0.2))
            for handle in ready:
                data = os.read(handle, 65536)
                if not data:
                    handles.remove(handle)
                elif handle == self._results:
                    said += len(data)
                    self._take(data)
                else:
                    self._output = (self._output + data)[-MAX_OUTPUT_BYTES:]
            if said > MAX_SAID_BYTES:
                return "flooded"
            if not ready and self._process.poll() is not None:
                break  # a grandchild may hold the pipes for ever
        return ""

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, _, text = line.partition(b" ")
            if not hmac.compare_digest(word, self._word.encode("ascii")):
                continue
            document = json.loads(text.decode("ascii"))
            if "step" in document:
                self._step = document["step"]
            elif document["index"] == self._next():
                self._answers.append(self._with_memory({**document, **self._circumstances()}))
                self._since = time.monotonic()

    def _with_memory(self, answer: dict[str, object]) -> dict[str, object]:
        """What went wrong while the kernel killed a process here (a rank, the job) went wrong for that."""
        kills, before = probe_memory.kills(), self._kills
        self._kills = kills
        if kills > before and answer["state"] != "done":
            return {**answer, "state": "memory", "limit_bytes": probe_memory.limit_bytes()}
        return answer

    def _next(self) -> int:
        """The item that no answer is there for yet."""
        return self._first + len(self._answers)

    def _circumstances(self) -> dict[str, object]:
        seconds = round(time.monotonic() - self._since, 3)
        output = bounded(self._output.decode("utf-8", "replace"), end=True)
        return {"step": self._step, "seconds": seconds, "output": output}

    def _end(self, why: str) -> dict[str, object]:
        code = self._process.returncode
        end: dict[str, object] = {
            "index": self._next(),
            "state": why or "died",
            "limit_s": self._limit_s,
            **self._circumstances(),
        }
        if not why:
            end.update(signal=-code if code < 0 else None, code=code if code >= 0 else None)
        return self._with_memory(end)


def _extra(spec: dict[str, object]) -> dict[str, str]:
    extra = spec.get("environment") or {}
    assert isinstance(extra, dict)
    return extra


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """No process of the probe stays: as the first process of the container all others, else those of its session."""
    try:
        if os.getpid() == 1:
            os.kill(-1, signal.SIGKILL)
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        pass  # there is none
    process.wait()
    while os.getpid() == 1:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
                os.kill(-1, signal.SIGKILL)
        except OSError:
            return
