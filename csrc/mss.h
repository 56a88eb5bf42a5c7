/* TCP MSS clamping: no segment larger than the tunnel carries is ever sent. */
#ifndef GW_MSS_H
#define GW_MSS_H

#include "packet.h"

/*
 * Lower the MSS option of a SYN to `mss` bytes if it is larger, and fix the checksum. Leaves all
 * other packets alone, and all packets if mss is 0. The checksum must be complete.
 */
void gw_mss_clamp(uint8_t *packet, const struct gw_packet *info, uint16_t mss);

#endif
