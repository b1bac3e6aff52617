"""What torchrun tells of its ranks: who ended how, in its log lines and in the summary that it ends with."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from diagnosis.facts import Death, Source
from diagnosis.log_text import Line

FAILED = re.compile(r"failed \(exitcode: (?P<code>-?\d+)\) local_rank: (?P<local>\d+) \(pid: (?P<pid>\d+)\)")
SIGNAL = re.compile(r"Signal (?P<signal>\d+) \(SIG[A-Z]+\) received by PID (?P<pid>\d+)")
FIELD = re.compile(r"\s{1,4}(?P<name>time|host|rank|exitcode|error_file|traceback)\s*: (?P<value>.*)$")
RANK = re.compile(r"(?P<rank>\d+)(?: \(local_rank: (?P<local>\d+)\))?")
CODE = re.compile(r"(?P<code>-?\d+)(?: \(pid: (?P<pid>\d+)\))?")
ROOT, OTHERS = "Root Cause (first observed failure)", "Failures:"
TORCHRUN = re.compile(r"torch/distributed/|torch\.distributed\.elastic")


class Report:
    """Reads line by line; `deaths` fill as entries of the summary end."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.deaths: list[Death] = []
        self._part = ""
        self._fields: dict[str, str] = {}
        self._begin = 0

    def feed(self, offset: int, line: Line) -> bool:
        """Whether the line is torchrun's."""
        text = line.text
        if match := FAILED.search(text):
            code = exit_code(int(match["code"]))
            self.deaths.append(
                Death(None, code, self.source, offset, text, int(match["local"]), int(match["pid"]), None, line.time, True)
            )
            return True
        if text.startswith((ROOT, OTHERS)):
            self._close()
            self._part = "root" if text.startswith(ROOT) else "others"
            return True
        if not self._part:
            return False
        if match := FIELD.match(text):
            if match["name"] in ("time", "rank") and match["name"] in self._fields:
                self._close()
            if not self._fields:
                self._begin = offset
            self._fields[match["name"]] = match["value"][:500]
            return match["name"] != "traceback" or "Signal" in match["value"] or "To enable" in match["value"]
        if text.startswith("====="):
            self._close()
            self._part = ""
            return True
        return re.match(r"\s*\[\d+\]:|-{5,}|\s*<NO_OTHER", text) is not None

    def _close(self) -> None:
        fields, self._fields = self._fields, {}
        rank, code = RANK.match(fields.get("rank", "")), CODE.match(fields.get("exitcode", ""))
        if not rank or not code:
            return
        told = " ".join(f"{name}: {fields[name]}" for name in ("rank", "exitcode", "traceback") if name in fields)
        local, pid = rank["local"], code["pid"]
        self.deaths.append(
            Death(
                int(rank["rank"]),
                exit_code(int(code["code"])),
                self.source,
                self._begin,
                told[:300],
                int(local) if local else None,
                int(pid) if pid else None,
                fields.get("host"),
                _time(fields.get("time", "")),
                self._part == "root",
            )
        )

    def end(self) -> None:
        self._close()


def exit_code(told: int) -> int:
    """HyperPod's launcher tells raw wait statuses: -36608 is 143, -139 is SIGSEGV with a core; a shell tells 128 + signal."""
    if told % 256 == 0 and -65536 < told <= -256:
        return -told // 256
    return told + 128 if -192 < told < -128 else told


def signal_of(code: int) -> int | None:
    """The signal that an exit code stands for; None for an ordinary one."""
    return -code if code < 0 else code - 128 if 128 < code < 160 else None


def _time(text: str) -> float | None:
    try:
        return datetime.strptime(text.strip()[:19], "%Y-%m-%d_%H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
