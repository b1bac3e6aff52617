"""The runtime `trainyard` as a wheel, for the image: a file that is named, or one made from the checkout that this skill lies in.

A wheel is a ZIP of the modules and three files about them (PyPA, binary distribution format 1.0). Made here, it needs neither setuptools
nor a network, and the same modules give the same bytes, so that a layer of the image stays as it is.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import trainyard_files
import trainyard_shell as shell

CHECKOUT = Path(__file__).resolve().parents[4]
NAME = re.compile(r"trainyard-(?P<version>[0-9][0-9A-Za-z.+]*)-py3-none-any\.whl")
MAX_BYTES = 32 << 20
EPOCH = (1980, 1, 1, 0, 0, 0)
GET_IT = (
    "`make wheel` in a checkout of Trainyard, then --runtime-wheel dist/trainyard-*.whl; --runtime-wheel none leaves it out"
)


@dataclass(frozen=True)
class Wheel:
    """One file of pip's."""

    name: str
    data: bytes
    reason: str


def find(named: str | None) -> Wheel | None:
    """The wheel that is named, that of the checkout, or None with `none` and where there is no checkout. Raises SkillError usage."""
    named = named or os.environ.get("TRAINYARD_WHEEL")
    if named == "none":
        return None
    if named:
        return _read(Path(named))
    package = CHECKOUT / "training" / "trainyard"
    if not (package / "__init__.py").is_file() or not (CHECKOUT / "pyproject.toml").is_file():
        return None
    return made(CHECKOUT)


def _read(path: Path) -> Wheel:
    if not NAME.fullmatch(path.name):
        raise shell.SkillError(
            "usage", f"--runtime-wheel {shell.clean(str(path), 200)} is not a wheel of trainyard", hint=GET_IT
        )
    try:
        return Wheel(path.name, trainyard_files.read_regular(path, MAX_BYTES), f"{path} was named")
    except (OSError, trainyard_files.Unusable) as error:
        raise shell.SkillError("usage", f"--runtime-wheel: {error}", hint=GET_IT) from error


def made(checkout: Path) -> Wheel:
    """Of the checkout's modules as they are."""
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version, folder = str(project["version"]), checkout / "training" / "trainyard"
    files = {f"trainyard/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in sorted(folder.rglob("*.py"))}
    files["trainyard/py.typed"] = b""
    about = f"trainyard-{version}.dist-info"
    files[f"{about}/METADATA"] = _metadata(project).encode()
    files[f"{about}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: trainyard image-builder\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{about}/RECORD"] = _record(files, about).encode()
    return Wheel(
        f"trainyard-{version}-py3-none-any.whl", _zip(files), "trainyard, made from the checkout that this skill lies in"
    )


def _metadata(project: dict[str, object]) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Summary: {project['description']}", f"Requires-Python: {project['requires-python']}"]
    dependencies = project["dependencies"]
    assert isinstance(dependencies, list)
    return "\n".join([*lines, *(f"Requires-Dist: {each}" for each in dependencies), ""])


def _record(files: dict[str, bytes], about: str) -> str:
    def line(name: str, data: bytes) -> str:
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        return f"{name},sha256={digest},{len(data)}"

    return "\n".join([*(line(name, data) for name, data in files.items()), f"{about}/RECORD,,", ""])


def _zip(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, data)
    return out.getvalue()
