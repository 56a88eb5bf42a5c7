/*
 * Segmentation offload from the network to the TUN device: consecutive segments of one flow
 * become one super-packet, written with one system call. Pure functions.
 *
 * The merged packet, cut again as the kernel cuts it, is what came in, byte by byte: a segment
 * that would not come out equal (other acknowledgment, options, TTL, TOS; a wrong checksum) is
 * not merged. One field may differ: the id of an IPv4 packet with DF, which has no meaning
 * (RFC 6864 section 4.1).
 */
#ifndef GW_MERGE_H
#define GW_MERGE_H

#include <sys/uio.h>

#include "gso.h"
#include "packet.h"

#define GW_MERGE_PARTS 64u /* TCP segments in one write: 64 KiB of 1 KiB each */
/*
 * Datagrams in one write. A socket of default size (208 KiB) holds about 90 of 1400 bytes, and the
 * kernel hands it a super-packet's datagrams all at once: larger bursts overflow it while its
 * reader has no CPU. 32 are a third of it, and save a sixth of a gateway's time over 16.
 */
#define GW_MERGE_UDP_PARTS 32u
#define GW_MERGE_SLOTS     64u /* flows merged at the same time */
#define GW_MERGE_WAYS      4u  /* slots that one flow may be in */

/* One growing super-packet. Packets are borrowed until it is written. */
struct gw_merge {
	const void *owner; /* which tunnel's */
	uint8_t *packet;   /* the first packet: its headers become the super-packet's */
	uint32_t total;    /* bytes of the super-packet */
	uint32_t bytes;    /* of the inner packets in it */
	uint32_t next_seq; /* TCP: sequence number that continues it */
	uint16_t next_id;  /* IPv4 id that continues it */
	uint16_t header_len;
	uint16_t ip_len;
	uint16_t size; /* payload bytes of the first segment */
	uint16_t count;
	uint8_t family;
	uint8_t protocol;
	bool verified; /* the first packet's checksums are good */
	bool closed;   /* a shorter segment or one with PSH ended it */
	struct iovec
		parts[GW_MERGE_PARTS]; /* [0] is the whole first packet; then payloads */
};

/*
 * Where to look for the flow of a packet of this tunnel: slot n, n ^ 1 .. n ^ (GW_MERGE_WAYS - 1).
 * Any packet may be asked about.
 */
uint32_t gw_merge_slot(
	const void *owner, const uint8_t *packet, const struct gw_packet *info);

/* May this packet begin or continue a super-packet? `uso`: UDP may. */
bool gw_merge_can(const uint8_t *packet, const struct gw_packet *info, bool uso);

/* Begin a super-packet with a packet that gw_merge_can(). */
void gw_merge_begin(struct gw_merge *merge, const void *owner, uint8_t *packet,
	const struct gw_packet *info);

/* Is this a packet of the slot's tunnel and flow (addresses, protocol, ports)? Any packet may be asked about. */
bool gw_merge_same_flow(const struct gw_merge *merge, const void *owner,
	const uint8_t *packet, const struct gw_packet *info);

/* Append a packet of the same flow that gw_merge_can(). False, and no change, if it does not continue the slot. */
bool gw_merge_add(struct gw_merge *merge, uint8_t *packet, const struct gw_packet *info);

/* Make the headers those of the super-packet and describe it in *vnet. Changes nothing in a slot of one packet. */
void gw_merge_finish(struct gw_merge *merge, struct gw_vnet *vnet);

#endif
