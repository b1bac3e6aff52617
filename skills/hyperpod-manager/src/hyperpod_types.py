"""What an instance type has: from EC2 where it may be asked, else from the table, whose price and its date are told in any case."""

from __future__ import annotations

from typing import Any

import trainyard_aws as aws
import trainyard_shell as shell
from trainyard_instances import PRICE_DATE, PRICE_OF, InstanceType, get_instance_type as from_table, known_type

from hyperpod_api import cluster
from hyperpod_api.calls import SageMaker

PRICE = {"source": PRICE_OF, "date": PRICE_DATE, "note": "HyperPod's ml. rates differ, about 20 % over EC2"}


def types_of(names: tuple[str, ...], region: str | None, *, offline: bool) -> shell.Result:
    """Of each type, and of each cluster the types of its groups. A type has a dot in its name, a cluster never."""
    wanted: list[str] = []
    for name in names:
        wanted += [name] if "." in name else _of_cluster(name, region)
    answers = [get_instance_type(name, region, offline=offline) for name in dict.fromkeys(wanted)]
    checks = {repr(check): check for answer in answers for check in answer.checks}
    return shell.Result({"types": [answer.data for answer in answers]}, list(checks.values()))


def _of_cluster(name: str, region: str | None) -> list[str]:
    groups = cluster.find(SageMaker.open(region), name).groups.values()
    several = [kind for group in groups for kind in (group.get("InstanceRequirements") or {}).get("DesiredInstanceTypes", [])]
    return sorted({str(kind) for kind in (*several, *(group.get("InstanceType") for group in groups)) if kind})


def get_instance_type(name: str, region: str | None, *, offline: bool = False) -> shell.Result:
    """Accelerators, memory, EFA, vCPU and price of a type, with or without `ml.`.

    Raises SkillError usage for a type that neither EC2 nor the table has; AwsError credentials where AWS was asked and nobody is signed in.
    """
    checks: list[shell.Check] = []
    if offline:
        return shell.Result(_row(name, from_table(name), None))
    described = _described(name, region, checks)
    row = known_type(name) if described else from_table(name)
    if row and described:
        checks += _differences(row, described)
    return shell.Result(_row(name, row, described), checks)


def _described(name: str, region: str | None, checks: list[shell.Check]) -> dict[str, Any] | None:
    """What EC2 says; None, with a check, where it may not be asked, does not answer, or does not have the type in this region."""
    ec2 = aws.client("ec2", region)
    try:
        with aws.asking(f"describe the type {shell.clean(name, 40)}"):
            found = ec2.describe_instance_types(InstanceTypes=[name.removeprefix("ml.")])["InstanceTypes"]
    except aws.AwsError as error:
        if error.code == "credentials" and not known_type(name):
            raise
        status = "skipped" if known_type(name) else "unknown"
        checks.append(
            shell.Check(
                "type.ec2", status, "EC2 could not be asked; the values are from the table", str(error)[:300], error.hint
            )
        )
        return None
    if not found:
        return None
    checks.append(shell.Check("type.ec2", "pass", f"EC2 in {ec2.meta.region_name} has {found[0]['InstanceType']}"))
    return dict(found[0])


def _row(name: str, row: InstanceType | None, described: dict[str, Any] | None) -> dict[str, Any]:
    found = _of_table(row) if row else {}
    found |= _of_ec2(described) if described else {}
    bare = name.removeprefix("ml.")
    price = None if row is None or row.usd_per_hour is None else {"usd_per_hour": row.usd_per_hour, **PRICE}
    source = "ec2 and table" if row and described else "ec2" if described else "table"
    return {"instance_type": bare, "hyperpod_type": f"ml.{bare}", "source": source, **found, "price": price}


def _of_table(row: InstanceType) -> dict[str, Any]:
    return {
        "accelerator": row.accelerator,
        "accelerators": row.accelerators,
        "gib_each": row.gb_each,
        "resource": row.resource,
        "efa": row.efa,
        "gdr": row.gdr,
        "network_gbps": row.gbps,
        "vcpu": row.vcpu,
        "memory_gib": row.memory_gib,
    }


def _of_ec2(said: dict[str, Any]) -> dict[str, Any]:
    """Only what EC2 is sure of: its names and memory of accelerators are of many kinds, the table's are those of the skills."""
    devices = [*(said.get("GpuInfo") or {}).get("Gpus", []), *(said.get("NeuronInfo") or {}).get("NeuronDevices", [])]
    network = said.get("NetworkInfo") or {}
    efa = int((network.get("EfaInfo") or {}).get("MaximumEfaInterfaces") or 0) if network.get("EfaSupported") else 0
    found: dict[str, Any] = {
        "vcpu": (said.get("VCpuInfo") or {}).get("DefaultVCpus"),
        "memory_gib": ((said.get("MemoryInfo") or {}).get("SizeInMiB") or 0) // 1024 or None,
        "efa": efa,
        "network": network.get("NetworkPerformance"),
    }
    if devices:
        found["accelerators"] = sum(int(each.get("Count") or 0) for each in devices)
        found["accelerator_names"] = [str(each.get("Name")) for each in devices]
        found["accelerator_mib"] = [(each.get("MemoryInfo") or {}).get("SizeInMiB") for each in devices]
    return {key: value for key, value in found.items() if value is not None}


def _differences(row: InstanceType, said: dict[str, Any]) -> list[shell.Check]:
    told, table = _of_ec2(said), _of_table(row)
    wrong = [
        f"{key}: EC2 {told[key]}, table {table[key]}"
        for key in ("accelerators", "efa", "vcpu")
        if told.get(key, table[key]) != table[key]
    ]
    if not wrong:
        return []
    return [shell.Check("type.table", "warn", "EC2 and the table differ; EC2's is shown", "; ".join(wrong), "report it")]
