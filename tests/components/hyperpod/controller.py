"""The played operator's loop: looks at every job a few times a second and does what is next. Several may run at once.

Where launchers are real, they are driven by their HTTP API. Its own answers to a fault (when it restarts what) are not documented: this
one stops all workers gracefully and starts all of them again.
"""

from __future__ import annotations

import json
import random
import sys
import time
from datetime import UTC, datetime
from typing import Any

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.components.hyperpod import agents
from tests.components.hyperpod import pods as parts
from tests.components.hyperpod.agents import Agent

Object = dict[str, Any]
GROUP, VERSION, PLURAL = "sagemaker.amazonaws.com", "v1", "hyperpodpytorchjobs"
PAUSE_S = 0.3
ENDS = ("Completed", "Failed")
PASSES = (ApiException, OSError, urllib3.exceptions.HTTPError)
"""An API server that restarts; everything is looked at again."""
FIRST_PORT = 29500
ASK = "test.trainyard.dev/ask"
"""Annotation of a job by which a test asks for something: one of STOPS holds while it stands there, restart happens once."""
STOPS = ("graceful-stop", "stop")


class InPod:
    """A launcher at port 8080 of its pod, through the API server."""

    def __init__(self, api: client.ApiClient, pod: Any) -> None:
        self.api, self.path = api, f"/api/v1/namespaces/{pod.metadata.namespace}/pods/{pod.metadata.name}:8080/proxy"

    def call(self, method: str, path: str, body: Object | None = None) -> Object:
        settings = self.api.configuration.auth_settings()
        headers = {each["key"]: each["value"] for each in settings.values() if each["in"] == "header"}
        text = json.dumps(body) if body is not None else None
        pool, url = self.api.rest_client.pool_manager, self.api.configuration.host + self.path + path
        headers |= {"Content-Type": "application/json"}
        try:
            answer = pool.request(method, url, body=text, headers=headers, timeout=10, retries=False)
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(f"{path}: {str(error)[:200]}") from error
        if answer.status != 200:
            raise ConnectionError(f"{path}: {answer.status} {answer.data[:200]!r}")
        return dict(json.loads(answer.data)) if answer.data else {}


def graceful_s(job: Object) -> int | None:
    """None: the launcher's own --shutdown-timeout."""
    policy = job["spec"].get("elasticPolicy") or {}
    given = policy.get("gracefulShutdownTimeoutInSeconds")
    return None if given is None else int(given)


