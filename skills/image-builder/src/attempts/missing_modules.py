"""An import that fails in the image: nobody asked for the package, another RUN installs it later or elsewhere, or it is the project's own."""

from __future__ import annotations

from attempts import edits
from attempts.causes import Cause, classified
from attempts.context_files import place
from attempts.wanted import asked_in, package_of, want_named
from build_recipe import Recipe


def explained(recipe: Recipe, cause: Cause) -> Cause | None:
    found = edits.failed(recipe, cause.cut)
    if cause.kind != "missing-module" or found is None or cause.hidden or cause.places:
        return None
    stage, run = found
    module = cause.said["module"]
    package, here = package_of(module), place(recipe, run)
    if own := next((name for name in (f"{module}.py", module, f"src/{module}") if (recipe.folder / name).exists()), None):
        fix = f"{own} is the project's own: COPY it before line {run.line}, into WORKDIR or a folder that PYTHONPATH names"
        return classified(cause, "missing-module", fix=fix, places=[here])
    if earlier := want_named(recipe, package, stage, run):
        want, installed = earlier
        fix = (
            f"{want.asked} is asked for ({want.place}), and line {installed.line} installs it, but not for the python of line {run.line}: "
            "are two Pythons in the image (a virtual environment, conda, the system's)? `python -m pip install` takes the one that runs"
        )
        return classified(cause, "missing-module", fix=fix, places=[here, place(recipe, installed)])
    for other in recipe.parsed.stages:
        for each, _ in other.body:
            for want in asked_in(recipe, other, each) if each.keyword == "RUN" else ():
                if want.name != package:
                    continue
                where = (
                    "later"
                    if other is stage
                    else f"in the stage {other.name or other.index}, whose packages are not copied into this one"
                )
                fix = f"{want.asked} is asked for ({want.place}), but line {each.line} installs it {where}: install it before line {run.line}"
                return classified(cause, "missing-module", fix=fix, places=[here, place(recipe, each)])
    fix = f"nothing that is installed before line {run.line} brings the module {module}: add {_spelled(module, package)} to the requirements"
    return classified(cause, "missing-module", fix=fix, places=[here])


def _spelled(module: str, package: str) -> str:
    return f"{package} (the package of the module {module})" if package != module.lower().replace("_", "-") else package
