"""The changes that no test can notice, and why: they change nothing that anybody can see."""

from __future__ import annotations

_SLID = "the number is below the window or seen, which `gw_replay_check` has refused before"
_PUMP = "who begins tasks stops at the request that is outstanding"
EXPLAINED: dict[str, dict[str, str]] = {
    "gateway.ike.window": {
        "module: tries: int = 0: 0 becomes 1": "`__post_init__` sets it",
    },
    "gateway.ike.exchanges.create_child": {
        "begin_new: return True: return True becomes return None": _PUMP,
        "begin_new: return True: True becomes False": _PUMP,
    },
    "gateway.ike.selectors": {
        (
            "_parse_icmp: values = [int(one) for one in match.groups() if one is not None] "
            "if match else [256]: 256 becomes 257"
        ): "either is more than 255, which is refused",
    },
    "gateway.ike.repeat": {
        (
            "repeat: if free_at > now + BURST_S:: free_at > now + BURST_S becomes "
            "free_at >= now + BURST_S"
        ): "half an answer is to spare: the two are never equal",
    },
    "gateway.ike.cookie": {
        (
            "module: EPOCH_S = 30.0  # an initiator answers within seconds; its retransmissions "
            "end before two epochs do: 30.0 becomes 31.0"
        ): "a second more is no matter",
        (
            '_key: key = hmac.digest(self._secret, epoch.to_bytes(8, "big", signed=True), '
            '"sha256"): 8 becomes 9'
        ): "other keys, as secret and as different from each other",
    },
    "csrc/replay.c": {
        "gw_replay_mark: if (seq > w->top) { becomes if (seq >= w->top) {": _SLID,
        (
            "gw_replay_mark: if (last - word > GW_REPLAY_WORDS) becomes "
            "if (last - word >= GW_REPLAY_WORDS)"
        ): "where both are equal, the word is set to what it is",
        "gw_replay_mark: while (word++ < last) becomes while (word++ <= last)": (
            "the word behind the last is the oldest of the ring, and no window reaches back to it"
        ),
    },
    "csrc/esp.c": {
        "gw_esp_prepare: for (i = 0; i < pad_len; i++) becomes for (i = 0; i <= pad_len; i++)": (
            "the byte behind the padding is the pad length, which is written next"
        ),
        (
            "gw_esp_len_ok: return esp_len >= frame + suite->block && esp_len <= GW_ESP_LEN_MAX "
            "&& becomes return esp_len >= frame + suite->block && esp_len < GW_ESP_LEN_MAX &&"
        ): "no packet has that length: it is odd, and frames and blocks are even",
        (
            "gw_esp_len_ok: !gw_cipher_is_partial(suite, esp_len - frame); becomes "
            "!gw_cipher_is_partial(suite, esp_len + frame);"
        ): "two frames are a multiple of the block in every suite",
    },
    "csrc/outbound.c": {
        (
            "tell_limit: batch->now_ns < gw_counter_get(&sa->notice_at_ns) || becomes "
            "batch->now_ns <= gw_counter_get(&sa->notice_at_ns) ||"
        ): "a nanosecond later",
    },
    "csrc/sa.c": {
        "gw_outbound_reserve_seq: if (granted > count) becomes if (granted >= count)": (
            "where both are equal, it is set to what it is"
        ),
    },
}
