"""What the kernel says, of a machine that other programs use too: only what can be about this run is found.

A process that it killed is the run's where its pid says so, or where the run ended then; a device or a disk is of interest from the
run's begin on. In front of each line stands the time, where `collect` or a system log has put it.
"""

from __future__ import annotations

import re

from diagnosis import gpu_words
from diagnosis.case import Case
from diagnosis.facts import Found
from diagnosis.log_pieces import pieces_of_interest
from diagnosis.log_text import line_of
from diagnosis.rules import every_of

SAME_END_S = 120.0
"""Between a process's death and the end of its run: a launcher waits for the others."""
CLOCK_S = 5.0
"""By which the kernel's clock may differ, converted from seconds since the machine's start."""
ENDING = re.compile(r"\.(?:log|out|err|txt)$")
OF_KERNEL = re.compile(r"[-_.]?\b(?:dmesg|kern(?:el)?|syslog)\b[-_.]?")
AT_WORK = ("running", "finished", "stopped", "pending")


def found_in(case: Case) -> list[Found]:
    """What cannot be read is a problem of the case."""
    rows: list[Found] = []
    nodes = {pod.node for pod in case.evidence.pods if pod.node}
    for source in case.evidence.kernel:
        host = _host_of(case, source.name)
        try:
            for offset, raw in pieces_of_interest(source.path):  # type: ignore[arg-type]  # a kernel log has a path
                if raw is None:
                    continue
                line = line_of(raw)
                node = next((each for each in nodes if each in line.whole or each in source.name), None) or host
                words = [(each, match.groupdict()) for each, match in every_of("kernel", line.text)]
                words += [(each, {}) for each in gpu_words.rules_for("kernel", line.text)]
                for each, more in words[:3]:
                    found = Found(each, source, line.whole, node=node or (next(iter(nodes)) if len(nodes) == 1 else None))
                    found.offset, found.time, found.uncaught = offset, line.time, True
                    found.more = {name: value for name, value in more.items() if value}
                    pid = found.more.get("pid") or found.more.get("pid2") or gpu_words.pid_of(line.text)
                    found.rank = case.rank_by_pid(int(pid)) if pid else None
                    if _concerns(case, found):
                        rows.append(found)
        except (OSError, ValueError) as error:
            case.problems.append(f"{source.name} cannot be read to its end: {error}")
    return rows


def _host_of(case: Case, name: str) -> str | None:
    """The host that the kernel's log is named after, where a log of its ranks is named after it too."""
    host = OF_KERNEL.sub("", _stem(name))
    return host if host and any(_stem(each.source.name) == host for each in case.logs) else None


def _stem(name: str) -> str:
    return ENDING.sub("", name.rpartition("/")[2])


def _concerns(case: Case, found: Found) -> bool:
    if found.rank is not None:
        return True
    began, ended = (case.attempt.began, case.attempt.ended) if case.attempt else (None, None)
    if found.time is not None and began is not None and found.time < began - CLOCK_S:
        return False
    if found.time is not None and ended is not None and found.time > ended + SAME_END_S:
        return False
    if not ({"pid", "pid2"} & found.more.keys()):
        return found.time is not None or found.node is not None or case.outcome not in AT_WORK
    if case.outcome in AT_WORK:
        return False  # a rank or a helper of it that is killed ends its run
    return found.time is None or ended is None or abs(found.time - ended) <= SAME_END_S
