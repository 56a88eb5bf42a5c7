/*
 * What must become of what is read from a TUN, found out with none of the code under test: into how many
 * inner packets it falls, and each of these byte by byte.
 */
#ifndef FUZZ_OUTBOUND_MODEL_H
#define FUZZ_OUTBOUND_MODEL_H

#include "hostile.h"

enum { MTU = 1400, READ_MOST = 65536 + 10, EXTENSIONS = 8 };

struct record {
	uint8_t data[READ_MOST]; /* the offload header and the packet */
	size_t data_len;
	struct gw_vnet vnet;
	const uint8_t *packet;
	size_t len, ip_len, header,
		size;   /* header, size: of segments; 0 = it is not cut */
	uint32_t count; /* inner packets */
	uint32_t first; /* how many were sealed before */
	int protocol;
	uint8_t tos;
	bool fragment; /* it is one */
	bool is_sealed, is_fragmented;
};

/* RFC 8200 section 4. Returns whether a transport header may follow. */
static inline bool
walk_extensions(struct record *r)
{
	const uint8_t *p = r->packet;
	bool first = true;
	int i;

	r->ip_len = 40;
	r->protocol = p[6];
	for (i = 0; i <= EXTENSIONS; i++) {
		bool known = r->protocol == 0 || r->protocol == 43 || r->protocol == 44 ||
			     r->protocol == 60;
		size_t rest = r->len - r->ip_len, size = 8;

		if (!known)
			return true;
		if (i == EXTENSIONS || rest < 8)
			return false;
		if (r->protocol == 44) {
			r->fragment = true;
			first = (get16(p + r->ip_len + 2) & 0xfff8) == 0;
		} else {
			size += (size_t)p[r->ip_len + 1] * 8;
		}
		if (rest < size)
			return false;
		r->protocol = p[r->ip_len];
		r->ip_len += size;
		if (!first)
			return false;
	}
	return false;
}

/* Bytes of the TCP or UDP header; 0 if none is whole. */
static inline size_t
transport_len(struct record *r)
{
	const uint8_t *p = r->packet;
	size_t rest, header;

	if (is_v4(p)) {
		r->ip_len = ip_len_of(p);
		r->protocol = p[9];
		r->fragment = (get16(p + 6) & 0x3fff) != 0;
		if ((get16(p + 6) & 0x1fff) != 0)
			return 0;
	} else if (!walk_extensions(r)) {
		return 0;
	}
	rest = r->len - r->ip_len;
	if (r->protocol == 17)
		return rest >= 8 ? 8 : 0;
	if (r->protocol != 6 || rest < 20)
		return 0;
	header = (size_t)(p[r->ip_len + 12] >> 4) * 4;
	return header >= 20 && header <= rest ? header : 0;
}

/* Does the offload header fit the packet? */
static inline bool
is_offload_right(struct record *r, size_t l4_len)
{
	const struct gw_vnet *v = &r->vnet;
	int type = v->gso_type & 0x7f;

	if (v->gso_type == 0)
		return (v->flags & 1) == 0 ||
		       (v->csum_start >= r->ip_len &&
			       (size_t)v->csum_start + v->csum_offset + 2 <= r->len);
	if (!((type == 1 && is_v4(r->packet) && r->protocol == 6) ||
		    (type == 4 && !is_v4(r->packet) && r->protocol == 6) ||
		    (type == 5 && r->protocol == 17)))
		return false;
	if (r->fragment || l4_len == 0 || v->gso_size == 0)
		return false;
	r->header = r->ip_len + l4_len;
	r->size = v->gso_size;
	return r->len > r->header;
}

static inline size_t
piece_len(const struct record *r, size_t index)
{
	size_t at = r->header + index * r->size;

	if (r->header == 0)
		return r->len;
	return r->header + (r->len - at < r->size ? r->len - at : r->size);
}

static inline uint32_t
pieces(const struct record *r)
{
	if (r->header == 0)
		return 1;
	return (uint32_t)((r->len - r->header + r->size - 1) / r->size);
}

static inline size_t
fragment_step(const struct record *r)
{
	return (MTU - r->ip_len) / 8 * 8;
}

static inline uint32_t
fragments_of(const struct record *r, size_t index)
{
	size_t payload = piece_len(r, index) - r->ip_len, step = fragment_step(r);

	return payload == 0 ? 1 : (uint32_t)((payload + step - 1) / step);
}

