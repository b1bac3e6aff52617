"""The kubeconfig, or a pod's mounted token: addresses and credentials for trainyard_kube.py, or why there are none.

`make kit` copies this file with trainyard_kube.py; edit it in skills/kit/ only. Merging files, tokens and certificates are the
kubernetes client's business.
"""

from __future__ import annotations

import base64
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import trainyard_shell as shell
from trainyard_files import Unusable, read_regular

Object = dict[str, Any]


def load(configuration: Any, name: str | None) -> Object:
    """Fill the client's `configuration`; the context that is used, {} inside a pod. Makes no request.

    A current context that leads nowhere is no harm where another is named. Raises SkillError: not-found, credentials; usage and
    permission for a file or field that cannot be used.
    """
    import yaml
    from kubernetes.config.config_exception import ConfigException

    try:
        return _from_files(configuration, name)
    except (ConfigException, yaml.YAMLError, _NoKubeconfig) as error:
        if name is None and _from_pod(configuration):
            return {}
        hint = "kubectl config get-contexts lists what there is; aws eks update-kubeconfig --name CLUSTER adds one"
        raise shell.SkillError("not-found", f"no usable kubeconfig: {shell.clean(str(error), 300)}", hint=hint) from error
    except PermissionError as error:
        raise shell.SkillError("permission", f"{error.filename} may not be read", hint=f"ls -l {error.filename}") from error
    except (Unusable, KeyError, TypeError, AttributeError, ValueError) as error:
        text = shell.clean(str(error), 300)
        raise shell.SkillError(
            "usage", f"the kubeconfig cannot be used: {text}", hint="kubectl config view shows it"
        ) from error
    except OSError as error:  # the client puts certificates into files of their own
        raise shell.cannot_write(
            error.filename or "the folder for temporary files", error, "free space, or set TMPDIR"
        ) from error


class _NoKubeconfig(Exception):
    """A file that holds something else."""


def _from_files(configuration: Any, name: str | None) -> Object:
    from kubernetes.config import kube_config as files

    listed = files.KUBE_CONFIG_DEFAULT_LOCATION or "~/.kube/config"  # KUBECONFIG="" means no more to kubectl either
    for path in listed.split(files.ENV_KUBECONFIG_PATH_SEPARATOR):
        if path and os.path.exists(os.path.expanduser(path)):
            _refuse_shape(Path(os.path.expanduser(path)))
    merged = files.KubeConfigMerger(listed).config
    if merged is None:
        raise _NoKubeconfig(f"no file {listed}")
    loader = files.KubeConfigLoader(merged, active_context=name, config_base_path=None)
    context: Object = loader.current_context
    _refuse_fields(merged, context)
    with _heard() as said:
        loader.load_and_set(configuration)
    _refuse_token(loader, configuration, context)
    if said and not configuration.api_key and not configuration.cert_file:
        raise _no_token(context, said)
    return context


def _refuse_shape(path: Path) -> None:
    """The lists and their names, without which the client's merging breaks off."""
    import trainyard_yaml  # not at the top: --help needs no PyYAML

    document = trainyard_yaml.read(path)
    if not isinstance(document, dict):
        raise _NoKubeconfig(f"{path} holds no mapping")
    for kind in ("clusters", "contexts", "users"):
        rows = document.get(kind) or []
        if not isinstance(rows, list):
            raise Unusable(f"{path}: {kind} is not a list")
        for row in rows:
            if not isinstance(row, dict) or not isinstance(row.get("name"), str):
                raise Unusable(f"{path}: an entry of {kind} has no name")
            if not isinstance(row.get(kind[:-1]) or {}, dict):
                raise Unusable(f"{path}: {kind}[{row['name']}].{kind[:-1]} is not a mapping")


