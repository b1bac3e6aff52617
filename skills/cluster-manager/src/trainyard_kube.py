"""The plumbing of the skill programs that talk to a Kubernetes API server: which cluster, raw JSON, errors that say what to do.

`make kit` copies this file byte for byte into the src/ of each skill that imports it; edit it in skills/kit/ only.
Objects are plain dicts as the API server sends them: for thousands of pods the client's models cost more than the request
(measured: shared-docs/decisions/0012-raw-json.md). Credentials, proxies and certificates are the kubernetes client's business; it is
imported when a Cluster is made, not before.

    import trainyard_kube as kube

    @cli.command()
    @kube.options                                    # --context, --namespace, --cluster-id
    def nodes(where: kube.Where) -> shell.Result:
        cluster = kube.connect(where)
        names = [node["metadata"]["name"] for node in cluster.list("/api/v1/nodes")]
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import click
import trainyard_kubeconfig
import trainyard_shell as shell
from trainyard_refusal import ApiError, unknown

__all__ = ["ApiError", "Cluster", "Object", "Where", "connect", "labels", "name_or_raise", "options", "owner", "unknown"]
Object = dict[str, Any]
MANAGED = "app.kubernetes.io/managed-by"
RUN, RUN_ID = "trainyard.dev/run", "trainyard.dev/run-id"
PAGE = 500
"""Objects a request: 500 pods are some 1.5 MB."""
TIMEOUT_S = 60.0
CONNECT_S = 5.0
DNS_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
DNS_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")


# --- which cluster -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Where:
    """What the caller said about the cluster: as kubectl takes it, plus the identity of the cluster that is expected."""

    context: str | None = None
    namespace: str | None = None
    cluster_id: str | None = None


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--context, --namespace and --cluster-id of a verb, handed over as `where`."""

    def with_where(*args: Any, context: str | None, namespace: str | None, cluster_id: str | None, **kwargs: Any) -> Any:
        where = Where(context, namespace, cluster_id)
        result = function(*args, where=where, **kwargs)
        if isinstance(result, shell.Result):
            result.next = [_there(line, where) for line in result.next]
        return result

    with_where.__name__, with_where.__doc__ = function.__name__, function.__doc__
    with_where.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    added = [
        click.option("--context", metavar="NAME", help="Context of the kubeconfig. Default: the current one."),
        click.option("--namespace", "-n", metavar="NAME", help="Default: the context's, else default."),
        click.option("--cluster-id", metavar="HEX", help="Refuse (exit 5) where the context leads to another cluster."),
    ]
    for option in reversed(added):
        option(with_where)
    return with_where


def _there(line: str, where: Where) -> str:
    """A next command of this program, said to the same cluster and namespace as this one was."""
    program, words = click.get_current_context().find_root().command, line.split()
    verbs = program.commands if isinstance(program, click.Group) and words[:1] == [program.name] else {}
    verb = verbs.get(" ".join(words[1:2]))
    if verb is None or not any(option.name == "cluster_id" for option in verb.params):
        return line
    said = {"--context": where.context, "-n": where.namespace, "--cluster-id": where.cluster_id}
    return " ".join([line, *(f"{flag} {shlex.quote(value)}" for flag, value in said.items() if value and flag not in words)])


def connect(where: Where) -> Cluster:
    """The cluster that `where` names. Makes no request. Raises SkillError: not-found, credentials, conflict, usage."""
    from kubernetes import client

    configuration = client.Configuration()
    configuration.retries = False  # urllib3's own retries would repeat a write
    context = trainyard_kubeconfig.load(configuration, where.context)
    namespace = where.namespace or (context.get("context") or {}).get("namespace") or "default"
    name_or_raise("namespace", namespace, DNS_LABEL)
    cluster = Cluster(configuration, context.get("name"), namespace)
    if where.cluster_id and where.cluster_id != cluster.id:
        message = f"context {cluster.context} leads to {cluster.server} ({cluster.id}), not to the cluster of this run ({where.cluster_id})"
        raise shell.SkillError("conflict", message, hint="cluster.context (--context) with the context of the run's cluster")
    return cluster


def name_or_raise(kind: str, name: str, rule: re.Pattern[str] = DNS_SUBDOMAIN) -> str:
    """Names from outside are checked before the first call: they become parts of a path."""
    if not rule.fullmatch(name):
        message = f"{shell.clean(name, 80)!r} is not a valid name of a {kind}: a-z, 0-9 and -, at most {63 if rule is DNS_LABEL else 253} characters"
        raise shell.SkillError("usage", message, hint=f"give the {kind}'s name as kubectl get prints it")
    return name


def labels(run: str, run_id: str) -> dict[str, str]:
    """What everything carries that belongs to a run."""
    return {MANAGED: "trainyard", RUN: run, RUN_ID: run_id}


