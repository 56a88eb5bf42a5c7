/* Cutting super-packets and merging segments: each against byte-wise rules, then one against the other. */
#include "gso.h"

#include "merge.h"
#include "flows.h"

static uint8_t big[PACKET_MAX], again[PACKET_MAX], pieces[GW_MERGE_PARTS][2048];

static struct gw_vnet
offload(const struct flow *f, size_t size)
{
	struct gw_vnet vnet = {.flags = GW_VNET_NEEDS_CSUM,
		.gso_size = (uint16_t)size,
		.header_len = 12345,
		.csum_start = (uint16_t)ip_header_len(f),
		.csum_offset = f->protocol == 6 ? 16 : 6};

	if (f->protocol == 17)
		vnet.gso_type = GW_VNET_GSO_UDP_L4;
	else
		vnet.gso_type = f->family == 4 ? GW_VNET_GSO_TCPV4 : GW_VNET_GSO_TCPV6;
	return vnet;
}

/* What segment `i` of `count` must be, written from the rules and not by the code under test. */
static size_t
expected_segment(const struct flow *f, const uint8_t *whole, size_t payload, size_t size,
	size_t i, uint8_t *out)
{
	size_t header = ip_header_len(f) + l4_header_len(f);
	size_t left = payload - i * size, len = left < size ? left : size;
	bool last = (i + 1) * size >= payload;
	uint8_t *tcp = out + ip_header_len(f);

	memcpy(out, whole, header);
	memcpy(out + header, whole + header + i * size, len);
	if (f->family == 4)
		put16(out + 4, (f->id + (unsigned)i) & 0xffff);
	if (f->protocol == 6) {
		put32(tcp + 4, f->seq + (uint32_t)(i * size));
		if (i > 0)
			tcp[13] &= 0x7f;
		if (!last)
			tcp[13] &= 0xf6;
	}
	seal_checksums(out, header + len, f->protocol);
	return header + len;
}

static void
cut_and_compare(const struct flow *f, size_t payload, size_t size, unsigned *random)
{
	size_t len = make_packet(big, f, payload, random);
	struct gw_packet info = parsed(big, len);
	struct gw_vnet vnet = offload(f, size);
	struct gw_cut cut;
	uint8_t wanted[4096], got[4096];
	uint32_t i;

	CHECK(gw_cut_begin(&vnet, big, &info, &cut) == GW_OK);
	CHECK(cut.count == (payload + size - 1) / size);
	for (i = 0; i < cut.count; i++) {
		size_t expected = expected_segment(f, big, payload, size, i, wanted);

		CHECK(gw_cut_len(&cut, i) == expected);
		CHECK(gw_cut_write(&cut, i, got) == expected);
		CHECK(memcmp(wanted, got, expected) == 0);
		CHECK(checksums_hold(got, expected));
	}
}

static void
test_cut_gives_the_segments_the_rules_give(void)
{
	static const size_t payloads[] = {1, 2, 1399, 1400, 1401, 2801, 14000, 65000};
	unsigned random = 1;
	size_t i, j;

	for (i = 0; i < FLOWS; i++) {
		struct flow f = flows[i];

		f.flags |= f.protocol == 6 ? 0x89u : 0; /* CWR, PSH, FIN */
		for (j = 0; j < sizeof payloads / sizeof payloads[0]; j++) {
			cut_and_compare(&f, payloads[j], 1400, &random);
			cut_and_compare(&f, payloads[j], 1 + next_random(&random) % 3000,
				&random);
		}
	}
}

static void
test_a_smaller_size_cuts_smaller_segments(void)
{
	unsigned random = 2;
	struct gw_vnet vnet = offload(&tcp4, 1400);
	struct gw_packet info;
	struct gw_cut cut;

	info = parsed(big, make_packet(big, &tcp4, 2800, &random));
	CHECK(gw_cut_begin(&vnet, big, &info, &cut) == GW_OK);
	gw_cut_resize(&cut, 1500);
	CHECK(cut.count == 2);
	gw_cut_resize(&cut, 1000);
	CHECK(cut.count == 3 && gw_cut_len(&cut, 2) == 20 + 32 + 800);
}

