"""Runs on the host of a CodeBuild build, sent there as text: one unprivileged container that reads the probe, its answer into the log.

Standard library only, Python 3.8: it is not imported by the programs of this skill. What the container prints never reaches the log as
it is: lines with the probe's signature are packed, in base64 behind a mark, so no image can write a line of this program.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import subprocess
import sys
import time
import zlib
from typing import IO, Any

MAX_OUTPUT_BYTES = 8 << 20
MAX_ERROR_BYTES = 4000
CHARS_A_LINE = 3500
"""With its mark in front: a reader of the log takes 4000 of a line."""
NOT_THERE = ("executable file not found", "no such file or directory")


def main() -> None:
    asked = json.loads(os.environ["TEST_WORDS"])
    probe = zlib.decompress(base64.b64decode(os.environ["TEST_PROBE"]))
    inspected = docker("image", "inspect", os.environ["TEST_IMAGE"])
    for python in asked["pythons"]:
        answer = tried([word.replace("@PYTHON@", python) for word in asked["words"]], probe, asked["limit_s"])
        said = (answer["error"] + " " + str(answer["state"].get("Error", ""))).lower()
        if answer["lines"] or not any(each in said for each in NOT_THERE):
            break
    answer["size_bytes"] = (first(inspected.stdout) or {}).get("Size", 0)
    packed = base64.b64encode(zlib.compress(json.dumps(answer).encode(), 9)).decode()
    with open(sys.argv[1], "w") as file:
        file.write(packed)
    pieces = [packed[start : start + CHARS_A_LINE] for start in range(0, len(packed), CHARS_A_LINE)]
    for number, piece in enumerate(pieces, start=1):
        print("TRAINYARD-TEST", asked["mark"], number, len(pieces), piece, flush=True)


def docker(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["docker", *words], stdin=subprocess.DEVNULL, capture_output=True)


def first(text: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
        return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else None
    except (ValueError, RecursionError):
        return None


def tried(words: list[str], probe: bytes, limit_s: float) -> dict[str, Any]:
    made = docker(*words)
    if made.returncode:
        return {"lines": [], "unsigned": 0, "error": text(made.stderr), "why": "", "state": {}}
    container = made.stdout.decode().split()[-1]
    try:
        answer = attached(container, probe, time.monotonic() + limit_s)
        answer["state"] = (first(docker("container", "inspect", container).stdout) or {}).get("State", {})
    finally:
        docker("rm", "--force", "--volumes", container)
    return answer


def attached(container: str, probe: bytes, deadline: float) -> dict[str, Any]:
    command = ["docker", "start", "--attach", "--interactive", container]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin and process.stdout and process.stderr
    os.set_blocking(process.stdin.fileno(), False)
    output, error, why = b"", b"", ""
    reading: list[IO[bytes]] = [process.stdout, process.stderr]
    while reading:
        left_s = deadline - time.monotonic()
        if left_s <= 0 or len(output) > MAX_OUTPUT_BYTES:
            why = "timeout" if left_s <= 0 else "flooded"
            break
        ready, free, _ = select.select(reading, [process.stdin] if probe else [], [], min(left_s, 1.0))
        if free:
            probe = sent(process.stdin, probe)
        for stream in ready:
            data = os.read(stream.fileno(), 65536)
            if not data:
                reading.remove(stream)
            elif stream is process.stdout:
                output += data
            else:
                error = (error + data)[-MAX_ERROR_BYTES:]
    process.kill()
    process.wait()
    lines = [line for line in output[:MAX_OUTPUT_BYTES].split(b"\n") if line.strip()]
    signed = [line.decode("ascii", "replace") for line in lines if line.startswith(b"TY1 ")]
    return {"lines": signed, "unsigned": len(lines) - len(signed), "error": text(error), "why": why}


def sent(stdin: IO[bytes], probe: bytes) -> bytes:
    try:
        probe = probe[os.write(stdin.fileno(), probe) :]
    except BlockingIOError:
        return probe
    except OSError:
        probe = b""
    if not probe:
        with contextlib.suppress(OSError):
            stdin.close()
    return probe


def text(raw: bytes) -> str:
    return raw[-MAX_ERROR_BYTES:].decode("utf-8", "replace").strip()


if __name__ == "__main__":
    main()
