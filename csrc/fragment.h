/* Fragmentation of inner IPv4 packets before they are sealed (RFC 4301 section 8.1). Pure. */
#ifndef GW_FRAGMENT_H
#define GW_FRAGMENT_H

#include "packet.h"

/* In how many fragments does an IPv4 packet leave through `mtu` bytes (at least 68)? */
uint32_t gw_fragment_count(const struct gw_packet *info, uint32_t mtu);

/* Bytes of fragment `index`. */
uint32_t gw_fragment_len(const struct gw_packet *info, uint32_t mtu, uint32_t index);

/* Write fragment `index` of a packet whose checksums are complete. Returns gw_fragment_len(). */
uint32_t gw_fragment_write(const uint8_t *packet, const struct gw_packet *info,
	uint32_t mtu, uint32_t index, uint8_t *out);

#endif
