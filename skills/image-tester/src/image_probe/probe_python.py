"""Which Python this is, and whether the runtime of Trainyard is in it."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
from importlib import metadata

from image_probe.probe_report import Failed, Report


def python(report: Report, item: dict[str, object]) -> dict[str, object]:
    """Its version, place and the C library that it runs on."""
    report.step("read the interpreter")
    return {
        "version": platform.python_version(),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "machine": os.uname().machine,
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "packages": {name: version for name in ("torch", "trainyard") if (version := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def trainyard(report: Report, item: dict[str, object]) -> dict[str, object]:
    """The version that is installed, and that it imports with what it needs."""
    try:
        version = metadata.version("trainyard")
    except metadata.PackageNotFoundError:
        raise Failed("trainyard is not installed in the image's Python") from None
    report.step("import trainyard")
    runtime = importlib.import_module("trainyard")

    report.step("import trainyard.Checkpointer")
    getattr(runtime, "Checkpointer")  # noqa: B009  it is imported when it is first used, and torch with it
    return {"version": version}


def model_config(report: Report, item: dict[str, object]) -> dict[str, object]:
    """config.json of a model: as transformers reads it, without the network and without code of the model; else as JSON."""
    path = str(item["path"])
    file = os.path.join(path, "config.json") if os.path.isdir(path) else path
    report.step("read " + file)
    try:
        with open(file, encoding="utf-8") as opened:
            found = json.loads(opened.read(4 << 20))
    except FileNotFoundError:
        raise Failed(f"there is no {file} in the image") from None
    except (OSError, ValueError, RecursionError) as error:
        raise Failed(f"{file} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise Failed(f"{file} holds no JSON object")
    told: dict[str, object] = {"path": file, "model_type": str(found.get("model_type"))[:80], "read_by": "json"}
    try:
        metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return told
    report.step("transformers.AutoConfig.from_pretrained")
    reader = importlib.import_module("transformers").AutoConfig
    config = reader.from_pretrained(file, local_files_only=True, trust_remote_code=False)
    return {**told, "read_by": "transformers", "class": type(config).__name__}
