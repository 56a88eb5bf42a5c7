/*
 * Segmentation offload toward the TUN device: cutting the kernel's super-packets into inner
 * packets. Pure functions; merge.h is the other direction.
 */
#ifndef GW_GSO_H
#define GW_GSO_H

#include "packet.h"

/* struct virtio_net_hdr as TUN uses it: 10 bytes, numbers in host order (no TUNSETVNETLE). */
struct gw_vnet {
	uint8_t flags;
	uint8_t gso_type;
	uint16_t header_len; /* a hint: it may be anything, we compute our own */
	uint16_t gso_size;   /* payload bytes of every segment but the last */
	uint16_t csum_start;
	uint16_t csum_offset;
};
#define GW_VNET_LEN sizeof(struct gw_vnet)
_Static_assert(
	sizeof(struct gw_vnet) == 10, "virtio_net_hdr without buffer count has 10 bytes");

enum {
	GW_VNET_NEEDS_CSUM = 1,
	GW_VNET_GSO_NONE = 0,
	GW_VNET_GSO_TCPV4 = 1,
	GW_VNET_GSO_TCPV6 = 4,
	GW_VNET_GSO_UDP_L4 = 5,
	GW_VNET_GSO_ECN = 0x80
};

/* One packet from the TUN and how it falls into inner packets. Borrows the packet. */
struct gw_cut {
	const uint8_t *packet;
	uint32_t len;   /* bytes of the packet */
	uint32_t count; /* inner packets in it: 1 or more */
	/* IP and transport header, in front of every segment; 0 = not cut. */
	uint16_t header_len;
	uint16_t ip_len;
	uint16_t size;       /* payload bytes of every segment but the last */
	uint16_t csum_start; /* if needs_csum and not cut */
	uint16_t csum_offset;
	uint8_t family;
	uint8_t protocol; /* GW_PROTO_TCP or GW_PROTO_UDP when cut */
	bool needs_csum;
};

/*
 * Plan the cutting of a packet that gw_packet_parse() accepted. `vnet` is what stood before it.
 * GW_E_INVALID: the offload header has impossible types or sizes.
 */
GW_MUST_CHECK int gw_cut_begin(const struct gw_vnet *vnet, const uint8_t *packet,
	const struct gw_packet *info, struct gw_cut *out);

/* Make segments smaller (not larger), as for a smaller MSS; only for TCP. size >= 1. */
void gw_cut_resize(struct gw_cut *cut, uint16_t size);

/* Bytes of inner packet `index` (0 .. count - 1). */
uint32_t gw_cut_len(const struct gw_cut *cut, uint32_t index);

/* Write inner packet `index`, lengths, ids, sequence, flags and checksums finished. Returns gw_cut_len(). */
uint32_t gw_cut_write(const struct gw_cut *cut, uint32_t index, uint8_t *out);

#endif
