/*
 * Numbers in packets, read and written byte by byte: the compiler makes one load and one swap
 * of them, and no packet is ever cast to a struct.
 */
#ifndef GW_WIRE_H
#define GW_WIRE_H

#include <stdint.h>

/* IANA protocol numbers. */
enum {
	GW_PROTO_HOPOPTS = 0,
	GW_PROTO_ICMP = 1,
	GW_PROTO_IPV4 = 4,
	GW_PROTO_TCP = 6,
	GW_PROTO_UDP = 17,
	GW_PROTO_IPV6 = 41,
	GW_PROTO_ROUTING = 43,
	GW_PROTO_FRAGMENT = 44,
	GW_PROTO_ESP = 50,
	GW_PROTO_AH = 51,
	GW_PROTO_ICMPV6 = 58,
	GW_PROTO_NONE = 59,
	GW_PROTO_DSTOPTS = 60,
	GW_PROTO_SCTP = 132
};

enum {
	GW_IPV4_LEN = 20,
	GW_IPV6_LEN = 40,
	GW_UDP_LEN = 8,
	GW_TCP_LEN = 20,
	GW_IPV4_DF = 0x4000,
	GW_IPV4_MF = 0x2000,
	GW_IPV4_OFFSET = 0x1fff
};

/* TCP flags (RFC 9293 section 3.1). */
enum {
	GW_TCP_FIN = 0x01,
	GW_TCP_SYN = 0x02,
	GW_TCP_RST = 0x04,
	GW_TCP_PSH = 0x08,
	GW_TCP_ACK = 0x10,
	GW_TCP_CWR = 0x80
};

static inline uint16_t
gw_be16(const uint8_t *p)
{
	return (uint16_t)((p[0] << 8) | p[1]);
}

static inline uint32_t
gw_be32(const uint8_t *p)
{
	return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) |
	       p[3];
}

static inline void
gw_put_be16(uint8_t *p, uint16_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static inline void
gw_put_be32(uint8_t *p, uint32_t value)
{
	gw_put_be16(p, (uint16_t)(value >> 16));
	gw_put_be16(p + 2, (uint16_t)value);
}

#endif