static void
test_impossible_offload_headers_are_refused(void)
{
	static const struct {
		struct gw_vnet vnet;
		int flow;
	} table[] = {
		{{.gso_type = GW_VNET_GSO_TCPV4, .gso_size = 0}, 0},
		{{.gso_type = GW_VNET_GSO_TCPV6, .gso_size = 100}, 0},
		{{.gso_type = GW_VNET_GSO_TCPV4, .gso_size = 100}, 1},
		{{.gso_type = GW_VNET_GSO_UDP_L4, .gso_size = 100}, 0},
		{{.gso_type = GW_VNET_GSO_TCPV4, .gso_size = 100}, 2},
		{{.gso_type = 3, .gso_size = 100}, 2}, /* UFO, which nobody offered */
		{{.gso_type = 77, .gso_size = 100}, 0},
		{{.flags = GW_VNET_NEEDS_CSUM, .csum_start = 19, .csum_offset = 16}, 0},
		{{.flags = GW_VNET_NEEDS_CSUM, .csum_start = 20, .csum_offset = 65535},
			0},
		{{.flags = GW_VNET_NEEDS_CSUM, .csum_start = 65535, .csum_offset = 65535},
			0},
		{{.flags = GW_VNET_NEEDS_CSUM, .csum_start = 20, .csum_offset = 111}, 0},
	};
	unsigned random = 3;
	struct gw_packet info;
	struct gw_cut cut;
	size_t i;

	for (i = 0; i < sizeof table / sizeof table[0]; i++) {
		info = parsed(big, make_packet(big, &flows[table[i].flow], 80, &random));
		CHECK(gw_cut_begin(&table[i].vnet, big, &info, &cut) == GW_E_INVALID);
	}
	/* A super-packet without payload, and a fragment, can not be cut. */
	struct gw_vnet vnet = offload(&tcp4, 1400);
	info = parsed(big, make_packet(big, &tcp4, 0, &random));
	CHECK(gw_cut_begin(&vnet, big, &info, &cut) == GW_E_INVALID);
	(void)make_packet(big, &tcp4, 80, &random);
	put16(big + 6, 0x2000);
	info = parsed(big, 20 + 32 + 80);
	CHECK(gw_cut_begin(&vnet, big, &info, &cut) == GW_E_INVALID);
}

static void
test_a_partial_checksum_is_finished(void)
{
	unsigned random = 4;
	size_t i, len;

	for (i = 0; i < FLOWS; i++) {
		struct gw_vnet vnet = offload(&flows[i], 0);
		uint8_t *field = big + vnet.csum_start + vnet.csum_offset;
		struct gw_packet info;
		struct gw_cut cut;

		vnet.gso_type = GW_VNET_GSO_NONE;
		len = make_packet(big, &flows[i], 333, &random);
		memcpy(pieces[0], big, len);
		put16(field, slow_pseudo(big, flows[i].protocol, len - vnet.csum_start));
		info = parsed(big, len);
		CHECK(gw_cut_begin(&vnet, big, &info, &cut) == GW_OK && cut.count == 1);
		CHECK(gw_cut_write(&cut, 0, again) == len);
		CHECK(memcmp(again, pieces[0], len) == 0);
	}
}

/*
 * The kernel may leave us the checksum of a packet in a packet (a tunnel of the LAN): a UDP one that
 * comes out as zero must be all ones, whatever the outer packet is. Over IPv6 zero is not allowed.
 */
static void
test_a_partial_checksum_inside_is_never_zero(void)
{
	const struct flow outer = {.family = 6, .protocol = 17, .ttl = 64};
	const struct gw_vnet vnet = {
		.flags = GW_VNET_NEEDS_CSUM, .csum_start = 40 + 4 + 40, .csum_offset = 6};
	struct gw_packet info;
	struct gw_cut cut;
	unsigned random = 3;
	uint8_t *inner = big + 44, *udp = inner + 40;
	size_t len;

	/* GRE in IPv6, in it UDP over IPv6. Two bytes of payload make the checksum zero. */
	len = make_packet(inner, &outer, 100, &random);
	put16(udp + 8, 0);
	seal_checksums(inner, len, 17);
	put16(udp + 8, get16(udp + 6));
	put16(udp + 6, slow_pseudo(inner, 17, len - 40));
	write_ip(big, &outer);
	put32(big + 40, 0x86dd);
	big[6] = 47;
	len += 44;
	put16(big + 4, (unsigned)(len - 40));
	info = parsed(big, len);
	CHECK(gw_cut_begin(&vnet, big, &info, &cut) == GW_OK);
	CHECK(gw_cut_write(&cut, 0, again) == len);
	CHECK(get16(again + 90) == 0xffff);
}

/* Segments of one flow, as a sender makes them: `count` of `size`, the last of `last` bytes. */
static void
make_segments(const struct flow *f, unsigned count, size_t size, size_t last, size_t *len,
	unsigned *random)
{
	struct flow next = *f;
	unsigned i;

	for (i = 0; i < count; i++) {
		len[i] = make_packet(
			pieces[i], &next, i + 1 < count ? size : last, random);
		next.seq += (uint32_t)size;
		next.id = (next.id + 1) & 0xffff;
	}
}

