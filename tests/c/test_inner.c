/* What is done to inner packets: ICMP errors, MSS clamping, fragments, congestion marks; and rate limits. */
#include "ecn.h"
#include "fragment.h"
#include "icmp.h"
#include "mss.h"
#include "packets.h"
#include "rate.h"

static const struct flow udp4 = {
	.family = 4, .protocol = 17, .ttl = 64, .id = 9, .sport = 1, .dport = 2};
static const struct flow udp6 = {
	.family = 6, .protocol = 17, .ttl = 64, .sport = 1, .dport = 2};
static const struct flow syn4 = {.family = 4,
	.protocol = 6,
	.options_len = 12,
	.ttl = 64,
	.sport = 1,
	.dport = 2,
	.flags = 0x02};
static const uint8_t zero[16];
static uint8_t packet[4096], out[4096];
static unsigned random_state = 1;

static struct gw_packet
parsed(const uint8_t *data, size_t len)
{
	struct gw_packet info;

	CHECK(gw_packet_parse(data, len, &info) == GW_OK);
	return info;
}

static size_t
answer(const struct flow *f, size_t payload, const uint8_t *source)
{
	struct gw_packet info =
		parsed(packet, make_packet(packet, f, payload, &random_state));

	return gw_icmp_too_big(packet, &info, 1400, source, out);
}

static void
test_ipv4_too_big(void)
{
	static const uint8_t own[16] = {192, 0, 2, 1};
	size_t len = answer(&udp4, 1500, zero);

	CHECK(len == 576 && get16(out + 2) == 576 && out[9] == 1);
	CHECK(memcmp(out + 12, packet + 16, 4) == 0 &&
		memcmp(out + 16, packet + 12, 4) == 0);
	CHECK(out[20] == 3 && out[21] == 4 && get16(out + 24) == 0 &&
		get16(out + 26) == 1400);
	CHECK(memcmp(out + 28, packet, 548) == 0);
	CHECK(slow_sum(0, out, 20) == 0xffff &&
		slow_sum(0, out + 20, len - 20) == 0xffff);
	CHECK(answer(&udp4, 1500, own) == 576 && memcmp(out + 12, own, 4) == 0);
}

static void
test_ipv6_too_big(void)
{
	size_t len = answer(&udp6, 1500, zero);

	CHECK(len == GW_ICMP_MAX && get16(out + 4) == GW_ICMP_MAX - 40 && out[6] == 58);
	CHECK(memcmp(out + 8, packet + 24, 16) == 0 &&
		memcmp(out + 24, packet + 8, 16) == 0);
	CHECK(out[40] == 2 && out[41] == 0 && get32(out + 44) == 1400);
	CHECK(memcmp(out + 48, packet, GW_ICMP_MAX - 48) == 0);
	CHECK(checksums_hold(out, len));
}

static size_t
again(uint8_t *changed, unsigned value)
{
	struct gw_packet info;

	(void)make_packet(
		packet, packet[0] >> 4 == 4 ? &udp4 : &udp6, 1500, &random_state);
	*changed = (uint8_t)value;
	info = parsed(packet, 1600);
	return gw_icmp_too_big(packet, &info, 1400, zero, out);
}

static void
test_what_must_not_be_answered_is_not(void)
{
	static const uint8_t own[16] = {0xfd, 1};
	const struct gw_packet multicast = {.len = 1548, .ip_len = 40, .family = 6};
	struct gw_packet info;

	packet[0] = 0x45;
	CHECK(again(packet + 7, 1) == 0);    /* later fragment */
	CHECK(again(packet + 12, 224) == 0); /* multicast source */
	CHECK(again(packet + 12, 0) == 0);
	CHECK(again(packet + 12, 127) == 0);
	CHECK(again(packet + 12, 10) == 576);
	CHECK(again(packet + 16, 239) == 0); /* multicast destination */
	CHECK(again(packet + 16, 255) == 0);
	packet[0] = 0x60;
	CHECK(again(packet + 8, 0xff) == 0);
	CHECK(again(packet + 8, 0xfd) == GW_ICMP_MAX);
	/* ICMPv6 may answer a multicast, but never from its address. */
	CHECK(again(packet + 24, 0xff) == 0);
	CHECK(gw_icmp_too_big(packet, &multicast, 1400, own, out) == GW_ICMP_MAX);
	CHECK(memcmp(out + 8, own, 16) == 0);
	/* ICMP errors are not answered, queries are. */
	(void)make_packet(packet, &udp4, 1500, &random_state);
	packet[9] = 1;
	packet[20] = 3;
	info = parsed(packet, 1600);
	CHECK(gw_icmp_too_big(packet, &info, 1400, zero, out) == 0);
	packet[20] = 8;
	info = parsed(packet, 1600);
	CHECK(gw_icmp_too_big(packet, &info, 1400, zero, out) == 576);
	(void)make_packet(packet, &udp6, 1500, &random_state);
	packet[6] = 58;
	packet[40] = 1;
	info = parsed(packet, 1600);
	CHECK(gw_icmp_too_big(packet, &info, 1400, zero, out) == 0);
	packet[40] = 128;
	info = parsed(packet, 1600);
	CHECK(gw_icmp_too_big(packet, &info, 1400, zero, out) == GW_ICMP_MAX);
}

