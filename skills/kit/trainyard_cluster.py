"""One API server: raw JSON over the kubernetes client's connection pool, and errors that say what to do.

`make kit` copies this file with trainyard_kube.py, which passes its names on; edit it in skills/kit/ only.
Objects are plain dicts as the API server sends them: for thousands of pods the client's models cost more than the request
(measured: shared-docs/decisions/0012-raw-json.md). Credentials, proxies and certificates are the kubernetes client's business; it is
imported when a Cluster is made, not before.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import trainyard_shell as shell
from trainyard_kubeconfig import Access
from trainyard_login import Login
from trainyard_refusal import ApiError, Object

PAGE = 500
"""Objects a request: 500 pods are some 1.5 MB."""
PODS_A_REQUEST = 5000
"""One request for all: 1,000 pods are some 6 MB, and every page more costs a round trip."""
TIMEOUT_S = 60.0
CONNECT_S = 5.0


@dataclass
class Cluster:
    """One API server. Paths are the API's own: /api/v1/namespaces/NAME/pods. Each method raises ApiError, or SkillError unreachable."""

    access: Access
    namespace: str
    read_anew: Callable[[], Access]
    """The same access from where it came, once its credentials have ended. Raises SkillError."""

    def __post_init__(self) -> None:
        self.requests = 0
        """Requests made: the benchmarks count them."""
        self.context, self.server = self.access.context, address_of(self.access.configuration)
        self.id = identity_of(self.access.configuration)
        """Names this cluster for good: a digest of its address and its certificate authority."""
        self._login = Login(self.access, self.read_anew, lambda other: identity_of(other) == self.id)
        self._taken = False
        self._connected: tuple[Access, Any] = self.access, _pool(self.access)

    @property
    def configuration(self) -> Any:
        """The kubernetes client's, with the credentials that hold now."""
        return self._login.access.configuration

    def identity(self) -> Object:
        """For run.json: later verbs go to this cluster whatever the current context is then."""
        return {"context": self.context, "server": self.server, "cluster_id": self.id, "namespace": self.namespace}

    def namespaced(self, group_version: str, plural: str, name: str = "") -> str:
        """The path of a namespaced collection, or of one object in it. `group_version`: v1, kubeflow.org/v1..."""
        root = f"/api/{group_version}" if "/" not in group_version else f"/apis/{group_version}"
        return f"{root}/namespaces/{self.namespace}/{plural}" + (f"/{quote(name, safe='')}" if name else "")

    def get(self, path: str, **query: Any) -> Object:
        return self.request("GET", path, query)

    def find(self, path: str) -> Object | None:
        """One object, or None where there is none."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def pages(self, path: str, *, page: int = PAGE, **query: Any) -> Iterator[Object]:
        """A collection page by page, `page` objects each. ApiError 410 when the list expires on the way: start again, for what was
        read is stale."""
        token = None
        while True:
            part = self.get(path, limit=page, **query, **({"continue": token} if token else {}))
            if not isinstance(part.get("metadata"), dict) or not isinstance(part.get("items") or [], list):
                raise self.garbled("an answer that is no list")
            yield {"items": [], **part}
            token = part["metadata"].get("continue")
            if not token:
                return

    def pods(self, selector: str) -> list[Object]:
        """The namespace's pods with these labels."""
        return self.list(self.namespaced("v1", "pods"), page=PODS_A_REQUEST, labelSelector=selector)

    def list(self, path: str, **query: Any) -> list[Object]:
        """All objects of a collection. `labelSelector` and `fieldSelector` leave the choosing to the server."""
        return [item for page in self.pages(path, **query) for item in page["items"] or []]

    def create(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        return self.request("POST", path, {"dryRun": "All"} if dry_run else {}, body)

    def patch(self, path: str, body: Any, kind: str = "merge", *, dry_run: bool = False) -> Object:
        """`kind`: merge or json."""
        return self.request("PATCH", path, {"dryRun": "All"} if dry_run else {}, body, f"application/{kind}-patch+json")

    def amend(self, path: str, uid: str, changes: Sequence[Object], *, dry_run: bool = False) -> Object:
        """A JSON patch of the very object that was looked at. Raises SkillError conflict where that one is gone."""
        same = {"op": "test", "path": "/metadata/uid", "value": uid}
        try:
            return self.patch(path, [same, *changes], "json", dry_run=dry_run)
        except ApiError as error:
            # 422 also says that the change itself is not valid.
            there = self.find(path) if error.status == 422 else None
            if error.status not in (404, 422) or (there and there["metadata"]["uid"] == uid):
                raise
            message = f"{'/'.join(path.split('/')[-2:])} was deleted or replaced by another one at this moment"
            raise shell.SkillError("conflict", message, hint="look with `status` or `list` what is there now") from error

    def delete(self, path: str, uid: str, *, dry_run: bool = False) -> Object | None:
        """Only the very object that was looked at: the UID is a precondition. None where it is gone already."""
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background", **({"dryRun": ["All"]} if dry_run else {})}
        try:
            return self.request("DELETE", path, {}, body)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def request(self, verb: str, path: str, query: Object, body: Any = None, content: str = "application/json") -> Object:
        with self.open(verb, path, query, body, content) as response:
            return self.parsed(self.read(response))

    def read(self, response: Any) -> bytes:
        """All of an answer's body. Raises SkillError unreachable where it breaks off."""
        import urllib3

        try:
            return bytes(response.data)
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable("breaks off in the middle of an answer", error) from error

    def parsed(self, text: bytes) -> Object:
        """A body, or a line of one. Raises SkillError unreachable: cut where nobody announced its length, or a proxy's page."""
        try:
            document = json.loads(text)
            if not isinstance(document, dict):
                raise ValueError(f"{type(document).__name__} where an object belongs")
        except (ValueError, RecursionError) as error:
            raise self._unreachable("gives an answer that is no JSON object, or not all of one", error) from error
        return document

    def garbled(self, what: str) -> shell.SkillError:
        return self._unreachable("sent an invalid answer", ValueError(what))

    def open(
        self,
        verb: str,
        path: str,
        query: Object,
        body: Any = None,
        content: str = "application/json",
        read_s: float = TIMEOUT_S,
    ) -> Any:
        """The response itself, for logs and watches: iterate over it, close it. 429 and 503 that ask for patience get it, twice."""
        for attempt in range(3):
            used = self.current()
            response = self._send(used, verb, path, query, body, content, read_s)
            if response.status < 400:
                self.was_taken()
                return response
            error = _api_error(response, "WATCH" if query.get("watch") else verb, path)
            if error.status == 401 and self.may_ask_again(error, used) and attempt < 2:
                continue
            if attempt == 2 or error.status not in (429, 503) or not error.retry_after_s:
                raise error
            shell.progress(f"{self.server} asks for patience ({error.reason}); again in {error.retry_after_s:.0f} s")
            time.sleep(min(error.retry_after_s, 10.0))
        raise AssertionError("the loop returns or raises")

    def current(self) -> Access:
        """With credentials that should hold now: tokens that are known to end are renewed before."""
        self._login.renew_if_over()
        return self._login.access

    def was_taken(self) -> None:
        """The server has answered: the credentials hold."""
        self._taken = True
        self._login.works()

    def may_ask_again(self, error: ApiError, used: Access) -> bool:
        """After 401: whether there are other credentials than those `used`. Where there are none the error tells more."""
        if self._login.renewed(used):
            shell.progress(f"{self.server} did not take the credentials any more; they were read anew")
            return True
        error.signed_out = self._taken
        if self._login.trouble:
            error.args = (f"{error}; and there are no new credentials: {self._login.trouble}",)
        return False

    def _send(self, access: Access, verb: str, path: str, query: Object, body: Any, content: str, read_s: float) -> Any:
        import urllib3

        headers = {"accept": "application/json", "user-agent": "trainyard", **headers_of(access)}
        if body is not None:
            headers["content-type"] = content
        url = self.server + path + ("?" + urlencode(query) if query else "")
        self.requests += 1
        try:
            return self._pool_of(access).request(
                verb,
                url,
                body=None if body is None else json.dumps(body).encode(),
                headers=headers,
                preload_content=False,
                retries=False,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=read_s),
            )
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable("does not answer", error) from error

    def _pool_of(self, access: Access) -> Any:
        if self._connected[0] is not access:
            self._connected = access, _pool(access)
        return self._connected[1]

    def _unreachable(self, what: str, error: Exception) -> shell.SkillError:
        message = f"{self.server} {what}: {shell.clean(str(error), 200)}"
        hint = "kubectl cluster-info asks the same server; is the VPN up, does the cluster still exist?"
        return shell.SkillError("unreachable", message, hint=hint, retryable=True)


