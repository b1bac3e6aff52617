"""What a refusal of the API server is about: a missing right, a full quota, a policy, a webhook that does not answer.

`make kit` copies this file with trainyard_kube.py; edit it in skills/kit/ only. The patterns are of real messages (kube-apiserver 1.30
to 1.35); where a message quotes text of somebody else, its own words stand at the beginning, so the first patterns are anchored there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Denial:
    """Why a request was turned down."""

    cause: str
    code: str
    """A key of the contract's exit codes."""
    told: str
    """What the server's words mean; empty where they say it themselves."""
    hint: str


Row = tuple[str, str, str, str, str]
_ROWS: list[Row] = [
    # (cause, code, pattern, what it means, what to do); {name} and {host} are groups of the pattern
    ("webhook-denied", "usage", r'^admission webhook "(?P<name>[^"]+)" denied the request',
     "", "correct what the message names: webhook {name} is the operator's own, or a policy of the cluster; no Role would help"),
    ("webhook-away", "unreachable", r'failed calling webhook "(?P<name>[^"]+)"',
     "admission webhook {name} does not answer",
     "no object of this kind can be created until it answers: {where}manage_cluster.py health shows it; kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations"),
    ("conversion-away", "unreachable", r"conversion webhook for (?P<name>.{1,200}?) failed",
     "the conversion webhook of {name} does not answer",
     "objects of this kind cannot be read or made without it: {where}cluster-manager health shows it; kubectl describe crd"),
    ("policy", "usage", r"(Validating|Mutating)AdmissionPolicy '(?P<name>[^']+)' with binding '[^']*' denied request",
     "", "correct what the message names: kubectl get validatingadmissionpolicy {name} -o yaml shows the rule; no Role would help"),
    ("node", "permission", r'^(?:[^"]*"[^"]*" is )?forbidden: (?:User "system:node:[^"]*" cannot |node "[^"]*" (?:can only|is not allowed|cannot) )|no relationship found between node ',
     "", "a node's own identity may do no more than run its pods (Node authorizer, NodeRestriction): use another user; no Role would help"),
    ("impersonation", "permission", r'forbidden: User "[^"]*" cannot impersonate resource "(?P<name>[^"]+)"',
     "", "the kubeconfig acts as somebody else (--as, `as` of its user): that needs the right to impersonate {name}"),
    ("rbac", "permission", r'^(?:[^"]{0,300}(?:"[^"]*"[^"]{0,300}?)? is )?forbidden: User "[^"]*" cannot ', "", ""),
    ("owner", "permission", r"cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on",
     "", "a Role needs `update` on the owner's RESOURCE/finalizers (OwnerReferencesPermissionEnforcement)"),
    ("terminating", "conflict", r"unable to create new content in namespace (?P<name>\S+) because it is being terminated",
     "namespace {name} is being deleted", "use another namespace (--namespace); or wait until it is gone, create it again and repeat the call: kubectl get namespace {name} -o yaml shows what blocks the deletion"),
    ("quota", "conflict", r"forbidden: (exceeded quota|insufficient quota to match|status unknown for quota): (?P<name>[^,\s]*)",
     "", "kubectl describe resourcequota shows what is used; fewer nodes, or ask for more"),
    ("quota-needs", "usage", r"forbidden: failed quota: (?P<name>[^:\s]+): must specify (?P<what>[^;]+)",
     "", "the namespace's quota wants these in every pod: resources.limits, or a LimitRange with defaults; no Role would help"),
    ("limit-range", "usage", r"(maximum|minimum) \S+ usage per (Pod|Container|PersistentVolumeClaim) is|max limit to request ratio per (Pod|Container) is",
     "a LimitRange of the namespace does not allow it", "kubectl describe limitrange; resources.cpu, resources.memory, resources.limits within it; no Role would help"),
    ("pod-security", "usage", r'violates PodSecurity "(?P<name>[^"]+)"',
     "the namespace takes pods of level {name} alone", "cluster.security in the job file, with what the message asks for; or a namespace of another level (label pod-security.kubernetes.io/enforce)"),
    ("service-account", "usage", r'error looking up service account .*?: serviceaccount "(?P<name>[^"]+)" not found',
     "", "kubectl get serviceaccount; cluster.service_account (--service-account)"),
    ("priority", "usage", r"no PriorityClass with name (?P<name>\S+) was found", "", "kubectl get priorityclass; another cluster.priority (--priority)"),
    ("admission", "permission", r"forbidden: ", "", "an admission rule of the cluster forbids this, so a Role does not help: ask the cluster's administrator"),
]  # fmt: skip
ROWS = [(cause, code, re.compile(pattern), told, hint) for cause, code, pattern, told, hint in _ROWS]
REFUSED = (401, 403, 422, 500, 504)
"""A webhook may deny with any code, and 500 tells of one that is away; of other codes the number alone says enough."""
_HOST = re.compile(
    r'https?://(?P<service>[^/:."\s]+)\.(?P<namespace>[^/:."\s]+)\.svc[/:]|no endpoints available for service "(?P<alone>[^"]+)"'
)
PROXY = Denial(
    "proxy",
    "permission",
    "",
    "not an answer from Kubernetes: does a proxy or load balancer in front of it (proxy-url, VPN, WAF) refuse the request?",
)
AGGREGATED = Denial(
    "api-away",
    "unreachable",
    "",
    "the API server, or the service behind this API, is overloaded or down: see AVAILABLE in kubectl get apiservices",
)
SLOW = Denial(
    "slow",
    "unreachable",
    "",
    "the API server, or an admission webhook that it asked, took too long: cluster-manager health; the same call",
)


def denial_of(status: int, message: str) -> Denial | None:
    """None where the HTTP code is all that is known."""
    if status == 503:
        return AGGREGATED
    if status == 403 and message.startswith("HTTP "):  # there was no Status in the answer
        return PROXY
    for cause, code, pattern, told, hint in ROWS if status >= 400 else ():
        if (status in REFUSED or cause in ("webhook-denied", "policy")) and (found := pattern.search(message)):
            return _filled(cause, code, told, hint, found, message)
    return SLOW if status == 504 else None


def _filled(cause: str, code: str, told: str, hint: str, found: re.Match[str], message: str) -> Denial:
    words = {name: (value or "").rstrip(".,;:") for name, value in found.groupdict().items()}
    place = _HOST.search(message)
    where = ""
    if place and place["service"]:
        slices = f"kubectl -n {place['namespace']} get endpointslices -l kubernetes.io/service-name={place['service']}"
        where = f"{slices} (its pods must be ready); "
    elif place:
        where = f"service {place['alone']} has no ready pod; "
    words["where"] = where
    return Denial(cause, code, _put(told, words), _put(hint, words))


def _put(text: str, words: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: words.get(match[1], ""), text)
