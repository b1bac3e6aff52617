"""What is asked -> the probes, from quick to full, in the order in which they are tried."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import Any

from tester_asked import MIB, Asked, started
from tester_bundle import Plan, Probe
from tester_inspect import Image

IMPORT_S, TORCH_S, RANKS_S, SHORT_S = 120.0, 120.0, 90.0, 30.0


def plan_of(asked: Asked, image: Image) -> Plan:
    """The plan of one container."""
    probes = [*_quick(asked, image), *_standard(asked, image), *_full(asked, image)]
    probes = [replace(each, environment={**asked.env, **each.environment}) for each in probes]
    if asked.probe_s:
        probes = [replace(each, limit_s=min(each.limit_s, asked.probe_s)) for each in probes]
    return Plan((*probes, *_job(asked, image)))


def _quick(asked: Asked, image: Image) -> list[Probe]:
    script_folder = (
        posixpath.dirname(posixpath.join(image.folder, asked.entry.path)) if asked.entry and asked.entry.path else ""
    )
    probes = [Probe(id="python", call="probe_python.python", limit_s=SHORT_S)]
    if asked.packages:
        items = tuple({"name": each.name, "declared": bool(each.where)} for each in asked.packages)
        probes.append(Probe(id="imports", call="probe_imports.declared", items=items, limit_s=IMPORT_S, folder=script_folder))
    if asked.entry:
        item: dict[str, Any] = {"folder": image.folder, **vars(asked.entry)}
        folder = image.folder if asked.entry.module else script_folder
        probes.append(Probe(id="entry", call="probe_scripts.entry", items=(item,), limit_s=SHORT_S, folder=folder))
    return [*probes, Probe(id="scripts", call="probe_scripts.console", limit_s=SHORT_S)]


def _standard(asked: Asked, image: Image) -> list[Probe]:
    if not asked.at_least("standard"):
        return []
    probes = [
        Probe(id="torch", call="probe_torch.build", limit_s=TORCH_S),
        Probe(id="cuda", call="probe_torch.cuda_run", limit_s=TORCH_S),
        Probe(id="nccl", call="probe_loading.nccl", limit_s=TORCH_S),
        Probe(id="libfabric", call="probe_loading.libfabric", limit_s=SHORT_S),
        Probe(id="ofi_nccl", call="probe_loading.ofi_nccl", limit_s=SHORT_S),
        Probe(id="user", call="probe_machine.user", items=({"folder": image.folder},), limit_s=SHORT_S),
        Probe(id="shm", call="probe_machine.shm", items=({"bytes": max(0, asked.shm_bytes - MIB)},), limit_s=SHORT_S),
        Probe(id="disk", call="probe_machine.disk", limit_s=SHORT_S),
        Probe(id="trainyard", call="probe_python.trainyard", limit_s=TORCH_S),
    ]
    if asked.model:
        item = {"path": posixpath.join(image.folder, asked.model)}
        offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        probes.append(Probe(id="model", call="probe_python.model_config", items=(item,), limit_s=TORCH_S, environment=offline))
    return probes


def _full(asked: Asked, image: Image) -> list[Probe]:
    if not asked.at_least("full"):
        return []
    return [
        Probe(id="train", call="probe_torch.train_step", limit_s=TORCH_S),
        Probe(id="ranks", call="probe_ranks.all_reduce", items=({"limit_s": RANKS_S},), limit_s=RANKS_S + 40),
        Probe(id="checkpoint", call="probe_training.checkpoint", limit_s=TORCH_S),
    ]


def _job(asked: Asked, image: Image) -> list[Probe]:
    if not (asked.command and asked.at_least("full")):
        return []
    item = {
        "words": started(asked.command, "{python}"),
        "folder": image.folder,
        "environment": asked.environment,
        "limit_s": asked.step_s,
    }
    return [Probe(id="job", call="probe_job.one_step", items=(item,), limit_s=asked.step_s + 30)]
