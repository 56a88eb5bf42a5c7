/* ICMP errors toward the inner sender of a packet that does not fit the tunnel. Pure. */
#ifndef GW_ICMP_H
#define GW_ICMP_H

#include "packet.h"

/* Bytes of the largest error: ICMPv6 fills the smallest IPv6 link (RFC 4443 section 2.4). */
#define GW_ICMP_MAX 1280u

/*
 * Write to `out` (GW_ICMP_MAX bytes) the IP packet that tells the sender of `packet` that its
 * packets may have `mtu` bytes: IPv4 "fragmentation needed" (RFC 1191) or ICMPv6 "packet too
 * big" (RFC 4443 section 3.2). `source` is the error's source address (4 or 16 bytes); all zero
 * stands for the packet's destination, which passes every reverse-path check.
 * Returns its length; 0 if the packet must not be answered (RFC 1122 section 3.2.2, RFC 4443
 * section 2.4 (e)): an ICMP error, a later fragment, a source that is no single host, a multicast or
 * broadcast (IPv6: only if `source` is all zero).
 */
size_t gw_icmp_too_big(const uint8_t *packet, const struct gw_packet *info, uint32_t mtu,
	const uint8_t *source, uint8_t *out);

#endif
