/*
 * What must come of datagrams from the network, found out with none of the code under test: which
 * segments are opened by which SA, which inner packets are valid, how they look then, and in which
 * counter each segment ends.
 */
#ifndef FUZZ_INBOUND_MODEL_H
#define FUZZ_INBOUND_MODEL_H

#include "hostile.h"
#include "internal.h"

enum { TUNNELS = 2, SAS = 3 };
enum { KEPT = 512, ARENA = 1 << 20, LIMIT = 40, CLAMP = 536 };

static const struct gw_sa sas[SAS] = {
	{.spi = 0x1001,
		.encr = GW_ENCR_AES_GCM_16,
		.encr_key_len = 36,
		.replay_window = 64},
	{.spi = 0x2002,
		.encr = GW_ENCR_AES_CBC,
		.encr_key_len = 16,
		.integ = GW_INTEG_SHA2_256_128,
		.integ_key_len = 32,
		.replay_window = 1024},
	/* Of the second tunnel: IPv4 from 10.0.0.0/8 alone, and only so many. */
	{.spi = 0x3003,
		.encr = GW_ENCR_CHACHA20_POLY1305,
		.encr_key_len = 36,
		.replay_window = 64,
		.hard_packets = LIMIT},
};

/* ---- what was sealed, and what is expected of it ---- */

struct sealed {
	uint32_t sa;
	uint32_t seq;
	const uint8_t *esp, *text;
	size_t len, text_len;
};

struct expected {
	int tunnel;
	uint8_t *packet;
	size_t len;
	bool is_marked; /* the congestion mark, and so the header's checksum, was changed */
	bool is_met;
};

struct arena {
	uint8_t bytes[ARENA];
	size_t used;
};

static struct arena of_sealed, of_expected;
static struct sealed sealed[KEPT];
static struct expected expected[KEPT];
static uint32_t sealed_count, expected_count;
static struct {
	uint32_t top, packets;
	bool seen[65536];
} windows[SAS];
static struct {
	uint64_t segments, keepalives, markers, ike, punted, written, refused;
} model;

static inline uint8_t *
keep(struct arena *arena, const uint8_t *data, size_t len)
{
	uint8_t *copy = arena->bytes + arena->used;

	CHECK(arena->used + len <= ARENA);
	memcpy(copy, data, len);
	arena->used += len;
	return copy;
}

struct datagram {
	uint8_t data[65536];
	size_t len;
	int32_t size; /* that the kernel says, with so many of its bytes */
	uint8_t size_bytes;
	uint8_t tos;
};

/* ---- what must come of a segment ---- */

static inline bool
window_takes(uint32_t sa, uint32_t seq)
{
	if (seq == 0)
		return false;
	if (seq <= windows[sa].top && windows[sa].top - seq >= sas[sa].replay_window)
		return false;
	if (windows[sa].seen[seq])
		return false;
	if (sas[sa].hard_packets != 0 && windows[sa].packets >= sas[sa].hard_packets)
		return false;
	windows[sa].packets++;
	windows[sa].seen[seq] = true;
	if (seq > windows[sa].top)
		windows[sa].top = seq;
	return true;
}

/* RFC 6040 section 4.2. Returns false if the packet is to be dropped. */
static inline bool
mark(struct expected *e, unsigned outer)
{
	bool v4 = is_v4(e->packet);
	unsigned inner = v4 ? e->packet[1] & 3 : e->packet[1] >> 4 & 3, after = inner;

	if ((outer & 3) == 3 && inner == 0)
		return false;
	if ((outer & 3) == 3)
		after = 3;
	else if ((outer & 3) == 1 && inner == 2)
		after = 1;
	e->is_marked = after != inner;
	if (e->is_marked && v4) {
		bool held = ip_checksum_holds(e->packet);

		e->packet[1] = (uint8_t)((e->packet[1] & 0xfc) | after);
		put16(e->packet + 10, 0);
		put16(e->packet + 10,
			(held ? 0xffff : 0x1234) ^
				slow_sum(0, e->packet, ip_len_of(e->packet)));
	} else if (e->is_marked) {
		e->packet[1] = (uint8_t)((e->packet[1] & 0xcf) | after << 4);
	}
	return true;
}

static inline void
expect_text(const struct sealed *one, unsigned tos)
{
	const uint8_t *text = one->text;
	size_t n = one->text_len, pad = text[n - 2], len, i;
	int version = text[n - 1] == 4 ? 4 : text[n - 1] == 41 ? 6 : 0;
	struct expected *e = &expected[expected_count];

	if (pad + 2 > n || version == 0)
		return;
	for (i = 0; i < pad; i++)
		if (text[n - 2 - pad + i] != i + 1)
			return;
	len = inner_length(text, n - 2 - pad, version);
	if (len == 0 || (one->sa == 2 && (version == 6 || text[12] != 10)))
		return;
	CHECK(expected_count < KEPT);
	*e = (struct expected){.tunnel = one->sa == 2,
		.packet = keep(&of_expected, text, len),
		.len = len};
	if (mark(e, tos))
		expected_count++;
}

