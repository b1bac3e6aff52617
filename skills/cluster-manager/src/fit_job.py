"""The keys of a job file that decide whether it fits. The deployer checks the whole file; here a wrong key of these is an error."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from trainyard_files import Unusable
from cluster_amounts import amount

ENGINES = ("pytorchjob", "trainjob", "hyperpodjob", "rayjob", "raycluster")
MAX_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a job file asks of a cluster. None: the file leaves it to us (`auto`)."""

    engine: str
    nodes: int
    procs_per_node: int | None
    instance_type: str | None
    cpu: str | None
    memory: str | None
    shm: str | None
    network: str
    context: str | None
    namespace: str | None
    selector: dict[str, str]
    tolerations: tuple[dict[str, Any], ...]
    priority: str | None
    queue: str | None
    storage: dict[str, Any] | None


def read_job(path: Path) -> Job:
    """Raises SkillError: not-found, permission, usage (not YAML, or a key that is none of what it must be)."""
    import trainyard_yaml
    import yaml

    try:
        document = trainyard_yaml.read(path, limit_bytes=MAX_BYTES)
    except FileNotFoundError as error:
        raise shell.SkillError("not-found", f"no job file {path}", hint="give the path of a job file (YAML)") from error
    except PermissionError as error:
        raise shell.SkillError("permission", f"the job file {path} may not be read") from error
    except (OSError, Unusable, yaml.YAMLError) as error:
        raise shell.SkillError(
            "usage", f"{path} is not a YAML file: {shell.clean(str(error), 200)}", hint=_hint(path)
        ) from error
    if not isinstance(document, dict):
        raise shell.SkillError("usage", f"{path} holds no mapping (key: value)", hint=_hint(path))
    return job_of(document, path)


def job_of(document: dict[str, Any], path: Path) -> Job:
    keys = Keys(document, path)
    cluster, resources = keys.section("cluster"), keys.section("resources")
    return Job(
        engine=keys.choice("engine", ENGINES, "pytorchjob"),
        nodes=keys.count("nodes") or 1,
        procs_per_node=keys.count("procs_per_node"),
        instance_type=resources.text("instance_type"),
        cpu=resources.quantity("cpu"),
        memory=resources.quantity("memory"),
        shm=resources.quantity("shm", "memory"),
        network=keys.choice("network", ("auto", "efa", "tcp"), "auto"),
        context=cluster.text("context"),
        namespace=cluster.text("namespace"),
        selector=cluster.labels("node_selector"),
        tolerations=cluster.mappings("tolerations"),
        priority=cluster.text("priority"),
        queue=cluster.text("queue"),
        storage=keys.section("checkpoints").section("storage").values or None,
    )


def _hint(path: Path) -> str:
    return f"deploy.py plan {path} names every mistake in a job file"


@dataclass(frozen=True)
class Keys:
    """One section of the file. Each method raises SkillError usage with the key's path."""

    values: dict[str, Any]
    path: Path
    prefix: str = "$"

    def section(self, key: str) -> Keys:
        value = self.values.get(key) or {}
        if not isinstance(value, dict):
            raise self.wrong(key, "a mapping")
        return Keys(value, self.path, f"{self.prefix}.{key}")

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is not None and not (isinstance(value, str) and value):
            raise self.wrong(key, "a text")
        return value

    def count(self, key: str) -> int | None:
        """A number from 1 on; None for auto."""
        value = self.values.get(key, "auto")
        if value == "auto":
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise self.wrong(key, "a number from 1 on, or auto")
        return value

    def choice(self, key: str, known: tuple[str, ...], default: str) -> str:
        value = self.values.get(key) or default
        if value not in known:
            raise self.wrong(key, f"one of {', '.join(known)}")
        return str(value)

    def quantity(self, key: str, resource: str | None = None) -> str | None:
        value = self.values.get(key, "auto")
        if value == "auto":
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.wrong(key, "a quantity, or auto")
        if amount(resource or key, str(value)) <= 0:
            raise self.wrong(key, "more than nothing")
        return str(value)

    def labels(self, key: str) -> dict[str, str]:
        values = self.section(key).values
        if not all(isinstance(each, str) for pair in values.items() for each in pair):
            raise self.wrong(key, "labels (quote numbers and true/false)")
        return values

    def mappings(self, key: str) -> tuple[dict[str, Any], ...]:
        values = self.values.get(key) or []
        if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
            raise self.wrong(key, "a list of mappings")
        return tuple(values)

    def wrong(self, key: str, expected: str) -> shell.SkillError:
        found = shell.clean(repr(self.values.get(key)), 80)
        message = f"{self.path}: {self.prefix}.{key}: expected {expected}, got {found}"
        return shell.SkillError("usage", message, hint=_hint(self.path))
