/*
 * Congestion marks between inner and outer header (RFC 6040, normal mode). Outbound the mark is
 * copied with the rest of the TOS byte; this is what happens at the other end.
 */
#ifndef GW_ECN_H
#define GW_ECN_H

#include "checksum.h"
#include "packet.h"

enum { GW_ECN_NOT_ECT = 0, GW_ECN_ECT1 = 1, GW_ECN_ECT0 = 2, GW_ECN_CE = 3 };

/* The inner mark that an outer and an inner mark make (RFC 6040 section 4.2); -1 = drop the packet. */
static inline int
gw_ecn_combine(unsigned outer, unsigned inner)
{
	if (outer == GW_ECN_CE)
		return inner == GW_ECN_NOT_ECT ? -1 : GW_ECN_CE;
	if (outer == GW_ECN_ECT1 && inner == GW_ECN_ECT0)
		return GW_ECN_ECT1;
	return (int)inner;
}

/* Set the mark of an inner packet. */
static inline void
gw_ecn_set(uint8_t *packet, struct gw_packet *info, unsigned mark)
{
	info->tos = (uint8_t)((info->tos & ~3u) | mark);
	if (info->family == 4)
		gw_sum_patch(packet + 10, packet, (uint16_t)(packet[0] << 8 | info->tos));
	else
		packet[1] = (uint8_t)((packet[1] & 0xcf) | mark << 4);
}

#endif