def _refuse_fields(merged: Any, context: Object) -> None:
    """The fields of the context, cluster and user that will be used: kinds, addresses, files that are there, base64 that is some."""
    inner = context.get("context") or {}
    _texts("contexts", context["name"], inner, ("cluster", "user", "namespace"))
    for kind, texts, files in (
        ("cluster", ("server", "tls-server-name", "proxy-url"), ("certificate-authority",)),
        ("user", ("token", "username", "password"), ("client-certificate", "client-key")),
    ):
        name, rows = inner.get(kind), merged.value.get(f"{kind}s") or []
        row = next((each for each in rows if each.value.get("name") == name), None)
        if row is None:
            continue  # the client says which one is missing
        fields, where = row.value.get(kind) or {}, f"{row.path}: {kind}s[{name}].{kind}"
        _texts(f"{row.path}: {kind}s", str(name), fields, (*texts, *files, *(f"{file}-data" for file in files), "tokenFile"))
        base = Path(row.path or ".").absolute().parent
        for file in (*files, "tokenFile"):
            if fields.get(file) and not fields.get("token" if file == "tokenFile" else f"{file}-data"):
                _readable(base / fields[file], f"{where}.{file}")
        for file in files:
            _base64(fields.get(f"{file}-data"), f"{where}.{file}-data")
        if kind == "cluster":
            _address(fields, where)


def _texts(kind: str, name: str, fields: Object, names: tuple[str, ...]) -> None:
    for each in names:
        if fields.get(each) is not None and not isinstance(fields[each], str):
            raise Unusable(f"{kind}[{name}].{each} is not text but a {type(fields[each]).__name__}")  # it may be a secret


def _address(fields: Object, where: str) -> None:
    if not _is_address(fields.get("server"), ("http", "https")):
        raise Unusable(f"{where}.server is not an address: {fields.get('server')!r}")
    if fields.get("proxy-url") and not _is_address(fields["proxy-url"], ("http", "https", "socks4", "socks5", "socks5h")):
        raise Unusable(f"{where}.proxy-url is not an address: {fields['proxy-url']!r}")
    if not isinstance(fields.get("insecure-skip-tls-verify", False), bool):
        raise Unusable(f"{where}.insecure-skip-tls-verify is neither true nor false")


def _is_address(text: str | None, schemes: tuple[str, ...]) -> bool:
    if re.search(r"[^!-~]|[{}\"<>\\^`|]", text or ""):
        return False
    try:
        parts = urlsplit(text or "")
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, half an IPv6 address
        return False


def _refuse_token(loader: Any, configuration: Any, context: Object) -> None:
    """The line end of a tokenFile is no part of the token, as for kubectl; what cannot stand in a header is told without its text."""
    token = getattr(loader, "token", None)
    if token is None:
        return
    loader.token = configuration.api_key["BearerToken"] = token.strip()
    if not re.fullmatch(r"[ -~]+", loader.token):
        raise Unusable(f"the token of users[{context['context'].get('user')}] holds characters that no token has")


def _readable(path: Path, where: str) -> None:
    try:
        read_regular(path).decode()
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise Unusable(f"{where}: {error}") from error


def _base64(value: str | None, where: str) -> None:
    """PEM in base64; the client would find out at the first request, and say less."""
    if not value:
        return
    try:
        text = base64.standard_b64decode(value)
    except ValueError as error:
        raise Unusable(f"{where} is not base64: {error}") from error
    if b"-----BEGIN " not in text:
        raise Unusable(f"{where} holds no certificate or key in PEM")


def _no_token(context: Object, said: list[str]) -> shell.SkillError:
    message = f"the user of context {context.get('name')} got no token: {shell.clean('; '.join(said), 300)}"
    hint = "run the command under `exec` of that user in the kubeconfig by hand: is it installed, are you signed in (aws sso login)?"
    return shell.SkillError("credentials", message, hint=hint)


@contextmanager
def _heard() -> Iterator[list[str]]:
    """What the client logs as an error: where the command that gives a token fails, it goes on without one."""
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    ear = Ear(logging.ERROR)
    logging.getLogger().addHandler(ear)
    try:
        yield said
    finally:
        logging.getLogger().removeHandler(ear)


def _from_pod(configuration: Any) -> bool:
    """Inside a pod there is no kubeconfig but a mounted token."""
    from kubernetes import config

    try:
        config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        return False
    return True
