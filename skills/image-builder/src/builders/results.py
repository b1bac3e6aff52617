"""What came out of a build: digest, image id and size, read from the builder's own notes and never from its log."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_docker
import trainyard_files
from builders.commands import Output
from builders.engines import Engine

DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Built:
    """An image that is there."""

    digest: str | None
    """Of the manifest where there is one (pushed, or in a file), else of the configuration: the image's id in the store."""
    image_id: str | None
    size_bytes: int | None
    """As it lies there: unpacked in docker's store, the file's where it is a file; None after a push, which the registry knows."""


def read(engine: Engine, output: Output, place: Path, archive: Path | None) -> Built:
    notes = _notes(place / "metadata.json")
    digest, config = notes.get("containerimage.digest"), notes.get("containerimage.config.digest")
    if output.push and engine.kind != "docker":
        return Built(_digest(digest), _digest(config), None)
    if archive is not None:
        return Built(_digest(digest) or _digest(config), _digest(config), archive.stat().st_size)
    seen = inspect(engine, output.reference)
    image = _digest(seen.get("Id")) or _digest(_text(place / "image-id"))
    pushed = [each for each in seen.get("RepoDigests") or () if isinstance(each, str) and each.startswith(f"{output.push}@")]
    found = _digest(pushed[0].partition("@")[2]) if output.push and pushed else None
    size = seen.get("Size")
    return Built(found or image, image, size if isinstance(size, int) else None)


def inspect(engine: Engine, reference: str) -> dict[str, Any]:
    """What docker's store says of an image; {} where it has none."""
    done = trainyard_docker.run(engine.program, "image", "inspect", "--format", "{{json .}}", reference)
    try:
        found = json.loads(done.out) if done.code == 0 else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _notes(path: Path) -> dict[str, Any]:
    try:
        found = trainyard_files.parse(trainyard_files.read_regular(path))
    except (OSError, trainyard_files.Unusable):
        return {}
    return found if isinstance(found, dict) else {}


def _text(path: Path) -> str:
    try:
        return trainyard_files.read_regular(path, 1000).decode("ascii", "replace").strip()
    except (OSError, trainyard_files.Unusable):
        return ""


def _digest(value: Any) -> str | None:
    return value if isinstance(value, str) and DIGEST.fullmatch(value) else None
