"""IPv6 of a tunnel's device whose MTU has changed."""

from __future__ import annotations

from gateway.node.netlink import Netlink

_MAKES_NONE = "1"  # IN6_ADDR_GEN_MODE_NONE of linux/if_link.h


def settle_ipv6(kernel: Netlink, name: str) -> bool:
    """
    Make IPv6 of a device as it is to be; return whether it was not. Raises NetlinkError.

    Below 1280 bytes a link has no IPv6 (RFC 8200 section 5). Where there is room again, the kernel
    begins it anew, as on any link: with an address of its own making and no other.
    """
    (mode,) = kernel.settings(f"ipv6/conf/{name}/addr_gen_mode")
    if mode in ("", _MAKES_NONE):
        return False
    kernel.make_no_address6(name)
    kernel.leave_dead_routes6(name)
    for address in kernel.addresses(name, with_own=True) - kernel.addresses(name):
        kernel.del_address(name, address)
    return True