static inline void
expect_esp(const uint8_t *esp, size_t len, unsigned tos)
{
	uint32_t i;

	for (i = 0; i < sealed_count; i++)
		if (sealed[i].len == len && memcmp(sealed[i].esp, esp, len) == 0) {
			if (window_takes(sealed[i].sa, sealed[i].seq))
				expect_text(&sealed[i], tos);
			return;
		}
}

static inline void
expect_segment(const uint8_t *data, size_t len, unsigned tos)
{
	model.segments++;
	if (len == 1 && data[0] == 0xff)
		model.keepalives++;
	else if (len < 4)
		model.markers++;
	else if (get32(data) == 0)
		model.ike++;
	else
		expect_esp(data, len, tos);
}

static inline void
expect_datagram(const struct datagram *d, const struct gw_socket *from)
{
	size_t at = 0, size = d->len > 0 ? d->len : 1, header = 0;
	int32_t told = 0;
	unsigned tos = d->tos;

	if (from->encap == GW_ENCAP_ESP) {
		if (from->family == 4) {
			header = d->len < 20 ? d->len : (size_t)(d->data[0] & 15) * 4;
			tos = d->data[1];
		}
		model.segments++;
		if (d->len >= header + 8)
			expect_esp(d->data + header, d->len - header, tos);
		return;
	}
	memcpy(&told, &d->size, d->size_bytes);
	if (told > 0)
		size = (size_t)told;
	do {
		expect_segment(
			d->data + at, d->len - at < size ? d->len - at : size, tos);
		at += size;
	} while (at < d->len);
}

/* Is this what was expected, whatever merging and marking may change? */
static inline bool
is_equal(const struct expected *e, const uint8_t *p, size_t len, bool merged)
{
	static uint8_t a[INNER_MAX], b[INNER_MAX];
	size_t ip_len, tcp_len;

	if (e->len != len || e->packet[0] != p[0])
		return false;
	memcpy(a, e->packet, len);
	memcpy(b, p, len);
	ip_len = ip_len_of(a);
	if (merged)
		level_merged(a, b);
	if ((merged || e->is_marked) && is_v4(a)) {
		if (ip_checksum_holds(e->packet) != ip_checksum_holds(p))
			return false;
		forget(a, b, 10, 2);
	}
	/* The second tunnel clamps the MSS. */
	if (e->tunnel == 1 && protocol_of(a) == 6 && len >= ip_len + 20) {
		tcp_len = (size_t)(a[ip_len + 12] >> 4) * 4;
		forget(a, b, ip_len + 16, 2);
		if (tcp_len > 20 && ip_len + tcp_len <= len)
			forget(a, b, ip_len + 20, tcp_len - 20);
	}
	return memcmp(a, b, len) == 0;
}

static inline void
meet(int tunnel, const uint8_t *p, size_t len, bool merged)
{
	uint32_t i, before;

	for (i = 0; i < expected_count; i++)
		if (!expected[i].is_met && expected[i].tunnel == tunnel &&
			is_equal(&expected[i], p, len, merged))
			break;
	CHECK(i < expected_count);
	expected[i].is_met = true;
	for (before = 0; before < i; before++)
		CHECK(expected[before].is_met || expected[before].tunnel != tunnel ||
			!is_same_flow(
				expected[before].packet, expected[before].len, p, len));
}

/* ---- the judge ---- */

static inline void
add_drops(const uint64_t *drops, uint64_t *sum)
{
	uint32_t i;

	for (i = 0; i < GW_DROP_COUNT; i++)
		sum[i] += drops[i];
}

static inline void
judge(struct gw_dp *dp)
{
	uint64_t drops[GW_DROP_COUNT] = {0}, in_packets = 0, total;
	struct gw_worker_stats of_worker;
	struct gw_tunnel_stats stats;
	uint32_t i;

	CHECK(gw_dp_worker_stats(dp, 0, &of_worker) == GW_OK);
	add_drops(of_worker.drops, drops);
	for (i = 0; i < TUNNELS; i++) {
		CHECK(gw_dp_tunnel_stats(dp, i + 1, &stats) == GW_OK);
		add_drops(stats.drops, drops);
		in_packets += stats.in_packets;
	}
	total = in_packets + model.punted;
	for (i = 0; i < GW_DROP_COUNT; i++)
		total += drops[i];
	CHECK(total == model.segments && of_worker.udp_segments_in == model.segments);
	CHECK(in_packets == model.written && drops[GW_DROP_TUN_WRITE] == model.refused);
	CHECK(drops[GW_DROP_KEEPALIVE] == model.keepalives);
	CHECK(drops[GW_DROP_MARKER_SHORT] == model.markers);
	CHECK(drops[GW_DROP_PUNT_FULL] + model.punted == model.ike);
	for (i = 0; i < expected_count; i++)
		CHECK(expected[i].is_met);
}

#endif
