"""Events of a cluster from SageMaker, the newest first, with the cause that only the detail call has."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import trainyard_aws as aws
import trainyard_shell as shell

from hyperpod_api.calls import Document, SageMaker
from hyperpod_api.cluster import HyperPodCluster

LEVELS = ("Info", "Warn", "Error")
MAX_EVENTS = 2000
PAUSE_S = 0.2
"""Between detail calls: one each, in an account whose limits jobs share."""
PARTS = ("Instance", "InstanceGroupScaling", "InstanceGroup", "Cluster", "DatabaseConfiguration")
NOT_KEPT = "a cluster without continuous provisioning keeps no events"
INSTEAD = (
    "the status message of each instance (`nodes`), the nodes' labels and conditions (`health`), and the log group "
    "/aws/sagemaker/Clusters/NAME/ID: LifecycleConfig/... and SagemakerHealthMonitoringAgent/..."
)


@dataclass(frozen=True)
class Event:
    listed: Document
    cause: str | None = None
    """FailureMessage; None: it has none, or was not asked for one."""
    logical_id: str | None = None

    @property
    def id(self) -> str:
        return str(self.listed["EventId"])

    @property
    def instance_id(self) -> str | None:
        return self.listed.get("InstanceId") or None

    @property
    def group(self) -> str | None:
        return self.listed.get("InstanceGroupName") or None

    @property
    def level(self) -> str:
        return str(self.listed.get("EventLevel") or "Info")

    @property
    def time(self) -> datetime:
        at: datetime = self.listed["EventTime"]
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    @property
    def text(self) -> str:
        return shell.clean(" ".join(filter(None, (str(self.listed.get("Description") or ""), self.cause))), 1000)

    def as_json(self) -> dict[str, Any]:
        return {
            "time": self.time.isoformat(),
            "level": self.level,
            "about": self.listed.get("ResourceType"),
            "group": self.group,
            "instance_id": self.instance_id,
            "description": shell.clean(str(self.listed.get("Description") or ""), 500),
            "cause": self.cause,
            "event_id": self.id,
        }


@dataclass(frozen=True)
class Events:
    found: list[Event]
    checks: list[shell.Check] = field(default_factory=list)
    truncated: bool = False
    not_asked: int = 0
    """Events that may have a cause that was not asked for."""


def read_events(
    sagemaker: SageMaker,
    found: HyperPodCluster,
    since: timedelta,
    *,
    node: str | None = None,
    group: str | None = None,
    level: str = "Info",
    details: int = 20,
    sleep: Callable[[float], None] = time.sleep,
) -> Events:
    """Those of the level or a graver one. Raises AwsError; not for a cluster that keeps none, which is a check."""
    chosen: dict[str, Any] = {"NodeId": node} if node else {}
    chosen |= {"InstanceGroupName": group} if group else {}
    after = datetime.now(UTC) - since
    listed: list[Document] = []
    pages = sagemaker.pages(
        "list_cluster_events",
        f"list the events of {found.name}",
        found.arn,
        ClusterName=found.name,
        EventTimeAfter=after,
        SortBy="EventTime",
        SortOrder="Descending",
        MaxResults=100,
        **chosen,
    )
    try:
        for page in pages:
            listed += page.get("Events") or []
            if len(listed) >= MAX_EVENTS:
                break
    except aws.AwsError as error:
        if found.is_continuous or error.reason != "ValidationException":
            raise
        said = shell.clean(str(error), 300)
        return Events([], [shell.Check("events.none", "skipped", f"{found.name}: {NOT_KEPT}", said, INSTEAD)])
    wanted = LEVELS[LEVELS.index(level) :]
    events = [event for event in map(Event, listed[:MAX_EVENTS]) if event.level in wanted or event.level not in LEVELS]
    return _with_causes(sagemaker, found, events, details, len(listed) >= MAX_EVENTS, sleep)


def _with_causes(
    sagemaker: SageMaker,
    found: HyperPodCluster,
    events: list[Event],
    details: int,
    truncated: bool,
    sleep: Callable[[float], None],
) -> Events:
    """Errors first, then warnings, the newest of each: until `details` calls are made, or AWS asks for patience."""
    by_weight = sorted(events, key=lambda each: each.level not in ("Warn", "Error"))
    by_weight.sort(key=lambda each: each.level != "Error")
    asked: dict[str, Event] = {}
    checks: list[shell.Check] = []
    for number, event in enumerate(by_weight[:details]):
        if number:
            sleep(PAUSE_S)
        try:
            with sagemaker.asking(f"describe the event {event.id}", found.arn):
                answer = sagemaker.reading.describe_cluster_event(ClusterName=found.name, EventId=event.id)
        except aws.AwsError as error:
            checks.append(_no_more(error))
            break
        asked[event.id] = _told(event, answer)
    not_asked = len(events) - len(asked)
    if not_asked and not checks:
        what = f"the cause of {not_asked} events was not asked for"
        checks.append(shell.Check("events.causes", "skipped", what, None, "--details N, --node, or a shorter --since"))
    return Events([asked.get(event.id, event) for event in events], checks, truncated, not_asked)


def _no_more(error: aws.AwsError) -> shell.Check:
    return shell.Check("events.causes", "unknown", "causes are not known", shell.clean(str(error), 300), error.hint)


def _told(event: Event, answer: Document) -> Event:
    """EventDetails stands twice: the event, and in it what is special about it."""
    inner = (answer.get("EventDetails") or {}).get("EventDetails") or {}
    parts = inner.get("EventMetadata") or {}
    said = [str((parts.get(name) or {}).get("FailureMessage") or "") for name in PARTS]
    cause = shell.clean(" ".join(filter(None, said)), 1000) or None
    return Event(event.listed, cause, (parts.get("Instance") or {}).get("NodeLogicalId"))
