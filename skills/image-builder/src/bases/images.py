"""Base images: the rows of assets/base_images.yaml, and what the name of any other image says."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from typing import Any

from image_tables import table
from asked.versions import minor, version

TABLE = "base_images"
PACKAGES = ("torchvision", "torchaudio", "flash_attn", "transformer_engine", "deepspeed")
MAX_NAME_CHARS = 512


@dataclass(frozen=True, kw_only=True)
class Base:
    """One image, as far as it is known; None is "nobody says"."""

    image: str
    source: str
    evidence: str = "name"
    """run | read | seen as in the table; name: only the image's name was read."""
    read: str | None = None
    account: str | None = None
    has_torch: bool = True
    torch: str | None = None
    cuda: str | None = None
    """CUDA build of its torch, or of the image where it has no torch; cpu."""
    python: str | None = None
    nccl: str | None = None
    efa: str | None = None
    system: str | None = None
    glibc: str | None = None
    """2.NN, or musl."""
    end_of_patch: str | None = None
    note: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    """Other packages that the image is known to hold -> version."""

    def days_left(self, today: datetime.date) -> int | None:
        """Days until no more patches come, below 0 when that day is over; None where no day is published."""
        return (datetime.date.fromisoformat(self.end_of_patch) - today).days if self.end_of_patch else None


def rows() -> list[Base]:
    return [_row(dict(each)) for each in table(TABLE)["images"]]


def _row(row: dict[str, Any]) -> Base:
    said = {name: None if value is None else str(value) for name, value in row.items()}
    packages = {name.replace("_", "-"): said.pop(name, None) for name in PACKAGES}
    return Base(packages={name: value for name, value in packages.items() if value}, **said)  # type: ignore[arg-type]


def known(reference: str) -> Base | None:
    """What is known of an image reference (`repo:tag`, a digest behind it is ignored); None: nothing."""
    name = reference.partition("@")[0][:MAX_NAME_CHARS]
    for base in rows():
        if name in (base.image, f"docker.io/{base.image}") or (base.account and _private(name, base.image)):
            return base
    for family in table(TABLE)["families"]:
        if match := re.fullmatch(family["pattern"], name):
            return _by_name(reference, family, match.groupdict())
    return None


def _private(name: str, public: str) -> bool:
    """Whether it is the same image in AWS's private registries; all accounts of the table hold the same images."""
    host, _, rest = name.partition("/")
    return rest == public.rpartition("/")[2] and host.partition(".")[0] in table(TABLE)["accounts"].values()


def _by_name(reference: str, family: dict[str, Any], said: dict[str, str | None]) -> Base:
    cuda = said.get("cuda") or _cuda(said.get("cu"))
    # A `python` tag that names no Debian is the release that was current when it was built: nobody says which.
    torch, system = said.get("torch"), said.get("system")
    return Base(
        image=reference,
        source=family["source"],
        has_torch=family["has_torch"],
        torch=torch,
        cuda=cuda,
        python=said.get("python") or _python(said.get("py") or said.get("py2")),
        efa="unknown" if family["efa"] else None,
        system=system,
        glibc=_glibc(system),
        end_of_patch=_end_of_patch(family["source"], torch),
    )


def _glibc(system: str | None) -> str | None:
    """`debian:12-slim` counts as `debian:12`, `alpine:3.20` as alpine."""
    found: dict[str, str] = table(TABLE)["glibc"]
    names = [name for name in found if system and (system == name or re.match(rf"{re.escape(name)}[-.:]", system))]
    return found[max(names, key=len)] if names else None


def _cuda(tag: str | None) -> str | None:
    return f"{tag[2:-1]}.{tag[-1]}" if tag and tag.startswith("cu") else tag


def _python(tag: str | None) -> str | None:
    return f"{tag[0]}.{tag[1:]}" if tag else None


def _end_of_patch(source: str, torch: str | None) -> str | None:
    """The day of the torch line; for one older than the table's oldest that one's day, which is over as well."""
    lines: dict[str, Any] = table(TABLE)["end_of_patch"].get(source, {})
    if not lines or not torch or not (parsed := version(torch)):
        return None
    if (line := minor(torch)) in lines:
        return str(lines[line])
    oldest = min(lines, key=lambda each: version(each) or parsed)
    return str(lines[oldest]) if parsed < (version(oldest) or parsed) else None
