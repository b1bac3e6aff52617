"""ECR's images: what was pushed by the registry protocol or by PutImage is the same here."""

from __future__ import annotations

import json
from typing import Any

from tests.components.aws.ecr import storage
from tests.components.aws.ecr.images import INDEX_TYPES, OCI_MANIFEST, Image, Repository, not_found, page, repository
from tests.components.aws.ecr.service import ECR
from tests.components.aws.wire.json_service import Call
from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import ACCOUNT

Document = dict[str, Any]


def named(call: Call) -> Repository:
    return repository(call.world, call.region, call.request["repositoryName"])


def wanted(call: Call, images: Repository) -> list[Image]:
    """Those of the filter's tag status."""
    status = (call.request.get("filter") or {}).get("tagStatus", "ANY")
    return [image for image in images.images.values() if status == "ANY" or bool(image.tags) == (status == "TAGGED")]


def detail(held: Repository, image: Image) -> Document:
    described: Document = {
        "registryId": ACCOUNT,
        "repositoryName": held.name,
        "imageDigest": image.digest,
        "imageSizeInBytes": held.size(image),
        "imagePushedAt": image.pushed_at,
        "imageManifestMediaType": image.media_type,
        "imageStatus": "ACTIVE",
    }
    if image.tags:
        described["imageTags"] = list(image.tags)
    if artifact := image.document.get("artifactType") or image.document.get("config", {}).get("mediaType"):
        described["artifactMediaType"] = artifact
    if subject := image.document.get("subject"):
        described["subjectManifestDigest"] = subject["digest"]
    return described


@ECR.verb
def describe_images(call: Call) -> Document:
    held, ids = named(call), call.request.get("imageIds")
    if ids:
        found = {}
        for each in ids:
            tag, digest = each.get("imageTag"), each.get("imageDigest")
            image = held.find(tag, digest)
            if image is None:
                raise not_found(held.name, tag, digest)
            found[image.digest] = image
        return {"imageDetails": [detail(held, image) for image in found.values()]}
    images, more = page(wanted(call, held), call.request)
    return {"imageDetails": [detail(held, image) for image in images], **more}


@ECR.verb
def list_images(call: Call) -> Document:
    ids, more = page((each for image in wanted(call, named(call)) for each in image.ids()), call.request)
    return {"imageIds": ids, **more}


@ECR.verb
def batch_get_image(call: Call) -> Document:
    held = named(call)
    images, failures = [], []
    for each in call.request["imageIds"]:
        tag, digest = each.get("imageTag"), each.get("imageDigest")
        image = held.find(tag, digest)
        if image is None:
            failures.append(failure(held, each))
            continue
        images.append(described(held, image, tag))
    return {"images": images, "failures": failures}


def failure(held: Repository, id: Document) -> Document:
    tag, digest = id.get("imageTag"), id.get("imageDigest")
    if not tag and not digest:
        code, reason = "MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null"
    elif tag and digest and held.images.get(digest):
        code, reason = "ImageTagDoesNotMatchDigest", "Requested image tag does not match the digest"
    else:
        code, reason = "ImageNotFound", "Requested image not found"
    return {"imageId": id, "failureCode": code, "failureReason": reason}


def described(held: Repository, image: Image, tag: str | None) -> Document:
    return {
        "registryId": ACCOUNT,
        "repositoryName": held.name,
        "imageId": {"imageDigest": image.digest} | ({"imageTag": tag} if tag else {}),
        "imageManifest": image.manifest.decode(),
        "imageManifestMediaType": image.media_type,
    }


@ECR.verb
def put_image(call: Call) -> Document:
    held, tag = named(call), call.request.get("imageTag")
    image = image_of(call.request["imageManifest"].encode(), call.request.get("imageManifestMediaType"))
    said = call.request.get("imageDigest")
    if said and said != image.digest:
        raise Refused("ImageDigestDoesNotMatchException", f"Image digest '{said}' does not match digest '{image.digest}'")
    refuse_what_is_there(held, image, tag)
    keep(call, held, image, tag)
    return {"image": described(held, image, tag)}


def image_of(manifest: bytes, media_type: str | None) -> Image:
    """Raises Refused for what is not a manifest."""
    try:
        document = json.loads(manifest)
        kind = media_type or document.get("mediaType") or (OCI_MANIFEST if "config" in document else "")
    except (ValueError, AttributeError):
        kind = ""
    if not kind:
        raise Refused(
            "InvalidParameterException",
            "Invalid parameter at 'imageManifest' failed to satisfy constraint: 'must be a valid image manifest'",
        )
    return Image(manifest, kind)


def refuse_what_is_there(held: Repository, image: Image, tag: str | None) -> None:
    before = held.tagged(tag) if tag else None
    same = held.images.get(image.digest)
    if same and (tag is None or tag in same.tags):
        name = f"digest '{image.digest}'" + (f" and tag '{tag}'" if tag else "")
        raise Refused(
            "ImageAlreadyExistsException",
            f"Image with {name} already exists in the repository with name '{held.name}' in registry with id '{ACCOUNT}'",
        )
    if tag and before and held.immutable(tag):
        raise Refused("ImageTagAlreadyExistsException", held.tag_refusal(tag))


def keep(call: Call, held: Repository, image: Image, tag: str | None) -> None:
    if image.media_type in INDEX_TYPES and (missing := [each for each in image.children if each not in held.images]):
        raise Refused(
            "ReferencedImagesNotFoundException",
            f"The images with digests '{missing}' referenced in the manifest list do not exist "
            f"in the repository with name '{held.name}' in the registry with id '{ACCOUNT}'",
        )
    status, said = storage.put_manifest(call.world, held, image)
    if status != 201:
        digests = [each["detail"]["digest"] for each in json.loads(said)["errors"] if isinstance(each.get("detail"), dict)]
        raise Refused("LayersNotFoundException", f"Layers with digests '{digests}' required by the manifest are not available")
    held.put(image, tag)


@ECR.verb
def batch_delete_image(call: Call) -> Document:
    held = named(call)
    deleted: list[Document] = []
    failures: list[Document] = []
    for id in call.request["imageIds"]:
        tag, digest = id.get("imageTag"), id.get("imageDigest")
        image = held.find(tag, digest)
        if image is None:
            failures.append(failure(held, id))
        elif not tag and (parents := held.parents(image)):
            reason = f"Requested image referenced by manifest list: [{', '.join(parents)}]"
            failures.append({"imageId": id, "failureCode": "ImageReferencedByManifestList", "failureReason": reason})
        else:
            deleted += delete(held, image, tag)
    return {"imageIds": deleted, "failures": failures}


def delete(held: Repository, image: Image, tag: str | None) -> list[dict[str, str]]:
    """By digest the image with all its tags; by tag that tag, and with the last one the image."""
    gone = [{"imageDigest": image.digest, "imageTag": tag}] if tag else image.ids()
    if tag:
        image.tags.remove(tag)
    if not tag or (not image.tags and not held.parents(image)):
        del held.images[image.digest]
    return gone
