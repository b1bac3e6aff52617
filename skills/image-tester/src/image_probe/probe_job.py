"""One step of the job's own command, with the variables that the platform gives it (shared-docs/run-folder.md).

Done is a step in steps.jsonl, or exit 0. What the job prints is evidence for people and decides nothing in its favour.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time

from image_probe.probe_report import Failed, Report, Unproven, bounded

PYTHON = "{python}"
"""First word that stands for this Python: the engine has its own launcher."""
POLL_S = 0.2
MAX_OUTPUT_BYTES = 64 << 10
MAX_WORDS_CHARS = 3800


def one_step(report: Report, item: dict[str, object]) -> dict[str, object]:
    """Ends the job at its first step. Raises Failed with its last words, Unproven(time) where no step came."""
    words, folder = item["words"], str(item["folder"])
    assert isinstance(words, list) and words
    words = [sys.executable if word == PYTHON else str(word) for word in words]
    report.step("start " + words[0])
    with tempfile.TemporaryDirectory() as run_dir:
        steps = os.path.join(run_dir, "steps.jsonl")
        given = item["environment"]
        assert isinstance(given, dict)
        environment = {**os.environ, **given, "TRAINYARD_RUN_DIR": run_dir, "PYTHONUNBUFFERED": "1"}
        environment["TRAINYARD_CHECKPOINTS"] = os.path.join(run_dir, "checkpoints")
        try:
            process = subprocess.Popen(
                words,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"{words[0]} cannot be started in {folder}: {error.strerror}") from None
        report.step("run " + " ".join(words)[:150])
        return _follow(process, steps, float(str(item["limit_s"])))


def _follow(process: subprocess.Popen[bytes], steps: str, limit_s: float) -> dict[str, object]:
    assert process.stdout
    deadline, output = time.monotonic() + limit_s, b""
    step = None
    while step is None and time.monotonic() < deadline and process.poll() is None:
        if select.select([process.stdout], [], [], POLL_S)[0]:
            data = os.read(process.stdout.fileno(), 65536)
            output = (output + data)[-MAX_OUTPUT_BYTES:]
            if not data:
                time.sleep(POLL_S)
        step = first_step(steps)
    code = process.poll()
    output = (output + _end(process))[-MAX_OUTPUT_BYTES:]
    step = step if step is not None else first_step(steps)
    words = bounded(output.decode("utf-8", "replace"), end=True)[-MAX_WORDS_CHARS:]
    if step is not None or code == 0:
        return {"step": step, "exit_code": code, "output": words}
    if code is None:
        raise Unproven("time", f"it ran for {limit_s:g} s and wrote no step into steps.jsonl; its last words: {words}")
    raise Failed(f"it ended with exit code {code} before its first step; its last words: {words}")


def first_step(path: str) -> int | None:
    try:
        with open(path, "rb") as file:
            found = json.loads(file.readline(65536))
    except (OSError, ValueError, RecursionError):
        return None
    step = found.get("step") if isinstance(found, dict) else None
    return step if isinstance(step, int) and step > 0 else None


def _end(process: subprocess.Popen[bytes]) -> bytes:
    """Its session ends; what its pipe still holds. What left the session, the first process of the container ends."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout
    output = b""
    while select.select([process.stdout], [], [], 0)[0] and len(output) < MAX_OUTPUT_BYTES:
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            break
        output += data
    return output
