/* Inner packets for the C tests: built and judged byte by byte, with none of the code under test. */
#ifndef PACKETS_H
#define PACKETS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "check.h"

#define PACKET_MAX (65535u + 64u)

struct flow {
	int family;           /* 4 or 6 */
	int protocol;         /* 6 or 17 */
	unsigned options_len; /* bytes of TCP options */
	unsigned ttl;
	unsigned tos;
	unsigned id; /* IPv4 */
	bool df;
	unsigned sport, dport;
	uint32_t seq, ack;
	unsigned flags; /* TCP */
	unsigned window;
};

static inline void
put16(uint8_t *p, unsigned value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static inline void
put32(uint8_t *p, uint32_t value)
{
	put16(p, value >> 16);
	put16(p + 2, value & 0xffff);
}

static inline unsigned
get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static inline uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* The ones' complement sum of RFC 1071, two bytes at a time. */
static inline uint32_t
slow_sum(uint32_t sum, const uint8_t *p, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		sum += i % 2 == 0 ? (uint32_t)p[i] << 8 : p[i];
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static inline uint32_t
slow_pseudo(const uint8_t *ip, int protocol, size_t l4_len)
{
	const uint8_t *addresses = ip[0] >> 4 == 4 ? ip + 12 : ip + 8;
	uint8_t tail[4] = {0, (uint8_t)protocol, (uint8_t)(l4_len >> 8), (uint8_t)l4_len};
	uint32_t sum = slow_sum(0, addresses, ip[0] >> 4 == 4 ? 8 : 32);

	return slow_sum(sum, tail, sizeof(tail));
}

static inline size_t
ip_header_len(const struct flow *f)
{
	return f->family == 4 ? 20 : 40;
}

static inline size_t
l4_header_len(const struct flow *f)
{
	return f->protocol == 6 ? 20 + f->options_len : 8;
}

/* Set lengths and every checksum of a packet of `len` bytes. */
static inline void
seal_checksums(uint8_t *p, size_t len, int protocol)
{
	size_t ip_len = p[0] >> 4 == 4 ? (size_t)(p[0] & 15) * 4 : 40;
	uint8_t *l4 = p + ip_len, *field = l4 + (protocol == 6 ? 16 : 6);
	size_t l4_len = len - ip_len;
	unsigned check;

	if (p[0] >> 4 == 4) {
		put16(p + 2, (unsigned)len);
		put16(p + 10, 0);
		put16(p + 10, 0xffff ^ slow_sum(0, p, ip_len));
	} else {
		put16(p + 4, (unsigned)(len - 40));
	}
	if (protocol == 17)
		put16(l4 + 4, (unsigned)l4_len);
	put16(field, 0);
	check = 0xffff ^ slow_sum(slow_pseudo(p, protocol, l4_len), l4, l4_len);
	put16(field, protocol == 17 && check == 0 ? 0xffff : check);
}

static inline bool
checksums_hold(const uint8_t *p, size_t len)
{
	size_t ip_len = p[0] >> 4 == 4 ? (size_t)(p[0] & 15) * 4 : 40;
	int protocol = p[0] >> 4 == 4 ? p[9] : p[6];

	if (p[0] >> 4 == 4 && slow_sum(0, p, ip_len) != 0xffff)
		return false;
	return slow_sum(slow_pseudo(p, protocol, len - ip_len), p + ip_len,
		       len - ip_len) == 0xffff;
}

static inline void
write_ip(uint8_t *p, const struct flow *f)
{
	unsigned i;

	memset(p, 0, ip_header_len(f));
	if (f->family == 4) {
		p[0] = 0x45;
		p[1] = (uint8_t)f->tos;
		put16(p + 4, f->id);
		put16(p + 6, f->df ? 0x4000 : 0);
		p[8] = (uint8_t)f->ttl;
		p[9] = (uint8_t)f->protocol;
		put32(p + 12, 0x0a010002);
		put32(p + 16, 0x0a020002);
		return;
	}
	put32(p, 0x60000000u | f->tos << 20 | 0x12345);
	p[6] = (uint8_t)f->protocol;
	p[7] = (uint8_t)f->ttl;
	for (i = 0; i < 16; i++) {
		p[8 + i] = (uint8_t)(0xfd + i * 3);
		p[24 + i] = (uint8_t)(0xfd + i * 5);
	}
}

/* Write a packet of the flow with random payload. Returns its length. */
static inline size_t
make_packet(uint8_t *p, const struct flow *f, size_t payload, unsigned *random)
{
	uint8_t *l4 = p + ip_header_len(f);
	size_t i, header = ip_header_len(f) + l4_header_len(f);

	write_ip(p, f);
	memset(l4, 0, l4_header_len(f));
	put16(l4, f->sport);
	put16(l4 + 2, f->dport);
	if (f->protocol == 6) {
		put32(l4 + 4, f->seq);
		put32(l4 + 8, f->ack);
		l4[12] = (uint8_t)(l4_header_len(f) / 4 << 4);
		l4[13] = (uint8_t)f->flags;
		put16(l4 + 14, f->window);
		for (i = 0; i < f->options_len; i++)
			l4[20 + i] = (uint8_t)(i < 2 ? 1 : 8 + i);
	}
	for (i = 0; i < payload; i++)
		p[header + i] = (uint8_t)next_random(random);
	seal_checksums(p, header + payload, f->protocol);
	return header + payload;
}

#endif
