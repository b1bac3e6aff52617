"""What a caller of ensure-volume asks for, checked once before the first call."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import trainyard_kube as kube
import trainyard_quantity
import trainyard_shell as shell
from trainyard_storage import KINDS, RWO, RWX

_RUN_ID = re.compile(r"[0-9a-f]{16}")
_ZONE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


def run_id_or_raise(run_id: str) -> str:
    if not _RUN_ID.fullmatch(run_id):
        raise shell.SkillError("usage", "--run-id is not a run id: 16 hex digits", hint="run.json of the run holds it")
    return run_id


def size_bytes(quantity: str) -> Decimal:
    """A quantity as Kubernetes writes it (500Gi, 1.5Ti). Raises SkillError `usage`."""
    value = trainyard_quantity.value_of(quantity)
    if value is None:
        raise shell.SkillError("usage", f"size {quantity!r} is not a quantity", hint="as Kubernetes writes it: 500Gi, 2Ti")
    return value


def ask_of(name: str | None, document: str | None, words: dict[str, Any]) -> Ask:
    """From the options, and below them from a request (trainyard_job.Request). Raises SkillError."""
    import trainyard_request
    from trainyard_job import Storage

    asked = {key: value for key, value in words.items() if trainyard_request.was_said(key)}
    if document is not None:
        request = trainyard_request.read(document)
        storage = request.checkpoints.storage or Storage()
        name = trainyard_request.name_of(request, name)
        of_request = {
            "run_id": request.run_id,
            "storage_class": storage.storage_class,
            "size": storage.size,
            "nodes": request.nodes,
            "claim": storage.claim,
            "zone": request.fit.zone if request.fit else None,
        }
        asked = trainyard_request.within_bounds({key: value for key, value in of_request.items() if value is not None}) | asked
    if not name or not asked.get("run_id"):
        missing = "--run-id" if name else "NAME"
        raise shell.SkillError("usage", f"missing: {missing}", hint=f"{missing}, or --request with a document that has it")
    return Ask(name=name, **asked)


@dataclass(frozen=True, kw_only=True)
class Ask:
    name: str
    run_id: str
    storage_class: str | None = None
    """None: the cluster's default class."""
    size: str | None = None
    """None: the least that the driver offers."""
    nodes: int = 1
    claim: str | None = None
    """An existing claim that is to be used as it is."""
    zone: str | None = None
    use: str = "checkpoints"
    """checkpoints | data"""
    access_mode: str | None = None

    def __post_init__(self) -> None:
        kube.name_or_raise("run", self.name, kube.DNS_LABEL)
        run_id_or_raise(self.run_id)
        if self.storage_class:
            kube.name_or_raise("storage class", self.storage_class)
        if self.claim:
            kube.name_or_raise("claim", self.claim)
        if self.zone and not _ZONE.fullmatch(self.zone):
            raise shell.SkillError("usage", f"{shell.clean(self.zone, 80)!r} is no zone", hint="as in us-west-2a")
        if self.size and (problem := trainyard_quantity.problem(trainyard_quantity.BYTES, self.size)):
            raise shell.SkillError("usage", f"size {problem}", hint="as Kubernetes writes it: 500Gi, 2Ti")

    @property
    def claim_name(self) -> str:
        return self.claim or f"{self.name}-{self.run_id[:8]}"

    @property
    def digest(self) -> str:
        """Of what makes the claim what it is. Not the number of nodes: a job may be scaled, and the access check judges that."""
        words = [self.storage_class, self.size and str(size_bytes(self.size)), self.use, self.access_mode]
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]

    def mode(self, driver: str | None, offered: frozenset[str] | None) -> str:
        """The access mode to ask for: shared where the storage can, so that the run may grow; `offered` is what free volumes have."""
        if self.access_mode:
            return self.access_mode
        if offered:
            return RWX if RWX in offered or self.nodes > 1 else RWO
        kind = KINDS.get(driver or "")
        return RWX if (kind.shared if kind else self.nodes > 1) else RWO

    def wanted_size(self, driver: str | None, free_sizes: list[str]) -> str:
        """What is asked for; else of free volumes the smallest, else the least that the driver offers."""
        kind = KINDS.get(driver or "")
        return self.size or min(free_sizes, key=size_bytes, default=kind.least_size if kind else "100Gi")
