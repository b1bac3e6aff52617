"""`tensorboard`: the command that shows a run's event files, and the tunnel to it. Nothing is started, no port is opened."""

from __future__ import annotations

import os
import re
import shlex
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trainyard_shell as shell

if TYPE_CHECKING:
    from cluster_run.named import Named

EVENT_FILE = "events.out.tfevents."
MAX_ENTRIES, MAX_DEPTH = 20_000, 6
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@:-]{0,253}")


def tensorboard_result(run: Named, host: str | None, port: int) -> shell.Result:
    if run.is_on_cluster:
        from cluster_run.whole import tensorboard_result as on_cluster

        return on_cluster(run, port)
    run_dir = run.folder
    path = Path(run_dir)
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise shell.SkillError("not-found", f"{run_dir} {what}; the run folder is wanted", hint="deploy.py list names the runs")
    if host is not None and not HOST.fullmatch(host):
        raise shell.SkillError("usage", f"--host {shell.clean(host, 80)!r} is no host name", hint="--host user@trainbox")
    files = event_files(path)
    if not files:
        message = f"no TensorBoard event files in {run_dir}"
        raise shell.SkillError("not-found", message, hint="start the trainer with --tensorboard; it writes RUN_DIR/tensorboard")
    folder = _folder(path, files)
    newest = max(file.stat().st_mtime for file in files if file.exists())
    command = f"tensorboard --logdir {shlex.quote(str(folder))} --host 127.0.0.1 --port {port}"
    tunnel = f"ssh -N -L {port}:127.0.0.1:{port} {host or socket.gethostname()}"
    data = {
        "command": command,
        "tunnel": tunnel,
        "open": f"http://127.0.0.1:{port}",
        "folder": str(folder),
        "event_files": len(files),
        "newest_age_s": max(0.0, time.time() - newest),
        "notes": _notes(host),
    }
    return shell.Result(data=data, next=[command])


def _notes(host: str | None) -> list[str]:
    where = f"on {host}" if host else "on the machine that holds the folder"
    return [
        f"run `command` {where}; it listens on 127.0.0.1 only",
        "from another machine run `tunnel` there, then open the address",
    ]


def event_files(path: Path) -> list[Path]:
    """Those below the folder, as far as a bounded search gets."""
    found, seen, root_depth = [], 0, len(path.parts)
    for place, folders, names in os.walk(path):
        seen += len(names) + len(folders)
        if seen > MAX_ENTRIES:
            break
        # A run's checkpoints may hold a million files, and no curves.
        depth = len(Path(place).parts) - root_depth
        folders[:] = [name for name in sorted(folders) if name != "checkpoints" and depth < MAX_DEPTH]
        found += [Path(place) / name for name in names if name.startswith(EVENT_FILE)]
    return found


def _folder(path: Path, files: list[Path]) -> Path:
    """What TensorBoard is pointed at: the folder around all event files, so that each run gets its name below it."""
    own = path / "tensorboard"
    inside = [file for file in files if own in file.parents]
    return (own if inside else Path(os.path.commonpath([file.parent for file in files]))).absolute()
