"""Whether an address answers, also where a busy machine makes answers wait."""

from __future__ import annotations

from lab.netns import Namespace


def are_answered(
    machine: Namespace, address: str, *options: str, count: int = 3, wait_s: int = 2
) -> bool:
    """
    Say whether every one of `count` pings is answered, each within `wait_s`.

    Each is a program of its own: of several one `ping` waits for the last answer only twice as long
    as another took, or one interval.
    """
    words = ("ping", "-n", "-q", "-c", "1", "-W", str(wait_s), *options, address)
    return all(" 0% packet loss" in machine.run(*words, check=False) for _ in range(count))
