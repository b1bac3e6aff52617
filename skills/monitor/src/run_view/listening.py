"""Who else hears of each look of `watch`: receivers of alerts, and Prometheus. Trouble there is said once and ends no watch."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
import trainyard_shell as shell

if TYPE_CHECKING:
    from alerts.goodput import GoodputWatch
    from alerts.sender import Sender
    from metrics_page.server import MetricsServer
    from run_view.observe import Observation
    from run_view.watch import Screen


@dataclass(frozen=True)
class Listening:
    """What the caller asked for."""

    alert_command: str | None = None
    webhook: str | None = None
    alert_timeout_s: float = 30.0
    min_goodput: float | None = None
    port: int | None = None
    host: str = "127.0.0.1"

    def around(self, screen: Screen, *, interval_s: float, stall_factor: float) -> Heard:
        """A screen that shows each look on `screen` and tells the others.

        Raises SkillError for words that cannot be used, before the first look.
        """
        from alerts.goodput import GoodputWatch
        from alerts.sender import Sender

        senders = [Sender(receiver, self.alert_timeout_s) for receiver in self._receivers()]
        needs_goodput = self.port is not None or self.min_goodput is not None
        goodput = GoodputWatch(self.min_goodput, stall_factor) if needs_goodput else None
        server = None
        if self.port is not None:
            from metrics_page.server import MetricsServer

            server = MetricsServer(self.host, self.port, interval_s)
            shell.progress(f"metrics at {server.address}")
        return Heard(screen, senders, goodput, server)

    def _receivers(self) -> list[Any]:
        found: list[Any] = []
        if self.alert_command is not None:
            from alerts.receivers import command_of

            found.append(command_of(self.alert_command))
        if self.webhook is not None:
            from alerts.webhook import webhook_of

            found.append(webhook_of(self.webhook))
        return found


@dataclass
class Heard:
    """A Screen."""

    screen: Screen
    senders: list[Sender]
    goodput: GoodputWatch | None
    server: MetricsServer | None
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Heard:
        if self.server is not None:
            self._open.callback(self.server.close)
        for sender in self.senders:
            self._open.callback(sender.close)
        self._open.enter_context(self.screen)  # type: ignore[arg-type]
        return self

    def __exit__(self, *what: Any) -> None:
        self._open.__exit__(*what)

    def show(self, view: Observation, data: dict[str, Any], checks: list[shell.Check]) -> None:
        if self.goodput is not None:
            self.goodput.look(view)
            checks = [*checks, *self.goodput.checks()]
        self.screen.show(view, data, checks)
        now, run_id = time.time(), data.get("run_id") or (view.runner.run_id if view.runner else None) or None
        if self.server is not None:
            self.server.look(data, checks, now, run_id, self.goodput.account if self.goodput else None)
        if self.senders:
            from alerts.occurrences import seen_in

            seen = seen_in(data, checks, now=now, run_id=run_id)
            for sender in self.senders:
                sender.look(run_id or _place(view, data), seen)

    def data(self) -> dict[str, Any]:
        """After the end: what was sent, and what was not."""
        return {"alerts": [sender.data() for sender in self.senders]} if self.senders else {}


def _place(view: Observation, data: dict[str, Any]) -> str:
    """What tells a run without an id from any other: its job on a cluster, or its folder."""
    cluster = data.get("cluster")
    if not isinstance(cluster, dict):
        return str(view.path.resolve())
    return json.dumps([cluster.get("cluster_id"), cluster.get("namespace"), data.get("job") or data.get("name")])


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--alert-command, --webhook, --serve-metrics and what belongs to them, handed over as `listening`."""

    def with_listening(
        *args: Any,
        alert_command: str | None,
        webhook: str | None,
        alert_timeout_s: float,
        min_goodput: float | None,
        serve_metrics: int | None,
        metrics_host: str,
        **words: Any,
    ) -> Any:
        asked = Listening(alert_command, webhook, alert_timeout_s, min_goodput, serve_metrics, metrics_host)
        return function(*args, listening=asked, **words)

    with_listening.__name__, with_listening.__doc__ = function.__name__, function.__doc__
    with_listening.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(OPTIONS):
        option(with_listening)
    return with_listening


OPTIONS = (
    click.option(
        "--alert-command",
        metavar="'WORDS'",
        help="Started for stall, nan, node-fault, low-goodput, budget, finished, failed, once each time; JSON on its stdin, no shell.",
    ),
    click.option(
        "--webhook", metavar="VARIABLE|@FILE", help="Holds the URL that the same JSON is posted to: https, or this machine's."
    ),
    click.option(
        "--alert-timeout-s", type=click.FloatRange(min=0.1, max=600), default=30.0, show_default=True, help="Of one delivery."
    ),
    click.option("--min-goodput", type=click.FloatRange(0, 1), help="Below this share of the wall time goodput.low warns."),
    click.option(
        "--serve-metrics", type=click.IntRange(0, 65535), metavar="PORT", help="For Prometheus: http://127.0.0.1:PORT/metrics."
    ),
    click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Where --serve-metrics listens."),
)
