"""The word IMAGE: an image of the local Docker, an archive, or an image in ECR."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pushed import docker_archive, ecr_image, oci_layout
import push_names
import trainyard_shell as shell
from push_patience import Patience
from pushed.image import Image
from pushed.archive import opened


ARCHIVES = ("oci", "docker-archive")


def refuse(word: str, from_region: str | None = None) -> None:
    """What is wrong with IMAGE at first sight, before anybody is asked. Raises SkillError usage, not-found."""
    kind, _, rest = word.partition(":")
    if kind == "ecr":
        ecr_image.region_of(push_names.reference(rest), from_region)
    elif from_region and not ecr_image.is_in_ecr(word):
        raise shell.SkillError("usage", "--from-region is for an image in ECR", hint="ecr:NAME:TAG or ecr:NAME@DIGEST")
    elif kind not in ARCHIVES or not rest:
        if _is_archive(word):
            hint = f"oci:{word} for an OCI layout, docker-archive:{word} for what `docker save` wrote"
            raise shell.SkillError("usage", f"{shell.clean(word, 300)} is an archive: which kind?", hint=shell.clean(hint))
        push_names.local_image(word)
    elif not (path := _path(rest)[0]).exists():
        raise shell.SkillError("not-found", f"{shell.clean(str(path), 300)} does not exist", hint="is the path right?")


@contextmanager
def image(word: str, from_region: str | None, patience: Patience) -> Iterator[Image]:
    """The image, readable until the block ends. Raises SkillError."""
    kind, _, rest = word.partition(":")
    if kind == "oci" and rest:
        path, chosen = _path(rest)
        with opened(path, shell.clean(str(path), 200)) as source:
            if source.find("index.json") is None:
                hint = "docker-archive:PATH for what `docker save` wrote; a folder with oci-layout, index.json and blobs/"
                raise shell.SkillError("usage", f"{source.what} is not an OCI layout: it has no index.json", hint=hint)
            yield oci_layout.read(source, chosen)
    elif kind == "docker-archive" and rest:
        path, chosen = _path(rest)
        with opened(path, shell.clean(str(path), 200)) as source:
            if source.find("manifest.json") is None:
                message = f"{source.what} is not what `docker save` writes: it has no manifest.json"
                raise shell.SkillError("usage", message, hint="oci:PATH for an OCI layout")
            yield docker_archive.image(source, chosen)
    elif kind != "ecr" and (local := _local(word)):
        yield local
    else:
        with ecr_image.read(push_names.reference(word.removeprefix("ecr:")), from_region, patience) as there:
            yield there


def _local(word: str) -> Image | None:
    """None where no local Docker has it and the name leads to ECR."""
    from pushed import docker_save

    try:
        return docker_save.read(push_names.local_image(word))
    except shell.SkillError as error:
        if error.code not in ("dependency", "not-found") or not ecr_image.is_in_ecr(word):
            raise
        shell.progress(f"{shell.clean(str(error))}: the image is taken from ECR")
        return None


def _is_archive(word: str) -> bool:
    """A path where the name of an image is meant; a folder may have the name of its image."""
    return "\0" not in word and (Path(word).is_file() or Path(word, "index.json").is_file())


def _path(text: str) -> tuple[Path, str | None]:
    """PATH, or PATH@ and a digest or a name; a file whose own name has an @ counts first."""
    if "\0" in text:
        raise shell.SkillError("usage", "the path has a NUL in it", hint="oci:PATH")
    if Path(text).exists() or "@" not in text:
        return Path(text), None
    path, _, chosen = text.rpartition("@")
    return Path(path), chosen
