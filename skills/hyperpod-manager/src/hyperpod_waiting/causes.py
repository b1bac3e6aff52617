"""Why a node does not come: AWS's events since it was asked, with the cause that only the detail call has."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, timedelta

import trainyard_shell as shell

from hyperpod_events.reading import Event, read_events
from hyperpod_repair.picture import Picture

LOOKED_AT = 5
SKEW_S = 60.0
"""Between this machine's clock and AWS's."""


def causes(picture: Picture, since: float, groups: Iterable[str], level: tuple[str, ...] = ("Warn", "Error")) -> list[str]:
    """The newest events of these levels, one line each; [] where there are none or the cluster keeps none. Never raises for AWS."""
    if not picture.cluster.is_continuous:
        return []
    wanted = (None, *groups)
    ago = timedelta(seconds=max(0.0, time.time() - since) + SKEW_S)
    try:
        events = read_events(picture.sagemaker, picture.cluster, ago, level=level[0], details=LOOKED_AT).found
    except shell.SkillError as error:
        return [f"its events cannot be read: {error}"]
    return [_told(each) for each in events if each.level in level and each.group in wanted][:LOOKED_AT]


def _told(event: Event) -> str:
    about = event.instance_id or event.group or "cluster"
    return shell.clean(f"{event.time.astimezone(UTC):%H:%M:%S} {about}: {event.text}", 500)
