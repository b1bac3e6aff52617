"""Archives from strangers: each is refused with one sentence, before anything is sent; the control is the archive unspoiled."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ecr_call import Pusher
from ecr_made_images import Files, blob, docker_archive, oci, oci_files, sha


def changed_blob(files: Files) -> None:
    """A layer with other bytes of the same length."""
    name = max(files, key=lambda each: len(files[each]) if each.startswith("blobs/") else 0)
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])


def short_blob(files: Files) -> None:
    name = max(files, key=lambda each: len(files[each]) if each.startswith("blobs/") else 0)
    files[name] = files[name][:-5]


def index_with(**members: object) -> Callable[[Files], None]:
    def spoil(files: Files) -> None:
        index = json.loads(files["index.json"])
        index["manifests"][0] |= members
        files["index.json"] = json.dumps(index).encode()

    return spoil


def manifest_with(**members: object) -> Callable[[Files], None]:
    """The manifest is changed, and its digest with it."""

    def spoil(files: Files) -> None:
        index = json.loads(files["index.json"])
        old = files.pop(blob(index["manifests"][0]["digest"]))
        new = json.dumps(json.loads(old) | members).encode()
        index["manifests"][0] |= {"digest": sha(new), "size": len(new)}
        files |= {blob(sha(new)): new, "index.json": json.dumps(index).encode()}

    return spoil


SPOILED: dict[str, Callable[[Files], None]] = {
    "a layer with other bytes": changed_blob,
    "a layer cut short": short_blob,
    "no index": lambda files: files.pop("index.json") and None,
    "an index that is not JSON": lambda files: files.update({"index.json": b"{"}),
    "an index of brackets": lambda files: files.update({"index.json": b"[" * 100_000}),
    "a huge index": lambda files: files.update({"index.json": b" " * 5_000_000}),
    "a list for an index": lambda files: files.update({"index.json": b"[]"}),
    "no manifests": lambda files: files.update({"index.json": b'{"manifests": []}'}),
    "a digest that is a path": index_with(digest="sha256:../../../etc/passwd"),
    "another hash": index_with(digest="sha512:" + "0" * 128),
    "a manifest that is not there": index_with(digest="sha256:" + "0" * 64),
    "a size that is text": index_with(size="1"),
    "a negative size": index_with(size=-1),
    "a media type of lines": index_with(mediaType="a/b\r\nX-Header: 1"),
    "an unknown media type": index_with(mediaType="application/json"),
    "no layers": manifest_with(layers=None),
    "layers of text": manifest_with(layers=["x"]),
    "a layer elsewhere": manifest_with(
        layers=[{"mediaType": "a/b", "digest": "sha256:" + "0" * 64, "size": 1, "urls": ["http://x"]}]
    ),
    "no config": manifest_with(config={}),
    "another media type inside": manifest_with(mediaType="application/vnd.oci.image.index.v1+json"),
}


def test_spoiled_layouts_are_refused(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """As a folder and as a tar in turn."""
    for number, (what, spoil) in enumerate(SPOILED.items()):
        made = oci(tmp_path / f"image{number}{'.tar' if number % 2 else ''}", [b"content" * 1000], spoil)
        done = pusher.call("push", made.word, "--repository", repository, "--tag", "1")
        assert done.code == 2 and done.error["message"], (what, done)
    assert pusher.tagged(repository) == {}
    whole = oci(tmp_path / "whole", [b"content" * 1000])
    assert pusher.call("push", whole.word, "--repository", repository, "--tag", "1").code == 0


def entry_with(**members: object) -> Callable[[Files], None]:
    def spoil(files: Files) -> None:
        entry = json.loads(files["manifest.json"])[0] | members
        files["manifest.json"] = json.dumps([entry]).encode()

    return spoil


SPOILED_DOCKER: dict[str, Callable[[Files], None]] = {
    "a layer with other bytes": lambda files: files.update({next(iter(files)): b"other"}),
    "no manifest": lambda files: files.pop("manifest.json") and None,
    "a manifest of null": lambda files: files.update({"manifest.json": b"null"}),
    "two images": lambda files: files.update(
        {"manifest.json": files["manifest.json"][:-1] + b"," + files["manifest.json"][1:]}
    ),
    "a config outside": entry_with(Config="../../etc/passwd"),
    "an absolute config": entry_with(Config="/etc/passwd"),
    "a config of numbers": entry_with(Config=1),
    "a layer outside": entry_with(Layers=["../../../etc/passwd"]),
    "more layers than the config": entry_with(Layers=["a", "b"]),
    "no layers": entry_with(Layers=None),
}


def test_spoiled_docker_archives_are_refused(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    for number, (what, spoil) in enumerate(SPOILED_DOCKER.items()):
        made = docker_archive(tmp_path / f"{number}.tar", [b"content"], spoil)
        done = pusher.call("push", f"docker-archive:{made.path}", "--repository", repository, "--tag", "1")
        assert done.code == 2 and done.error["message"], (what, done)
    assert pusher.tagged(repository) == {}


def tar_of(path: Path, *members: tuple[str, bytes, bytes, str]) -> Path:
    """Members (name, type, content, link target)."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, content, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), target
            tar.addfile(info, io.BytesIO(content))
    return path


