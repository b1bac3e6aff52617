"""What an operator does with the launchers of a job, one a node: it asks them, starts, stops and restarts them. Any way to reach one will do.

A launcher takes a request that its state forbids with 200 and does nothing: only `status` tells.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Sequence
from typing import Any, Protocol

Object = dict[str, Any]
LOOK_S = 0.05


class Agent(Protocol):
    def call(self, method: str, path: str, body: Object | None = None) -> Object:
        """The answer's JSON, {} for an empty one. Raises OSError where none came."""
        ...


class Local:
    """A launcher on this machine."""

    def __init__(self, port: int) -> None:
        self.port = port

    def call(self, method: str, path: str, body: Object | None = None) -> Object:
        data, header = (json.dumps(body).encode(), {"content-type": "application/json"}) if body is not None else (None, {})
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, headers=header, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return dict(json.loads(text)) if text else {}


def states(agents: Sequence[Agent]) -> list[str]:
    """init, ready, running, faulted, stopping, completed or shutdown, of each; `silent` of one that does not answer."""
    return [state(agent) for agent in agents]


def state(agent: Agent) -> str:
    try:
        return str(agent.call("GET", "/status")["status"])
    except OSError:
        return "silent"


def wait_for(agents: Sequence[Agent], wanted: str, timeout_s: float) -> float:
    """Seconds until all of them are in that state. Raises AssertionError."""
    began = time.monotonic()
    while (seen := states(agents)) != [wanted] * len(agents):
        assert time.monotonic() < began + timeout_s, f"{seen} and not {wanted} after {timeout_s:.0f} s"
        time.sleep(LOOK_S)
    return time.monotonic() - began


def start(
    agents: Sequence[Agent], faults: int, address: str, port: int, ips: Sequence[str], rules: list[Object] | None = None
) -> None:
    """Ranks in the order of `agents`; `faults` becomes the number of the attempt. `port` is rank 0's to take: a fresh one each time."""
    for rank, agent in enumerate(agents):
        body = {
            "rank": rank,
            "nnodes": len(agents),
            "faultCount": faults,
            "master_addr": address,
            "master_port": port,
            "log_monitoring_configuration": rules,
            "ipVersion": "IPv4",
            "rankIps": [{"ip": ip, "rank": number} for number, ip in enumerate(ips)],
            "worker_data": None,
            "spare": False,
            "progress": {},
        }
        agent.call("POST", "/start", body)


def stop(agents: Sequence[Agent], *, graceful: bool, timeout_s: int | None = None) -> None:
    """Graceful: SIGUSR1 to the workers; else the launcher's --shutdown-signal. SIGKILL after the time."""
    for agent in agents:
        agent.call("POST", "/stop", {"restart_mode": "plr", "is_graceful": graceful, "timeout": timeout_s})


def shut_down(agents: Sequence[Agent]) -> None:
    for agent in agents:
        agent.call("POST", "/shutdown")
