"""setup.cfg and setup.py: what they ask for, with the line. setup.py is read as a tree and never run."""

from __future__ import annotations

import ast
import configparser
import re

from asked.files import Folder, line_of
from asked.metadata import Metadata, dynamic, parsed, requirements, text_of
from asked.wants import NoRequirement, Place, want


def setup_cfg(folder: Folder, name: str = "setup.cfg") -> Metadata | None:
    """`install_requires`, `python_requires` and extras of `[options]`; None where there is no file or no such part."""
    text = folder.text(name)
    if text is None:
        return None
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        folder.refuse(name, f"it is no configuration file: {error}")
        return None
    if not parser.has_section("options"):
        return None
    found = Metadata(name, name=parser.get("metadata", "name", fallback=None))
    said = parser.get("options", "install_requires", fallback="").strip()
    if said.startswith("file:"):
        dynamic(found, [each.strip() for each in said[5:].split(",")])
    else:
        requirements(found, _lines(said), found.wants, text)
    for extra, lines in parser.items("options.extras_require") if parser.has_section("options.extras_require") else []:
        requirements(found, _lines(lines), found.extras.setdefault(extra, []), text)
    found.python = parser.get("options", "python_requires", fallback=None)
    found.python_line = line_of(text, "python_requires")
    found.commands = "console_scripts" in text
    return found


def _lines(text: str) -> list[str]:
    return [line.strip() for line in re.split(r"[\n;]" if ";" in text and "\n" not in text else r"\n", text) if line.strip()]


def setup_py(folder: Folder, name: str = "setup.py") -> Metadata | None:
    """`install_requires` and `python_requires` where they are written out, or a name at the top of the file is."""
    text = folder.text(name)
    if text is None:
        return None
    tree = parsed(folder, name, text)
    if tree is None:
        return None
    known = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = Metadata(name, commands="console_scripts" in text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "setup":
            for keyword in node.keywords:
                value = known.get(keyword.value.id, keyword.value) if isinstance(keyword.value, ast.Name) else keyword.value
                _keyword(found, keyword.arg, value)
    if found.computed:  # a list that is read from a file is that file's
        texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        named = [each for each in dict.fromkeys(texts) if re.search(r"require[\w./-]*\.(?:txt|in)$", each)]
        found.files = [each for each in named if folder.exists(each) and not re.search(r"dev|test|doc|lint", each)]
        found.computed = not found.files
    return found


def _keyword(found: Metadata, name: str | None, value: ast.expr) -> None:
    if name == "name" and isinstance(value, ast.Constant):
        found.name = text_of(value.value)
    elif name == "python_requires" and isinstance(value, ast.Constant):
        found.python, found.python_line = text_of(value.value), value.lineno
    elif name == "install_requires" and not isinstance(value, ast.List | ast.Tuple):
        found.computed = True
    elif name == "install_requires" and isinstance(value, ast.List | ast.Tuple):
        for item in value.elts:
            if not isinstance(item, ast.Constant) or not isinstance(item.value, str):
                found.computed = True
                continue
            try:
                found.wants.append(want(item.value, Place(found.file, item.lineno)))
            except NoRequirement as error:
                found.wrong.append((Place(found.file, item.lineno), str(error)))
