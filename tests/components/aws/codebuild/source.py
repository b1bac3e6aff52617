"""A build's source, fetched from S3 by its service role."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from tests.components.aws.codebuild.build import Build, PhaseFailed

FILES_MAX, BYTES_MAX = 100_000, 8 << 30
"""An archive that holds more is not unpacked."""


def fetch(build: Build, s3: Any, folder: Path) -> None:
    """Into `folder`. Raises PhaseFailed."""
    from botocore.exceptions import ClientError

    kind = build.settings["source"]["type"]
    if kind == "NO_SOURCE":
        return
    if kind != "S3":
        raise PhaseFailed("CLIENT_ERROR", f"this stand-in fetches sources from S3 only, not from {kind}")
    location = re.sub(r"^arn:aws[a-z-]*:s3:::", "", build.settings["source"]["location"])
    bucket, _, key = location.partition("/")
    version = {"VersionId": build.settings["sourceVersion"]} if build.settings.get("sourceVersion") else {}
    try:
        if not key or key.endswith("/"):
            fetch_folder(s3, bucket, key, folder)
        else:
            fetch_archive(build, s3, {"Bucket": bucket, "Key": key, **version}, folder)
    except ClientError as error:
        said = error.response["Error"]
        raise PhaseFailed(
            "CLIENT_ERROR",
            f"{said.get('Code')}: {said.get('Message')} for primary source and source version {version.get('VersionId', '')}",
        ) from error


def fetch_folder(s3: Any, bucket: str, prefix: str, folder: Path) -> None:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for each in page.get("Contents", []):
            file = folder / each["Key"].removeprefix(prefix)
            if file.resolve().is_relative_to(folder.resolve()) and not each["Key"].endswith("/"):
                file.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(bucket, each["Key"], str(file))


def fetch_archive(build: Build, s3: Any, object: dict[str, str], folder: Path) -> None:
    archive = folder.with_name("source.zip")
    answer = s3.get_object(**object)
    with archive.open("wb") as file:
        for piece in answer["Body"].iter_chunks(1 << 20):
            file.write(piece)
            build.check()
    if "VersionId" in answer and answer["VersionId"] != "null":
        build.update(resolvedSourceVersion=answer["VersionId"])
    unpack(archive, folder)
    archive.unlink()


def unpack(archive: Path, folder: Path) -> None:
    """With the permissions of the archive. Raises PhaseFailed for what is not a ZIP, and for one that is too large or points outside."""
    try:
        with zipfile.ZipFile(archive) as packed:
            members = packed.infolist()
            if len(members) > FILES_MAX or sum(each.file_size for each in members) > BYTES_MAX:
                raise PhaseFailed("CLIENT_ERROR", "the source archive is too large")
            for member in members:
                unpack_one(packed, member, folder)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError) as error:
        raise PhaseFailed(
            "CLIENT_ERROR", "Primary source download failed: zip: not a valid zip file for primary source and source version"
        ) from error


def unpack_one(packed: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    target = folder / member.filename
    if not target.resolve().is_relative_to(folder.resolve()):
        raise PhaseFailed("CLIENT_ERROR", f"Primary source download failed: illegal path in the archive: {member.filename}")
    mode = member.external_attr >> 16
    if mode & 0o170000 == 0o120000:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(packed.read(member).decode())
        return
    packed.extract(member, folder)
    if mode & 0o777 and not member.is_dir():
        target.chmod(mode & 0o777)
