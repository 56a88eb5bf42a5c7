/* A tunnel with several queues for one worker: which is read first, and how they share a rate cap. */
#define _GNU_SOURCE 1
#include <stdlib.h>

#include "internal.h"
#include "plane.h"

static const struct flow tcp4 = {.family = 4,
	.protocol = 6,
	.ttl = 63,
	.sport = 40000,
	.dport = 443,
	.flags = 0x10};

static uint8_t sent[PACKET_MAX], got[PACKET_MAX];

/* A plane whose tunnel has three queues for one worker, the last urgent; its peer is the UDP socket `peer`. */
static void
make_lanes(struct plane *plane, uint64_t rate_bps, int *peer, int ends[3])
{
	struct gw_sa sa = sa_config(0x1001);
	struct gw_tunnel tunnel;
	uint16_t port = 0;
	int pair[2];
	uint32_t i;

	plane_new(plane, 1);
	*peer = udp_socket(&port);
	tunnel = tunnel_config(plane, port, TUNNEL);
	tunnel.options.rate_bps = rate_bps;
	tunnel.queue_count = 3;
	for (i = 0; i < 3; i++) {
		CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
		tunnel.queue[i].fd = pair[0];
		tunnel.queue[i].urgent = i == 2;
		ends[i] = pair[1];
	}
	CHECK(gw_dp_add_tunnel(plane->dp, &tunnel) == GW_OK);
	CHECK(gw_dp_set_outbound(plane->dp, TUNNEL, 0, &sa) == GW_OK);
}

static void
free_lanes(struct plane *plane, int peer, const int ends[3])
{
	uint32_t i;

	plane_free(plane);
	(void)close(peer);
	for (i = 0; i < 3; i++)
		(void)close(ends[i]);
}

/* What waits in an urgent queue leaves before all that waits in others. */
static void
test_an_urgent_queue_is_read_first(void)
{
	unsigned i, random = 3;
	struct plane a;
	int peer, ends[3];

	make_lanes(&a, 0, &peer, ends);
	for (i = 0; i < 40; i++)
		tun_put(ends[i % 2], NULL, sent, make_packet(sent, &tcp4, 1000, &random));
	tun_put(ends[2], NULL, sent, make_packet(sent, &tcp4, 100, &random));
	plane_run(&a);
	wait_readable(peer);
	CHECK(recv(peer, got, sizeof(got), 0) < 300);
	wait_counted(&a, 41, 0);
	CHECK(all_drops(&a) == 0);
	free_lanes(&a, peer, ends);
}

static size_t
hold_packets(struct gw_tunnel_state *tunnel, uint32_t queue, size_t payload)
{
	static const struct gw_vnet none;
	unsigned i, random = 3;
	size_t len;

	memcpy(sent, &none, GW_VNET_LEN);
	len = make_packet(sent + GW_VNET_LEN, &tcp4, payload, &random) + GW_VNET_LEN;
	for (i = 0; i < 500; i++)
		CHECK(gw_shaper_hold(atomic_load(&tunnel->queue[queue].shaper), sent, len,
			UINT32_MAX));
	return len - GW_VNET_LEN;
}

/* Two queues that wait for the rate cap of their tunnel share it by bytes, not by packets. */
static void
test_queues_share_a_rate_cap(void)
{
	const uint64_t burst = 131072;
	struct gw_tunnel_state *tunnel;
	struct gw_tunnel_stats stats;
	struct gw_worker *worker;
	uint64_t small, large;
	size_t small_len, large_len;
	struct plane a;
	int peer, ends[3];

	make_lanes(&a, 8000, &peer, ends);
	tunnel = gw_tunnel_find(a.dp, TUNNEL);
	worker = &a.dp->workers[tunnel->queue[0].worker];
	worker->buffers = calloc(1, sizeof(*worker->buffers));
	CHECK(worker->buffers != NULL);
	large_len = hold_packets(tunnel, 0, 1000);
	small_len = hold_packets(tunnel, 1, 200);
	gw_outbound_release(worker, atomic_load(&tunnel->queue[0].shaper));
	free(worker->buffers);
	stats = tunnel_stats(&a);
	large = (stats.out_bytes - small_len * stats.out_packets) /
		(large_len - small_len);
	small = stats.out_packets - large;
	CHECK(stats.out_bytes >= burst && stats.out_bytes < burst + large_len);
	CHECK(large * large_len + 8192 > small * small_len);
	CHECK(small * small_len + 8192 > large * large_len);
	free_lanes(&a, peer, ends);
}

/* Have the worker read so many packets of about 1,000 bytes from a queue. */
static void
feed(struct gw_worker *worker, struct gw_queue *queue, int end, uint32_t count)
{
	unsigned random = 3;

	for (; count > 0; count--) {
		tun_put(end, NULL, sent, make_packet(sent, &tcp4, 1000, &random));
		CHECK(gw_outbound_batch(worker, queue));
	}
}

static uint32_t
count_held(struct gw_queue *queue)
{
	struct gw_shaper *shaper = atomic_load(&queue->shaper);
	uint32_t count = 0;
	size_t len;

	for (; gw_shaper_first(shaper, &len) != NULL; count++)
		gw_shaper_pop(shaper);
	return count;
}

/* What may wait is of all queues together, and the one with most there gives way to the others. */
static void
test_queues_share_what_may_wait(void)
{
	struct gw_tunnel_state *tunnel;
	struct gw_tunnel_stats stats;
	struct gw_worker *worker;
	uint32_t bulk, few, most;
	struct plane a;
	int peer, ends[3];

	make_lanes(&a, 8000, &peer, ends);
	tunnel = gw_tunnel_find(a.dp, TUNNEL);
	worker = &a.dp->workers[tunnel->queue[0].worker];
	worker->buffers = calloc(1, sizeof(*worker->buffers));
	CHECK(worker->buffers != NULL);
	feed(worker, &tunnel->queue[0], ends[0], 400);
	most = tunnel->held[worker->index];
	CHECK(most > 120000 && most <= 131072);
	feed(worker, &tunnel->queue[1], ends[1], 30);
	CHECK(tunnel->held[worker->index] <= 131072);
	stats = tunnel_stats(&a);
	few = count_held(&tunnel->queue[1]);
	bulk = count_held(&tunnel->queue[0]);
	CHECK(few == 30 && bulk > 80);
	CHECK(tunnel->held[worker->index] == 0);
	CHECK(stats.out_packets + stats.drops[GW_DROP_RATE] + few + bulk == 430);
	CHECK(all_drops(&a) == stats.drops[GW_DROP_RATE]);
	free(worker->buffers);
	free_lanes(&a, peer, ends);
}

static void
test_shares_are_of_workers(void)
{
	struct gw_tunnel tunnel;
	struct plane a;
	int pair[2];

	plane_new(&a, 1);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
	tunnel = tunnel_config(&a, 4500, TUNNEL);
	tunnel.queue_count = 1;
	tunnel.queue[0].fd = pair[0];
	tunnel.queue[0].share = 1; /* without a share 0 */
	CHECK(gw_dp_add_tunnel(a.dp, &tunnel) == GW_E_INVALID);
	tunnel.queue[0].share = GW_WORKERS_MAX;
	CHECK(gw_dp_add_tunnel(a.dp, &tunnel) == GW_E_INVALID);
	(void)close(pair[0]);
	(void)close(pair[1]);
	plane_free(&a);
}

int
main(void)
{
	test_an_urgent_queue_is_read_first();
	test_queues_share_a_rate_cap();
	test_queues_share_what_may_wait();
	test_shares_are_of_workers();
	return 0;
}