/* Find out what a record is; what is wrong with it counts as one packet. */
static inline void
classify(struct record *r)
{
	size_t l4_len;
	uint32_t i, whole;

	r->count = 1;
	r->header = r->size = 0;
	r->fragment = r->is_sealed = r->is_fragmented = false;
	if (r->data_len < GW_VNET_LEN)
		return;
	memcpy(&r->vnet, r->data, GW_VNET_LEN);
	r->packet = r->data + GW_VNET_LEN;
	r->len = 0;
	if (r->data_len > GW_VNET_LEN)
		r->len = inner_length(
			r->packet, r->data_len - GW_VNET_LEN, is_v4(r->packet) ? 4 : 6);
	if (r->len == 0)
		return;
	l4_len = transport_len(r);
	if (!is_offload_right(r, l4_len))
		return;
	r->tos = is_v4(r->packet) ? r->packet[1] : (uint8_t)(get16(r->packet) >> 4);
	r->count = whole = pieces(r);
	if (piece_len(r, 0) > MTU) {
		if (!is_v4(r->packet) || (get16(r->packet + 6) & 0x4000) != 0)
			return;
		if (r->header > 0 && r->protocol == 6) {
			r->size = MTU - r->header;
			r->count = pieces(r);
		} else {
			r->is_fragmented = true;
			for (i = r->count = 0; i < whole; i++)
				r->count += fragments_of(r, i);
		}
	}
	r->is_sealed = true;
}

static inline void
write_piece(const struct record *r, uint32_t index, uint8_t *out)
{
	size_t len = piece_len(r, index), at = r->header + index * r->size;
	uint8_t *l4 = out + r->ip_len;

	if (r->header == 0) {
		memcpy(out, r->packet, len);
		if ((r->vnet.flags & 1) != 0) {
			size_t start = r->vnet.csum_start;
			unsigned sum =
				0xffff ^ slow_sum(0, r->packet + start, len - start);

			put16(out + start + r->vnet.csum_offset, sum == 0 ? 0xffff : sum);
		}
		return;
	}
	memcpy(out, r->packet, r->header);
	memcpy(out + r->header, r->packet + at, len - r->header);
	if (is_v4(out))
		put16(out + 4, (get16(out + 4) + index) & 0xffff);
	if (r->protocol == 6) {
		put32(l4 + 4, get32(l4 + 4) + (uint32_t)(at - r->header));
		if (index > 0)
			l4[13] &= 0x7f;
		if (at + r->size < r->len)
			l4[13] &= 0xf6;
	}
	seal_checksums(out, len, r->protocol);
}

static inline size_t
write_fragment(const struct record *r, uint32_t index, uint8_t *out)
{
	static uint8_t whole[READ_MOST];
	uint32_t piece = 0, of;
	size_t at, len, step = fragment_step(r);

	while (index >= (of = fragments_of(r, piece))) {
		index -= of;
		piece++;
	}
	write_piece(r, piece, whole);
	at = r->ip_len + index * step;
	len = piece_len(r, piece) - at;
	len = len < step ? len : step;
	memcpy(out, whole, r->ip_len);
	memcpy(out + r->ip_len, whole + at, len);
	len += r->ip_len;
	put16(out + 2, (unsigned)len);
	put16(out + 6, ((get16(whole + 6) | (index + 1 < of ? 0x2000u : 0u)) +
			       index * (unsigned)step / 8) &
			       0xffff);
	return len;
}

/* Is this the inner packet with that index of the record? */
static inline bool
is_piece(const struct record *r, uint32_t index, const uint8_t *p, size_t len)
{
	static uint8_t want[READ_MOST], have[READ_MOST];

	memcpy(have, p, len);
	if (r->is_fragmented) {
		if (write_fragment(r, index, want) != len || !ip_checksum_holds(p))
			return false;
		forget(want, have, 10, 2);
		/* Which options later fragments have is not looked at. */
		forget(want, have, 20, r->ip_len - 20);
		return memcmp(want, have, len) == 0;
	}
	if (len != piece_len(r, index))
		return false;
	/* Of segments behind extension headers the payload alone is known here. */
	if (r->header > 0 && !is_v4(r->packet) && r->ip_len > 40)
		return memcmp(p + r->header, r->packet + r->header + index * r->size,
			       len - r->header) == 0;
	write_piece(r, index, want);
	return memcmp(want, have, len) == 0;
}

#endif
