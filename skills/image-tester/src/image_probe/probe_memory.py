"""What the container's cgroup says of its memory: cgroup v2, v1, or neither."""

from __future__ import annotations

KILLS = (("/sys/fs/cgroup/memory.events", "oom_kill"), ("/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"))
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def kills() -> int:
    """Processes that the kernel has killed here for want of memory."""
    for path, name in KILLS:
        for line in read(path).splitlines():
            words = line.split()
            if len(words) == 2 and words[0] == name and words[1].isdigit():
                return int(words[1])
    return 0


def limit_bytes() -> int | None:
    """None without a limit; v1 writes a number near 2**63 for that."""
    for path in LIMITS:
        text = read(path).strip()
        if text.isdigit() and int(text) < 1 << 60:
            return int(text)
    return None


def read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(65536)
    except OSError:
        return ""
