"""What runs in a pod: reads bounded parts of a run folder on the volume and sends them out. Nothing is written there.

run_files.py sends the text of this file over stdin; the standard library of any Python 3 is enough. The answer is a line that begins
with MARK, for an image may print a greeting before it, and then the bytes of the parts, one behind the other.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
import time
from typing import IO, Any

MARK = "trainyard-run: "
BLOCK = 1 << 20
MAX_ENTRIES = 200000
MAX_STEPS = 2000
EVENT_FILE = "events.out.tfevents."


def main(ask: dict[str, Any]) -> None:
    """`ask`: folder, files {name: [whole, head, tail] bytes}, dumps {folder: [ending, bytes of a file, files]}, checkpoints, tensorboard
    (whether to look for event files)."""
    threading.Thread(target=end_with_the_caller, daemon=True).start()
    folder = ask["folder"]
    if not os.path.isdir(folder):
        say({"missing": True, "now": time.time()})
        return
    plans = [read_plan(folder, name, *bounds) for name, bounds in ask["files"].items()]
    plans += [each for kind, bounds in (ask.get("dumps") or {}).items() for each in dump_plans(folder, kind, *bounds)]
    files = [each for each in plans if each]
    answer = {"files": files, "now": time.time(), "disk": disks(folder)}
    answer["checkpoints"] = checkpoints(os.path.join(folder, "checkpoints")) if ask.get("checkpoints") else None
    answer["events"] = event_files(folder) if ask.get("tensorboard") else None
    say(answer)
    for each in files:
        send(os.path.join(folder, each.get("path") or each["name"]), each)
    sys.stdout.buffer.flush()


def end_with_the_caller() -> None:
    if not os.read(sys.stdin.fileno(), 1):
        os._exit(1)


def say(document: dict[str, Any]) -> None:
    sys.stdout.write("\n" + MARK + json.dumps(document) + "\n")
    sys.stdout.flush()


def opened(path: str) -> IO[bytes]:
    """A regular file alone: a link could lead out of the folder, a pipe would wait."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file")
    return os.fdopen(descriptor, "rb", buffering=0)


def read_plan(folder: str, name: str, whole: int, head: int, tail: int) -> dict[str, Any] | None:
    """{name, size, mtime, parts: [[offset, bytes]], error}; None where it is not there.

    A file of more than `whole` bytes is its beginning and its end, cut at lines.
    """
    told: dict[str, Any] = {"name": name, "size": 0, "mtime": 0.0, "parts": [], "error": None}
    try:
        with opened(os.path.join(folder, name)) as file:
            status = os.fstat(file.fileno())
            told.update(size=status.st_size, mtime=status.st_mtime)
            if status.st_size <= max(whole, head + tail):
                told["parts"] = [[0, status.st_size]]
                return told
            end = cut(file, 0, head)
            begin = cut(file, status.st_size - tail, BLOCK)
            told["parts"] = [[0, end], *evaluations(file, end, begin), [begin, status.st_size - begin]]
    except FileNotFoundError:
        return None
    except OSError as error:
        told["error"] = error.strerror or str(error)
    return told


def dump_plans(folder: str, kind: str, ending: str, most_bytes: int, most_files: int) -> list[dict[str, Any] | None]:
    """KIND/rank-NNNN of the newest attempt that has any, as plans; `path` is where it lies, `name` without the attempt."""
    for attempt in sorted(names_in(os.path.join(folder, kind), "attempt-", ""), key=lambda name: int(name[8:]), reverse=True):
        place = os.path.join(kind, attempt)
        names = sorted(names_in(os.path.join(folder, place), "rank-", ending))[:most_files]
        if names:
            return [dump_plan(folder, os.path.join(place, name), f"{kind}/{name}", most_bytes) for name in names]
    return []


def names_in(place: str, begin: str, ending: str) -> list[str]:
    try:
        names = os.listdir(place)
    except OSError:
        return []
    return [name for name in names if name.startswith(begin) and name.endswith(ending) and number_of(name, begin, ending)]


def number_of(name: str, begin: str, ending: str) -> bool:
    number = name[len(begin) : len(name) - len(ending)]
    return number.isascii() and number.isdigit() and len(number) < 10


