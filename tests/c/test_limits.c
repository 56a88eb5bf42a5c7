/*
 * How much an outbound SA may carry: no sequence number is used twice (RFC 4303 section 3.3.3),
 * and its life ends at its limits (RFC 4301 section 4.4.2.1), of which each is told once.
 */
#include "internal.h"
#include "peer.h"

#define LAST_SEQ UINT64_C(0xffffffff)

struct told {
	unsigned soft, hard;
};

static struct gw_outbound *sa;
static size_t len;
static uint64_t put_so_far;

static void
begin_limited(const struct gw_sa *out)
{
	struct gw_sa in = sa_config(SPI_IN);

	begin_with(&in, out);
	sa = atomic_load(&gw_tunnel_find(plane.dp, TUNNEL)->outbound[0]);
	len = make_packet(packet, &udp4, 100, &random_state);
	put_so_far = 0;
}

/* Wait until all packets that were put are counted, and say what is told since the last time. */
static struct told
settle(void)
{
	struct told told = {0, 0};
	struct gw_punt record;
	int i;

	for (i = 0; i < DEADLINE_MS &&
		    tunnel_stats(&plane).out_packets + all_drops(&plane) < put_so_far;
		i++)
		(void)poll(NULL, 0, 1);
	CHECK(tunnel_stats(&plane).out_packets + all_drops(&plane) == put_so_far);
	while (recv(plane.punt, &record, sizeof(record), MSG_DONTWAIT) > 0) {
		CHECK(record.tunnel == TUNNEL && record.spi == SPI_OUT);
		CHECK(record.type == GW_PUNT_SOFT_LIMIT ||
			record.type == GW_PUNT_HARD_LIMIT);
		if (record.type == GW_PUNT_SOFT_LIMIT)
			told.soft++;
		else
			told.hard++;
	}
	return told;
}

static struct told
put(unsigned count)
{
	put_so_far += count;
	while (count-- > 0)
		tun_put(plane.tun[0], NULL, packet, len);
	return settle();
}

/* One super-packet of so many datagrams. */
static struct told
put_super(unsigned count)
{
	const struct gw_vnet vnet = {.flags = 1,
		.gso_type = GW_VNET_GSO_UDP_L4,
		.gso_size = 100,
		.csum_start = 20,
		.csum_offset = 6};
	static uint8_t super[PACKET_MAX];

	put_so_far += count;
	tun_put(plane.tun[0], &vnet, super,
		make_packet(super, &udp4, count * 100, &random_state));
	return settle();
}

/* What the peer gets next has these sequence numbers, and there is nothing behind it. */
static void
check_numbers(uint64_t first, unsigned count)
{
	for (uint64_t number = first; number < first + count; number++) {
		(void)receive_esp(got);
		CHECK(get32(got + 4) == (uint32_t)number);
	}
	CHECK(recv(peer, got, sizeof(got), 0) < 0);
}

static bool
is_told(struct told told, unsigned soft, unsigned hard)
{
	return told.soft == soft && told.hard == hard;
}

static void
test_numbers_begin_with_1_and_follow_each_other(void)
{
	struct gw_sa out = sa_config(SPI_OUT);

	begin_limited(&out);
	CHECK(is_told(put(2), 0, 0));
	CHECK(is_told(put_super(5), 0, 0));
	CHECK(is_told(put(1), 0, 0));
	check_numbers(1, 8);
	CHECK(all_drops(&plane) == 0);
	end();
}

static void
test_no_number_is_used_twice(void)
{
	struct gw_sa out = sa_config(SPI_OUT);

	out.hard_packets = LAST_SEQ + 1; /* more than there are numbers */
	begin_limited(&out);
	atomic_store(&sa->seq, LAST_SEQ - 5);
	CHECK(is_told(put(1), 0, 0));
	CHECK(is_told(put_super(3), 0, 0));
	CHECK(is_told(put_super(3), 0, 1)); /* the last one is left */
	CHECK(is_told(put(3), 0, 0));
	CHECK(is_told(put_super(2), 0, 0));
	check_numbers(LAST_SEQ - 4, 5);
	CHECK(drops(&plane, GW_DROP_SEQ_EXHAUSTED) == 7 && all_drops(&plane) == 7);
	CHECK(atomic_load(&sa->seq) == LAST_SEQ);
	end();
}

