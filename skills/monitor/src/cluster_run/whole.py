"""metrics, report and tensorboard of a run on a cluster: everything that can be read of it, once."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import trainyard_shell as shell
from cluster_run.named import Named
from cluster_run.run_files import MOST_BYTES
from cluster_run.view import ClusterView, Looker, looker_at
from log_reading.source import LogSource, source_in

MAX_FOLDERS = 5


@contextmanager
def whole_run(named: Named, stall_factor: float) -> Iterator[tuple[ClusterView, Looker]]:
    """Raises SkillError not-found where nothing of the run can be read; `data.tried` says what was tried."""
    with looker_at(named) as looker:
        found = looker.look(stall_factor=stall_factor, whole_bytes=MOST_BYTES)
        if not found.has_records:
            message = f"{found.run.name} is {found.observation.state.name}, and neither its run folder nor a log can be read"
            hint = f"monitor_training.py health {named.words} says why, and what is left"
            raise shell.SkillError("not-found", message, hint=hint, data={"tried": found.tried[:10]}, retryable=True)
        yield found, looker


@contextmanager
def source_of(named: Named) -> Iterator[LogSource]:
    """What `metrics` reads."""
    with whole_run(named, 10.0) as (found, looker):
        source = source_in(looker.folder, found.run.name)
        yield replace(source, name=found.source)


def tensorboard_result(named: Named, port: int) -> shell.Result:
    """Event files on the volume, as a pod of the run sees them."""
    with looker_at(named) as looker:
        found = looker.look(tensorboard=True)
    volume = found.volume
    if volume is None or not volume.tensorboard:
        message = f"no TensorBoard event files of {found.run.name} can be seen"
        seen = [f"none in {volume.folder}"] if volume else found.tried[:5]
        raise shell.SkillError("not-found", message, hint="start the trainer with --tensorboard", data={"tried": seen})
    folder = f"{volume.folder}/tensorboard"
    if not any(path.startswith(folder + "/") for path, _ in volume.tensorboard):
        folder = volume.folder
    pod, namespace = volume.pod, found.run.cluster.namespace
    where = f"-n {namespace}" + (f" --context {shlex.quote(named.context)}" if named.context else "")
    name = shell.clean(found.run.name, 80)
    copy = f"kubectl cp {where} -c {pod.main} {shlex.quote(f'{pod.name}:{folder}')} {shlex.quote(f'./{name}-tensorboard')}"
    inside = f"tensorboard --logdir {shlex.quote(folder)} --host 127.0.0.1 --port {port}"
    command = f"tensorboard --logdir {shlex.quote(f'./{name}-tensorboard')} --host 127.0.0.1 --port {port}"
    data = {
        "copy": copy,
        "command": command,
        "in_pod": f"kubectl exec {where} {pod.name} -c {pod.main} -- {inside}",
        "tunnel": f"kubectl port-forward {where} pod/{pod.name} {port}:{port}",
        "open": f"http://127.0.0.1:{port}",
        "folder": folder,
        "event_files": len(volume.tensorboard),
        "newest_age_s": max(0.0, volume.now - max(time for _, time in volume.tensorboard)),
        "notes": [
            "`copy` and then `command` shows what is there now, on this machine",
            "`in_pod` and `tunnel` show it live, where the image has tensorboard: it takes the pod's memory",
        ],
    }
    return shell.Result(data=data, next=[copy, command])


def report_target(name: str) -> Path:
    """Where the report of a cluster's run goes unless told."""
    safe = "".join(letter if letter.isalnum() or letter in "-._" else "-" for letter in name)[:80].lstrip(".") or "run"
    return Path(f"{safe}.report.html")
