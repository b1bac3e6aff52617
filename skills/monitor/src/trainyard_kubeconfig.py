"""The kubeconfig, or a pod's mounted token: addresses and credentials for trainyard_kube.py, or why there are none.

`make kit` copies this file with trainyard_kube.py; edit it in skills/kit/ only. Merging files and TLS are the kubernetes client's
business; what it would break off at is looked for before (trainyard_kubefields.py), and what it would start is started here.
"""

from __future__ import annotations

import base64
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_kubefields as fields
import trainyard_plugin as plugin
import trainyard_shell as shell
from trainyard_files import Unusable, read_regular

Object = dict[str, Any]
DEFAULT = "~/.kube/config"
MOUNTED = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MOUNTED_S = 60.0
"""A kubelet renews a mounted token in place, long before it ends."""
NO_CONFIG = "kubectl config get-contexts lists what there is; aws eks update-kubeconfig --name CLUSTER adds one"


@dataclass(frozen=True)
class Access:
    """How one API server is reached."""

    configuration: Any
    """The kubernetes client's."""
    context: str | None
    """None inside a pod."""
    namespace: str | None
    expires_at: float | None = None
    """When its token ends, in seconds since 1970; None: it does not say."""


class _Nothing(Exception):
    """There is no kubeconfig, or there is nothing in it: inside a pod the mounted token is used then, as kubectl does."""


def load(name: str | None) -> Access:
    """The context of that name, or the current one. Makes no request, and starts the command that gives a token.

    A current context that leads nowhere is no harm where another is named. Raises SkillError: not-found, credentials; usage and
    permission for a file or field that cannot be used.
    """
    import yaml
    from kubernetes.config.config_exception import ConfigException

    try:
        return _from_files(name)
    except _Nothing as error:
        if name is None and (mounted := _from_pod()):
            return mounted
        raise shell.SkillError("not-found", f"no usable kubeconfig: {error}", hint=NO_CONFIG) from error
    except PermissionError as error:
        raise shell.SkillError("permission", f"{error.filename} may not be read", hint=f"ls -l {error.filename}") from error
    except yaml.YAMLError as error:
        text = shell.clean(str(error), 300)
        raise shell.SkillError("usage", f"the kubeconfig is not YAML: {text}", hint="kubectl config view shows it") from error
    # The client's own words for what is not foreseen here: a field that holds something else, a number that is no time.
    except (
        Unusable,
        ConfigException,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        ArithmeticError,
        RecursionError,
    ) as error:
        text = shell.clean(str(error), 300)
        raise shell.SkillError(
            "usage", f"the kubeconfig cannot be used: {text}", hint="kubectl config view shows it"
        ) from error
    except OSError as error:  # the client puts certificates into files of their own
        raise shell.cannot_write(
            error.filename or "the folder for temporary files", error, "free space, or set TMPDIR"
        ) from error


def _from_files(name: str | None) -> Access:
    from kubernetes import client
    from kubernetes.config import kube_config as files

    listed = files.KUBE_CONFIG_DEFAULT_LOCATION or DEFAULT  # KUBECONFIG="" means no more to kubectl either
    separator = files.ENV_KUBECONFIG_PATH_SEPARATOR
    named = [Path(os.path.expanduser(path)) for path in listed.split(separator) if path]
    there = [path for path in named if _is_there(path)]
    if not there:
        raise _Nothing(f"no file {shell.clean(listed, 300)}")
    usable = [str(path) for path in there if fields.refuse_shape(path)]
    merged = files.KubeConfigMerger(separator.join(usable)).config if usable else None
    if merged is None or not (merged.value.get("current-context") or merged.value.get("contexts")):
        raise _Nothing(f"no contexts in {shell.clean(listed, 300)}")
    context = _chosen(merged, name)
    cluster, user = fields.refuse_fields(merged, context)
    expires_at = _sign_in(cluster, user) if user else None
    configuration = client.Configuration()
    loader = files.KubeConfigLoader(merged, active_context=context["name"], config_base_path=None)
    loader.load_and_set(configuration)
    fields.refuse_certificates(configuration, cluster.told, user.told if user else "")
    _take_token(configuration, user.told if user else "")
    return Access(configuration, str(context["name"]), (context.get("context") or {}).get("namespace"), expires_at)


