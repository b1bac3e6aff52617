"""What launchers other than torchrun tell of their ranks' ends: DeepSpeed's, Composer's, mpirun, srun, jsrun, Lightning's, torch.multiprocessing.

In the words of their sources: deepspeed/launcher/launch.py; orte/tools/orterun and prte; Slurm's srun (launch_common) and slurmstepd;
lightning/fabric/strategies/launchers/subprocess_script.py; composer/cli/launcher.py; torch/multiprocessing/spawn.py.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator

from diagnosis.facts import Death, Source
from diagnosis.log_text import Line

DEEPSPEED = re.compile(r"--local_rank=(?P<local>\d{1,5})\b.{0,2000}\bexits with return code = (?P<code>-?\d{1,5})")
MPIRUN = re.compile(
    r"(?:mpirun|mpiexec|prterun|orterun|prun) noticed that process rank (?P<rank>\d{1,6}) .{0,60}?on node (?P<host>\S{1,253}) "
    r"exited on signal (?P<signal>\d{1,2})"
)
MPI_NAME = re.compile(r"\s*Process name: \[(?:\[\d+,\d+\]|[\w.@-]{1,100}),(?P<rank>\d{1,6})\]")
MPI_CODE = re.compile(r"\s*Exit code:\s+(?P<code>-?\d{1,5})$")
SRUN = re.compile(r"srun: error: (?P<host>[\w.-]{1,253}): tasks? (?P<tasks>[\d,-]{1,400}): (?P<how>.{1,80})$")
SPAWN = re.compile(
    r"ProcessExitedException: process (?P<rank>\d{1,5}) terminated with (?:signal (?P<name>SIG[A-Z]+)|exit code (?P<code>\d+))"
)
RAISED = re.compile(r"-- Process (?P<rank>\d{1,5}) terminated with the following error")
LIGHTNING = re.compile(
    r"\[rank: (?P<rank>\d{1,6})\] Child process with PID (?P<pid>\d{1,9}) terminated with code (?P<code>-?\d{1,5})"
)
COMPOSER = re.compile(r"Global rank (?P<rank>\d{1,6}) \(PID (?P<pid>\d{1,9})\) exited with code (?P<code>-?\d{1,5})$")
JSRUN = re.compile(
    r"ERROR: {1,3}One or more process \(first noticed rank (?P<rank>\d{1,6})\) terminated with (?:signal (?P<signal>\d{1,2})|code (?P<code>\d{1,3}))"
)
PDSH = re.compile(r"[A-Za-z][\w.-]{0,252}: \[\d{4}-")
HOW = {
    "Out Of Memory": 9,
    "Killed": 9,
    "Segmentation fault": 11,
    "Bus error": 7,
    "Aborted": 6,
    "Illegal instruction": 4,
    "Terminated": 15,
}
MAX_TASKS = 4096


class OtherLaunchers:
    """Reads line by line; of all deaths that one launcher tells, the first is what the others follow from."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.deaths: list[Death] = []
        self._mpi: int | None = None

    def feed(self, offset: int, line: Line) -> None:
        self.deaths += [*self._of(offset, line)]

    def _of(self, offset: int, line: Line) -> Iterator[Death]:
        text = line.text
        if "exits with return code" in text and (match := DEEPSPEED.search(text)):
            is_of_several = PDSH.match(line.whole) is not None  # then the rank on its node says nothing of the world's
            yield self._death(offset, line, None, int(match["code"]), None if is_of_several else int(match["local"]))
        elif "noticed that process rank" in text and (match := MPIRUN.search(text)):
            yield self._death(offset, line, int(match["rank"]), -int(match["signal"]), host=match["host"])
        elif match := MPI_NAME.match(text):
            self._mpi = int(match["rank"])
        elif self._mpi is not None and (match := MPI_CODE.match(text)):
            yield self._death(offset, line, self._mpi, int(match["code"]))
            self._mpi = None
        elif text.startswith("srun: error: ") and (match := SRUN.match(text)):
            code = _of_srun(match["how"])
            for task in _tasks(match["tasks"]) if code is not None else ():
                yield self._death(offset, line, task, code or 0, host=match["host"])
        elif text.startswith("Global rank ") and (match := COMPOSER.match(text)):
            if int(match["code"]):
                yield self._death(offset, line, int(match["rank"]), int(match["code"]))
        elif "first noticed rank" in text and (match := JSRUN.search(text)):
            yield self._death(offset, line, int(match["rank"]), -int(match["signal"] or 0) or int(match["code"] or 1))
        elif match := RAISED.match(text):
            yield self._death(offset, line, int(match["rank"]), 1)
        elif "Child process with PID" in line.whole and (match := LIGHTNING.search(line.whole)):
            yield self._death(offset, line, int(match["rank"]), int(match["code"]))
        elif "ProcessExitedException: " in text and (match := SPAWN.search(text)):
            code = (
                -signal.Signals[match["name"]].value if match["name"] in signal.Signals.__members__ else int(match["code"] or 1)
            )
            yield self._death(offset, line, int(match["rank"]), code)

    def _death(
        self, offset: int, line: Line, rank: int | None, code: int, local: int | None = None, host: str | None = None
    ) -> Death:
        is_told_to_end = code in (-15, 143)
        first = not is_told_to_end and all(not each.first or each.offset == offset for each in self.deaths)
        return Death(rank, code, self.source, offset, line.text[:300], local, None, host, line.time, first)


def _of_srun(how: str) -> int | None:
    """As an exit code, a signal negative; None where it says nothing of an end."""
    if match := re.match(r"Exited with exit code (\d{1,3})", how):
        return int(match[1]) or None
    return next((-number for words, number in HOW.items() if how.startswith(words)), None)


def _tasks(text: str) -> Iterable[int]:
    """`1,3-5`."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found += range(int(first), min(int(last or first), int(first) + MAX_TASKS) + 1)
    return found[:MAX_TASKS]
