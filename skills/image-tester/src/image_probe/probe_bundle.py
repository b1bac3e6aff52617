"""The probe is one text that a Python reads from stdin: these parts, and which of them to call with what.

The same text runs wherever an image is tested. Python 3.8, standard library only, as all parts: the image's Python runs them.
"""

from __future__ import annotations

LOADER = """\
import sys, types
def load(parts):
    package = types.ModuleType("image_probe")
    package.__path__ = []
    sys.modules["image_probe"] = package
    for name, text in parts:
        module = types.ModuleType("image_probe." + name)
        sys.modules[module.__name__] = module
        exec(compile(text, "image_probe/" + name + ".py", "exec"), module.__dict__)
"""
ORDER = (
    "probe_bundle", "probe_report", "probe_torch", "probe_loading", "probe_python", "probe_imports", "probe_needs", "probe_scripts",
    "probe_machine", "probe_ranks", "probe_training", "probe_job", "probe_child", "probe_memory", "probe_first",
)  # fmt: skip
"""The parts, each behind those that it imports."""


def text(parts: list[tuple[str, str]], module: str, argument: object) -> str:
    """A program that loads the parts and calls `main(argument, parts)` of one; ASCII, so no locale of an image changes it."""
    return f"{LOADER}PARTS = {parts!a}\nload(PARTS)\nsys.modules['image_probe.{module}'].main({argument!a}, PARTS)\n"
