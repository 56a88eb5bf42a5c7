/*
 * Raw ESP (protocol 50) between two data planes on 127.0.0.2 and 127.0.0.3, a raw socket for each
 * worker: the kernel gives each packet to both, and one of them must take it. Needs root.
 */
#include <errno.h>

#include "plane.h"

static const struct flow udp4 = {
	.family = 4, .protocol = 17, .ttl = 64, .sport = 5, .dport = 6};

static void
add_raw(struct plane *plane, uint8_t last, uint32_t worker)
{
	struct gw_socket sock = {.worker = worker,
		.family = 4,
		.encap = GW_ENCAP_ESP,
		.address = {127, 0, 0, last}};
	struct sockaddr_in address = {.sin_family = AF_INET};

	sock.fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK, 50);
	if (sock.fd < 0 && errno == EPERM) {
		printf("skipped: no right to make raw sockets\n");
		exit(0);
	}
	memcpy(&address.sin_addr, sock.address, 4);
	CHECK(bind(sock.fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	CHECK(gw_dp_add_socket(plane->dp, &sock) == GW_OK);
	CHECK(gw_dp_add_socket(plane->dp, &sock) == GW_E_EXISTS);
}

static void
connect_raw(struct plane *plane, uint8_t local, uint8_t remote)
{
	struct gw_tunnel tunnel = {.id = TUNNEL, .queue_count = 1};
	int pair[2];

	plane_new(plane, 0);
	add_raw(plane, local, 0);
	add_raw(plane, local, 1);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	CHECK(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0);
	plane->queues = 1;
	plane->tun[0] = pair[1];
	tunnel.queue[0].fd = pair[0];
	tunnel.path = (struct gw_path){.family = 4,
		.encap = GW_ENCAP_ESP,
		.local = {127, 0, 0, local},
		.remote = {127, 0, 0, remote}};
	tunnel.options.mtu = 1400;
	CHECK(gw_dp_add_tunnel(plane->dp, &tunnel) == GW_OK);
	plane_run(plane);
}

static uint64_t
received_by(struct plane *plane, uint32_t worker)
{
	struct gw_worker_stats stats;

	CHECK(gw_dp_worker_stats(plane->dp, worker, &stats) == GW_OK);
	return stats.udp_segments_in;
}

int
main(void)
{
	static uint8_t packet[2048], got[65536];
	struct plane a, b;
	struct gw_vnet vnet;
	unsigned i, random = 1;
	uint32_t spi;
	size_t len;

	connect_raw(&a, 2, 3);
	connect_raw(&b, 3, 2);
	for (spi = 0x1000; spi < 0x1004; spi++) {
		struct gw_sa sa = sa_config(spi);

		CHECK(gw_dp_add_inbound(b.dp, TUNNEL, &sa) == GW_OK);
		CHECK(gw_dp_set_outbound(a.dp, TUNNEL, 0, &sa) == GW_OK);
		for (i = 0; i < 25; i++) {
			len = make_packet(packet, &udp4, 100 + i, &random);
			tun_put(a.tun[0], NULL, packet, len);
			CHECK(tun_get(b.tun[0], &vnet, got, sizeof(got)) == len);
			CHECK(memcmp(got, packet, len) == 0);
		}
	}
	wait_counted(&b, 0, 100);
	CHECK(all_drops(&a) == 0 && all_drops(&b) == 0);
	CHECK(received_by(&b, 0) == 50 && received_by(&b, 1) == 50);
	plane_free(&a);
	plane_free(&b);
	return 0;
}
