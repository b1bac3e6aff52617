"""What a person gave the doctor: an evidence folder, a run folder, a folder of logs or one log, as a list of sources and documents."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from diagnosis.facts import Source
from log_reading.source import ATTEMPT_LOG
from trainyard_files import Unusable, parse, read_regular

MAX_FILES = 4096
MAX_JSON_BYTES = 16 << 20
LOG_NAMES = (".log", ".out", ".err", ".stdout", ".stderr")
KERNEL = re.compile(r"(?:kernel|dmesg|syslog|messages)[^/]*$", re.IGNORECASE)
RANK_NAME = re.compile(r"(?:^|[/_.-])(?:global_?)?rank[-_.]?(\d{1,6})(?:[/_.-]|$)", re.IGNORECASE)
NODE_NAME = re.compile(r"(?:^|[/_.-])(?:node|host|pod)[-_.]?(\d{1,5})(?:[/_.-]|$)", re.IGNORECASE)
WORKER_NAME = re.compile(r"[/_.-]?worker[-_.](\d{1,5})(?:[/_.-]|$)", re.IGNORECASE)
MASTER_NAME = re.compile(r"[/_.-](?:master|launcher|head)[-_.]?0?(?:[/_.-]|$)", re.IGNORECASE)
TORCHRUN_FOLDER = re.compile(r"(?:^|/)attempt_(\d+)/(\d+)/(?:stdout|stderr)\.log$")
LAST_NUMBER = re.compile(r"(\d{1,5})\D*$")


@dataclass
class Pod:
    name: str
    node: str | None = None
    node_rank: int | None = None
    document: dict[str, Any] = field(default_factory=dict)


@dataclass
class Evidence:
    """Documents are as they came: nothing in them is trusted to have any shape."""

    root: Path
    logs: list[Source] = field(default_factory=list)
    kernel: list[Source] = field(default_factory=list)
    run: Path | None = None
    about: dict[str, Any] = field(default_factory=dict)
    """evidence.json."""
    pods: list[Pod] = field(default_factory=list)
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    objects: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """(file name, object)."""
    stacks: list[Path] = field(default_factory=list)
    flight: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def world_size(self) -> int | None:
        return _count(self.about.get("world_size"))

    @property
    def procs_per_node(self) -> int | None:
        return _count(self.about.get("procs_per_node"))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 20 else None


def open_evidence(text: str) -> Evidence:
    """SkillError not-found, usage or permission where it cannot be read at all."""
    path = Path(text)
    try:
        if path.is_dir():
            return _folder(path)
        if path.is_file():
            return Evidence(path.parent, logs=[_log_source(path, path.name)])
        exists = path.exists()
    except OSError as error:
        raise shell.SkillError("permission", f"{text} cannot be read: {error.strerror}", hint=f"ls -ld {text}") from error
    if exists:
        raise shell.SkillError("usage", f"{text} is neither a file nor a folder", hint="give a log, or a folder of logs")
    raise shell.SkillError(
        "not-found", f"{text} does not exist", hint="give a run folder, a folder of logs, a log, or a run's name"
    )


def _folder(path: Path) -> Evidence:
    found = Evidence(path)
    found.about = _object(path / "evidence.json", found) or {}
    found.run = next((each for each in (path / "run", path) if _is_run(each)), None)
    _pods(found)
    for file in _files(path / "nodes", ".json"):
        if node := _object(file, found):
            found.nodes[str((node.get("metadata") or {}).get("name") or file.stem)] = node
    found.events = _list(path / "events.json", found)
    for file in _files(path / "objects", ".json"):
        if thing := _object(file, found):
            found.objects.append((f"objects/{file.name}", thing))
    found.stacks = _files(path / "stacks", ".txt") + (_files(found.run / "logs", ".stacks.txt") if found.run else [])
    found.flight = _files(path / "flight", "")
    _logs(found)
    if not (found.logs or found.run or found.pods or found.events or found.objects or found.kernel or found.nodes):
        raise shell.SkillError("not-found", f"{path} holds no log, no run and no evidence", hint=f"ls {path}")
    return found


def _is_run(path: Path) -> bool:
    marks = ("runner.json", "events.jsonl", "steps.jsonl", "run.json")
    return any((path / mark).is_file() for mark in marks) or any((path / "logs").glob("attempt-*.log"))


def _files(folder: Path, end: str) -> list[Path]:
    try:
        return sorted(each for each in folder.iterdir() if each.name.endswith(end) and each.is_file())[:MAX_FILES]
    except OSError:
        return []


def _object(path: Path, found: Evidence) -> dict[str, Any] | None:
    value = _json(path, found)
    return value if isinstance(value, dict) else None


def _list(path: Path, found: Evidence) -> list[dict[str, Any]]:
    value = _json(path, found)
    value = value.get("items") if isinstance(value, dict) else value
    return [each for each in value if isinstance(each, dict)][:100_000] if isinstance(value, list) else []


def _json(path: Path, found: Evidence) -> Any:
    try:
        return parse(read_regular(path, MAX_JSON_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, Unusable) as error:
        found.problems.append(shell.clean(f"{path.name} cannot be used: {error}", 200))
        return None


def _pods(found: Evidence) -> None:
    told = found.about.get("pods")
    rows = [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    pods = {
        str(each.get("name")): Pod(str(each.get("name")), _text(each.get("node")), _rank(each.get("node_rank")))
        for each in rows
    }
    for folder in sorted((found.root / "pods").glob("*/"))[:MAX_FILES]:
        pod = pods.setdefault(folder.name, Pod(folder.name))
        pod.document = _object(folder / "pod.json", found) or {}
        pod.node = pod.node or _text(_part(pod.document, "spec").get("nodeName"))
    found.pods = list(pods.values())
    if any(pod.node_rank is None for pod in found.pods):
        _node_ranks(found.pods)


def _node_ranks(pods: list[Pod]) -> None:
    """From what operators put on pods; else in the order of names, rank 0's kind first."""
    has_master = any(_is_master(pod) for pod in pods)
    for pod in pods:
        if pod.node_rank is None:
            pod.node_rank = _told_rank(pod, has_master)