/* A SYN whose options are `options`, after clamping to `mss`. */
static void
clamp(const uint8_t *options, unsigned flags, uint16_t mss)
{
	size_t len = make_packet(packet, &syn4, 0, &random_state);
	struct gw_packet info;

	memcpy(packet + 40, options, 12);
	packet[33] = (uint8_t)flags;
	seal_checksums(packet, len, 6);
	info = parsed(packet, len);
	gw_mss_clamp(packet, &info, mss);
	CHECK(checksums_hold(packet, len));
}

static void
test_mss_is_lowered_never_raised(void)
{
	static const uint8_t even[12] = {2, 4, 0x05, 0xb4, 1, 1, 1, 1, 1, 1, 1, 1};
	static const uint8_t odd[12] = {1, 2, 4, 0x05, 0xb4, 1, 1, 1, 1, 1, 1, 1};
	static const uint8_t last[12] = {3, 3, 7, 4, 2, 1, 1, 1, 2, 4, 0x05, 0xb4};
	static const uint8_t none[12] = {1, 1, 8, 10, 2, 4, 5, 0xb4, 2, 4, 5, 0xb4};
	static const uint8_t broken[12] = {8, 0, 2, 4, 5, 0xb4, 0, 0, 0, 0, 0, 0};
	static const uint8_t ended[12] = {0, 2, 4, 5, 0xb4, 0, 0, 0, 0, 0, 0, 0};

	clamp(even, 0x02, 1360);
	CHECK(get16(packet + 42) == 1360);
	clamp(even, 0x12, 1360); /* SYN ACK */
	CHECK(get16(packet + 42) == 1360);
	clamp(odd, 0x02, 1361);
	CHECK(get16(packet + 43) == 1361);
	clamp(last, 0x02, 536);
	CHECK(get16(packet + 50) == 536);
	clamp(even, 0x02, 1460);
	CHECK(get16(packet + 42) == 1460);
	clamp(even, 0x02, 9000);
	CHECK(get16(packet + 42) == 1460);
	clamp(even, 0x02, 0);
	CHECK(get16(packet + 42) == 1460);
	clamp(even, 0x10, 1360); /* no SYN */
	CHECK(get16(packet + 42) == 1460);
	clamp(none, 0x02, 1360);
	CHECK(memcmp(packet + 40, none, 12) == 0);
	clamp(broken, 0x02, 1360);
	CHECK(memcmp(packet + 40, broken, 12) == 0);
	clamp(ended, 0x02, 1360);
	CHECK(memcmp(packet + 40, ended, 12) == 0);
}

/* Fragments put together again are the packet. */
static void
fragment(size_t payload, uint32_t mtu)
{
	static uint8_t whole[4096];
	size_t len = make_packet(packet, &udp4, payload, &random_state), at = 0;
	struct gw_packet info = parsed(packet, len);
	uint32_t i, count = gw_fragment_count(&info, mtu);

	for (i = 0; i < count; i++) {
		uint32_t size = gw_fragment_write(packet, &info, mtu, i, out);

		CHECK(size == gw_fragment_len(&info, mtu, i));
		CHECK(size <= mtu && get16(out + 2) == size &&
			slow_sum(0, out, 20) == 0xffff);
		CHECK((get16(out + 6) & 0x1fff) * 8u == at);
		CHECK(((get16(out + 6) & 0x2000) != 0) == (i + 1 < count));
		CHECK(get16(out + 4) == udp4.id);
		memcpy(whole + at, out + 20, size - 20);
		at += size - 20;
	}
	CHECK(at == len - 20 && memcmp(whole, packet + 20, at) == 0);
}

static void
test_fragments_make_the_packet(void)
{
	size_t payload;

	for (payload = 0; payload < 3000; payload += 61) {
		fragment(payload, 576);
		fragment(payload, 1401);
	}
	fragment(1400 - 28, 1400);
}

static void
test_a_fragment_is_cut_again(void)
{
	struct gw_packet info;

	(void)make_packet(packet, &udp4, 1000, &random_state);
	put16(packet + 6, 0x2000 | 50);
	info = parsed(packet, 1028);
	CHECK(gw_fragment_count(&info, 576) == 2);
	(void)gw_fragment_write(packet, &info, 576, 0, out);
	CHECK(get16(out + 6) == (0x2000 | 50));
	(void)gw_fragment_write(packet, &info, 576, 1, out);
	CHECK(get16(out + 6) ==
		(0x2000 |
			(50 + 552 / 8))); /* more follow: the original was not the last */
}

