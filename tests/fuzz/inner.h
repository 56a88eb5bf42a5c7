/*
 * What a fuzzer of the data plane knows of inner packets by itself: reading, cutting and comparing them
 * with none of the code under test.
 */
#ifndef FUZZ_INNER_H
#define FUZZ_INNER_H

#include "../c/packets.h"
#include "gso.h"

#define INNER_MAX 65536u

static inline bool
is_v4(const uint8_t *p)
{
	return p[0] >> 4 == 4;
}

/* The length that the IP header says; 0 if it is no packet of that version or not whole. */
static inline size_t
inner_length(const uint8_t *p, size_t len, int version)
{
	size_t header, total;

	if (len == 0 || p[0] >> 4 != version)
		return 0;
	if (version == 6)
		return len >= 40 && 40 + get16(p + 4) <= len ? 40 + get16(p + 4) : 0;
	if (len < 20)
		return 0;
	header = (size_t)(p[0] & 15) * 4;
	total = get16(p + 2);
	return header >= 20 && total >= header && total <= len ? total : 0;
}

static inline bool
ip_checksum_holds(const uint8_t *p)
{
	return slow_sum(0, p, (size_t)(p[0] & 15) * 4) == 0xffff;
}

static inline size_t
ip_len_of(const uint8_t *p)
{
	return is_v4(p) ? (size_t)(p[0] & 15) * 4 : 40;
}

static inline int
protocol_of(const uint8_t *p)
{
	return is_v4(p) ? p[9] : p[6];
}

/* Whole TCP or UDP packets of the simplest form: only of these the order is always known. */
static inline bool
has_known_ports(const uint8_t *p, size_t len)
{
	int protocol = protocol_of(p);
	size_t ip_len = ip_len_of(p);

	if (is_v4(p) && (get16(p + 6) & 0x3fff) != 0)
		return false;
	return (protocol == 6 && len >= ip_len + 20) ||
	       (protocol == 17 && len >= ip_len + 8);
}

/* Must these two keep their order? */
static inline bool
is_same_flow(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
	if (a[0] >> 4 != b[0] >> 4 ||
		memcmp(a + (is_v4(a) ? 12 : 8), b + (is_v4(a) ? 12 : 8),
			is_v4(a) ? 8 : 32) != 0)
		return false;
	/* What has no ports follows every flow of its hosts: surely so the later fragments of IPv4. */
	if (is_v4(a) && ((get16(a + 6) & 0x1fff) != 0 || (get16(b + 6) & 0x1fff) != 0))
		return true;
	return has_known_ports(a, a_len) && has_known_ports(b, b_len) &&
	       protocol_of(a) == protocol_of(b) &&
	       memcmp(a + ip_len_of(a), b + ip_len_of(b), 4) == 0;
}

/* What the header before a packet says must be true of it. Returns the length of its headers. */
static inline size_t
check_super_packet(const struct gw_vnet *vnet, const uint8_t *p, size_t len)
{
	size_t ip_len = ip_len_of(p), header;
	bool tcp = protocol_of(p) == 6;

	CHECK(ip_len == (is_v4(p) ? 20 : 40));
	CHECK(vnet->flags == 1 && vnet->csum_start == ip_len);
	CHECK(vnet->csum_offset == (tcp ? 16 : 6));
	CHECK(vnet->gso_type == (tcp ? (is_v4(p) ? 1 : 4) : 5));
	header = ip_len + (tcp ? (size_t)(p[ip_len + 12] >> 4) * 4 : 8);
	CHECK(vnet->header_len == header && vnet->gso_size > 0);
	CHECK(len > header + vnet->gso_size);
	CHECK(inner_length(p, len, p[0] >> 4) == len);
	CHECK(!is_v4(p) || ip_checksum_holds(p));
	CHECK(get16(p + ip_len + vnet->csum_offset) ==
		slow_pseudo(p, tcp ? 6 : 17, len - ip_len));
	return header;
}

/* Write piece `index` of a super-packet as the kernel cuts it. Returns its length, 0 behind the last. */
static inline size_t
cut_piece(const struct gw_vnet *vnet, const uint8_t *p, size_t len, size_t index,
	uint8_t *out)
{
	size_t header = check_super_packet(vnet, p, len), ip_len = ip_len_of(p);
	size_t at = header + index * vnet->gso_size, size;
	bool last;

	if (at >= len)
		return 0;
	last = len - at <= vnet->gso_size;
	size = last ? len - at : vnet->gso_size;
	memcpy(out, p, header);
	memcpy(out + header, p + at, size);
	if (is_v4(p))
		put16(out + 4, (get16(p + 4) + (unsigned)index) & 0xffff);
	if (protocol_of(p) == 6) {
		put32(out + ip_len + 4, get32(p + ip_len + 4) + (uint32_t)(at - header));
		if (!last)
			out[ip_len + 13] &= 0xf6; /* FIN, PSH */
	}
	seal_checksums(out, header + size, protocol_of(p));
	return header + size;
}

/* 0xffff and 0 are the same number of a ones' complement sum. */
static inline void
one_zero(uint8_t *field)
{
	if (get16(field) == 0xffff)
		put16(field, 0);
}

static inline void
forget(uint8_t *a, uint8_t *b, size_t from, size_t len)
{
	memset(a + from, 0, len);
	memset(b + from, 0, len);
}

/* What a merged packet may not have kept: the id with DF (RFC 6864 section 4.1), which zero it is. */
static inline void
level_merged(uint8_t *a, uint8_t *b)
{
	size_t ip_len = ip_len_of(a);

	if (is_v4(a) && (get16(a + 6) & 0x4000) != 0)
		forget(a, b, 4, 2);
	if (protocol_of(a) == 6) {
		one_zero(a + ip_len + 16);
		one_zero(b + ip_len + 16);
	}
}

#endif