def _told_rank(pod: Pod, has_master: bool) -> int | None:
    if _is_master(pod):
        return 0
    labels = _part(_part(pod.document, "metadata"), "labels")
    containers = _part(pod.document, "spec").get("containers")
    env = (
        [each for each in (containers or [{}])[0].get("env") or [] if isinstance(each, dict)]
        if isinstance(containers, list)
        else []
    )
    for each in env:
        if each.get("name") in ("NODE_RANK", "PET_NODE_RANK", "GROUP_RANK") and str(each.get("value")).isdigit():
            return int(str(each["value"]))
    index = labels.get("training.kubeflow.org/replica-index") or labels.get("batch.kubernetes.io/job-completion-index")
    if isinstance(index, str) and index.isdigit():
        return int(index) + (1 if has_master else 0)
    if match := WORKER_NAME.search(pod.name):
        return int(match[1]) + (1 if has_master else 0)
    return int(match[1]) if (match := LAST_NUMBER.search(pod.name)) else None


def _is_master(pod: Pod) -> bool:
    labels = _part(_part(pod.document, "metadata"), "labels")
    return labels.get("training.kubeflow.org/replica-type") == "master" or MASTER_NAME.search(pod.name) is not None


def _logs(found: Evidence) -> None:
    root = found.root
    for pod in found.pods:
        containers = _part(pod.document, "spec").get("containers")
        names = [str(each.get("name")) for each in containers if isinstance(each, dict)] if isinstance(containers, list) else []
        files = _files(root / "pods" / pod.name, ".log")
        first = names[0] if names else None
        for file in files:
            container = file.name.removesuffix(".log").removesuffix(".previous")
            beside = (first is not None and container != first and len(files) > 1) or (
                first is None and container.startswith("init")
            )
            found.logs.append(
                Source(
                    f"pods/{pod.name}/{file.name}",
                    file,
                    node_rank=pod.node_rank,
                    pod=pod.name,
                    node=pod.node,
                    attempt=-1 if file.name.endswith(".previous.log") else 0,
                    container=container,
                    beside=beside,
                )
            )
    run = found.run
    attempts = _files(run / "logs", ".log") if run else []
    for file in attempts:
        if match := ATTEMPT_LOG.fullmatch(file.name):
            name = str(file.relative_to(root))
            found.logs.append(Source(name, file, attempt=int(match[1])))
    taken = {each.path for each in found.logs}
    for file in _loose(root):
        if file in taken or file.name.endswith(".stacks.txt") or file.name == "supervisor.log":
            continue
        name = str(file.relative_to(root))
        if KERNEL.search(file.name):
            found.kernel.append(Source(name, file))
        else:
            found.logs.append(_log_source(file, name))


def _loose(root: Path) -> list[Path]:
    """Logs that lie anywhere else in the folder, at most four levels deep."""
    found: list[Path] = []
    for pattern in ("*", "*/*", "*/*/*", "*/*/*/*"):
        for path in sorted(root.glob(pattern)):
            if len(found) >= MAX_FILES:
                return found
            if "checkpoints" in path.parts[len(root.parts) :]:
                continue
            is_log = path.name.endswith(LOG_NAMES) or KERNEL.search(path.name) or (pattern == "*" and path.suffix == ".txt")
            if is_log and path.is_file() and not path.is_symlink():
                found.append(path)
    return found


def _log_source(path: Path, name: str) -> Source:
    if match := TORCHRUN_FOLDER.search(str(path)):
        return Source(name, path, local_rank=int(match[2]), attempt=int(match[1]))
    if match := RANK_NAME.search(name):
        return Source(name, path, rank=int(match[1]))
    node_rank = None
    if MASTER_NAME.search(name):
        node_rank = 0
    elif match := NODE_NAME.search(name):
        node_rank = int(match[1])
    elif match := WORKER_NAME.search(name):
        siblings = [each.name for each in path.parent.iterdir()]
        node_rank = int(match[1]) + (1 if any(MASTER_NAME.search(each) for each in siblings) else 0)
    return Source(name, path, node_rank=node_rank, pod=path.stem if node_rank is not None else None)


def _part(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return shell.clean(value, 253) if isinstance(value, str) and value else None


def _rank(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 20 else None
