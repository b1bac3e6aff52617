"""The kernel's own log of this machine: who was killed for memory, Xids, disks that failed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading

from evidence_folder.cutting import Stream
from evidence_folder.writing import EvidenceFolder

TIMEOUT_S = 10.0
PART_BYTES = 64 << 10


def kernel_log(folder: EvidenceFolder) -> None:
    """kernel.log with what dmesg prints, or the reason why there is none. Ends within TIMEOUT_S."""
    try:
        process = subprocess.Popen(["dmesg"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError as error:
        folder.leave_out("kernel.log", f"dmesg cannot be started: {error.strerror}")
        return
    stream = Stream(folder.limits.file_bytes)
    deadline = threading.Timer(TIMEOUT_S, process.kill)
    deadline.start()
    try:
        assert process.stdout is not None
        with process.stdout:
            stream.take_all(iter(lambda: os.read(process.stdout.fileno(), PART_BYTES), b""))  # type: ignore[union-attr]
        code = process.wait()
    finally:
        deadline.cancel()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    if stream.seen:
        folder.text("kernel.log", stream.cut())
    if code:
        folder.leave_out(
            "kernel.log", f"dmesg ended with {code}: this user may not read it, or it took longer than {TIMEOUT_S:.0f} s"
        )
    elif not stream.seen:
        folder.leave_out("kernel.log", "dmesg printed nothing: it is empty, or not shown in this container")
