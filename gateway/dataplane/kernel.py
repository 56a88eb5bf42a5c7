"""What is known of kernels and must be worked around. Pure."""

from __future__ import annotations

import re

# Equal segments of a UDP_SEGMENT batch leave with wrong headers with some drivers.
_SPOILS_FROM, _SPOILS_UNTIL = (7, 0), (7, 1, 5)
_TUN_TAKES_UDP_SEGMENTS = (6, 2)  # TUN_F_USO4


def version_of(release: str) -> tuple[int, ...]:
    """Return the numbers at the front of a release, as in "6.1.0-18-amd64"."""
    found = re.match(r"\d+(\.\d+)*", release)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def spoils_equal_segments(release: str) -> bool:
    """Return whether this release is one of 7.0 to 7.1.4; a distribution may have mended it."""
    return _SPOILS_FROM <= version_of(release) < _SPOILS_UNTIL


def may_merge_udp(release: str) -> bool:
    """
    Return whether devices should merge the UDP that they forward.

    Not where the kernel would have to cut it before a TUN device, nor where it cuts it wrongly.
    """
    takes = version_of(release) >= _TUN_TAKES_UDP_SEGMENTS
    return takes and not spoils_equal_segments(release)
