"""An image of ECR as `docker image inspect` would show it, read from the registry: nothing is pulled here."""

from __future__ import annotations

import hashlib
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

import trainyard_aws
import trainyard_files
import trainyard_shell as shell
from tester_inspect import LOCAL_ARCH, Image, checked
from trainyard_aws import asking

MAX_CONFIG_BYTES = 4 << 20
DOWNLOAD_S = 60
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
PLATFORM = {"os": "linux", "architecture": "amd64"}
"""Of the machines that test."""


@dataclass(frozen=True)
class Found:
    image: Image
    uri: str
    """host/name of its repository, as DescribeRepositories gives it."""

    @property
    def reference(self) -> str:
        """By digest: no tag can move between this look and the test."""
        return f"{self.uri}@{self.image.digest}"

    @property
    def host(self) -> str:
        return self.uri.partition("/")[0]


def find(name: str, region: str | None) -> Found:
    """`NAME:TAG` or `NAME@DIGEST`, with or without the registry's host. Raises SkillError usage, not-found, permission."""
    host, repository, which = _parts(checked(name))
    client = trainyard_aws.client("ecr", region)
    with asking(f"look at the repository {repository}"):
        uri = str(client.describe_repositories(repositoryNames=[repository])["repositories"][0]["repositoryUri"])
    if host and not trainyard_aws.same_registry(host, uri.partition("/")[0]):
        message = f"{name} is in another registry than {uri}, the one of these keys and this region"
        raise shell.SkillError("usage", message, hint="--region of that registry, or the keys of its account")
    manifest, digest = _manifest(client, repository, which)
    listed = manifest.get("manifests")
    if isinstance(listed, list):
        fitting = [each for each in listed if PLATFORM.items() <= (each.get("platform") or {}).items()]
        if not fitting:
            message = f"{name} is an index without an image for linux/amd64"
            raise shell.SkillError("conflict", message, hint="build it for linux/amd64: --platform linux/amd64")
        manifest, digest = _manifest(client, repository, {"imageDigest": str(fitting[0]["digest"])})
    described = manifest.get("config") or {}
    config = _config(client, repository, str(described.get("digest", "")))
    layers = [int(each.get("size") or 0) for each in manifest.get("layers") or []]
    return Found(_image(name, digest, str(described.get("digest")), config, sum(layers)), uri)


def _parts(name: str) -> tuple[str, str, dict[str, str]]:
    """The registry's host or "", the repository, and which of its images."""
    host, _, rest = name.partition("/")
    host, name = (host, rest) if rest and re.search(r"[.:]", host) else ("", name)
    if "@" in name:
        repository, _, digest = name.partition("@")
        return host, repository.partition(":")[0], {"imageDigest": digest}
    repository, _, tag = name.partition(":")
    if not tag:
        raise shell.SkillError("usage", f"{name} names no tag and no digest", hint=f"{name}@sha256:..., as the build gives it")
    return host, repository, {"imageTag": tag}


def _manifest(client: Any, repository: str, which: dict[str, str]) -> tuple[dict[str, Any], str]:
    told = next(iter(which.values()))
    with asking(f"read {repository}:{told}"):
        answer = client.batch_get_image(repositoryName=repository, imageIds=[which], acceptedMediaTypes=[*INDEXES, *MANIFESTS])
    if not answer.get("images"):
        why = ", ".join(str(each.get("failureCode")) for each in answer.get("failures") or []) or "no answer"
        message = f"no image {told} in {repository}: {why}"
        raise shell.SkillError("not-found", message, hint=f"push_image.py tags {repository}")
    found = answer["images"][0]
    manifest = _object(str(found["imageManifest"]).encode(), f"the manifest of {repository}:{told}")
    return manifest, str(found["imageId"]["imageDigest"])


def _config(client: Any, repository: str, digest: str) -> dict[str, Any]:
    """Its bytes have that digest, or it is refused."""
    if not DIGEST.fullmatch(digest):
        message = f"an image of {repository} has no configuration: it is not an image of containers"
        raise shell.SkillError("usage", message, hint="is it an artifact of another kind (a chart, a signature)?")
    with asking(f"read the configuration of an image of {repository}"):
        url = client.get_download_url_for_layer(repositoryName=repository, layerDigest=digest)["downloadUrl"]
    try:
        with urllib.request.urlopen(str(url), timeout=DOWNLOAD_S) as answer:  # signed for this blob alone
            raw: bytes = answer.read(MAX_CONFIG_BYTES + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        message = f"the configuration of the image cannot be downloaded: {shell.clean(str(error), 200)}"
        raise shell.SkillError("unreachable", message, hint="the same call again", retryable=True) from error
    if f"sha256:{hashlib.sha256(raw).hexdigest()}" != digest:
        raise shell.SkillError("conflict", f"what ECR gives for {digest} is something else", hint="push the image again")
    return _object(raw, "the configuration of the image")


def _object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        found = trainyard_files.parse(raw)
    except trainyard_files.Unusable as error:
        raise shell.SkillError("conflict", f"{what} cannot be read: {error}", hint="push the image again") from error
    if not isinstance(found, dict):
        raise shell.SkillError("conflict", f"{what} cannot be read: it is not an object", hint="push the image again")
    return found


def _image(name: str, digest: str, id: str, config: dict[str, Any], compressed_bytes: int) -> Image:
    own = config.get("config") or {}
    return Image(
        name=name,
        id=id,
        digest=digest,
        os=str(config.get("os", "")),
        arch=LOCAL_ARCH.get(str(config.get("architecture")), str(config.get("architecture", ""))),
        size_bytes=compressed_bytes,
        user=shell.clean(str(own.get("User") or ""), 100),
        folder=str(own.get("WorkingDir") or "/"),
        command=tuple(str(each) for each in [*(own.get("Entrypoint") or []), *(own.get("Cmd") or [])]),
        environment=dict(str(each).partition("=")[::2] for each in own.get("Env") or []),
    )
