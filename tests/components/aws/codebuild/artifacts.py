"""A build's artifacts, put into S3 by its service role."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.components.aws.codebuild.build import Build, PhaseFailed
from tests.components.aws.codebuild.logs import Log

Document = dict[str, Any]


def upload(build: Build, spec: Document, s3: Any, source: Path, log: Log) -> None:
    """Those of the buildspec's `artifacts`, primary and secondary, where the project or StartBuild says. Raises PhaseFailed."""
    primary = build.settings["artifacts"]
    if primary["type"] == "S3" and spec.get("files"):
        build.update(artifacts=put(build, primary, spec, s3, source, log))
    second = spec.get("secondary-artifacts") or {}
    wanted = [each for each in build.settings.get("secondaryArtifacts", []) if each["artifactIdentifier"] in second]
    if wanted:
        done = [put(build, each, second[each["artifactIdentifier"]], s3, source, log) for each in wanted]
        build.update(secondaryArtifacts=done)


def put(build: Build, target: Document, spec: Document, s3: Any, source: Path, log: Log) -> Document:
    from botocore.exceptions import BotoCoreError, ClientError

    base = source / (spec.get("base-directory") or ".")
    files = dict(chosen(base, spec, log))
    if not files:
        raise PhaseFailed("CLIENT_ERROR", "no matching artifact paths found")
    name = (spec.get("name") if target.get("overrideArtifactName") else None) or target.get("name") or build.project
    space = build.id.partition(":")[2] if target.get("namespaceType") == "BUILD_ID" else ""
    key = "/".join(
        part.strip("/") for part in (target.get("path") or "", space, "" if name == "/" else name) if part.strip("/")
    )
    shown = {"location": f"arn:aws:s3:::{target['location']}/{key}"}
    if "artifactIdentifier" in target:
        shown["artifactIdentifier"] = target["artifactIdentifier"]
    try:
        if target.get("packaging") == "ZIP":
            return shown | put_archive(s3, target["location"], key, files)
        for relative, file in files.items():
            s3.put_object(Bucket=target["location"], Key=f"{key}/{relative}" if key else relative, Body=file.read_bytes())
    except ClientError as error:
        said = error.response["Error"]
        raise PhaseFailed("CLIENT_ERROR", f"Error in UPLOAD_ARTIFACTS phase: {said['Code']}: {said['Message']}") from error
    except (BotoCoreError, OSError) as error:
        raise PhaseFailed("CLIENT_ERROR", f"Error in UPLOAD_ARTIFACTS phase: {error}") from error
    return shown


def put_archive(s3: Any, bucket: str, key: str, files: dict[str, Path]) -> Document:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as packed:
        for relative, file in files.items():
            packed.write(file, relative)
    data = memory.getvalue()
    s3.put_object(Bucket=bucket, Key=key, Body=data)
    return {"sha256sum": hashlib.sha256(data).hexdigest(), "md5sum": hashlib.md5(data, usedforsecurity=False).hexdigest()}


def chosen(base: Path, spec: Document, log: Log) -> Iterator[tuple[str, Path]]:
    """Name in the artifact -> file."""
    log.container(f"Expanding base directory path: {spec.get('base-directory') or '.'}")
    excluded = {file for pattern in spec.get("exclude-paths") or () for file in base.glob(pattern)}
    for pattern in spec["files"]:
        log.container("Assembling file list")
        log.container(f"Expanding {pattern}")
        for file in sorted(base.glob(pattern)):
            if file.is_file() and file not in excluded and file.resolve().is_relative_to(base.resolve()):
                yield (file.name if spec.get("discard-paths") == "yes" else str(file.relative_to(base))), file