def dump_plan(folder: str, path: str, name: str, most_bytes: int) -> dict[str, Any] | None:
    """All of it or nothing: a part of a dump cannot be read."""
    told = read_plan(folder, path, most_bytes, 0, 0)
    if told is None:
        return None
    told.update(name=name, path=path)
    if told["size"] > most_bytes:
        told.update(parts=[], error=f"longer than {most_bytes} bytes")
    return told


def cut(file: IO[bytes], offset: int, most: int) -> int:
    """For a head: the end of its last whole line; for a tail: the begin of its first."""
    file.seek(offset)
    part = file.read(most) or b""
    at = part.rfind(b"\n") if offset == 0 else part.find(b"\n")
    return offset + at + 1 if at >= 0 else offset + (0 if offset == 0 else len(part))


def evaluations(file: IO[bytes], begin: int, end: int) -> list[list[int]]:
    """Lines between head and tail that tell a validation loss: few, and of the whole run. The last 64 MiB are looked through."""
    found: list[list[int]] = []
    offset = max(begin, end - (64 << 20))
    file.seek(offset)
    rest, rest_at, whole = b"", offset, offset == begin
    while offset < end:
        part = file.read(min(BLOCK, end - offset))
        if not part:
            break
        *lines, last = part.split(b"\n")
        at = offset
        for line in lines:
            text, text_at = (rest + line, rest_at) if rest or rest_at != at else (line, at)
            at += len(line) + 1
            if whole and b'"val_loss"' in text and text.startswith(b"{") and len(text) < 65536:
                found.append([text_at, len(text) + 1])
            rest, rest_at, whole = b"", at, True
        rest = (rest + last)[:BLOCK]  # a longer line is no record, and its begin alone is remembered
        offset += len(part)
    return found[-400:]


def send(path: str, plan: dict[str, Any]) -> None:
    """Exactly the bytes that were announced; what is missing now (the file was made anew) becomes line ends."""
    left = sum(size for _, size in plan["parts"])
    try:
        with opened(path) as file:
            for offset, size in plan["parts"]:
                file.seek(offset)
                while size and (part := file.read(min(size, BLOCK))):
                    sys.stdout.buffer.write(part)
                    size, left = size - len(part), left - len(part)
    except OSError:
        pass
    sys.stdout.buffer.write(b"\n" * left)


def checkpoints(folder: str) -> dict[str, Any]:
    """Names of step folders with the times of their manifests; their contents are not looked at."""
    told: dict[str, Any] = {"steps": {}, "tiers": None, "latest": None, "problem": None}
    try:
        names = [name for name in os.listdir(folder) if name.startswith("step_") and name[5:].isdigit()]
    except FileNotFoundError:
        return {**told, "problem": "there is no checkpoint folder"}
    except OSError as error:
        return {**told, "problem": f"the checkpoint folder cannot be read: {error.strerror}"}
    for name in sorted(names, key=lambda name: int(name[5:]))[-MAX_STEPS:]:
        try:
            told["steps"][name] = os.lstat(os.path.join(folder, name, "manifest.json")).st_mtime
        except OSError:
            continue
    for key, name in (("tiers", "tiers.json"), ("latest", "latest")):
        try:
            with opened(os.path.join(folder, name)) as file:
                told[key] = (file.read(BLOCK) or b"").decode("utf-8", "replace")
        except OSError:
            continue
    return told


def disks(folder: str) -> list[list[Any]]:
    """[path, free bytes, all bytes] of the run folder and of its checkpoints."""
    rows: list[list[Any]] = []
    for path in (folder, os.path.join(folder, "checkpoints")):
        try:
            told = os.statvfs(path)
            rows.append([path, told.f_bavail * told.f_frsize, told.f_blocks * told.f_frsize])
        except OSError:
            continue
    return rows


def event_files(folder: str) -> list[list[Any]]:
    """Names and times of TensorBoard's files; a run's checkpoints may hold a million others."""
    found: list[list[Any]] = []
    seen = 0
    for place, folders, names in os.walk(folder):
        seen += len(names) + len(folders)
        if seen > MAX_ENTRIES:
            break
        folders[:] = sorted(name for name in folders if name != "checkpoints" and place.count("/") - folder.count("/") < 6)
        for name in names:
            if name.startswith(EVENT_FILE):
                try:
                    found.append([os.path.join(place, name), os.lstat(os.path.join(place, name)).st_mtime])
                except OSError:
                    continue
    return found[:1000]
