/* Reading the headers of an inner packet: IPv4 (RFC 791), IPv6 (RFC 8200), TCP, UDP, ICMP. */
#include "packet.h"

#include <string.h>

enum { PORT_BGP = 179, PORT_BFD = 3784, PORT_BFD_ECHO = 3785, PORT_BFD_MULTIHOP = 4784 };

/* A packet with more extension headers than this has no ports for us: it is none we could need. */
#define EXTENSIONS_MAX 8

static void
parse_transport(const uint8_t *l4, size_t left, struct gw_packet *out)
{
	size_t header;

	switch (out->protocol) {
	case GW_PROTO_TCP:
		if (left < GW_TCP_LEN)
			return;
		header = (size_t)(l4[12] >> 4) * 4;
		if (header >= GW_TCP_LEN && header <= left)
			out->l4_header_len = (uint16_t)header;
		break;
	case GW_PROTO_UDP:
		if (left < GW_UDP_LEN)
			return;
		out->l4_header_len = GW_UDP_LEN;
		break;
	case GW_PROTO_SCTP:
		if (left < 4)
			return;
		break;
	case GW_PROTO_ICMP:
	case GW_PROTO_ICMPV6:
		if (left < 4)
			return;
		out->source_port = out->dest_port = gw_be16(l4);
		out->has_ports = true;
		return;
	default:
		return;
	}
	out->source_port = gw_be16(l4);
	out->dest_port = gw_be16(l4 + 2);
	out->has_ports = true;
}

static int
parse_ipv4(const uint8_t *data, size_t len, struct gw_packet *out)
{
	uint16_t fragment;

	if (len < GW_IPV4_LEN)
		return GW_E_SHORT;
	out->ip_len = (uint16_t)((data[0] & 15) * 4);
	out->len = gw_be16(data + 2);
	if (out->ip_len < GW_IPV4_LEN || out->len < out->ip_len)
		return GW_E_INVALID;
	if (out->len > len)
		return GW_E_SHORT;
	fragment = gw_be16(data + 6);
	out->tos = data[1];
	out->protocol = data[9];
	out->df = (fragment & GW_IPV4_DF) != 0;
	out->fragment = (fragment & (GW_IPV4_MF | GW_IPV4_OFFSET)) != 0;
	out->plain = !out->fragment && out->ip_len == GW_IPV4_LEN;
	if ((fragment & GW_IPV4_OFFSET) == 0)
		parse_transport(data + out->ip_len, out->len - out->ip_len, out);
	return GW_OK;
}

static bool
is_extension(uint8_t protocol)
{
	return protocol == GW_PROTO_HOPOPTS || protocol == GW_PROTO_ROUTING ||
	       protocol == GW_PROTO_DSTOPTS || protocol == GW_PROTO_FRAGMENT;
}

/* Walk the extension headers (RFC 8200 section 4). Returns whether a transport header follows. */
static bool
skip_extensions(const uint8_t *data, struct gw_packet *out)
{
	size_t at = GW_IPV6_LEN, size;
	bool first = true;
	int i;

	for (i = 0; i < EXTENSIONS_MAX && is_extension(out->protocol); i++) {
		if (out->len - at < 8)
			return false;
		size = 8;
		if (out->protocol == GW_PROTO_FRAGMENT) {
			out->fragment = true;
			first = gw_be16(data + at + 2) >> 3 == 0;
		} else {
			size += (size_t)data[at + 1] * 8;
		}
		if (out->len - at < size)
			return false;
		out->protocol = data[at];
		at += size;
		out->ip_len = (uint16_t)at;
		if (!first)
			return false;
	}
	return !is_extension(out->protocol);
}

static int
parse_ipv6(const uint8_t *data, size_t len, struct gw_packet *out)
{
	if (len < GW_IPV6_LEN)
		return GW_E_SHORT;
	out->len = GW_IPV6_LEN + (uint32_t)gw_be16(data + 4);
	if (out->len > len)
		return GW_E_SHORT;
	out->ip_len = GW_IPV6_LEN;
	out->tos = (uint8_t)(gw_be16(data) >> 4);
	out->protocol = data[6];
	out->df = true;
	out->plain = !is_extension(out->protocol);
	if (skip_extensions(data, out))
		parse_transport(data + out->ip_len, out->len - out->ip_len, out);
	return GW_OK;
}

int
gw_packet_parse(const uint8_t *data, size_t len, struct gw_packet *out)
{
	memset(out, 0, sizeof(*out));
	if (len == 0)
		return GW_E_SHORT;
	out->family = data[0] >> 4;
	if (out->family == 4)
		return parse_ipv4(data, len, out);
	if (out->family == 6)
		return parse_ipv6(data, len, out);
	return GW_E_INVALID;
}

bool
gw_packet_is_control(const struct gw_packet *info)
{
	uint16_t dest = info->dest_port;

	if (info->protocol == GW_PROTO_TCP)
		return dest == PORT_BGP || info->source_port == PORT_BGP;
	if (info->protocol == GW_PROTO_UDP)
		return dest == PORT_BFD || dest == PORT_BFD_ECHO ||
		       dest == PORT_BFD_MULTIHOP;
	return info->protocol == GW_PROTO_ICMP || info->protocol == GW_PROTO_ICMPV6;
}
