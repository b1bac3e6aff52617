"""What the ranks of one machine do now: state, processor, Python's stacks. One file of the standard library alone: it also runs in a pod.

A rank of Trainyard's runtime writes its stacks itself when it gets SIGUSR2 (its file in the run folder says so); no rights are needed
beyond sending the signal. Any other one is read with py-spy, which does not stop it. Nothing else is done to a process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

Row = dict[str, Any]
PROC = "/proc"
VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TRAINYARD_RUN_ID", "TRAINYARD_RUN_DIR")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
ANSWER_S, SETTLED_S, SPY_S, AT_ONCE = 3.0, 0.03, 15.0, 6
MAX_TEXT, MAX_RANKS = 256 * 1024, 1024
STATES = {"T": "stopped", "t": "traced", "Z": "zombie", "X": "gone", "D": "uninterruptible", "R": "running", "S": "sleeping"}


def look(run_id: str | None, run_dir: str | None, interval_s: float = 1.0, may_ask: bool = True) -> Row:
    """`run_id` None: every rank that is seen here, as in a pod. {"ranks": [{"rank", "pid", "state", "share", "wchan", "threads", "text" or "spy" or "why"}], "world_size": 8, "spy": path or null}"""
    ranks = find(run_id, run_dir)
    if run_dir is None and ranks:  # a pod knows its run folder itself
        run_dir = _environment(min(ranks.values())).get("TRAINYARD_RUN_DIR")
    heads = _heads(run_dir)
    if run_id is None:  # the ranks of other pods lie in the same folder
        heads = {rank: head for rank, head in heads.items() if head.get("host") == os.uname().nodename}
    began = time.monotonic()
    before = {rank: _ticks(pid) for rank, pid in ranks.items()}
    rows = {rank: _row(rank, pid) for rank, pid in ranks.items()}
    if may_ask:
        _ask(rows, heads)
    spy = _spy_program(ranks)
    silent = [row for row in rows.values() if "text" not in row and row["state"] not in ("gone", "zombie")]
    for row in silent:
        if spy is None:
            row.setdefault("why", "py-spy is not installed here")
    if spy is not None:
        _spy(spy, silent)
    time.sleep(max(0.0, interval_s - (time.monotonic() - began)))
    past_s = time.monotonic() - began
    for rank, row in rows.items():
        first, after = before[rank], _ticks(row["pid"])
        if first is not None and after is not None:
            row["share"] = round((after - first) / TICKS_PER_S / past_s, 3)
    for rank, head in heads.items():  # those that were there and are not any more
        if rank not in rows:
            rows[rank] = _row(rank, head["pid"], head.get("start_time"))
    world = max(
        [_number(_environment(pid).get("WORLD_SIZE")) or 0 for pid in ranks.values()]
        + [head.get("world_size") or 0 for head in heads.values()]
        + [0]
    )
    return {
        "ranks": [rows[rank] for rank in sorted(rows)][:MAX_RANKS],
        "world_size": world,
        "spy": spy,
        "host": os.uname().nodename,
    }


# --- which processes ---------------------------------------------------------------------------------------------


def find(run_id: str | None, run_dir: str | None) -> dict[int, int]:
    """Pid by rank: processes of the run whose parent is not the same rank.

    A launcher's workers have LOCAL_RANK beside RANK. Operators give a pod RANK alone, which is the node's, and the launcher in it has that.
    """
    own = _ancestors(os.getpid())
    told: dict[int, int] = {}
    workers: set[int] = set()
    for entry in os.listdir(PROC):
        if entry.isdigit() and int(entry) not in own:
            variables = _environment(int(entry))
            rank = _number(variables.get("RANK"))
            is_ours = run_id is None or (variables.get("TRAINYARD_RUN_ID") == run_id and _serves(variables, run_dir))
            if rank is not None and is_ours:
                told[int(entry)] = rank
                if "LOCAL_RANK" in variables:
                    workers.add(int(entry))
    if workers:
        told = {pid: rank for pid, rank in told.items() if pid in workers}
    found: dict[int, int] = {}
    for pid, rank in sorted(told.items()):
        stat = _stat(pid)
        if stat is not None and told.get(int(stat[1])) != rank:
            found.setdefault(rank, pid)
    return found


def _serves(variables: dict[str, str], run_dir: str | None) -> bool:
    there = variables.get("TRAINYARD_RUN_DIR")
    try:
        return there is None or run_dir is None or os.path.samefile(there, run_dir)
    except OSError:
        return True


def _ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 0 and pid not in found:
        found.add(pid)
        stat = _stat(pid)
        pid = int(stat[1]) if stat else 0
    return found


def _heads(run_dir: str | None) -> dict[int, Row]:
    """Of the newest attempt, by rank: the first line of each rank's file of stacks, and the file."""
    folder = os.path.join(run_dir or "", "stacks")
    heads: dict[int, Row] = {}
    try:
        attempts = sorted(name for name in os.listdir(folder) if name.startswith("attempt-") and name[8:].isdigit())
        for name in os.listdir(os.path.join(folder, attempts[-1])) if attempts else []:
            path = os.path.join(folder, attempts[-1], name)
            with contextlib.suppress(OSError, ValueError, RecursionError):
                head = json.loads(_read(path, 0, 4096).split(b"\n")[0])
                if name.startswith("rank-") and isinstance(head, dict) and isinstance(head.get("pid"), int):
                    heads[int(head["rank"])] = {**head, "path": path}
    except (OSError, TypeError, KeyError):
        pass
    return heads


