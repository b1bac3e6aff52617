"""uv brings certificates of its own: an authority that the image itself trusts is unknown to it until SSL_CERT_FILE names the image's file."""

from __future__ import annotations

import re
from dataclasses import replace

from attempts import edits
from attempts.causes import Cause
from build_recipe import Recipe

BUNDLES = {
    "update-ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "update-ca-trust": "/etc/pki/tls/certs/ca-bundle.crt",
}
"""The program that takes an authority into the image's own file, on Debian and Alpine, and on Red Hat's systems."""


def system_certificates(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """Where an earlier step has made the image trust an authority. ARG, not ENV: it holds while the image is built and is not in it."""
    found = edits.failed(recipe, cause.cut)
    if found is None or "ARG SSL_CERT_FILE=" in recipe.dockerfile:
        return None
    stage, run = found
    text = "\n".join(
        each.value
        for one in recipe.parsed.chain(stage)
        for each, _ in one.body
        if each.keyword == "RUN" and (one is not stage or each.line < run.line)
    )
    bundle = next((file for program, file in BUNDLES.items() if re.search(rf"\b{program}\b", text)), None)
    lines = edits.before(recipe, cause.cut, [f"ARG SSL_CERT_FILE={bundle}"]) if bundle else None
    return (f"uv reads the image's own certificates ({bundle})", replace(recipe, dockerfile=lines)) if lines else None