def _is_there(path: Path) -> bool:
    """Raises PermissionError where nobody lets us look: it may be there."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _chosen(merged: Any, name: str | None) -> Object:
    rows: list[Object] = [each.value for each in merged.value.get("contexts") or []]
    there = ", ".join(sorted(str(row["name"]) for row in rows)[:20]) or "none"
    wanted = merged.value.get("current-context") if name is None else name
    if not wanted:
        raise shell.SkillError(
            "usage",
            f"the kubeconfig has no current-context; there are {there}",
            hint="cluster.context in the job file (--context NAME)",
        )
    if not isinstance(wanted, str):
        raise Unusable(f"current-context is not text but a {type(wanted).__name__}")
    found = [row for row in rows if row["name"] == wanted]
    if not found:
        message = f"no usable kubeconfig: it has no context {shell.clean(wanted, 100)!r}; there are {shell.clean(there, 300)}"
        raise shell.SkillError("usage" if name is None else "not-found", message, hint=NO_CONFIG)
    return found[0]


def _sign_in(cluster: fields.Row, user: fields.Row) -> float | None:
    """Puts a token or a certificate in the place of what would give one; when it ends."""
    settings = user.fields
    if provider := settings.pop("auth-provider", None):
        settings["token"] = _of_provider(provider, user.told)
    if not settings.get("exec") or settings.get("token") or settings.get("tokenFile"):
        return None
    status = plugin.credential(settings.pop("exec"), cluster.fields, user.folder, f"{user.told}.exec")
    if status.get("token"):
        settings["token"] = status["token"]
    if status.get("clientCertificateData"):
        for name, text in (("client-certificate-data", "clientCertificateData"), ("client-key-data", "clientKeyData")):
            settings[name] = base64.b64encode(status[text].encode()).decode()
    return plugin.expires_at(status)


def _of_provider(provider: Any, where: str) -> str:
    """The id-token of `oidc`. The others went with Kubernetes 1.26; they, and a renewal, would wait for others without an end."""
    settings = provider.get("config") if isinstance(provider, dict) else None
    if not isinstance(settings, dict) or provider.get("name") != "oidc":
        named = shell.clean(str(provider.get("name") if isinstance(provider, dict) else provider), 60)
        message = f"{where}.auth-provider {named!r} is not supported: Kubernetes 1.26 removed it in favour of `exec`"
        raise shell.SkillError("credentials", message, hint="kubelogin, gke-gcloud-auth-plugin, or aws eks update-kubeconfig")
    token = settings.get("id-token")
    if not isinstance(token, str) or not token:
        raise Unusable(f"{where}.auth-provider.config.id-token is not text")
    if (ends := _end_of(token)) is not None and ends < time.time():
        hint = "any call of kubectl renews it in the kubeconfig, or sign in again"
        raise shell.SkillError("credentials", f"{where}.auth-provider: its id-token has expired", hint=hint)
    return token


def _end_of(token: str) -> float | None:
    """`exp` of a JSON web token; None where it tells none."""
    body = token.split(".")[1:2]
    try:
        ends = json.loads(base64.urlsafe_b64decode(body[0] + "=" * (-len(body[0]) % 4)))["exp"]
        return float(ends) if isinstance(ends, int | float) else None
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


def _take_token(configuration: Any, where: str) -> None:
    """The line end of a tokenFile is no part of the token, as for kubectl; what cannot stand in a header is told without its text."""
    configuration.refresh_api_key_hook = None  # trainyard_login.py reads anew
    configuration.retries = False  # urllib3's own retries would repeat a write
    if token := configuration.api_key.get("BearerToken"):
        configuration.api_key["BearerToken"] = token.strip()
        fields.refuse_token(token.strip(), where)


def _from_pod() -> Access | None:
    """Inside a pod there is no kubeconfig but a mounted token, and the namespace beside it."""
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except (config.ConfigException, OSError, ValueError):
        return None
    _take_token(configuration, str(MOUNTED / "token"))
    try:
        mounted = read_regular(MOUNTED / "namespace", 1000).decode().strip()
    except (OSError, ValueError):
        mounted = ""
    return Access(configuration, None, os.environ.get("POD_NAMESPACE") or mounted or None, time.time() + MOUNTED_S)
