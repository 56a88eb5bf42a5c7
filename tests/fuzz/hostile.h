/* The input of a fuzzer as a stream, and packets made of it: near what is honest, and far from it. */
#ifndef FUZZ_HOSTILE_H
#define FUZZ_HOSTILE_H

#include "inner.h"

enum { FLOWS = 6 };

static const uint8_t *input;
static size_t left;

static inline uint8_t
byte(void)
{
	if (left == 0)
		return 0;
	left--;
	return *input++;
}

static inline size_t
bytes(uint8_t *out, size_t most)
{
	size_t len = most < left ? most : left;

	memcpy(out, input, len);
	input += len;
	left -= len;
	return len;
}

/* Time as it passes with each look at the clock: a run says the same each time. */
uint64_t __wrap_gw_now_ns(void);

uint64_t
__wrap_gw_now_ns(void)
{
	static uint64_t now = UINT64_C(1000000000000);

	return now += 1000000;
}

static const struct flow flows[FLOWS] = {
	{.family = 4, .protocol = 6, .ttl = 64, .df = true, .sport = 1, .dport = 2},
	{.family = 4, .protocol = 6, .ttl = 9, .options_len = 12, .sport = 3, .dport = 2},
	{.family = 6, .protocol = 6, .ttl = 64, .tos = 2, .sport = 1, .dport = 2},
	{.family = 4, .protocol = 17, .ttl = 64, .tos = 1, .sport = 1, .dport = 2},
	{.family = 6, .protocol = 17, .ttl = 64, .sport = 1, .dport = 2},
	{.family = 4, .protocol = 17, .ttl = 64, .df = true, .sport = 7, .dport = 2},
};
static struct {
	uint32_t seq;
	uint16_t id;
} sent[FLOWS];

/* The next packet of a flow: mostly one that continues what was before it. */
static inline size_t
next_of_flow(uint8_t *out)
{
	static const uint16_t sizes[] = {1000, 1000, 1000, 100, 1, 0, 13, 1448};
	uint8_t which = byte(), how = byte();
	uint32_t at = which % FLOWS;
	size_t size = sizes[which >> 5];
	unsigned random = how;
	struct flow flow = flows[at];

	flow.id = sent[at].id++;
	flow.seq = sent[at].seq;
	sent[at].seq += (uint32_t)size;
	if ((how & 0x20) != 0)
		flow.options_len = 12;
	flow.flags = how & 0x80 ? how & 0x3f : 0x10;
	flow.tos |= how & 0x40 ? 3 : 0;
	return make_packet(out, &flow, size, &random);
}

/* Change a packet, and perhaps make its checksums right again. */
static inline size_t
spoil(uint8_t *p, size_t len)
{
	uint8_t how = byte(), i;

	for (i = 0; i < (how & 3); i++)
		p[(byte() | (size_t)(byte() & 7) << 8) % len] ^= byte();
	if ((how & 4) != 0 && protocol_of(p) == 6 && ip_len_of(p) + 20 <= len)
		seal_checksums(p, len, 6);
	if ((how & 8) != 0)
		len = 1 + (byte() | (size_t)byte() << 8) % len;
	if ((how & 16) != 0) {
		memset(p + len, how, 64); /* padding behind the packet */
		len += 64;
	}
	return len;
}

#endif
