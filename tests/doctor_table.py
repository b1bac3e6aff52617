"""The table of causes in shared-docs/troubleshooting.md, made from the doctor's rules: compare it, or write it with --write.

`python tests/doctor_table.py [--write]`
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "skills" / "monitor" / "assets" / "rules"
DOCUMENT = ROOT / "shared-docs" / "troubleshooting.md"
BEGIN = "<!-- causes: made by tests/doctor_table.py from skills/monitor/assets/rules -->"
END = "<!-- end of causes -->"
WORDS_CHARS = 110


def rules() -> list[dict[str, Any]]:
    return [row for path in sorted(RULES.glob("*.yaml")) for row in yaml.safe_load(path.read_text())]


def table() -> str:
    """A row for each cause: the deepest of its rules speaks for it."""
    causes: dict[str, list[dict[str, Any]]] = {}
    for row in rules():
        if row.get("role", "root") == "root" and row["cause"] not in ("none",):
            causes.setdefault(row["cause"], []).append(row)
    lines = ["| cause | what was found | it says, for example | restart | next |", "|---|---|---|---|---|"]
    for cause, rows in sorted(causes.items()):
        first = max(rows, key=lambda row: ("example" in row, row.get("depth", 50)))
        restarts = dict.fromkeys(
            value for row in rows for value in (row.get("restart", "RESTART"), row.get("before_steps")) if value
        )
        example = first.get("example", "")
        words = f"`{cell(example)[:WORDS_CHARS]}`" if example else ""
        lines.append(f"| `{cause}` | {cell(first['title'])} | {words} | {', '.join(restarts)} | {cell(first['do'])} |")
    return "\n".join(lines)


def cell(text: str) -> str:
    return text.replace("|", "/").replace("`", "'")


def written() -> str:
    """What the document holds between the marks."""
    return DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0].strip()


def main() -> None:
    if "--write" not in sys.argv:
        sys.exit(0 if written() == table() else f"{DOCUMENT.name} differs from the rules: python tests/doctor_table.py --write")
    text = DOCUMENT.read_text()
    if BEGIN not in text:
        text += (
            "\n## A run that fails, hangs or restarts: `diagnose_training.py doctor RUN`\n"
            "The root cause comes first, with its rank, node and lines. [How it is chosen](../skills/monitor/references/doctor.md). "
            "RESTART_ELSEWHERE: avoid that node. RESTART_OLDER: from an older checkpoint. STOP: the same again.\n\n"
            f"{BEGIN}\n{END}\n"
        )
    before, _, rest = text.partition(BEGIN)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