static bool
merge_two(struct gw_merge *merge, size_t first_len, size_t second_len)
{
	struct gw_packet first = parsed(pieces[0], first_len);
	struct gw_packet second = parsed(pieces[1], second_len);

	memset(merge, 0, sizeof(*merge));
	if (!gw_merge_can(pieces[0], &first, true) ||
		!gw_merge_can(pieces[1], &second, true))
		return false;
	gw_merge_begin(merge, merge, pieces[0], &first);
	return gw_merge_same_flow(merge, merge, pieces[1], &second) &&
	       gw_merge_add(merge, pieces[1], &second);
}

static size_t
flatten(const struct gw_merge *merge)
{
	size_t i, at = 0;

	for (i = 0; i < merge->count; i++) {
		memcpy(big + at, merge->parts[i].iov_base, merge->parts[i].iov_len);
		at += merge->parts[i].iov_len;
	}
	return at;
}

/* Merge segments, cut the result: the same bytes must come back. */
static void
merge_and_cut(
	const struct flow *f, unsigned count, size_t size, size_t last, unsigned *random)
{
	static uint8_t originals[GW_MERGE_PARTS][2048];
	size_t len[GW_MERGE_PARTS];
	struct gw_merge merge;
	struct gw_packet info;
	struct gw_vnet vnet;
	struct gw_cut cut;
	unsigned i;

	make_segments(f, count, size, last, len, random);
	memcpy(originals, pieces, sizeof(pieces));
	for (i = 0; i < count; i++) {
		info = parsed(pieces[i], len[i]);
		CHECK(gw_merge_can(pieces[i], &info, true));
		if (i == 0)
			gw_merge_begin(&merge, &merge, pieces[i], &info);
		else
			CHECK(gw_merge_add(&merge, pieces[i], &info));
	}
	gw_merge_finish(&merge, &vnet);
	CHECK(merge.total == flatten(&merge));
	info = parsed(big, merge.total);
	CHECK(gw_cut_begin(&vnet, big, &info, &cut) == GW_OK);
	CHECK(cut.count == count);
	for (i = 0; i < count; i++) {
		CHECK(gw_cut_write(&cut, i, again) == len[i]);
		CHECK(memcmp(again, originals[i], len[i]) == 0);
	}
}

static void
test_merging_and_cutting_gives_the_same_bytes(void)
{
	unsigned random = 5, round;
	size_t i, size, last, header;
	unsigned most;

	for (i = 0; i < FLOWS; i++) {
		header = ip_header_len(&flows[i]) + l4_header_len(&flows[i]);
		most = flows[i].protocol == 6 ? GW_MERGE_PARTS : GW_MERGE_UDP_PARTS;
		merge_and_cut(&flows[i], 2, 1, 1, &random);
		merge_and_cut(
			&flows[i], most, (65535 - header) / GW_MERGE_PARTS, 7, &random);
		for (round = 0; round < 40; round++) {
			size = 1 + next_random(&random) % 900;
			last = 1 + next_random(&random) % size;
			merge_and_cut(&flows[i], 2 + next_random(&random) % (most - 1),
				size, last, &random);
		}
	}
}

static void
test_one_packet_is_left_as_it_is(void)
{
	unsigned random = 6;
	size_t len = make_packet(pieces[0], &tcp4, 100, &random);
	struct gw_packet info = parsed(pieces[0], len);
	struct gw_vnet vnet;
	struct gw_merge merge;

	pieces[0][60] ^= 1; /* even a wrong checksum passes on, unchanged */
	memcpy(again, pieces[0], len);
	gw_merge_begin(&merge, &merge, pieces[0], &info);
	gw_merge_finish(&merge, &vnet);
	CHECK(merge.parts[0].iov_len == len && memcmp(again, pieces[0], len) == 0);
	CHECK(vnet.flags == 0 && vnet.gso_type == GW_VNET_GSO_NONE);
}

/* One change in the second segment, checksums made good again, and it may not be merged. */
static void
test_segments_that_would_not_come_out_equal_are_not_merged(void)
{
	static const struct {
		size_t at; /* byte of the packet */
		uint8_t flip;
	} table[] = {
		{1, 4},     /* TOS */
		{5, 1},     /* id, not the next one */
		{8, 1},     /* TTL */
		{15, 1},    /* source address */
		{19, 1},    /* destination address */
		{21, 1},    /* source port */
		{23, 1},    /* destination port */
		{27, 1},    /* sequence */
		{31, 1},    /* acknowledgment */
		{33, 0x20}, /* URG */
		{33, 0x40}, /* ECE */
		{33, 0x80}, /* CWR */
		{33, 0x01}, /* FIN */
		{33, 0x02}, /* SYN */
		{33, 0x04}, /* RST */
		{33, 0x10}, /* no ACK */
		{35, 1},    /* window */
		{39, 1},    /* urgent pointer */
		{43, 1},    /* options */
	};
	unsigned random = 7;
	struct gw_merge merge;
	size_t i, len[2];

	for (i = 0; i < sizeof table / sizeof table[0]; i++) {
		make_segments(&tcp4, 2, 500, 500, len, &random);
		CHECK(merge_two(&merge, len[0], len[1]));
		make_segments(&tcp4, 2, 500, 500, len, &random);
		pieces[1][table[i].at] ^= table[i].flip;
		seal_checksums(pieces[1], len[1], 6);
		if (merge_two(&merge, len[0], len[1])) {
			fprintf(stderr, "row %zu\n", i + 1);
			exit(1);
		}
	}
}