static void
test_extended_numbers_go_on(void)
{
	struct gw_sa out = sa_config(SPI_OUT);

	out.esn = 1;
	begin_limited(&out);
	atomic_store(&sa->seq, LAST_SEQ - 2);
	CHECK(is_told(put(4), 0, 0));
	for (int i = 0; i < 4; i++)
		CHECK(receive_inner(got) == len);
	CHECK(atomic_load(&sa->seq) == LAST_SEQ + 2);
	end();
}

static void
test_limits_of_packets(void)
{
	struct gw_sa out = sa_config(SPI_OUT);

	out.soft_packets = 3;
	out.hard_packets = 6;
	begin_limited(&out);
	CHECK(is_told(put(2), 0, 0));
	CHECK(is_told(put(1), 1, 0)); /* the third */
	CHECK(is_told(put(1), 0, 0));
	CHECK(is_told(put_super(3), 0, 1)); /* two of it */
	CHECK(is_told(put(2), 0, 0));
	check_numbers(1, 6);
	CHECK(drops(&plane, GW_DROP_HARD_LIMIT) == 3 && all_drops(&plane) == 3);
	end();
}

static void
test_limits_of_bytes(void)
{
	struct gw_sa out = sa_config(SPI_OUT);
	size_t large = make_packet(packet, &udp4, 100, &random_state);
	size_t small = make_packet(packet, &udp4, 20, &random_state);

	out.soft_bytes = 2 * large;
	out.hard_bytes = 2 * large + small;
	begin_limited(&out);
	CHECK(len == large);
	CHECK(is_told(put(1), 0, 0));
	CHECK(is_told(put(1), 1, 0)); /* as much as the limit */
	CHECK(is_told(put(1), 0, 1));
	len = make_packet(packet, &udp4, 20, &random_state);
	CHECK(is_told(put(1), 0, 0)); /* what was refused takes no part of what is left */
	CHECK(is_told(put(1), 0, 0));
	check_numbers(1, 3); /* nor a number */
	CHECK(drops(&plane, GW_DROP_HARD_LIMIT) == 2 && all_drops(&plane) == 2);
	end();
}

static void
test_limits_of_one(void)
{
	struct gw_sa out = sa_config(SPI_OUT);

	out.soft_packets = out.hard_packets = 1;
	begin_limited(&out);
	CHECK(is_told(put(1), 1, 0));
	CHECK(is_told(put(1), 0, 1));
	CHECK(drops(&plane, GW_DROP_HARD_LIMIT) == 1);
	end();
	out = sa_config(SPI_OUT);
	out.soft_bytes = 1;
	begin_limited(&out);
	CHECK(is_told(put(1), 1, 0));
	end();
	out.soft_bytes = 0;
	out.hard_bytes = 1;
	begin_limited(&out);
	CHECK(is_told(put(1), 0, 1));
	CHECK(drops(&plane, GW_DROP_HARD_LIMIT) == 1);
	end();
}

/* A notice that can not be told is told later, and once. */
static void
test_a_notice_is_tried_again(void)
{
	struct gw_sa out = sa_config(SPI_OUT);
	int punt;

	out.soft_packets = 1;
	begin_limited(&out);
	punt = atomic_load(&plane.dp->punt_fd);
	CHECK(gw_dp_set_punt(plane.dp, -1) == GW_OK);
	CHECK(is_told(put(1), 0, 0));
	CHECK(gw_counter_get(&sa->notice_at_ns) ==
		gw_counter_get(&sa->last_at_ns) + UINT64_C(10000000));
	gw_counter_set(&sa->notice_at_ns, UINT64_MAX);
	CHECK(gw_dp_set_punt(plane.dp, punt) == GW_OK);
	CHECK(is_told(put(1), 0, 0)); /* not before its time */
	gw_counter_set(&sa->notice_at_ns, 0);
	CHECK(is_told(put(1), 1, 0));
	CHECK(is_told(put(1), 0, 0));
	CHECK(all_drops(&plane) == 0);
	end();
}

int
main(void)
{
	test_numbers_begin_with_1_and_follow_each_other();
	test_no_number_is_used_twice();
	test_extended_numbers_go_on();
	test_limits_of_packets();
	test_limits_of_bytes();
	test_limits_of_one();
	test_a_notice_is_tried_again();
	return 0;
}
