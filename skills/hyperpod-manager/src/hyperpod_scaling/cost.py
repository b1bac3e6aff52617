"""What more nodes cost, as far as the table of types knows, and what reserved capacity the group draws on."""

from __future__ import annotations

from typing import Any

from trainyard_instances import PRICE_DATE, PRICE_OF, known_type

HOURS_A_MONTH = 730
HIGHER = "HyperPod's own rates differ, about 20 % over EC2"


def cost(group: dict[str, Any], more: int) -> dict[str, Any]:
    types = [group["InstanceType"]] if group.get("InstanceType") else []
    types += (group.get("InstanceRequirements") or {}).get("DesiredInstanceTypes") or []
    rows = {name: known_type(name) for name in types}
    prices = {name: row.usd_per_hour for name, row in rows.items() if row and row.usd_per_hour is not None}
    found: dict[str, Any] = {"instance_types": types, "more_nodes": more, "usd_per_hour_each": prices or None}
    if prices and len(prices) == len(types):
        highest = max(prices.values())
        found |= {"usd_per_hour_more": round(highest * more, 2), "usd_per_month_more": round(highest * more * HOURS_A_MONTH)}
    missing = [name for name in types if name not in prices]
    note = f"; no price is known of {', '.join(missing)}" if missing else ""
    return found | {"price_of": f"{PRICE_OF}, {PRICE_DATE}; {HIGHER}{note}"}


def reserved(group: dict[str, Any]) -> dict[str, Any]:
    """A training plan bounds how many nodes there can be, and ends."""
    wanted = list(group.get("CapacityRequirements") or {})
    found: dict[str, Any] = {"capacity": wanted[0] if wanted else "OnDemand"}
    if plan := group.get("TrainingPlanArn"):
        found |= {"training_plan": plan, "training_plan_status": group.get("TrainingPlanStatus") or "unknown"}
    return found
