/*
 * An outbound SA for each worker of a tunnel (RFC 9611): each sends on its own, on the first one
 * where it has none, and nothing is lost while they come and go. Run under the thread sanitizer as
 * well.
 */
#include <stdatomic.h>

#include "internal.h"
#include "plane.h"

enum { FIRST = 0x1001, OWN = 0x3000, ROUND_PACKETS = 40, REPLACED = 100 };

static const struct flow tcp4 = {.family = 4,
	.protocol = 6,
	.ttl = 63,
	.id = 100,
	.sport = 40000,
	.dport = 443,
	.seq = 1000,
	.ack = 77,
	.flags = 0x10,
	.window = 501};

static uint8_t sent[PACKET_MAX], got[PACKET_MAX];

/* Put packets into both queues of a tunnel, by turns. */
static void
put_packets(struct plane *from, uint32_t count)
{
	unsigned random = 5;
	uint32_t i;

	for (i = 0; i < count; i++)
		tun_put(from->tun[i % WORKERS], NULL, sent,
			make_packet(sent, &tcp4, 1000, &random));
}

/* Give one worker of `from` an SA of its own, in the slot behind the first. */
static void
give_own(struct plane *from, struct plane *to, uint8_t resource, uint32_t spi)
{
	struct gw_sa sa = sa_config(spi);

	CHECK(gw_dp_add_inbound(to->dp, TUNNEL, &sa) == GW_OK);
	sa.resource = resource;
	CHECK(gw_dp_set_outbound(from->dp, TUNNEL, resource, &sa) == GW_OK);
}

static uint64_t
sent_in(struct plane *plane, uint32_t slot)
{
	struct gw_sa_stats stats;

	CHECK(gw_dp_outbound_stats(plane->dp, TUNNEL, slot, &stats) == GW_OK);
	CHECK(stats.seq == stats.packets);
	return stats.packets;
}

static void
check_sent(struct plane *plane, uint64_t first, uint64_t second, uint64_t third)
{
	CHECK(sent_in(plane, 0) == first);
	CHECK(sent_in(plane, 1) == second);
	CHECK(sent_in(plane, 2) == third);
}

static void
test_each_worker_sends_on_its_own(void)
{
	struct plane a, b;

	planes_connect(&a, &b, WORKERS);
	give_own(&a, &b, 1, OWN + 1);
	put_packets(&a, 20);
	tun_take(&b, 20, got, sizeof(got));
	CHECK(sent_in(&a, 0) == 10 && sent_in(&a, 1) == 10);
	give_own(&a, &b, 2, OWN + 2);
	put_packets(&a, 20);
	tun_take(&b, 20, got, sizeof(got));
	check_sent(&a, 10, 20, 10);
	/* Without its own a worker sends on the first one again, without that on whichever is there. */
	CHECK(gw_dp_clear_outbound(a.dp, TUNNEL, 1) == GW_OK);
	put_packets(&a, 20);
	tun_take(&b, 20, got, sizeof(got));
	CHECK(sent_in(&a, 0) == 20 && sent_in(&a, 2) == 20);
	CHECK(gw_dp_clear_outbound(a.dp, TUNNEL, 0) == GW_OK);
	put_packets(&a, 20);
	tun_take(&b, 20, got, sizeof(got));
	CHECK(sent_in(&a, 2) == 40);
	CHECK(gw_dp_clear_outbound(a.dp, TUNNEL, 2) == GW_OK);
	put_packets(&a, 20);
	wait_drops(&a, GW_DROP_NO_SA, 20);
	plane_free(&a);
	plane_free(&b);
}

static void
test_an_own_one_has_selectors_too(void)
{
	struct gw_sa narrow = sa_config(OWN);
	struct plane a, b;

	planes_connect(&a, &b, WORKERS);
	narrow.remote[0].protocol = 17;
	narrow.resource = 1;
	CHECK(gw_dp_set_outbound(a.dp, TUNNEL, 1, &narrow) == GW_OK);
	put_packets(&a, 20);
	tun_take(&b, 20, got, sizeof(got));
	CHECK(sent_in(&a, 0) == 20 && sent_in(&a, 1) == 0);
	plane_free(&a);
	plane_free(&b);
}

static void
test_one_for_a_worker_that_is_not_there_is_nobodys(void)
{
	struct gw_sa sa = sa_config(OWN);
	struct plane a, b;

	planes_connect(&a, &b, WORKERS);
	sa.resource = WORKERS + 1;
	CHECK(gw_dp_set_outbound(a.dp, TUNNEL, 3, &sa) == GW_OK);
	put_packets(&a, 20);
	tun_take(&b, 20, got, sizeof(got));
	CHECK(sent_in(&a, 0) == 20 && sent_in(&a, 3) == 0);
	plane_free(&a);
	plane_free(&b);
}

struct load {
	struct plane *from, *to;
	atomic_bool *stop;
	uint64_t packets;
};

/* Packets in both queues, in step with what arrives: the peer's replay window has an end. */
static void *
carry(void *argument)
{
	struct load *load = argument;

	while (!atomic_load(load->stop)) {
		put_packets(load->from, ROUND_PACKETS);
		tun_take(load->to, ROUND_PACKETS, got, sizeof(got));
		load->packets += ROUND_PACKETS;
	}
	return NULL;
}

/* Wait until a new SA is sent on: then nobody sends on the one that it has replaced. */
static void
wait_heard(struct plane *to, uint32_t spi, uint64_t packets)
{
	struct gw_sa_stats stats;
	int i;

	for (i = 0; i < DEADLINE_MS; i++) {
		CHECK(gw_dp_inbound_stats(to->dp, spi, &stats) == GW_OK);
		if (stats.packets >= packets)
			return;
		(void)poll(NULL, 0, 1);
	}
	CHECK(false);
}

static void
test_nothing_is_lost_while_they_come_and_go(void)
{
	atomic_bool stop = false;
	struct plane a, b;
	struct load load = {&a, &b, &stop, 0};
	uint32_t round, spi;
	uint8_t resource;
	pthread_t thread;

	planes_connect(&a, &b, WORKERS);
	CHECK(pthread_create(&thread, NULL, carry, &load) == 0);
	for (round = 0; round < REPLACED; round++) {
		resource = (uint8_t)(1 + round % WORKERS);
		spi = OWN + round;
		give_own(&a, &b, resource, spi);
		wait_heard(&b, spi, ROUND_PACKETS);
		if (round % 3 == 0)
			CHECK(gw_dp_clear_outbound(a.dp, TUNNEL, resource) == GW_OK);
		/* What is left of the round that began before is on its way no more than two rounds. */
		if (round >= 2 * WORKERS)
			CHECK(gw_dp_del_inbound(b.dp, spi - 2 * WORKERS) == GW_OK);
	}
	atomic_store(&stop, true);
	CHECK(pthread_join(thread, NULL) == 0);
	wait_counted(&a, load.packets, 0);
	wait_counted(&b, 0, load.packets);
	CHECK(all_drops(&a) == 0 && all_drops(&b) == 0);
	plane_free(&a);
	plane_free(&b);
}

int
main(void)
{
	test_each_worker_sends_on_its_own();
	test_an_own_one_has_selectors_too();
	test_one_for_a_worker_that_is_not_there_is_nobodys();
	test_nothing_is_lost_while_they_come_and_go();
	return 0;
}
