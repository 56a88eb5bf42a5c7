/* Traffic selectors: a table of packets and what is within. */
#include "selector.h"

#include <stdlib.h>

#include "packets.h"

#define ANY_PORT .first_port = 0, .last_port = 65535

static struct gw_sa sa;
static uint8_t packet[2048];

/* 10.1.0.0/24 any <-> 10.2.0.0 - 10.2.0.9 TCP 80-443, ICMP echo request only, and any IPv6 */
static void
fill_sa(void)
{
	memset(&sa, 0, sizeof(sa));
	sa.local_count = 2;
	sa.remote_count = 3;
	sa.local[0] = (struct gw_selector){
		.family = 4, ANY_PORT, .first = {10, 1, 0, 0}, .last = {10, 1, 0, 255}};
	sa.local[1] = (struct gw_selector){.family = 6, ANY_PORT};
	memset(sa.local[1].last, 0xff, 16);
	sa.remote[0] = (struct gw_selector){.family = 4,
		.protocol = 6,
		.first_port = 80,
		.last_port = 443,
		.first = {10, 2, 0, 0},
		.last = {10, 2, 0, 9}};
	sa.remote[1] = (struct gw_selector){.family = 4,
		.protocol = 1,
		.first_port = 0x0800,
		.last_port = 0x08ff,
		.first = {10, 2, 0, 0},
		.last = {10, 2, 0, 9}};
	sa.remote[2] = sa.local[1];
}

static struct gw_selectors *
made(void)
{
	struct gw_selectors *selectors;

	CHECK(gw_selectors_new(&sa, &selectors) == GW_OK);
	return selectors;
}

static struct gw_packet
parsed(void)
{
	struct gw_packet info;

	CHECK(gw_packet_parse(packet, sizeof(packet), &info) == GW_OK);
	return info;
}

static bool
matches(const struct gw_selectors *s, bool outbound)
{
	struct gw_packet info = parsed();

	return gw_selectors_match(s, packet, &info, outbound);
}

/* Packets from 10.1.0.x to 10.2.0.y. */
static void
test_table(void)
{
	static const struct {
		uint8_t x, y;
		int protocol;
		unsigned sport, dport;
		bool within;
	} table[] = {
		/* 1 */ {2, 2, 6, 1000, 80, true},
		/* 2 */ {2, 2, 6, 1000, 443, true},
		/* 3 */ {2, 2, 6, 1000, 444, false},
		/* 4 */ {2, 2, 6, 80, 79, false},
		/* 5 */ {2, 9, 6, 1000, 80, true},
		/* 6 */ {2, 10, 6, 1000, 80, false},
		/* 7 */ {0, 0, 6, 1000, 80, true},
		/* 8 */ {255, 0, 6, 1000, 80, true},
		/* 9 */ {2, 2, 17, 1000, 80, false},
	};
	struct gw_selectors *s = made();
	unsigned random = 1;
	size_t i;

	CHECK(!s->any4 && s->any6);
	for (i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct flow f = {.family = 4,
			.protocol = table[i].protocol,
			.ttl = 64,
			.sport = table[i].sport,
			.dport = table[i].dport,
			.flags = 0x10};

		(void)make_packet(packet, &f, 10, &random);
		packet[15] = table[i].x;
		packet[19] = table[i].y;
		if (matches(s, true) != table[i].within) {
			fprintf(stderr, "row %zu\n", i + 1);
			exit(1);
		}
		/* The same packet coming in has its ends exchanged: it is not within. */
		CHECK(!matches(s, false));
	}
	free(s);
}

static void
test_inbound_packets_come_from_the_remote_side(void)
{
	struct flow f = {.family = 4,
		.protocol = 6,
		.ttl = 64,
		.sport = 443,
		.dport = 5,
		.flags = 0x10};
	struct gw_selectors *s = made();
	unsigned random = 2;

	(void)make_packet(packet, &f, 10, &random);
	put32(packet + 12, 0x0a020003);
	put32(packet + 16, 0x0a010004);
	CHECK(matches(s, false) && !matches(s, true));
	put32(packet + 16, 0x0a010104); /* beyond ours */
	CHECK(!matches(s, false));
	free(s);
}

static void
test_icmp_is_selected_by_type_and_code(void)
{
	struct flow f = {.family = 4, .protocol = 17, .ttl = 64};
	struct gw_selectors *s;
	unsigned random = 3;

	fill_sa();
	s = made();
	(void)make_packet(packet, &f, 10, &random);
	packet[9] = 1;
	put16(packet + 20, 0x0800);
	CHECK(matches(s, true));
	put16(packet + 20, 0x0000); /* echo reply */
	CHECK(!matches(s, true));
	free(s);
}

static void
test_a_later_fragment_is_within_all_ports_only(void)
{
	struct flow f = {
		.family = 4, .protocol = 6, .ttl = 64, .dport = 80, .flags = 0x10};
	struct gw_selectors *s = made();
	unsigned random = 4;

	(void)make_packet(packet, &f, 10, &random);
	CHECK(matches(s, true));
	put16(packet + 6, 3);
	CHECK(!matches(s, true));
	free(s);
	sa.remote[0].first_port = 0;
	sa.remote[0].last_port = 65535;
	s = made();
	CHECK(matches(s, true));
	free(s);
	fill_sa();
}

static void
test_ipv6_any_needs_no_look(void)
{
	struct flow f = {.family = 6, .protocol = 17, .ttl = 64};
	struct gw_selectors *s = made();
	unsigned random = 5;

	(void)make_packet(packet, &f, 10, &random);
	CHECK(matches(s, true) && matches(s, false));
	free(s);
	sa.local[1].first[0] = 0xfd; /* no longer any: the source begins with fd */
	s = made();
	CHECK(!s->any6 && matches(s, true));
	packet[8] = 0xfc;
	CHECK(!matches(s, true));
	free(s);
	fill_sa();
}

static void
refused(void)
{
	struct gw_selectors *s = (void *)1;

	CHECK(gw_selectors_new(&sa, &s) == GW_E_INVALID && s == NULL);
	fill_sa();
}

static void
test_wrong_selectors_are_refused(void)
{
	sa.local_count = 0;
	refused();
	sa.remote_count = 0;
	refused();
	sa.local_count = GW_SELECTORS_MAX + 1;
	refused();
	sa.remote[1].family = 5;
	refused();
	sa.remote[0].first_port = 444;
	refused();
	sa.remote[0].first[3] = 10; /* above last */
	refused();
}

int
main(void)
{
	fill_sa();
	test_table();
	test_inbound_packets_come_from_the_remote_side();
	test_icmp_is_selected_by_type_and_code();
	test_a_later_fragment_is_within_all_ports_only();
	test_ipv6_any_needs_no_look();
	test_wrong_selectors_are_refused();
	return 0;
}