# --- what a process says of itself -------------------------------------------------------------------------------


def _row(rank: int, pid: int, start_time: int | None = None) -> Row:
    stat = _stat(pid)
    if stat is None or (start_time is not None and int(stat[19]) != start_time):
        return {"rank": rank, "pid": pid, "state": "gone"}
    row: Row = {"rank": rank, "pid": pid, "state": STATES.get(stat[0], "sleeping"), "threads": int(stat[17])}
    with contextlib.suppress(OSError):
        row["wchan"] = _read(f"{PROC}/{pid}/wchan", 0, 80).decode(errors="replace").strip("0\n ")
    with contextlib.suppress(OSError, IndexError):
        names = os.listdir(f"{PROC}/{pid}/task")[:256]
        threads = [stat for name in names if (stat := _stat(f"{pid}/task/{name}"))]
        if row["state"] == "sleeping" and any(stat[0] == "D" for stat in threads):
            row["state"] = "uninterruptible"
    return row


def _ask(rows: dict[int, Row], heads: dict[int, Row]) -> None:
    """The ranks whose own file says that this very process writes it get the signal; a stopped one would not hear it."""
    asked: dict[int, tuple[str, int]] = {}
    for rank, row in rows.items():
        head, stat = heads.get(rank), _stat(row["pid"])
        if head is None or stat is None or head["pid"] != row["pid"] or head.get("start_time") != int(stat[19]):
            continue
        if row["state"] in ("stopped", "traced") or not _catches(row["pid"], signal.SIGUSR2):
            continue
        with contextlib.suppress(OSError):
            size = os.stat(head["path"]).st_size
            os.kill(row["pid"], signal.SIGUSR2)
            asked[rank] = (head["path"], size)
    deadline = time.monotonic() + ANSWER_S
    sizes: dict[int, int] = {}
    while asked and time.monotonic() < deadline:
        time.sleep(SETTLED_S)
        now = {rank: _size(path) for rank, (path, _) in asked.items()}
        if all(now[rank] == sizes.get(rank) and now[rank] > size for rank, (_, size) in asked.items()):
            break
        sizes = now
    for rank, (path, size) in asked.items():
        with contextlib.suppress(OSError):
            if text := _read(path, size if _size(path) >= size else 0, MAX_TEXT).decode(errors="replace"):
                rows[rank]["text"] = text
        if "text" not in rows[rank]:
            rows[rank]["why"] = f"it did not answer SIGUSR2 within {ANSWER_S:.0f} s"


def _catches(pid: int, number: int) -> bool:
    try:
        lines = _read(f"{PROC}/{pid}/status", 0, 65536).decode(errors="replace").splitlines()
        return any(int(line.split()[1], 16) >> (number - 1) & 1 for line in lines if line.startswith("SigCgt:"))
    except (OSError, ValueError, IndexError):
        return False


# --- what py-spy reads -------------------------------------------------------------------------------------------


def _spy_program(ranks: dict[int, int]) -> str | None:
    beside = [os.path.dirname(sys.executable)]
    for pid in list(ranks.values())[:1]:
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = _read(f"{PROC}/{pid}/cmdline", 0, 4096).split(b"\0")
            beside.append(os.path.dirname(words[0].decode()))
    places = [os.path.join(folder, "py-spy") for folder in beside if folder]
    return next((found for found in map(shutil.which, ["py-spy", *places]) if found), None)


def _spy(program: str, rows: list[Row]) -> None:
    deadline, todo = time.monotonic() + SPY_S, list(rows)
    running: list[tuple[Row, subprocess.Popen[bytes]]] = []
    while todo or running:
        while todo and len(running) < AT_ONCE:
            row = todo.pop(0)
            words = [program, "dump", "--nonblocking", "--json", "--pid", str(row["pid"])]
            try:
                running.append(
                    (row, subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
                )
            except OSError as error:
                row["why"] = f"py-spy: {error}"
        for row, process in running[:1] if len(running) == AT_ONCE or not todo else ():
            try:
                out, said = process.communicate(timeout=max(0.01, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                out, said = process.communicate()[0], b"it took too long"
            running.remove((row, process))
            if process.returncode == 0 and len(out) < 4 * MAX_TEXT:
                row["spy"] = out.decode(errors="replace")
            else:
                row["why"] = "py-spy: " + said.decode(errors="replace").strip().partition("\n")[0][:200]


# --- /proc -------------------------------------------------------------------------------------------------------


def _read(path: str, begin: int, most: int) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.pread(handle, most, begin)
    finally:
        os.close(handle)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _stat(pid: int | str) -> list[str] | None:
    """The fields of /proc/PID/stat from the third on; None where it is gone."""
    try:
        return _read(f"{PROC}/{pid}/stat", 0, 4096).decode(errors="replace").rpartition(")")[2].split() or None
    except OSError:
        return None


def _ticks(pid: int) -> int | None:
    stat = _stat(pid)
    return int(stat[11]) + int(stat[12]) if stat else None


def _environment(pid: int) -> dict[str, str]:
    try:
        raw = _read(f"{PROC}/{pid}/environ", 0, 1 << 20)
    except OSError:
        return {}
    pairs = (item.partition("=") for item in raw.decode(errors="replace").split("\0"))
    return {name: value for name, _, value in pairs if name in VARIABLES}


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 8 else None


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(look(given["run_id"], given["run_dir"], given["interval_s"], given["may_ask"])))
