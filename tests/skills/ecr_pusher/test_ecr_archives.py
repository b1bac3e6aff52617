"""Archives of other writers: what they call their images, whose digest is pushed, and damage that only shows when a layer is unpacked."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from ecr_call import Pusher
from ecr_made_images import Files, Made, blob, config, described, docker_archive, index, layer, oci_files, sha, write

LAYOUT = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}


def named_layout(path: Path) -> dict[str, str]:
    """Two images as BuildKit names them; name -> digest."""
    files, tops = dict(LAYOUT), []
    for tag in ("v1", "v2"):
        more, manifest = oci_files([tag.encode()])
        notes = {"io.containerd.image.name": f"docker.io/library/net:{tag}", "org.opencontainers.image.ref.name": tag}
        tops.append({**described(manifest, "manifest.v1+json"), "annotations": notes})
        files |= more
    write(path, files | {"index.json": index(*tops)})
    return {f"v{number}": str(each["digest"]) for number, each in enumerate(tops, start=1)}


def test_an_image_is_chosen_by_its_name(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """By the tag, by the whole name, and in short; a name that is not there is exit 3, in an archive of one image too."""
    digests = named_layout(tmp_path / "two.tar")
    push = ("--repository", repository, "--dry-run", "--tag", "1")
    for chosen, tag in {"v2": "v2", "net:v1": "v1", "docker.io/library/net:v2": "v2", digests["v1"]: "v1"}.items():
        done = pusher.call("push", f"oci:{tmp_path}/two.tar@{chosen}", *push)
        assert (done.code, done.data["digest"]) == (0, digests[tag]), (chosen, done)
    several = pusher.call("push", f"oci:{tmp_path}/two.tar", *push)
    assert several.code == 2 and "net:v1" in several.error["message"], several
    one = docker_archive(tmp_path / "one.tar", [b"content"])
    assert pusher.call("push", f"docker-archive:{one.path}@net:dev", *push).code == 0
    for word in (f"oci:{tmp_path}/two.tar@v3", f"docker-archive:{one.path}@net:prod"):
        done = pusher.call("push", word, *push)
        assert (done.code, done.error["code"]) == (3, "not-found") and "net:" in done.error["message"], done


def containerd_archive(path: Path, *, whole: bool) -> tuple[str, str]:
    """As `docker save` of Docker 29 writes an image with an attestation; without the layer of that, where it was not pulled.

    (digest of the index, of the image).
    """
    files, manifest = oci_files([b"content"])
    statement, nothing = b'{"_type": "https://in-toto.io/Statement/v0.1"}', b"{}"
    body = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described(nothing, "config.v1+json"),
        "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": sha(statement), "size": len(statement)}],
    }
    attestation = json.dumps(body).encode()
    children = [
        {**described(manifest, "manifest.v1+json"), "platform": {"os": "linux", "architecture": "amd64"}},
        {
            **described(attestation, "manifest.v1+json"),
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        },
    ]
    inner = index(*children)
    named = json.loads(manifest)
    entry = {
        "Config": blob(named["config"]["digest"]),
        "RepoTags": ["net:dev"],
        "Layers": [blob(each["digest"]) for each in named["layers"]],
    }
    files |= LAYOUT | {blob(sha(each)): each for each in (inner, attestation, nothing)}
    files |= {blob(sha(statement)): statement} if whole else {}
    files |= {"index.json": index(described(inner, "index.v1+json")), "manifest.json": json.dumps([entry]).encode()}
    write(path, files)
    return sha(inner), sha(manifest)


@pytest.mark.parametrize("whole", [True, False])
def test_an_image_of_containerds_store_keeps_its_digest(pusher: Pusher, repository: str, tmp_path: Path, whole: bool) -> None:
    """That of the index where all of it is there, as `docker push` sends it; else that of the one image that is."""
    top, image = containerd_archive(tmp_path / "image.tar", whole=whole)
    done = pusher.call("push", f"docker-archive:{tmp_path}/image.tar", "--repository", repository, "--tag", "1")
    assert (done.code, done.data["digest"], done.data["platforms"]) == (0, top if whole else image, ["linux/amd64"]), done
    assert pusher.call("verify", f"{repository}:1", "--platform", "linux/amd64").code == 0


def crane_archive(path: Path, packed: bytes, plain: bytes) -> Made:
    """As crane, jib and ko write it: layers are compressed, and named by the digest of that."""
    setting = config([plain])
    name = f"{sha(packed)[7:]}.tar.gz"
    entry = {"Config": sha(setting), "RepoTags": ["net:dev"], "Layers": [name]}
    write(path, {name: packed, entry["Config"]: setting, "manifest.json": json.dumps([entry]).encode()})
    return Made(path, sha(setting))


def test_a_compressed_layer_is_unpacked_once(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """Its config names the digest of the plain bytes: other bytes, a cut stream and a wrong checksum are refused."""
    plain = layer(os.urandom(3_000_000))
    whole = gzip.compress(plain[:1_000_000], 1) + gzip.compress(plain[1_000_000:], 1)
    spoiled = {"other": gzip.compress(layer(b"other")), "cut": whole[:-100], "sum": whole[:-6] + b"\0" + whole[-5:]}
    for name, packed in spoiled.items():
        made = crane_archive(tmp_path / f"{name}.tar", packed, plain)
        done = pusher.call("push", f"docker-archive:{made.path}", "--repository", repository, "--tag", "1")
        assert done.code == 2 and done.error["message"], (name, done)
    assert pusher.requests("ecr:InitiateLayerUpload") == 0
    made = crane_archive(tmp_path / "whole.tar", whole, plain)
    assert pusher.call("push", f"docker-archive:{made.path}", "--repository", repository, "--tag", "1").code == 0


def test_a_config_has_the_digest_of_its_name(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """A byte of it has changed: the entry point, say. The control is the archive as it was."""

    def spoil(files: Files) -> None:
        name = next(each for each in files if each.endswith(".json") and each != "manifest.json")
        files[name] = files[name].replace(b'"config": {}', b'"config":{ }')

    for code, made in ((0, docker_archive(tmp_path / "a.tar", [b"a"])), (2, docker_archive(tmp_path / "b.tar", [b"a"], spoil))):
        done = pusher.call("push", f"docker-archive:{made.path}", "--repository", repository, "--tag", "1", "--dry-run")
        assert done.code == code, done


def test_a_disk_that_fails_is_exit_8(pusher: Pusher, repository: str) -> None:
    """/proc/self/mem is a regular file whose first byte cannot be read."""
    done = pusher.call("push", "oci:/proc/self/mem", "--repository", repository, "--tag", "1")
    assert (done.code, done.error["code"]) == (8, "unreachable") and "Input/output error" in done.error["message"], done


def test_the_other_kind_of_archive_is_named(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    named_layout(tmp_path / "two.tar")
    done = pusher.call("push", f"docker-archive:{tmp_path}/two.tar", "--repository", repository, "--tag", "1")
    assert done.code == 2 and "oci:" in done.error["hint"], done
