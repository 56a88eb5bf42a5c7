/*
 * What the fast path must know of an inner packet, read once and with every length checked.
 */
#ifndef GW_PACKET_H
#define GW_PACKET_H

#include "gw_dp.h"
#include "wire.h"

struct gw_packet {
	uint32_t len;           /* bytes, as the IP header says; at most what was given */
	uint16_t ip_len;        /* bytes of IP header, options and extension headers */
	uint16_t l4_header_len; /* bytes of TCP or UDP header; 0 if none is whole */
	uint16_t source_port;   /* of ICMP: type << 8 | code, here and in dest_port */
	uint16_t dest_port;
	uint8_t family;   /* 4 or 6 */
	uint8_t protocol; /* of what follows the IP header */
	uint8_t tos;      /* DSCP and ECN */
	bool has_ports;   /* ports (or ICMP type and code) were in this packet */
	bool plain;       /* neither options, extension headers nor a fragment */
	bool fragment;    /* a fragment, the first one included */
	bool df; /* must not be fragmented: IPv4 with DF, and every IPv6 packet */
};

/* GW_E_INVALID: not IP, or a header with impossible lengths. GW_E_SHORT: less than the header says. */
GW_MUST_CHECK int gw_packet_parse(const uint8_t *data, size_t len, struct gw_packet *out);

/* Is it of BGP, BFD or ICMP? */
bool gw_packet_is_control(const struct gw_packet *info);

#endif
