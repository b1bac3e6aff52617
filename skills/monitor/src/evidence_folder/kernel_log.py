"""The kernel's own log of this machine: who was killed for memory, Xids, disks that failed. Each line gets its time in front: dmesg
gives seconds since the machine's start, which a reader elsewhere knows nothing of."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from evidence_folder.cutting import Stream
from evidence_folder.writing import EvidenceFolder

TIMEOUT_S = 10.0
LINE_BYTES = 64 << 10
SINCE_START = re.compile(rb"(?:<\d{1,4}>)?\[ {0,12}(\d{1,12}\.\d{1,9})\]")


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
            booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
            stream.take_all(with_times(iter(lambda: process.stdout.readline(LINE_BYTES), b""), booted))  # type: ignore[union-attr]
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


def with_times(lines: Iterable[bytes], started: float) -> Iterator[bytes]:
    """`started`: the machine's start, seconds since 1970. Lines without the kernel's seconds stay as they are."""
    for line in lines:
        match = SINCE_START.match(line)
        if match and (at := started + float(match[1])) < 4e9:
            yield datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ ").encode()
        yield line
