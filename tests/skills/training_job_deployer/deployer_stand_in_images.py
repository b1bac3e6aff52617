"""image-builder, image-tester and ecr-pusher without an engine and a registry: each copy answers by its own file name.

What lies in the registry is in STAND_IN/images.json (tag -> digest), each call in STAND_IN/calls.jsonl; STAND_IN/answers.json overrides
answers, by "build", "test", "push". tests/e2e/test_cluster_image.py has the real ones.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

PROGRAM, WORDS = Path(__file__).stem, sys.argv[1:]
SKILL, VERB = Path(__file__).parents[1].name, WORDS[0]
FOLDER = Path(os.environ["STAND_IN"])
HOST = "127.0.0.1:5055"
EXIT = {"conflict": 5, "not-found": 3}


def option(name: str) -> str:
    return WORDS[WORDS.index(f"--{name}") + 1]


def options(name: str) -> list[str]:
    return [value for flag, value in itertools.pairwise(WORDS) if flag == f"--{name}"]


def read(name: str) -> dict[str, Any]:
    path = FOLDER / name
    return json.loads(path.read_text()) if path.exists() else {}


def answer(data: dict[str, Any], **more: Any) -> None:
    document = {"ok": True, "skill": SKILL, "verb": VERB, "data": data, "checks": [], "changed": [], "next": [], **more}
    print(json.dumps(document))
    sys.exit(0 if document["ok"] else EXIT.get((document.get("error") or {}).get("code"), 1))


def refuse(code: str, message: str) -> None:
    answer({}, ok=False, error={"code": code, "message": message, "hint": "look", "retryable": False})


def build() -> None:
    source = Path(WORDS[1])
    content = b"".join(
        path.name.encode() + path.read_bytes() for path in sorted(source.glob("*.*")) if path.suffix in (".py", ".txt")
    )
    digest = hashlib.sha256(content).hexdigest()
    name = f"{HOST}/{option('push')}" if "codebuild" in PROGRAM else option("image-name")
    data = {"image": name, "tag": f"build-{digest[:12]}", "source_digest": digest, "bases": ["base:1"], "builder": PROGRAM}
    if "--dry-run" in WORDS:
        lines = (source / "Dockerfile").read_text().splitlines() if (source / "Dockerfile").exists() else []
        data["user"] = next((line.removeprefix("USER ") for line in lines if line.startswith("USER ")), option("user"))
        answer({**data, "estimate": {"minutes": 7, "usd": 0.14}})
    time.sleep(60 if read("answers.json").get("hangs") else 0)
    made = {"digest": f"sha256:{digest}"} if "codebuild" in PROGRAM else {"image_id": f"sha256:{digest}"}
    answer({**data, **made}, changed=[f"image {name}"])


def test() -> None:
    sys.stdin.read()
    answer({"image": WORDS[1], "level": option("level"), "facts": {"torch": "2.13.0"}})


def push() -> None:
    images = read("images.json")
    if VERB == "ensure-repo":
        answer({"repository": WORDS[1]})
    if VERB == "tags":
        rows = [{"digest": digest, "tags": [], "immutable": []} for digest in dict.fromkeys(images.values())]
        for row in rows:
            row["tags"] = [tag for tag, digest in images.items() if digest == row["digest"]]
            row["immutable"] = [tag for tag in row["tags"] if not tag.startswith(("build-", "latest"))]
        answer({"images": rows})
    if VERB == "verify":
        repository, _, tag = WORDS[1].rpartition(":")
        if tag not in images:
            refuse("not-found", f"{repository} has no image {tag}")
    else:
        taken = {"promote": "from", "push": "repository"}[VERB]
        digest = "sha256:" + hashlib.sha256(option(taken).encode()).hexdigest()
        images |= dict.fromkeys(options("tag"), digest)
        (FOLDER / "images.json").write_text(json.dumps(images))
        if read("answers.json").get("faster"):
            refuse("conflict", f"the tag {option('tag')} is another image's, and immutable")
        repository, tag = WORDS[1] if VERB == "promote" else option("repository"), option("tag")
    uri = f"{HOST}/{repository}@{images[tag]}"
    regions = [{"region": "us-east-1", "uri": uri, "digest": images[tag]}]
    answer(
        {
            "repository": repository,
            "digest": images[tag],
            "reference": WORDS[1] if VERB == "verify" else uri,
            "regions": regions,
        }
    )


with (FOLDER / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps([PROGRAM, *WORDS]) + "\n")
STAGE = {"image-builder": "build", "image-tester": "test", "ecr-pusher": "push"}[SKILL]
if (override := read("answers.json").get(STAGE)) and VERB not in ("verify", "tags"):
    more = {"error": override["error"]} if "error" in override else {}
    answer(override.get("data", {}), ok=override.get("ok", False), checks=override.get("checks", []), **more)
{"build": build, "test": test, "push": push}[STAGE]()
