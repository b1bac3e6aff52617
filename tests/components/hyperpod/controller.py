"""The played operator's loop: looks at every job a few times a second and does what is next. Several may run at once."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.components.hyperpod import pods as parts

Object = dict[str, Any]
GROUP, VERSION, PLURAL = "sagemaker.amazonaws.com", "v1", "hyperpodpytorchjobs"
PAUSE_S = 0.3
ENDS = ("Completed", "Failed")


class Controller:
    def __init__(self, api: client.ApiClient) -> None:
        self.api, self.core, self.custom = api, client.CoreV1Api(api), client.CustomObjectsApi(api)

    def run(self) -> None:
        """Until the process is ended."""
        while True:
            try:
                for job in self.custom.list_cluster_custom_object(GROUP, VERSION, PLURAL)["items"]:
                    self._look_at(job)
            except (ApiException, OSError) as error:  # an API server that restarts; everything is looked at again
                print(f"{type(error).__name__}: {str(error)[:300]}", flush=True)
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

    def _next_step(self, job: Object) -> None:
        namespace, uid = job["metadata"]["namespace"], job["metadata"]["uid"]
        listed = self.core.list_namespaced_pod(namespace, label_selector=f"{parts.JOB}={uid}")
        found = {pod.metadata.name: pod for pod in listed.items}
        names = [name for name, _ in parts.nodes(job)]
        if not is_true(job, "Created"):
            self._once(self.core.create_namespaced_service, namespace, parts.service(job))
            self._once(self.core.create_namespaced_config_map, namespace, parts.launcher())
            job = self._tell(job, {"Created": True})
        failed = [name for name in names if name in found and found[name].status.phase == "Failed"]
        if failed:
            return self._restart(job, failed, found)
        for rank, name in enumerate(names):
            if name not in found:
                self._once(self.core.create_namespaced_pod, namespace, parts.pod(job, rank))
        for name in found.keys() - set(names):
            self._delete(found[name])
        phases = [found[name].status.phase for name in names if name in found]
        if phases.count("Succeeded") == len(names):
            self._tell(job, {"Running": False, "PodsRunning": False, "Completed": True})
        else:
            running = phases.count("Running") + phases.count("Succeeded") == len(names)
            self._tell(job, {"PodsRunning": running, "Running": running})

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


def is_true(job: Object, condition: str) -> bool:
    listed = (job.get("status") or {}).get("conditions") or []
    return any(each["type"] == condition and each["status"] == "True" for each in listed)