def owner(thing: Object) -> str | None:
    """The run id that an object carries; None: it is not ours."""
    found = thing["metadata"].get("labels") or {}
    return found.get(RUN_ID) if found.get(MANAGED) == "trainyard" else None


# --- talking to it -----------------------------------------------------------------------------------------------


@dataclass
class Cluster:
    """One API server. Paths are the API's own: /api/v1/namespaces/NAME/pods. Each method raises ApiError, or SkillError unreachable."""

    configuration: Any
    context: str | None
    namespace: str

    def __post_init__(self) -> None:
        from kubernetes import client

        self._api = client.ApiClient(self.configuration)
        self._pool = self._api.rest_client.pool_manager
        self.requests = 0
        """Requests made: the benchmarks count them."""

    @property
    def server(self) -> str:
        return str(self.configuration.host).rstrip("/")

    @property
    def id(self) -> str:
        """Names this cluster for good: a digest of its address and its certificate authority."""
        authority = b""
        if self.configuration.ssl_ca_cert:
            with open(self.configuration.ssl_ca_cert, "rb") as file:
                authority = file.read().strip()
        return hashlib.sha256(self.server.encode() + b"\n" + authority).hexdigest()[:16]

    def identity(self) -> Object:
        """For run.json: later verbs go to this cluster whatever the current context is then."""
        return {"context": self.context, "server": self.server, "cluster_id": self.id, "namespace": self.namespace}

    def namespaced(self, group_version: str, plural: str, name: str = "", namespace: str | None = None) -> str:
        """The path of a namespaced collection, or of one object in it. `group_version`: v1, kubeflow.org/v1..."""
        root = f"/api/{group_version}" if "/" not in group_version else f"/apis/{group_version}"
        return f"{root}/namespaces/{namespace or self.namespace}/{plural}" + (f"/{quote(name, safe='')}" if name else "")

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
            yield part
            token = part["metadata"].get("continue")
            if not token:
                return

    def list(self, path: str, **query: Any) -> list[Object]:
        """All objects of a collection. `labelSelector` and `fieldSelector` leave the choosing to the server."""
        return [item for page in self.pages(path, **query) for item in page["items"] or []]

    def create(self, path: str, body: Object, *, dry_run: bool = False) -> Object:
        return self.request("POST", path, {"dryRun": "All"} if dry_run else {}, body)

    def patch(self, path: str, body: Any, kind: str = "merge", *, dry_run: bool = False) -> Object:
        """`kind`: merge, json or strategic."""
        content = {"merge": "merge-patch", "json": "json-patch", "strategic": "strategic-merge-patch"}[kind]
        return self.request("PATCH", path, {"dryRun": "All"} if dry_run else {}, body, f"application/{content}+json")

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

    def delete(self, path: str, uid: str, *, policy: str = "Background", dry_run: bool = False) -> Object | None:
        """Only the very object that was looked at: the UID is a precondition. None where it is gone already."""
        body = {"preconditions": {"uid": uid}, "propagationPolicy": policy, **({"dryRun": ["All"]} if dry_run else {})}
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
        except ValueError as error:
            raise self._unreachable("gives an answer that is no JSON object, or not all of one", error) from error
        return document

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
            response = self._send(verb, path, query, body, content, read_s)
            if response.status < 400:
                return response
            error = _api_error(response, "WATCH" if query.get("watch") else verb, path)
            if attempt == 2 or error.status not in (429, 503) or not error.retry_after_s:
                raise error
            shell.progress(f"{self.server} asks for patience ({error.reason}); again in {error.retry_after_s:.0f} s")
            time.sleep(min(error.retry_after_s, 10.0))
        raise AssertionError("the loop returns or raises")

    def headers(self) -> dict[str, str]:
        """Authorization, read anew at each request: tokens are renewed."""
        settings = self.configuration.auth_settings().values()
        return {each["key"]: each["value"] for each in settings if each["in"] == "header" and each["value"]}

    def _send(self, verb: str, path: str, query: Object, body: Any, content: str, read_s: float) -> Any:
        import urllib3

        headers = {"accept": "application/json", "user-agent": "trainyard", **self.headers()}
        if body is not None:
            headers["content-type"] = content
        url = self.server + path + ("?" + urlencode(query) if query else "")
        self.requests += 1
        try:
            return self._pool.request(
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

    def _unreachable(self, what: str, error: Exception) -> shell.SkillError:
        message = f"{self.server} {what}: {shell.clean(str(error), 200)}"
        hint = "kubectl cluster-info asks the same server; is the VPN up, does the cluster still exist?"
        return shell.SkillError("unreachable", message, hint=hint, retryable=True)


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
