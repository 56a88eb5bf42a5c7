"""Values to C structs: every length is checked, keys are wiped."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, ip_address

import pytest

from gateway._native import ffi, lib
from gateway.dataplane import codec
from gateway.dataplane.interface import EncapKind, TunnelOptions, TunQueue
from gateway.errors import DataPlaneError
from gateway.sa import Limits, Path, TrafficSelector
from gateway.secret import Secret
from tests.dataplane.values import EVERYTHING, KEY, LEFT, OPTIONS, PATH, RIGHT, plane_sa

SIX = IPv6Address("2001:db8::1")


@pytest.mark.parametrize("path", [PATH, Path(SIX, 4500, IPv6Address("2001:db8::2"), 65535)])
def test_path_goes_to_c_and_back(path: Path) -> None:
    assert codec.get_path(codec.new_path(path, EncapKind.UDP)[0]) == path


def test_path_without_family_is_none() -> None:
    assert codec.get_path(ffi.new("struct gw_path *")[0]) is None


def test_path_of_unknown_family_is_refused() -> None:
    struct = ffi.new("struct gw_path *")
    struct.family = 5
    with pytest.raises(DataPlaneError, match="address family 5"):
        codec.get_path(struct[0])


@pytest.mark.parametrize(
    "path", [Path(LEFT, 4500, SIX, 4500), Path(LEFT, 65536, RIGHT, 1), Path(LEFT, 1, RIGHT, -1)]
)
def test_impossible_path_is_refused(path: Path) -> None:
    with pytest.raises(DataPlaneError) as caught:
        codec.new_path(path, EncapKind.UDP)
    assert caught.value.code == lib.GW_E_INVALID


def test_sa_fills_every_field() -> None:
    limits = Limits(1, 2, 3, 4)
    struct = codec.new_sa(plane_sa(0x12345678, limits))
    assert (struct.spi, struct.encr, struct.integ, struct.esn) == (0x12345678, 20, 0, 1)
    assert bytes(struct.encr_key)[: struct.encr_key_len] == KEY
    assert (struct.integ_key_len, struct.replay_window) == (0, 1024)
    assert (struct.soft_packets, struct.hard_packets) == (1, 2)
    assert (struct.soft_bytes, struct.hard_bytes) == (3, 4)
    assert (struct.local_count, struct.remote_count) == (2, 2)
    four, six = struct.local[0], struct.remote[1]
    assert (four.family, bytes(four.last)[:5]) == (4, b"\xff\xff\xff\xff\0")
    assert (six.family, bytes(six.last), six.last_port) == (6, b"\xff" * 16, 65535)


def test_wiped_sa_has_no_byte_of_the_key() -> None:
    struct = codec.new_sa(plane_sa(256))
    assert KEY in bytes(ffi.buffer(struct))
    codec.wipe(struct)
    assert bytes(ffi.buffer(struct)) == bytes(ffi.sizeof("struct gw_sa"))


def test_keys_do_not_print() -> None:
    sa = plane_sa(256)
    for text in (repr(sa), str(sa)):
        assert "Secret 36 bytes" in text
        assert repr(KEY)[2:-1] not in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"local": EVERYTHING * 17}, "34 traffic selectors, at most 32"),
        ({"remote": EVERYTHING * 17}, "34 traffic selectors, at most 32"),
        ({"local": (TrafficSelector(LEFT, SIX),)}, "mixes address families"),
        ({"local": (TrafficSelector(LEFT, LEFT, 256),)}, "protocol 256"),
        ({"local": (TrafficSelector(LEFT, LEFT, 6, 0, 65536),)}, "port 65536"),
        ({"replay_window": 65536}, "replay window 65536"),
        ({"limits": Limits(hard_bytes=1 << 64)}, "hard_bytes"),
    ],
)
def test_impossible_sa_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataPlaneError, match=message):
        codec.new_sa(replace(plane_sa(256), **change))  # type: ignore[arg-type]  # a bad value


@pytest.mark.parametrize("field", ["encr_key", "integ_key"])
def test_too_long_key_is_refused_and_not_shown(field: str) -> None:
    good = plane_sa(256)
    bad = replace(good, sa=replace(good.sa, **{field: Secret(b"K" * 65)}))  # type: ignore[arg-type]  # a bad value
    with pytest.raises(DataPlaneError, match="more than 64 bytes") as caught:
        codec.new_sa(bad)
    assert "KKK" not in str(caught.value)


def test_spi_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DataPlaneError, match="SPI 4294967296 does not fit 32 bits"):
        codec.new_sa(plane_sa(1 << 32))


def test_tunnel_fills_every_field() -> None:
    options = TunnelOptions(1400, 1360, 1340, 10**9, True, LEFT, SIX)
    queues = [TunQueue(3), TunQueue(4, share=1, is_urgent=True)]
    struct = codec.new_tunnel(7, queues, True, PATH, EncapKind.ESP, options)
    found = [(one.fd, one.share, one.urgent) for one in struct.queue]
    assert (struct.id, struct.queue_count, found[:2]) == (7, 2, [(3, 0, 0), (4, 1, 1)])
    assert (struct.uso, struct.path.encap) == (1, 1)
    found = struct.options
    assert (found.mtu, found.mss_clamp4, found.mss_clamp6, found.rate_bps) == (
        1400,
        1360,
        1340,
        10**9,
    )
    assert (found.copy_dscp, bytes(found.icmp4), bytes(found.icmp6)) == (
        1,
        LEFT.packed,
        SIX.packed,
    )


@pytest.mark.parametrize("count", [0, 130])
def test_impossible_number_of_queues_is_refused(count: int) -> None:
    with pytest.raises(DataPlaneError, match=f"{count} TUN queues, need 1 to 129"):
        codec.new_tunnel(7, [TunQueue(3)] * count, True, PATH, EncapKind.UDP, OPTIONS)


@pytest.mark.parametrize(
    "options",
    [
        TunnelOptions(-1),
        TunnelOptions(1400, mss_clamp4=65536),
        TunnelOptions(1400, mss_clamp6=-1),
        TunnelOptions(1400, rate_bps=1 << 64),
        TunnelOptions(1400, icmp4=SIX),
    ],
)
def test_impossible_options_are_refused(options: TunnelOptions) -> None:
    with pytest.raises(DataPlaneError):
        codec.new_options(options)


def test_socket_fills_every_field() -> None:
    struct = codec.new_socket(5, 1, SIX, 4500, EncapKind.UDP)
    assert (struct.fd, struct.worker, struct.family, struct.port) == (5, 1, 6, 4500)
    assert bytes(struct.address) == SIX.packed


def test_tunnel_stats_have_only_drops_that_occurred() -> None:
    struct = ffi.new("struct gw_tunnel_stats *")
    struct.in_packets, struct.in_at_ns = 3, 1_500_000_000
    index = codec.drop_names().index("replay")
    struct.drops[index] = 2
    stats = codec.get_tunnel_stats(struct)
    assert (stats.in_packets, stats.in_at, stats.out_at) == (3, 1.5, 0.0)
    assert stats.drops == {"replay": 2}


def test_address_of_ipv4_uses_the_first_four_bytes() -> None:
    field = ffi.new("uint8_t[16]", ip_address("192.0.2.9").packed + b"\x77" * 12)
    assert codec.get_address(4, field) == ip_address("192.0.2.9")
