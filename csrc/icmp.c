/* ICMP (RFC 792, RFC 1191) and ICMPv6 (RFC 4443) "too big" errors. */
#include "icmp.h"

#include <string.h>

#include "checksum.h"

enum {
	ICMP_HEADER = 8,
	ICMP4_UNREACHABLE = 3,
	ICMP4_FRAGMENTATION_NEEDED = 4,
	ICMP4_QUOTE =
		548, /* of the packet: the error stays within 576 bytes (RFC 1812 section 4.3.2.3) */
	ICMP6_PACKET_TOO_BIG = 2,
	TTL = 64
};

static bool
all_zero(const uint8_t *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != 0)
			return false;
	return true;
}

/* Is it an ICMP query? Only those may be answered by an error. */
static bool
icmp4_is_error(const struct gw_packet *info)
{
	uint8_t type = (uint8_t)(info->source_port >> 8);

	if (info->protocol != GW_PROTO_ICMP)
		return false;
	return type != 0 && type != 8 && type != 13 && type != 14;
}

static bool
may_answer4(const uint8_t *packet, const struct gw_packet *info)
{
	const uint8_t *source = packet + 12, *dest = packet + 16;

	if ((gw_be16(packet + 6) & GW_IPV4_OFFSET) != 0 || icmp4_is_error(info))
		return false;
	/* From 224 on: multicast, reserved, broadcast. */
	return source[0] != 0 && source[0] != 127 && source[0] < 224 && dest[0] < 224;
}

static bool
may_answer6(const uint8_t *packet, const struct gw_packet *info, const uint8_t *own)
{
	const uint8_t *source = packet + 8, *dest = packet + 24;

	if (source[0] == 0xff || all_zero(source, 16))
		return false;
	/* A multicast may be answered by this error, but is no address to send it from. */
	if (dest[0] == 0xff && all_zero(own, 16))
		return false;
	/* Types below 128 are errors. */
	return info->protocol != GW_PROTO_ICMPV6 ||
	       (info->has_ports && info->source_port >> 8 >= 128);
}

static size_t
too_big4(const uint8_t *packet, const struct gw_packet *info, uint32_t mtu,
	const uint8_t *source, uint8_t *out)
{
	size_t quote = info->len < ICMP4_QUOTE ? info->len : ICMP4_QUOTE;
	size_t len = GW_IPV4_LEN + ICMP_HEADER + quote;
	uint8_t *icmp = out + GW_IPV4_LEN;

	memset(out, 0, GW_IPV4_LEN + ICMP_HEADER);
	out[0] = 0x45;
	out[1] = 0xc0; /* internetwork control (RFC 1812 section 4.3.2.5) */
	gw_put_be16(out + 2, (uint16_t)len);
	out[8] = TTL;
	out[9] = GW_PROTO_ICMP;
	memcpy(out + 12, all_zero(source, 4) ? packet + 16 : source, 4);
	memcpy(out + 16, packet + 12, 4);
	gw_sum_ipv4(out, GW_IPV4_LEN);
	icmp[0] = ICMP4_UNREACHABLE;
	icmp[1] = ICMP4_FRAGMENTATION_NEEDED;
	gw_put_be16(icmp + 6, (uint16_t)mtu);
	memcpy(icmp + ICMP_HEADER, packet, quote);
	gw_sum_store(icmp + 2, gw_sum(0, icmp, ICMP_HEADER + quote));
	return len;
}

static size_t
too_big6(const uint8_t *packet, const struct gw_packet *info, uint32_t mtu,
	const uint8_t *source, uint8_t *out)
{
	size_t room = GW_ICMP_MAX - GW_IPV6_LEN - ICMP_HEADER;
	size_t quote = info->len < room ? info->len : room;
	uint8_t *icmp = out + GW_IPV6_LEN;
	uint64_t sum;

	memset(out, 0, GW_IPV6_LEN + ICMP_HEADER);
	out[0] = 0x60;
	gw_put_be16(out + 4, (uint16_t)(ICMP_HEADER + quote));
	out[6] = GW_PROTO_ICMPV6;
	out[7] = TTL;
	memcpy(out + 8, all_zero(source, 16) ? packet + 24 : source, 16);
	memcpy(out + 24, packet + 8, 16);
	icmp[0] = ICMP6_PACKET_TOO_BIG;
	gw_put_be32(icmp + 4, mtu);
	memcpy(icmp + ICMP_HEADER, packet, quote);
	sum = gw_sum_pseudo(out, GW_PROTO_ICMPV6, (uint32_t)(ICMP_HEADER + quote));
	gw_sum_store(icmp + 2, gw_sum(sum, icmp, ICMP_HEADER + quote));
	return GW_IPV6_LEN + ICMP_HEADER + quote;
}

size_t
gw_icmp_too_big(const uint8_t *packet, const struct gw_packet *info, uint32_t mtu,
	const uint8_t *source, uint8_t *out)
{
	if (info->family == 4 && may_answer4(packet, info))
		return too_big4(packet, info, mtu, source, out);
	if (info->family == 6 && may_answer6(packet, info, source))
		return too_big6(packet, info, mtu, source, out);
	return 0;
}
