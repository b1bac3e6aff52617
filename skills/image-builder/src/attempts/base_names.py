"""An image that cannot be pulled: which FROM or COPY --from names it, and what it is like."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace

from attempts import edits
from attempts.causes import Cause, classified
from attempts.stage_names import IMAGES
from build_recipe import Recipe

KNOWN = (
    *IMAGES.split("|"),
    "pytorch/pytorch",
    "nvidia/cuda",
    "huggingface/transformers-pytorch-gpu",
    "continuumio/miniconda3",
    "mambaorg/micromamba",
)

KINDS = ("base-image", "rate-limit", "registry-login", "registry-denied", "network", "certificate", "architecture")


def explained(recipe: Recipe, cause: Cause) -> Cause | None:
    if cause.kind not in KINDS or edits.instruction(recipe, cause.cut) is not None:
        return None
    text = "\n".join([cause.line, *cause.evidence, *cause.cut.lines[-20:]])
    for stage in recipe.parsed.stages:
        if stage.image.lower() == "scratch" or recipe.parsed.parent(stage) or not stage.image:
            continue
        name, _, tag = (
            stage.image.partition("@")[0].rpartition(":") if re.search(r":[^/]+$", stage.image) else (stage.image, "", "latest")
        )
        if not re.search(rf"(?:^|[\s/\"']){re.escape(name)}(?::|[\s\"'@]|$)", text):
            continue
        near = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.8)
        here = f"{recipe.dockerfile_name}:{stage.line}: FROM {stage.image}"
        if cause.kind != "base-image":
            return replace(cause, places=(here,))
        if name in KNOWN:
            fix = f"{name} has no tag {tag} for this platform: its tags are listed in its registry; `base_image_selector.py select FOLDER` names one"
        elif near:
            fix = (
                f"there is no image {name} that everybody may pull: did you mean {near[0]}? A private one needs `docker login`"
            )
        else:
            fix = cause.fix
        return classified(cause, "base-image", fix=fix, places=[here])
    return None
