"""What an API server's refusal means to the user: an exit code, a hint, and where permission is missing the rule to add.

`make kit` copies this file with trainyard_kube.py, which passes its names on; edit it in skills/kit/ only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trainyard_shell as shell

Object = dict[str, Any]
RULE_VERBS = {"GET": "get", "WATCH": "watch", "POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}
CODES = {400: "usage", 401: "credentials", 403: "permission", 404: "not-found", 409: "conflict", 410: "timeout", 422: "usage"}
HINTS = {
    "credentials": "the token has expired or is not known: sign in again (aws sso login, or what the kubeconfig's exec asks for)",
    "not-found": "kubectl get in the same namespace shows what is there; is the operator's CRD installed?",
    "conflict": "it exists, or somebody changed it at this moment: look with `status`, then repeat the call",
    "usage": "correct what the message names",
    "timeout": "the same call again",
    "unreachable": "the API server is overloaded or away: the same call again",
}


class ApiError(shell.SkillError):
    """The API server said no: `status` is the HTTP code, `reason` Kubernetes' own word (NotFound, AlreadyExists, Expired...).

    Left alone it ends the verb with the fitting exit code and a hint; catch it where a code means something else.
    """

    def __init__(self, status: int, reason: str, message: str, verb: str, path: str, retry_after_s: float = 0.0) -> None:
        self.status, self.reason, self.message, self.verb, self.path = status, reason, message, verb, path
        self.retry_after_s = retry_after_s
        code = CODES.get(status, "unreachable")
        hint = f"a Role or ClusterRole needs this rule: {json.dumps(self.rule)}" if status == 403 else HINTS[code]
        words = f"{self.rule['verbs'][0]} {self.rule['resources'][0]}"
        super().__init__(code, f"cannot {words}: {message}", hint=hint, retryable=status in (409, 410) or status >= 429)

    @property
    def rule(self) -> Object:
        """The Role rule that would allow this request."""
        parts = self.path.strip("/").split("/")
        group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1] if len(parts) > 1 else "", parts[3:])
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            rest = rest[2:]
        verb = RULE_VERBS.get(self.verb, "get")
        if verb == "get" and len(rest) == 1:
            verb = "list"
        # A WebSocket begins with a GET, and from Kubernetes 1.35 on `create` is asked for too.
        verbs = ["get", "create"] if rest[2:3] == ["exec"] else [verb]
        return {"apiGroups": [group], "resources": ["/".join(rest[:1] + rest[2:3])], "verbs": verbs}


def unknown(id: str, error: ApiError) -> shell.Check:
    """A check that could not be made: unknown, with the rule that would allow it. Never a pass."""
    refused = error.status == 403
    summary = f"not allowed to {error.rule['verbs'][0]} {error.rule['resources'][0]}" if refused else str(error)
    fix = f"this rule allows it: {json.dumps(error.rule)}" if refused else error.hint
    return shell.Check(id, "unknown", summary, error.message, fix)


@contextmanager
def noted(id: str, checks: list[shell.Check], *, may_be_absent: bool = False) -> Iterator[None]:
    """What the caller may not read becomes an unknown check, and the work goes on. `may_be_absent`: so it does after 404."""
    try:
        yield
    except ApiError as error:
        if error.status == 403:
            checks.append(unknown(id, error))
        elif error.status != 404 or not may_be_absent:
            raise
