"""Whether an image is whole in a region: its manifest has its digest, and config and every layer are there."""

from __future__ import annotations

from typing import Any

import push_send
import trainyard_shell as shell
from push_names import Reference
from push_patience import Patience
from push_regions import Place
from push_threads import side_by_side
from pushed.image import INDEXES, MAX_BLOBS, Descriptor, Manifest, contents, descriptors, digest_of, parse, platform_of
from registry_push import RegistryWay

JOBS = 8


def verify_in(place: Place, wanted: Reference, digest: str | None, platform: str | None, patience: Patience) -> None:
    """The checks of one region. Raises SkillError not-found, unreachable."""
    region = place.region
    way = push_send.registry_of(region, patience, JOBS)
    if wanted.host and wanted.host != region.host:
        message = f"the image is said to be in {wanted.host}, and this call asks {region.host} ({region.name})"
        raise shell.SkillError("usage", message, hint="the account and the region of the image: AWS_PROFILE, --region")
    try:
        top = way.manifest(wanted.word)
        if top is None:
            hint = f"push_image.py tags {region.repository} --region {region.name}"
            raise shell.SkillError("not-found", f"{region.repository} in {region.name} has no image {wanted.word}", hint=hint)
        found = _Found(way, region.name)
        found.add(top, f"{region.repository}:{wanted.word}")
        place.data |= {"uri": f"{region.uri}@{top.digest}", "digest": top.digest, "platforms": found.platforms}
        place.checks += [
            _digest(region.name, top.digest, {each for each in (wanted.digest, digest) if each}),
            found.layers(),
            *([_platform(region.name, platform, found.platforms)] if platform else []),
        ]
        place.data["verified"] = all(check.status == "pass" for check in place.checks)
    finally:
        way.close()


class _Found:
    """What hangs on a manifest."""

    def __init__(self, way: RegistryWay, region: str) -> None:
        self.way, self.region = way, region
        self.seen: set[str] = set()
        self.blobs: dict[str, Descriptor] = {}
        self.missing: list[str] = []
        """Or there with other bytes."""
        self.platforms: list[str] = []

    def add(self, found: Manifest, what: str, depth: int = 0) -> None:
        document = parse(found.raw, f"the manifest of {what}")
        if found.media_type in INDEXES and depth < 3:
            for digest in [each.digest for each in descriptors(document, "manifests", what) if each.digest not in self.seen]:
                self.seen.add(digest)
                below = self.way.manifest(digest)
                if below is None or below.digest != digest:
                    self.missing.append(digest)
                else:
                    self.add(below, digest, depth + 1)
            return
        config, *_ = parts = contents(document, what)
        self.blobs |= {each.digest: each for each in parts[:MAX_BLOBS]}
        kept = self.way.blob(config.digest)
        if kept is None or digest_of(kept) != config.digest:
            self.missing.append(config.digest)
            return
        raw: dict[str, Any] = parse(kept, f"the config of {what}")
        if (name := platform_of(raw)) and name != "unknown/unknown" and name not in self.platforms:
            self.platforms.append(name)

    def layers(self) -> shell.Check:
        digests = [each for each in self.blobs if each not in self.missing]
        there, errors = side_by_side(self.way.has, digests, JOBS)
        for error in errors:
            raise error
        missing = [*self.missing, *(digest for digest, is_there in there.items() if not is_there)]
        id, total = "verify.layers", len(self.blobs)
        if missing:
            summary = f"{self.region}: {len(missing)} of {total} blobs are missing, or have other bytes"
            return shell.Check(id, "fail", summary, ", ".join(missing[:5]), "push the image again")
        return shell.Check(id, "pass", f"{self.region}: config and layers are there, {total} blobs")


def _digest(region: str, found: str, wanted: set[str]) -> shell.Check:
    id = "verify.digest"
    if wanted - {found}:
        return shell.Check(
            id, "fail", f"{region}: the digest is {found}", f"wanted {', '.join(sorted(wanted))}", "push_image.py tags"
        )
    summary = f"{region}: the digest is {found}" + ("" if wanted else "; none was given to compare")
    return shell.Check(id, "pass", summary)


def _platform(region: str, wanted: str, found: list[str]) -> shell.Check:
    id = "verify.platform"
    if wanted in found:
        return shell.Check(id, "pass", f"{region}: it runs on {wanted}")
    fix = f"docker build --platform {wanted}"
    return shell.Check(
        id, "fail", f"{region}: it runs on {', '.join(found) or 'no known platform'}, not on {wanted}", None, fix
    )