static void
test_a_bad_checksum_stays_bad(void)
{
	unsigned random = 8, second;
	struct gw_merge merge;
	size_t i, len[2];

	for (i = 0; i < FLOWS; i++) {
		for (second = 0; second < 2; second++) {
			make_segments(&flows[i], 2, 500, 500, len, &random);
			pieces[second][len[second] - 1] ^= 1;
			CHECK(!merge_two(&merge, len[0], len[1]));
		}
	}
	make_segments(&tcp4, 2, 500, 500, len, &random);
	pieces[1][10] ^= 1; /* of the IPv4 header */
	CHECK(!merge_two(&merge, len[0], len[1]));
	/* UDP over IPv4 without checksum (RFC 768) has nothing that could be verified. */
	make_segments(&flows[2], 2, 500, 500, len, &random);
	put16(pieces[1] + 26, 0);
	CHECK(!merge_two(&merge, len[0], len[1]));
}

static void
test_order_and_ends(void)
{
	unsigned random = 9;
	struct gw_packet third;
	struct gw_merge merge;
	size_t len[3];

	make_segments(&tcp4, 3, 500, 500, len, &random);
	memcpy(pieces[1], pieces[2], len[2]);
	CHECK(!merge_two(&merge, len[0], len[2])); /* a gap */

	make_segments(&tcp4, 2, 500, 501, len, &random);
	CHECK(!merge_two(&merge, len[0], len[1])); /* larger than the first */

	make_segments(&tcp4, 3, 500, 500, len, &random);
	pieces[1][33] |= 0x08;
	seal_checksums(pieces[1], len[1], 6);
	CHECK(merge_two(&merge, len[0], len[1])); /* PSH is kept ... */
	CHECK((pieces[0][33] & 0x08) != 0);
	third = parsed(pieces[2], len[2]);
	CHECK(!gw_merge_add(&merge, pieces[2], &third)); /* ... and ends it */

	make_segments(&tcp4, 3, 500, 500, len, &random);
	len[1] = len[1] - 100;
	seal_checksums(pieces[1], len[1], 6);
	CHECK(merge_two(&merge, len[0], len[1]));
	put32(pieces[2] + 24, tcp4.seq + 900);
	seal_checksums(pieces[2], len[2], 6);
	third = parsed(pieces[2], len[2]);
	CHECK(!gw_merge_add(
		&merge, pieces[2], &third)); /* after a shorter one nothing follows */
}

static void
test_flows_and_tunnels_are_told_apart(void)
{
	unsigned random = 10;
	struct gw_packet info;
	struct gw_merge merge;
	int other;
	size_t len[2];

	make_segments(&tcp4, 2, 500, 500, len, &random);
	CHECK(merge_two(&merge, len[0], len[1]));
	info = parsed(pieces[1], len[1]);
	CHECK(!gw_merge_same_flow(&merge, &other, pieces[1], &info));
	/* A later fragment has no ports: it belongs to every flow between its hosts. */
	put16(pieces[1] + 6, 100);
	info = parsed(pieces[1], len[1]);
	CHECK(!info.has_ports && gw_merge_same_flow(&merge, &merge, pieces[1], &info));
	CHECK(!gw_merge_can(pieces[1], &info, true));
	/* UDP is merged only where the kernel can cut it. */
	info = parsed(pieces[0], make_packet(pieces[0], &flows[2], 100, &random));
	CHECK(gw_merge_can(pieces[0], &info, true) &&
		!gw_merge_can(pieces[0], &info, false));
}

int
main(void)
{
	test_cut_gives_the_segments_the_rules_give();
	test_a_smaller_size_cuts_smaller_segments();
	test_impossible_offload_headers_are_refused();
	test_a_partial_checksum_is_finished();
	test_a_partial_checksum_inside_is_never_zero();
	test_merging_and_cutting_gives_the_same_bytes();
	test_one_packet_is_left_as_it_is();
	test_segments_that_would_not_come_out_equal_are_not_merged();
	test_a_bad_checksum_stays_bad();
	test_order_and_ends();
	test_flows_and_tunnels_are_told_apart();
	return 0;
}
