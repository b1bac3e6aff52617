"""Lines over each other in plain characters, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from run_report.plots import Point

WIDTH, HEIGHT = 64, 12
LETTERS = "ABCDEF"
SEVERAL = "*"


def chart(lines: list[tuple[str, list[Point]]], *, y_name: str) -> list[str]:
    """One letter a line of points, * where several meet; [] without a point. At most six lines."""
    points = [point for _, line in lines for point in line]
    if not points:
        return []
    x_low, x_high = min(x for x, _ in points), max(x for x, _ in points)
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    grid = [[" "] * WIDTH for _ in range(HEIGHT)]
    for (_, line), letter in zip(lines, LETTERS, strict=False):
        for x, y in line:
            column = round((x - x_low) / (x_high - x_low or 1) * (WIDTH - 1))
            row = HEIGHT - 1 - round((y - y_low) / (y_high - y_low or 1) * (HEIGHT - 1))
            grid[row][column] = letter if grid[row][column] in (" ", letter) else SEVERAL
    marks = {0: f"{y_high:.4g}", HEIGHT - 1: f"{y_low:.4g}"}
    left = max(len(mark) for mark in marks.values())
    drawn = [f"{marks.get(at, ''):>{left}} |{''.join(row).rstrip()}" for at, row in enumerate(grid)]
    ends = f"{x_low:g}".ljust(WIDTH - len(f"{x_high:g}")) + f"{x_high:g}"
    names = ", ".join(f"{letter} {name}" for (name, _), letter in zip(lines, LETTERS, strict=False))
    return [f"{y_name}: {names}", *drawn, f"{'':{left}} +{'-' * WIDTH}", f"{'':{left}}  {ends}  step"]
