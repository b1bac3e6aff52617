"""What a kubeconfig may hold: the fields of the context, cluster and user that will be used, each refused by its name.

`make kit` copies this file with trainyard_kube.py; edit it in skills/kit/ only. The client library would break off with an error of
Python, or at the first request and with less said. A secret is never in the words.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trainyard_files import Unusable, read_regular

Object = dict[str, Any]
SCHEMES = ("http", "https")
PROXIES = (*SCHEMES, "socks4", "socks5", "socks5h")


@dataclass(frozen=True)
class Row:
    """An entry of `clusters` or `users`."""

    told: str
    """Where it stands: the file, the list, its name."""
    folder: Path
    """Of the file; paths in it are relative to that."""
    fields: Object
    """The very mapping that the client reads."""


def refuse_shape(path: Path) -> bool:
    """The lists and their names, without which the client's merging breaks off; False for an empty file, which is no harm.

    Raises Unusable, YAMLError, OSError.
    """
    import trainyard_yaml  # not at the top: --help needs no PyYAML

    document = trainyard_yaml.read(path)
    if document is None or document == {}:
        return False
    if not isinstance(document, dict):
        raise Unusable(f"{path} holds no mapping")
    for kind in ("clusters", "contexts", "users"):
        rows = document.get(kind) or []
        if not isinstance(rows, list):
            raise Unusable(f"{path}: {kind} is not a list")
        for row in rows:
            if not isinstance(row, dict) or not isinstance(row.get("name"), str):
                raise Unusable(f"{path}: an entry of {kind} has no name")
            if not isinstance(row.get(kind[:-1]) or {}, dict):
                raise Unusable(f"{path}: {kind}[{row['name']}].{kind[:-1]} is not a mapping")
        names = [row["name"] for row in rows]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise Unusable(f"{path}: there are {names.count(twice)} {kind} of the name {twice!r}")
    return True


def refuse_fields(merged: Any, context: Object) -> tuple[Row, Row | None]:
    """The cluster and the user of a context, once all that is used of them can be used. Raises Unusable, OSError."""
    inner = context.get("context") or {}
    where = f"contexts[{context['name']}]"
    _texts(where, inner, ("cluster", "user", "namespace"))
    cluster, user = (_row(merged, kind, inner.get(kind), where) for kind in ("cluster", "user"))
    if cluster is None:
        raise Unusable(f"{where} names no cluster")
    _refuse_row(cluster, ("server", "tls-server-name", "proxy-url"), ("certificate-authority",))
    _address(cluster)
    if not isinstance(cluster.fields.get("extensions") or [], list):  # an exec plugin may be told of them
        raise Unusable(f"{cluster.told}.extensions is not a list")
    if user:
        _refuse_row(user, ("token", "username", "password"), ("client-certificate", "client-key"), "tokenFile")
        if not isinstance(user.fields.get("exec") or {}, dict):
            raise Unusable(f"{user.told}.exec is not a mapping")
    return cluster, user


def _row(merged: Any, kind: str, name: str | None, where: str) -> Row | None:
    """None where the context names none."""
    if not name:
        return None
    found = [each for each in merged.value.get(f"{kind}s") or [] if each.value.get("name") == name]
    if len(found) != 1:
        raise Unusable(f"{where} names the {kind} {name!r}, and there are {len(found)} of that name in {kind}s")
    fields = found[0].value.get(kind)
    if not fields:
        fields = found[0].value[kind] = {}
    return Row(f"{found[0].path}: {kind}s[{name}].{kind}", Path(found[0].path or ".").absolute().parent, fields)


def _refuse_row(row: Row, texts: tuple[str, ...], files: tuple[str, ...], token: str = "") -> None:
    tokens = (token,) if token else ()
    _texts(row.told, row.fields, (*texts, *files, *tokens, *(f"{file}-data" for file in files)))
    for file in (*files, *tokens):
        if row.fields.get(file) and not row.fields.get("token" if file == token else f"{file}-data"):
            _readable(row.folder / row.fields[file], f"{row.told}.{file}")
    for file in files:
        _base64(row.fields.get(f"{file}-data"), f"{row.told}.{file}-data")


def _texts(where: str, fields: Object, names: tuple[str, ...]) -> None:
    for each in names:
        if fields.get(each) is not None and not isinstance(fields[each], str):
            raise Unusable(f"{where}.{each} is not text but a {type(fields[each]).__name__}")  # it may be a secret


def _address(row: Row) -> None:
    fields, where = row.fields, row.told
    if not _is_address(fields.get("server"), SCHEMES):
        raise Unusable(f"{where}.server is not an address: {fields.get('server')!r}")
    if fields.get("proxy-url") and not _is_address(fields["proxy-url"], PROXIES):
        raise Unusable(f"{where}.proxy-url is not an address: {re.sub('//.*@', '//***@', fields['proxy-url'])!r}")
    if not isinstance(fields.get("insecure-skip-tls-verify") or False, bool):
        raise Unusable(f"{where}.insecure-skip-tls-verify is neither true nor false")


def _is_address(text: str | None, schemes: tuple[str, ...]) -> bool:
    if re.search(r"[^!-~]|[{}\"<>\\^`|]", text or ""):
        return False
    try:
        parts = urlsplit(text or "")
        host = parts.hostname or ""
        return parts.scheme in schemes and ("[" in parts.netloc or _is_host(host)) and bool(host) and parts.port != 0
    except ValueError:  # a port that is none, half an IPv6 address
        return False


def _is_host(name: str) -> bool:
    """As urllib3 and the idna codec take it: no label is empty or longer than 63 characters, and a % begins a byte."""
    labels = name.removesuffix(".").split(".")
    return all(0 < len(label) < 64 for label in labels) and not re.search(r"%(?![0-9A-Fa-f]{2})", name)


def refuse_token(token: str, where: str) -> None:
    if not re.fullmatch(r"[ -~]+", token):
        raise Unusable(f"the token of {where} holds characters that no token has")


def refuse_certificates(configuration: Any, cluster: str, user: str) -> None:
    """What TLS would find out at the first request, as a server that does not answer; and a key with a password, which it asks for."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if configuration.ssl_ca_cert:
            context.load_verify_locations(cafile=configuration.ssl_ca_cert)
    except ssl.SSLError as error:
        raise Unusable(f"{cluster}.certificate-authority holds no certificate that can be read: {error.reason}") from error
    if bool(configuration.cert_file) != bool(configuration.key_file):
        raise Unusable(f"{user} has a client-certificate without its client-key, or a key without its certificate")
    if configuration.cert_file:
        try:
            context.load_cert_chain(configuration.cert_file, configuration.key_file, password=_no_password)
        except ssl.SSLError as error:
            raise Unusable(f"{user}.client-certificate and client-key are no pair that can be read: {error.reason}") from error


def _no_password() -> bytes:
    raise Unusable("client-key has a password: openssl pkey -in KEY -out NEW_KEY writes a key without one")


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
