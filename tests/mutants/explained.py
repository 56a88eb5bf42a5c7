"""The changes that no test can notice, and why: they change nothing that anybody can see."""

from __future__ import annotations

_SLID = "the number is below the window or seen, which `gw_replay_check` has refused before"
EXPLAINED: dict[str, dict[str, str]] = {
    "gateway.ike.window": {
        "module: tries: int = 0: 0 becomes 1": "`__post_init__` sets it",
    },
    "csrc/replay.c": {
        "if (seq > w->top) { becomes if (seq >= w->top) {": _SLID,
        "if (last - word > GW_REPLAY_WORDS) becomes if (last - word >= GW_REPLAY_WORDS)": (
            "where both are equal, the word is set to what it is"
        ),
        "while (word++ < last) becomes while (word++ <= last)": (
            "the word behind the last is the oldest of the ring, and no window reaches back to it"
        ),
    },
}