static void
test_options_that_are_not_copied_become_padding(void)
{
	static const uint8_t options[8] = {0x07, 3, 4, 0x83, 3, 5, 1, 0};
	static const uint8_t later[8] = {1, 1, 1, 0x83, 3, 5, 1, 0};
	struct gw_packet info;

	(void)make_packet(packet, &udp4, 1000, &random_state);
	memmove(packet + 28, packet + 20, 1008);
	memcpy(packet + 20, options, 8);
	packet[0] = 0x47;
	put16(packet + 2, 1036);
	info = parsed(packet, 1036);
	(void)gw_fragment_write(packet, &info, 576, 0, out);
	CHECK(memcmp(out + 20, options, 8) == 0);
	(void)gw_fragment_write(packet, &info, 576, 1, out);
	CHECK(memcmp(out + 20, later, 8) == 0 && slow_sum(0, out, 28) == 0xffff);
}

/* RFC 6040 figure 4: rows inner, columns outer (Not-ECT, ECT(1), ECT(0), CE); -1 = drop. */
static void
test_congestion_marks(void)
{
	static const int table[4][4] = {
		/* Not-ECT */ {0, 0, 0, -1},
		/* ECT(1) */ {1, 1, 1, 3},
		/* ECT(0) */ {2, 1, 2, 3},
		/* CE */ {3, 3, 3, 3},
	};
	const struct flow *flows[2] = {&udp4, &udp6};
	struct gw_packet info;
	unsigned inner, outer;
	size_t i, len;

	for (inner = 0; inner < 4; inner++)
		for (outer = 0; outer < 4; outer++)
			CHECK(gw_ecn_combine(outer, inner) == table[inner][outer]);
	for (i = 0; i < 2; i++) {
		struct flow f = *flows[i];

		f.tos = 0xba;
		len = make_packet(packet, &f, 10, &random_state);
		info = parsed(packet, len);
		gw_ecn_set(packet, &info, 3);
		CHECK(info.tos == 0xbb && parsed(packet, len).tos == 0xbb &&
			checksums_hold(packet, len));
	}
}

static void
test_rate_lets_pass_what_was_bought(void)
{
	/* 1000 units a second, 10 ms worth at once. */
	struct gw_rate_config config = gw_rate_make(1000, 10000000);
	struct gw_rate_config none = gw_rate_make(0, 10000000);
	struct gw_rate rate = {0};
	uint64_t now = UINT64_C(5000000000);
	uint32_t passed = 0;
	int i;

	CHECK(gw_rate_take(&rate, &config, now, 100, 1) == 10);
	CHECK(gw_rate_take(&rate, &config, now, 1, 1) == 0);
	for (i = 0; i < 100000; i++) {
		now += 100000; /* ten seconds in all, asked for ten times too much */
		passed += gw_rate_take(&rate, &config, now, 1, 1);
	}
	CHECK(passed >= 9990 && passed <= 10010);
	/* An item larger than the burst passes when the bucket is full, and is paid for. */
	now += UINT64_C(1000000000);
	CHECK(gw_rate_take(&rate, &config, now, 1, 500) == 1);
	now += UINT64_C(480000000);
	CHECK(gw_rate_take(&rate, &config, now, 1, 1) == 0);
	now += UINT64_C(20000000);
	CHECK(gw_rate_take(&rate, &config, now, 1, 1) == 1);
	CHECK(gw_rate_take(&rate, &none, now, 1000000, 1000000) == 1000000);
}

static void
test_checksums_of_every_length_and_alignment(void)
{
	static uint8_t data[300];
	size_t at, len;

	for (at = 0; at < sizeof(data); at++)
		data[at] =
			(uint8_t)(next_random(&random_state) | 0x80); /* many carries */
	for (at = 0; at < 9; at++) {
		for (len = 0; len + at < sizeof(data); len++) {
			uint16_t sum = gw_sum_fold(gw_sum(0, data + at, len));

			CHECK(get16((const uint8_t *)&sum) ==
				slow_sum(0, data + at, len));
		}
	}
}

int
main(void)
{
	test_ipv4_too_big();
	test_ipv6_too_big();
	test_what_must_not_be_answered_is_not();
	test_mss_is_lowered_never_raised();
	test_fragments_make_the_packet();
	test_a_fragment_is_cut_again();
	test_options_that_are_not_copied_become_padding();
	test_congestion_marks();
	test_rate_lets_pass_what_was_bought();
	test_checksums_of_every_length_and_alignment();
	return 0;
}