def address_of(configuration: Any) -> str:
    return str(configuration.host).rstrip("/")


def identity_of(configuration: Any) -> str:
    authority = b""
    if configuration.ssl_ca_cert:
        with open(configuration.ssl_ca_cert, "rb") as file:
            authority = file.read().strip()
    return hashlib.sha256(address_of(configuration).encode() + b"\n" + authority).hexdigest()[:16]


def headers_of(access: Access) -> dict[str, str]:
    """Authorization."""
    settings = access.configuration.auth_settings().values()
    return {each["key"]: each["value"] for each in settings if each["in"] == "header" and each["value"]}


def _pool(access: Access) -> Any:
    from kubernetes import client

    return client.ApiClient(access.configuration).rest_client.pool_manager


def _api_error(response: Any, verb: str, path: str) -> ApiError:
    import urllib3

    try:
        document = json.loads(response.data)
    except (ValueError, urllib3.exceptions.HTTPError):  # the code alone says enough
        document = {}
    finally:
        response.release_conn()
    document = document if isinstance(document, dict) else {}
    message = shell.clean(str(document.get("message") or f"HTTP {response.status}"), 500)
    patience = response.headers.get("retry-after", "")
    reason = str(document.get("reason") or "")
    return ApiError(response.status, reason, message, verb, path, float(patience) if patience.isdigit() else 0.0)
