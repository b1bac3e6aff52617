"""A bounded copy of a run's folder on the volume, read through a running pod: the files of run_folder, as they are on this machine.

The copy has what one look reads (the end of steps.jsonl and events.jsonl) or the whole of them, empty manifests under the names of the
checkpoints, and the times of the files. Everything that comes from the pod is data: names are ours, sizes are bounded.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import trainyard_shell as shell
from cluster_run.inside import MARK
from cluster_run.run import ClusterRun, RunPod
from trainyard_exec import run_in_pod

STEPS_HEAD, STEPS_TAIL = 64 << 10, 320 << 10
"""More than a look reads of either end (run_view/observe.py), so that it knows that the middle is missing."""
EVENTS_HEAD, EVENTS_TAIL = 64 << 10, (4 << 20) + (64 << 10)
RANK_TAIL = 9 << 10
"""More than hardware/rank_files.py reads."""
MOST_BYTES = 512 << 20
DUMP = re.compile(r"rank-\d{1,9}\.(?:txt|bin)", re.ASCII)
DUMPS = 1024
"""Ranks."""
MAX_HEADER_BYTES = 16 << 20
LOOK_S = 45.0
"""A volume that does not answer is given up after this; the logs are read instead."""
WHOLE_S = 600.0
LARGE_BYTES = 32 << 20
PODS_TRIED = 3
PYTHONS = ("python3", "python")
BOOTSTRAP = "import sys,json;a=json.loads(sys.stdin.buffer.read(int(sys.argv[1])));s={};exec(a['source'],s);s['main'](a)"
VARIABLE = "TRAINYARD_RUN_DIR"


@dataclass
class VolumeCopy:
    """What came of the run folder."""

    pod: RunPod
    folder: str
    """In the pod."""
    now: float
    """The pod's clock when it was read."""
    asked_s: float = 0.0
    """Seconds that the answer took: the clock's reading may be this old."""
    disks: list[tuple[str, int, int]] = field(default_factory=list)
    """(path in the pod, free, all) in bytes."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Of the files as they are on the volume."""
    complete: bool = True
    """False: of a long file the middle was left out."""
    tensorboard: list[tuple[str, float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def run_dir_of(pod: RunPod) -> str | None:
    """As the pod's own environment names it; None for a job that knows no run folder."""
    own = [each for each in pod.object["spec"]["containers"] if each["name"] == pod.main]
    told = [each.get("value") for container in own for each in container.get("env") or [] if each.get("name") == VARIABLE]
    return next((value for value in told if isinstance(value, str) and value.startswith("/")), None)


def copy_run(
    run: ClusterRun,
    target: Path,
    *,
    whole_bytes: int = 0,
    tensorboard: bool = False,
    ranks: int = 0,
    dumps: Mapping[str, str] | None = None,
) -> tuple[VolumeCopy | None, list[str]]:
    """(what was copied into `target`, which pods were tried and why they did not do).

    Files of at most `whole_bytes` come whole, of longer ones the beginning and the end; `ranks`: the ends of so many ranks' files too;
    `dumps`: folders of files of theirs (folder -> ending), of which those of the newest attempt come. Raises SkillError credentials.
    """
    tried: list[str] = []
    pods = [pod for pod in run.pods if pod.runs and run_dir_of(pod)]
    if not pods:
        return None, [_no_pod(run)]
    for pod in sorted(pods, key=lambda pod: pod.node_rank if pod.node_rank is not None and pod.node_rank >= 0 else 1 << 20)[
        :PODS_TRIED
    ]:
        try:
            return _through(run, pod, target, whole_bytes, tensorboard, ranks, dumps or {}), tried
        except shell.SkillError as error:
            if error.code in ("credentials",):
                raise
            tried.append(f"pod {pod.name}: {error}")
            if error.code == "permission":  # of exec: the next pod says the same
                break
    return None, tried


def _no_pod(run: ClusterRun) -> str:
    if any(run_dir_of(pod) for pod in run.pods):
        return "no pod runs through which its folder on the volume could be read"
    return f"its pods name no run folder ({VARIABLE})" if run.pods else "no pods"


def _through(
    run: ClusterRun, pod: RunPod, target: Path, whole_bytes: int, tensorboard: bool, ranks: int, dumps: Mapping[str, str]
) -> VolumeCopy:
    import time

    folder = run_dir_of(pod)
    assert folder is not None
    bounds = {
        "runner.json": (0, 0, 1 << 20),
        "runner-spec.json": (0, 0, 1 << 20),
        "events.jsonl": (whole_bytes, EVENTS_HEAD, EVENTS_TAIL),
        "steps.jsonl": (whole_bytes, STEPS_HEAD, STEPS_TAIL),
        **{f"ranks/rank-{rank:04d}.jsonl": (0, 0, RANK_TAIL) for rank in range(ranks)},
    }
    asked_dumps = {kind: (ending, whole_bytes, DUMPS) for kind, ending in dumps.items()}
    for name in [*(["ranks"] if ranks else []), *asked_dumps]:
        (target / name).mkdir(exist_ok=True)
    source = (Path(__file__).parent / "inside.py").read_text(encoding="utf-8")
    ask: dict[str, Any] = {"source": source, "folder": folder, "files": bounds, "dumps": asked_dumps}
    ask |= {"checkpoints": True, "tensorboard": tensorboard}
    data, began = json.dumps(ask).encode(), time.monotonic()
    receiver = Receiver(pod, target, set(bounds), tuple(asked_dumps))
    for python in PYTHONS:
        try:
            ran = run_in_pod(
                run.cluster,
                pod.name,
                pod.main,
                [python, "-c", BOOTSTRAP, str(len(data))],
                stdin=data,
                timeout_s=WHOLE_S if whole_bytes > LARGE_BYTES else LOOK_S,
                on_stdout=receiver.feed,
            )
            break
        except shell.SkillError as error:
            if error.code != "usage" or python == PYTHONS[-1]:
                raise
    if ran.exit_code:
        last = shell.clean(ran.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2], 200)
        raise shell.SkillError("unreachable", f"{python} there ended with {ran.exit_code}: {last}", retryable=True)
    return receiver.copy(folder, time.monotonic() - began)


class Receiver:
    """Takes what inside.py prints, piece by piece, and writes the files."""

    def __init__(self, pod: RunPod, target: Path, names: set[str], dumps: tuple[str, ...] = ()) -> None:
        self.pod, self.target, self.names, self.dumps = pod, target, names, dumps
        self._line: bytearray | None = bytearray()
        self._told: dict[str, Any] = {}
        self._queue: list[tuple[dict[str, Any], int]] = []
        self._file: IO[bytes] | None = None
        self._left = 0

    def feed(self, part: bytes) -> None:
        if self._line is not None:
            self._line += part
            if len(self._line) > MAX_HEADER_BYTES:
                raise self._wrong("sends a line without an end")
            _, mark, rest = bytes(self._line).partition(b"\n" + MARK.encode())
            line, newline, behind = rest.partition(b"\n")
            if not mark or not newline:
                return
            self._line, part = None, behind
            self._begin(line)
        while part:
            if not self._left:
                raise self._wrong("sends more than it announced")
            taken = part[: self._left]
            assert self._file is not None
            self._file.write(taken)
            self._left -= len(taken)
            part = part[len(taken) :]
            self._next()

    def _begin(self, line: bytes) -> None:
        try:
            self._told = json.loads(line)
            files = self._told.get("files") or []
            self._queue = [(each, sum(int(size) for _, size in each["parts"])) for each in files]
            good = all(self._is_asked(each["name"]) and 0 <= size <= MOST_BYTES + (8 << 20) for each, size in self._queue)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._wrong("answers something else than was asked") from error
        if not good or len({each["name"] for each, _ in self._queue}) != len(self._queue):
            raise self._wrong("announces files that were not asked for")
        self._next()

    def _is_asked(self, name: str) -> bool:
        kind, _, file = name.partition("/")
        return name in self.names or (kind in self.dumps and DUMP.fullmatch(file) is not None)

    def _next(self) -> None:
        """The next file that has bytes to come."""
        while not self._left:
            if self._file is not None:
                self._file.close()
                self._file = None
            if not self._queue:
                return
            told, self._left = self._queue.pop(0)
            if not told.get("error"):
                self._file = (self.target / told["name"]).open("wb")

    def copy(self, folder: str, asked_s: float) -> VolumeCopy:
        """Once all has come. Raises SkillError unreachable, not-found (no such folder there yet)."""
        if self._file is not None:
            self._file.close()
        if self._line is not None or self._left or self._queue:
            raise self._wrong("broke off before all of it was sent")
        if self._told.get("missing"):
            raise shell.SkillError("not-found", f"there is no folder {folder} yet", retryable=True)
        try:
            return self._done(folder, asked_s)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise self._wrong("answers something else than was asked") from error

    def _done(self, folder: str, asked_s: float) -> VolumeCopy:
        told = self._told
        found = VolumeCopy(self.pod, folder, float(told["now"]), asked_s)
        for each in told["files"]:
            found.sizes[each["name"]] = int(each["size"])
            found.complete &= sum(int(size) for _, size in each["parts"]) >= int(each["size"])
            if each.get("error"):
                found.problems.append(f"{each['name']} cannot be read there: {shell.clean(str(each['error']), 100)}")
                continue
            os.utime(self.target / each["name"], (float(each["mtime"]),) * 2)
        found.disks = [(shell.clean(str(path), 200), int(free), int(size)) for path, free, size in told.get("disk") or []]
        found.tensorboard = [(str(path), float(time)) for path, time in told.get("events") or []]
        _write_checkpoints(self.target / "checkpoints", told.get("checkpoints") or {})
        return found

    def _wrong(self, what: str) -> shell.SkillError:
        return shell.SkillError("unreachable", f"pod {self.pod.name} {what}", hint="the same call again", retryable=True)


def _write_checkpoints(folder: Path, told: dict[str, Any]) -> None:
    """Empty manifests with the times of the real ones: names and times are all that monitor reads of checkpoints."""
    if told.get("problem"):
        return
    folder.mkdir(exist_ok=True)
    for name, time in list(told["steps"].items())[-2000:]:
        if name.startswith("step_") and name[5:].isascii() and name[5:].isdigit() and len(name) < 25:
            (folder / name).mkdir(exist_ok=True)
            (folder / name / "manifest.json").touch()
            os.utime(folder / name / "manifest.json", (float(time),) * 2)
    for key, name in (("tiers", "tiers.json"), ("latest", "latest")):
        if isinstance(told.get(key), str):
            (folder / name).write_text(told[key][: 1 << 20], encoding="utf-8")