def test_hostile_tars_are_refused(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """Paths and links that lead out, circles, names of megabytes, sizes beyond the file, a file that is no tar or compressed as a whole."""
    file, link = tarfile.REGTYPE, tarfile.SYMTYPE
    (tmp_path / "text.tar").write_text("hello" * 1000)
    (tmp_path / "packed.tar").write_bytes(b"\x1f\x8b" + b"0" * 1000)
    (tmp_path / "empty.tar").write_bytes(b"")
    whole = oci(tmp_path / "whole.tar", [b"content" * 100_000])
    (tmp_path / "cut.tar").write_bytes(whole.path.read_bytes()[:2000])
    hostile = [
        tar_of(tmp_path / "out.tar", ("../index.json", file, b"{}", "")),
        tar_of(tmp_path / "root.tar", ("/index.json", file, b"{}", "")),
        tar_of(tmp_path / "link.tar", ("index.json", link, b"", "/etc/passwd")),
        tar_of(tmp_path / "up.tar", ("index.json", link, b"", "../../etc/passwd")),
        tar_of(tmp_path / "circle.tar", ("index.json", link, b"", "b"), ("b", link, b"", "index.json")),
        tar_of(tmp_path / "name.tar", ("n" * 2_000_000, file, b"", "")),
        tar_of(tmp_path / "folder.tar", ("index.json", tarfile.DIRTYPE, b"", "")),
        tar_of(tmp_path / "pipe.tar", ("index.json", tarfile.FIFOTYPE, b"", "")),
        *(tmp_path / name for name in ("text.tar", "packed.tar", "empty.tar", "cut.tar")),
    ]
    for path in hostile:
        began = time.monotonic()
        done = pusher.call("push", f"oci:{path}", "--repository", repository, "--tag", "1")
        assert done.code == 2 and time.monotonic() - began < 10, (path.name, done)
    assert pusher.call("push", whole.word, "--repository", repository, "--tag", "1").code == 0


def test_links_in_a_folder_are_not_followed(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """Neither a blob that is a link, nor blobs/ itself: what they lead to would be published."""
    secret = tmp_path / "secret"
    _, manifest = oci_files([b"content"])
    made = oci(tmp_path / "layout", [b"content"])
    path = made.path / blob(sha(manifest))
    secret.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(secret)
    done = pusher.call("push", made.word, "--repository", repository, "--tag", "1")
    assert done.code == 2 and "symbolic link" in done.error["message"], done
    other = oci(tmp_path / "other", [b"content"])
    (other.path / "blobs").rename(tmp_path / "moved")
    (other.path / "blobs").symlink_to(tmp_path / "moved")
    assert pusher.call("push", other.word, "--repository", repository, "--tag", "1").code == 2


def test_paths_that_are_no_archive(pusher: Pusher, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    codes = {
        f"oci:{tmp_path}/nothing.tar": 3,
        f"oci:{tmp_path}/empty": 2,
        "oci:/dev/zero": 2,
        f"docker-archive:{tmp_path}/empty": 2,
    }
    for word, code in codes.items():
        done = pusher.call("push", word, "--repository", "net", "--create", "--tag", "1")
        assert done.code == code, (word, done)
    for bare in ("image.tar", "layout"):
        oci(pusher.folder / bare, [b"content"])
        done = pusher.call("push", bare, "--repository", "net", "--create", "--tag", "1")
        assert done.code == 2 and f"oci:{bare}" in done.error["hint"], done
    assert pusher.ecr().describe_repositories()["repositories"] == [], "the image is read before a repository is made"


@pytest.mark.parametrize("name", ["--help-me", "a b", "$(id)", "a;b", ""])
def test_wrong_image_names_are_refused(pusher: Pusher, name: str) -> None:
    assert pusher.call("push", "--repository", "net", "--tag", "1", "--", name).code == 2 and pusher.aws.actions() == []
