"""Why a node does not come: AWS's events since it was asked, with the cause that only the detail call has."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import trainyard_shell as shell

from hyperpod_repair.picture import Picture

LOOKED_AT = 5
SKEW_S = 60.0
"""Between this machine's clock and AWS's."""


def causes(picture: Picture, since: float, groups: Iterable[str], level: tuple[str, ...] = ("Warn", "Error")) -> list[str]:
    """The newest events at warning or worse, one line each; [] where there are none or the cluster keeps none. Never raises for AWS."""
    if not picture.cluster.is_continuous:
        return []
    wanted = set(groups)
    try:
        with picture.sagemaker.asking("list the cluster's events", picture.cluster.arn):
            answer = picture.sagemaker.reading.list_cluster_events(
                ClusterName=picture.cluster.name,
                EventTimeAfter=datetime.fromtimestamp(since - SKEW_S, UTC),
                SortOrder="Descending",
                MaxResults=100,
            )
        bad = [
            each
            for each in answer["Events"]
            if each.get("EventLevel") in level and each.get("InstanceGroupName") in (None, *wanted)
        ]
        return [_told(picture, each) for each in bad[:LOOKED_AT]]
    except shell.SkillError as error:
        return [f"its events cannot be read: {error}"]


def _told(picture: Picture, event: dict[str, Any]) -> str:
    with picture.sagemaker.asking("describe an event", picture.cluster.arn):
        found = picture.sagemaker.reading.describe_cluster_event(ClusterName=picture.cluster.name, EventId=event["EventId"])
    metadata = ((found.get("EventDetails") or {}).get("EventDetails") or {}).get("EventMetadata") or {}
    reasons = [
        str(each["FailureMessage"]) for each in metadata.values() if isinstance(each, dict) and each.get("FailureMessage")
    ]
    time = event["EventTime"].astimezone(UTC).strftime("%H:%M:%S")
    about = event.get("InstanceId") or event.get("InstanceGroupName") or "cluster"
    return shell.clean(f"{time} {about}: {event.get('Description') or ''}{': ' if reasons else ''}{'; '.join(reasons)}", 500)
