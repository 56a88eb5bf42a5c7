/* The flows that the tests of inner packets and of offloads are run with, and how they are read. */
#ifndef TEST_FLOWS_H
#define TEST_FLOWS_H

#include "packet.h"
#include "packets.h"

static const struct flow tcp4 = {.family = 4,
	.protocol = 6,
	.options_len = 12,
	.ttl = 63,
	.tos = 0x2a,
	.id = 0xfffe,
	.sport = 40000,
	.dport = 443,
	.seq = 0xfffffc00,
	.ack = 77,
	.flags = 0x10,
	.window = 501};
static const struct flow flows[] = {
	{.family = 4,
		.protocol = 6,
		.options_len = 12,
		.ttl = 63,
		.tos = 0x2a,
		.id = 0xfffe,
		.sport = 40000,
		.dport = 443,
		.seq = 0xfffffc00,
		.ack = 77,
		.flags = 0x10},
	{.family = 6,
		.protocol = 6,
		.options_len = 0,
		.ttl = 1,
		.tos = 0xff,
		.sport = 1,
		.dport = 65535,
		.seq = 5,
		.ack = 0xffffffff,
		.flags = 0x10,
		.window = 65535},
	{.family = 4, .protocol = 17, .ttl = 255, .df = true, .sport = 4433, .dport = 53},
	{.family = 6, .protocol = 17, .ttl = 64, .tos = 3, .sport = 500, .dport = 4500},
};
#define FLOWS (sizeof flows / sizeof flows[0])

static struct gw_packet
parsed(const uint8_t *data, size_t len)
{
	struct gw_packet info;

	CHECK(gw_packet_parse(data, len, &info) == GW_OK);
	CHECK(info.len == len);
	return info;
}

#endif
