/* Many tunnels of one worker: whose packets leave together, and how often each queue is read. */
#define _GNU_SOURCE 1
#include <stdlib.h>

#include "internal.h"
#include "plane.h"

#define TUNNELS 3u

static const struct flow udp4 = {
	.family = 4, .protocol = 17, .ttl = 63, .sport = 4000, .dport = 443};

static struct plane plane;
static struct gw_worker *worker;
static int ends[TUNNELS], peers[TUNNELS];
static struct gw_queue *queues[TUNNELS];
static uint8_t packet[PACKET_MAX];
static unsigned random_state = 1;

/* Both workers read each tunnel, so that worker 0 has a queue of all. */
static void
add_tunnel(uint32_t at)
{
	struct gw_sa sa = sa_config(0x1000 + at);
	struct gw_tunnel tunnel;
	uint16_t port = 0;
	uint32_t i;
	int pair[2];

	peers[at] = udp_socket(&port);
	tunnel = tunnel_config(&plane, port, TUNNEL + at);
	tunnel.queue_count = 2;
	for (i = 0; i < 2; i++) {
		CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
		tunnel.queue[i].fd = pair[0];
		tunnel.queue[i].share = (uint16_t)i;
		plane.tun[i] = pair[1];
	}
	CHECK(gw_dp_add_tunnel(plane.dp, &tunnel) == GW_OK);
	CHECK(gw_dp_set_outbound(plane.dp, TUNNEL + at, 0, &sa) == GW_OK);
	i = gw_tunnel_find(plane.dp, TUNNEL + at)->queue[0].worker == 0 ? 0 : 1;
	queues[at] = &gw_tunnel_find(plane.dp, TUNNEL + at)->queue[i];
	ends[at] = plane.tun[i];
	(void)close(plane.tun[1 - i]);
}

static void
begin(void)
{
	uint32_t i;

	plane_new(&plane, 1);
	worker = &plane.dp->workers[0];
	worker->buffers = calloc(1, sizeof(*worker->buffers));
	CHECK(worker->buffers != NULL);
	for (i = 0; i < TUNNELS; i++)
		add_tunnel(i);
}

static void
end(void)
{
	uint32_t i;

	free(worker->buffers);
	plane_free(&plane);
	for (i = 0; i < TUNNELS; i++) {
		(void)close(ends[i]);
		(void)close(peers[i]);
	}
}

static void
put(uint32_t at, size_t payload)
{
	tun_put(ends[at], NULL, packet,
		make_packet(packet, &udp4, payload, &random_state));
}

/* Serve a queue; return how often it gave a packet. */
static uint64_t
serve(uint32_t at)
{
	uint64_t before = gw_counter_get(&worker->counters.tun_reads);

	CHECK(gw_outbound_gather(worker, queues[at]));
	return gw_counter_get(&worker->counters.tun_reads) - before;
}

/* What a peer has got is one datagram of its tunnel's SA. */
static bool
has_got(uint32_t at)
{
	ssize_t len = recv(peers[at], packet, sizeof(packet), MSG_DONTWAIT);

	CHECK(len < 0 || (len > 100 && get32(packet) == 0x1000 + at));
	return len > 0;
}

static uint64_t
sent(uint32_t at)
{
	struct gw_tunnel_stats stats;

	CHECK(gw_dp_tunnel_stats(plane.dp, TUNNEL + at, &stats) == GW_OK);
	return stats.out_packets;
}

/* Equal sizes: only the tunnel says that they are not one message. */
static void
test_packets_of_several_tunnels_leave_together(void)
{
	uint32_t i;

	begin();
	for (i = 0; i < TUNNELS; i++) {
		put(i, 100);
		CHECK(serve(i) == 1);
	}
	for (i = 0; i < TUNNELS; i++)
		CHECK(!has_got(i) && sent(i) == 0);
	gw_out_flush(worker, &worker->buffers->out_batch);
	for (i = 0; i < TUNNELS; i++)
		CHECK(has_got(i) && !has_got(i) && sent(i) == 1);
	end();
}

static void
test_much_of_one_tunnel_does_not_wait(void)
{
	uint32_t i;

	begin();
	put(0, 100);
	CHECK(serve(0) == 1 && !has_got(0));
	for (i = 0; i < 44; i++)
		put(1, 1372);
	CHECK(serve(1) == 44 && sent(0) == 1 && sent(1) == 44);
	end();
}

/* Those before leave, by their socket; those of the tunnel without one are its own loss. */
static void
test_packets_for_another_socket_do_not_wait(void)
{
	struct gw_tunnel config;
	struct gw_tunnel_stats stats;

	begin();
	config = tunnel_config(&plane, 4500, TUNNEL + 1);
	config.path.local[3] = 9;
	CHECK(gw_dp_set_path(plane.dp, TUNNEL + 1, &config.path) == GW_OK);
	put(0, 100);
	put(1, 100);
	CHECK(serve(0) == 1 && !has_got(0) && serve(1) == 1 && has_got(0));
	put(2, 100);
	CHECK(serve(2) == 1);
	CHECK(gw_dp_tunnel_stats(plane.dp, TUNNEL + 1, &stats) == GW_OK);
	CHECK(stats.out_packets == 0 && stats.drops[GW_DROP_NO_SOCKET] == 1);
	gw_out_flush(worker, &worker->buffers->out_batch);
	CHECK(has_got(2) && sent(0) == 1 && sent(2) == 1);
	end();
}

/* One read in a turn, if there was one packet before; all, if epoll tells of it again. */
static void
test_a_queue_with_single_packets_is_read_once(void)
{
	uint32_t i;

	begin();
	worker->turn = 10;
	for (i = 0; i < 3; i++)
		put(0, 100);
	CHECK(serve(0) == 3);
	worker->turn += 2;
	put(0, 100);
	CHECK(serve(0) == 1);
	worker->turn += 2;
	for (i = 0; i < 3; i++)
		put(0, 100);
	CHECK(serve(0) == 1);
	worker->turn++;
	CHECK(serve(0) == 2);
	worker->turn += 2;
	put(0, 100);
	put(0, 100);
	CHECK(serve(0) == 2);
	end();
}

int
main(void)
{
	test_packets_of_several_tunnels_leave_together();
	test_much_of_one_tunnel_does_not_wait();
	test_packets_for_another_socket_do_not_wait();
	test_a_queue_with_single_packets_is_read_once();
	return 0;
}