class Controller:
    def __init__(self, api: client.ApiClient) -> None:
        self.api, self.core, self.custom = api, client.CoreV1Api(api), client.CustomObjectsApi(api)
        self._counted: set[str] = set()
        """Jobs whose fault is in their count already, and which have not been started since."""

    def run(self) -> None:
        """Until the process is ended."""
        while True:
            try:
                for job in self.custom.list_cluster_custom_object(GROUP, VERSION, PLURAL)["items"]:
                    self._look_at(job)
            except PASSES as error:
                report(f"{type(error).__name__}: {str(error)[:300]}")
            time.sleep(PAUSE_S)

    def _look_at(self, job: Object) -> None:
        """A job that changed or went in the meantime is for the next round."""
        if "deletionTimestamp" in job["metadata"] or any(is_true(job, name) for name in ENDS):
            return
        try:
            self._next_step(job)
        except ApiException as error:
            if error.status not in (404, 409):
                raise
        except OSError as error:  # a launcher went while it was spoken to
            report(f"{job['metadata']['name']}: {str(error)[:300]}")

    def _next_step(self, job: Object) -> None:
        namespace, uid = job["metadata"]["namespace"], job["metadata"]["uid"]
        listed = self.core.list_namespaced_pod(namespace, label_selector=f"{parts.JOB}={uid}")
        found = {pod.metadata.name: pod for pod in listed.items}
        names = [name for name, _ in parts.nodes(job)]
        if not is_true(job, "Created"):
            self._once(self.core.create_namespaced_service, namespace, parts.service(job))
            job = self._tell(job, {"Created": True})
        going = [name for name in names if name in found and found[name].metadata.deletion_timestamp]
        failed = [name for name in names if name in found and found[name].status.phase == "Failed" and name not in going]
        if failed:
            return self._restart(job, failed, found)
        for rank, name in enumerate(names):
            if name not in found:
                self._once(self.core.create_namespaced_pod, namespace, parts.pod(job, rank))
        for name in found.keys() - set(names):
            self._delete(found[name])
        # One that is being deleted may fail as it ends, and stays for a moment then: it is waited for, and not counted anew each round.
        phases = [found[name].status.phase for name in names if name in found and name not in going]
        if phases.count("Succeeded") == len(names):
            self._tell(job, {"Running": False, "PodsRunning": False, "Completed": True})
            return
        running = phases.count("Running") + phases.count("Succeeded") == len(names)
        if parts.is_driven(job) and running:
            self._drive(job, [found[name] for name in names])
        else:
            self._tell(job, {"PodsRunning": running, "Running": running})

    def _drive(self, job: Object, pods: list[Any]) -> None:
        """Every node's launcher is there: one answer to what they say of themselves."""
        launchers: list[Agent] = [InPod(self.api, pod) for pod in pods]
        seen, asked = agents.states(launchers), (job["metadata"].get("annotations") or {}).get(ASK)
        job = self._tell(job, {"PodsRunning": True, "Running": set(seen) <= {"running", "completed"}})
        if "silent" in seen:
            return  # it is only about to begin, or to end
        if set(seen) == {"completed"}:
            agents.shut_down(launchers)
        elif asked in STOPS or asked == "restart":
            active = [each for each, state in zip(launchers, seen, strict=True) if state in ("running", "faulted")]
            agents.stop(active, graceful=asked != "stop", timeout_s=graceful_s(job))
            if asked == "restart" and set(seen) == {"ready"}:
                self._done(job)
        elif set(seen) == {"ready"}:
            self._start(job, pods, launchers)
        elif "faulted" in seen or {"ready", "running"} <= set(seen):
            self._answer_a_fault(job, launchers, seen)

    def _start(self, job: Object, pods: list[Any], launchers: list[Agent]) -> None:
        self._counted.discard(job["metadata"]["uid"])
        status, rules = job.get("status") or {}, (job["spec"].get("runPolicy") or {}).get("logMonitoringConfiguration")
        port = FIRST_PORT + random.randrange(1000)
        address = f"{pods[0].metadata.name}.{job['metadata']['name']}"
        ips = [pod.status.pod_ip for pod in pods]
        attempt = int(status.get("restartCount", 0)) + int(status.get("askedRestarts", 0))
        agents.start(launchers, attempt, address, port, ips, rules)

    def _answer_a_fault(self, job: Object, launchers: list[Agent], seen: list[str]) -> None:
        """A worker has crashed, or a node is new among running ones: all stop, and are started when all wait."""
        told = [each.call("GET", "/status") for each in launchers]
        message = "; ".join(str(each["message"]) for each in told if each.get("message")) or "a node is new"
        uid, status = job["metadata"]["uid"], job.get("status") or {}
        count = int(status.get("restartCount", 0))
        if uid not in self._counted:
            if count >= int((job["spec"].get("runPolicy") or {}).get("jobMaxRetryCount", 0)):
                agents.shut_down(launchers)
                news = {"Running": False, "PodsRunning": False, "Failed": True}
                self._tell(job, news, f"{message}; jobMaxRetryCount is used up")
                return
            self._tell(job, {"Running": False}, message, restartCount=count + 1)
            self._counted.add(uid)
        active = [each for each, state in zip(launchers, seen, strict=True) if state in ("running", "faulted")]
        agents.stop(active, graceful=True, timeout_s=graceful_s(job))

    def _done(self, job: Object) -> None:
        metadata, status = job["metadata"], job.get("status") or {}
        self._tell(job, {}, askedRestarts=int(status.get("askedRestarts", 0)) + 1)
        body = {"metadata": {"annotations": {ASK: None}}}
        self.custom.patch_namespaced_custom_object(GROUP, VERSION, metadata["namespace"], PLURAL, metadata["name"], body)

    def _restart(self, job: Object, failed: list[str], found: dict[str, Any]) -> None:
        """The count is written first: a second controller then meets a conflict and leaves it."""
        status = job.get("status") or {}
        count = int(status.get("restartCount", 0))
        if count >= int((job["spec"].get("runPolicy") or {}).get("jobMaxRetryCount", 0)):
            message = f"pods failed: {', '.join(failed)}; jobMaxRetryCount is used up"
            self._tell(job, {"Running": False, "PodsRunning": False, "Failed": True}, message)
            return
        self._tell(job, {"Running": False, "PodsRunning": False}, restartCount=count + 1)
        for name in failed:
            self._delete(found[name])

    def _delete(self, pod: Any) -> None:
        body = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=pod.metadata.uid))
        self.core.delete_namespaced_pod(pod.metadata.name, pod.metadata.namespace, body=body)

    def _once(self, create: Any, namespace: str, body: Object) -> None:
        try:
            create(namespace, body)
        except ApiException as error:
            if error.status != 409:
                raise

    def _tell(self, job: Object, news: dict[str, bool], message: str = "", **fields: Any) -> Object:
        """Write conditions and fields into the status, when they are new. Raises ApiException 409 when somebody wrote meanwhile."""
        if all(is_true(job, name) == value for name, value in news.items()) and not fields:
            return job
        status = job.get("status") or {}
        old = {each["type"]: each for each in status.get("conditions", [])}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name, value in news.items():
            if is_true(job, name) != value:
                text = {"reason": name, "message": message or f"{name} is {value}"}
                old[name] = {"type": name, "status": str(value), "lastTransitionTime": now, **text}
        job = {**job, "status": {**status, **fields, "conditions": list(old.values())}}
        metadata = job["metadata"]
        changed: Object = self.custom.replace_namespaced_custom_object_status(
            GROUP, VERSION, metadata["namespace"], PLURAL, metadata["name"], job
        )
        return changed


def report(line: str) -> None:
    """To stderr: nobody reads stdout after its first line, and a full pipe would block this loop."""
    print(line, file=sys.stderr, flush=True)


def is_true(job: Object, condition: str) -> bool:
    listed = (job.get("status") or {}).get("conditions") or []
    return any(each["type"] == condition and each["status"] == "True" for each in listed)
