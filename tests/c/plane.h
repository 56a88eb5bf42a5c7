/*
 * Data planes for the C tests, without privileges: a socket pair stands for each TUN queue (it
 * keeps message bounds as a TUN does), UDP runs on the loopback interface.
 *
 *   test --tun-- [ plane ] --udp 127.0.0.1-- [ plane, or a socket of the test ] --tun-- test
 */
#ifndef PLANE_H
#define PLANE_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "drop.h"
#include "gso.h"
#include "gw_dp.h"
#include "packets.h"
#include "sa.h"

#define WORKERS     2u
#define DEADLINE_MS 10000
#define TUNNEL      7u

struct plane {
	struct gw_dp *dp;
	int tun[WORKERS]; /* the test's ends of the TUN queues */
	uint32_t queues;
	int punt; /* the test's end */
	uint16_t port;
	bool ipv6; /* outer packets: ::1 instead of 127.0.0.1 */
	pthread_t threads[WORKERS];
	bool running;
};

static inline void *
plane_thread(void *argument)
{
	void **pair = argument;
	struct plane *plane = pair[0];
	uint32_t worker = (uint32_t)(uintptr_t)pair[1];

	free(argument);
	CHECK(gw_dp_run(plane->dp, worker) == GW_OK);
	return NULL;
}

static inline void
plane_run(struct plane *plane)
{
	uint32_t i;

	for (i = 0; i < WORKERS; i++) {
		void **pair = malloc(2 * sizeof(*pair));

		CHECK(pair != NULL);
		pair[0] = plane;
		pair[1] = (void *)(uintptr_t)i;
		CHECK(pthread_create(&plane->threads[i], NULL, plane_thread, pair) == 0);
	}
	plane->running = true;
}

/* A UDP socket on 127.0.0.1; *port 0 = any, and then says which. */
static inline int
udp_socket(uint16_t *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
	socklen_t len = sizeof(address);
	int on = 1, fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(fd >= 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0);
	/* As the gateway process asks: the kernel then has more to say of each datagram. */
	CHECK(setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) == 0);
	CHECK(bind(fd, (struct sockaddr *)&address, len) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
	*port = ntohs(address.sin_port);
	return fd;
}

/* The same on ::1. */
static inline int
udp6_socket(uint16_t *port)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6,
		.sin6_port = htons(*port),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	socklen_t len = sizeof(address);
	int on = 1, fd = socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	CHECK(fd >= 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0);
	CHECK(setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) == 0);
	CHECK(bind(fd, (struct sockaddr *)&address, len) == 0);
	CHECK(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
	*port = ntohs(address.sin6_port);
	return fd;
}

static inline void
plane_add_socket(struct plane *plane, uint32_t worker)
{
	struct gw_socket sock = {.worker = worker,
		.family = 4,
		.encap = GW_ENCAP_UDP,
		.address = {127, 0, 0, 1}};

	if (plane->ipv6) {
		sock.family = 6;
		memcpy(sock.address, &in6addr_loopback, 16);
	}
	sock.fd = plane->ipv6 ? udp6_socket(&plane->port) : udp_socket(&plane->port);
	sock.port = plane->port;
	CHECK(gw_dp_add_socket(plane->dp, &sock) == GW_OK);
}

static inline void
plane_new_on(struct plane *plane, bool ipv6, uint32_t sockets)
{
	struct gw_dp_config config = {.workers = WORKERS, .tunnels_max = 8};
	int pair[2];
	uint32_t i;

	memset(plane, 0, sizeof(*plane));
	plane->ipv6 = ipv6;
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
	config.punt_fd = pair[0];
	plane->punt = pair[1];
	CHECK(gw_dp_new(&config, &plane->dp) == GW_OK);
	for (i = 0; i < sockets; i++)
		plane_add_socket(plane, i);
}

static inline void
plane_new(struct plane *plane, uint32_t sockets)
{
	plane_new_on(plane, false, sockets);
}

static inline struct gw_tunnel
tunnel_config(const struct plane *plane, uint16_t remote_port, uint32_t id)
{
	struct gw_tunnel tunnel = {.id = id, .uso = 1};

	tunnel.path = (struct gw_path){.family = 4,
		.encap = GW_ENCAP_UDP,
		.local_port = plane->port,
		.remote_port = remote_port,
		.local = {127, 0, 0, 1},
		.remote = {127, 0, 0, 1}};
	if (plane->ipv6) {
		tunnel.path.family = 6;
		memcpy(tunnel.path.local, &in6addr_loopback, 16);
		memcpy(tunnel.path.remote, &in6addr_loopback, 16);
	}
	tunnel.options.mtu = 1400;
	tunnel.options.copy_dscp = 1;
	return tunnel;
}

static inline void
plane_add_tunnel(struct plane *plane, uint16_t remote_port, uint32_t queues)
{
	struct gw_tunnel tunnel = tunnel_config(plane, remote_port, TUNNEL);
	int pair[2];
	uint32_t i;

	tunnel.queue_count = plane->queues = queues;
	for (i = 0; i < queues; i++) {
		CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
		CHECK(fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0);
		tunnel.queue[i].fd = pair[0];
		tunnel.queue[i].share = (uint16_t)i;
		tunnel.queue[i].urgent = i == 1; /* of either kind one */
		plane->tun[i] = pair[1];
	}
	CHECK(gw_dp_add_tunnel(plane->dp, &tunnel) == GW_OK);
}

static inline void
plane_free(struct plane *plane)
{
	uint32_t i;

	if (plane->running) {
		gw_dp_stop(plane->dp);
		for (i = 0; i < WORKERS; i++)
			CHECK(pthread_join(plane->threads[i], NULL) == 0);
	}
	gw_dp_free(plane->dp);
	for (i = 0; i < plane->queues; i++)
		(void)close(plane->tun[i]);
	(void)close(plane->punt);
}

/* Two planes with one tunnel between them, both running. */
static inline void
planes_connect_on(struct plane *a, struct plane *b, bool ipv6, uint32_t queues)
{
	struct gw_sa a_to_b = sa_config(0x1001), b_to_a = sa_config(0x2002);

	plane_new_on(a, ipv6, 1);
	plane_new_on(b, ipv6, 1);
	plane_add_tunnel(a, b->port, queues);
	plane_add_tunnel(b, a->port, queues);
	CHECK(gw_dp_add_inbound(b->dp, TUNNEL, &a_to_b) == GW_OK);
	CHECK(gw_dp_add_inbound(a->dp, TUNNEL, &b_to_a) == GW_OK);
	CHECK(gw_dp_set_outbound(a->dp, TUNNEL, 0, &a_to_b) == GW_OK);
	CHECK(gw_dp_set_outbound(b->dp, TUNNEL, 0, &b_to_a) == GW_OK);
	plane_run(a);
	plane_run(b);
}

static inline void
planes_connect(struct plane *a, struct plane *b, uint32_t queues)
{
	planes_connect_on(a, b, false, queues);
}

static inline void
wait_readable(int fd)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};

	CHECK(poll(&wait, 1, DEADLINE_MS) == 1);
}

/* Write a packet into a TUN queue as the kernel would. */
static inline void
tun_put(int tun, const struct gw_vnet *vnet, const uint8_t *packet, size_t len)
{
	static const struct gw_vnet none;
	struct iovec parts[2] = {
		{(void *)(uintptr_t)(vnet != NULL ? vnet : &none), GW_VNET_LEN},
		{(void *)(uintptr_t)packet, len}};
	struct msghdr header = {.msg_iov = parts, .msg_iovlen = 2};

	CHECK(sendmsg(tun, &header, 0) == (ssize_t)(GW_VNET_LEN + len));
}

/* Wait for a packet from a TUN queue. */
static inline size_t
tun_get(int tun, struct gw_vnet *vnet, uint8_t *packet, size_t size)
{
	struct iovec parts[2] = {{vnet, GW_VNET_LEN}, {packet, size}};
	struct msghdr header = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t len;

	wait_readable(tun);
	len = recvmsg(tun, &header, 0);
	CHECK(len > (ssize_t)GW_VNET_LEN);
	return (size_t)len - GW_VNET_LEN;
}

/* Take whole packets from either queue until `count` inner packets of 1000 bytes of payload came. */
static inline void
tun_take(struct plane *plane, uint64_t count, uint8_t *packet, size_t size)
{
	struct pollfd wait[WORKERS] = {
		{plane->tun[0], POLLIN, 0}, {plane->tun[1], POLLIN, 0}};
	struct gw_vnet vnet;
	uint64_t taken = 0;
	uint32_t i;

	while (taken < count) {
		CHECK(poll(wait, WORKERS, DEADLINE_MS) > 0);
		for (i = 0; i < WORKERS; i++)
			if (wait[i].revents != 0)
				taken += tun_get(plane->tun[i], &vnet, packet, size) /
					 1000;
	}
	CHECK(taken == count);
}

/* Wait for a record of this type; others are passed over. Returns the length of its data. */
static inline size_t
punt_get(struct plane *plane, enum gw_punt_type type, struct gw_punt *record,
	uint8_t *data)
{
	struct iovec parts[2] = {{record, sizeof(*record)}, {data, 4096}};
	struct msghdr header = {.msg_iov = parts, .msg_iovlen = 2};
	ssize_t len;

	do {
		wait_readable(plane->punt);
		len = recvmsg(plane->punt, &header, 0);
		CHECK(len >= (ssize_t)sizeof(*record));
		CHECK(record->length == (size_t)len - sizeof(*record));
	} while (record->type != type);
	return record->length;
}

static inline struct gw_tunnel_stats
tunnel_stats(struct plane *plane)
{
	struct gw_tunnel_stats stats;

	CHECK(gw_dp_tunnel_stats(plane->dp, TUNNEL, &stats) == GW_OK);
	return stats;
}

/* Packets are counted when they have been sent or written: wait for the counters of the last one. */
static inline void
wait_counted(struct plane *plane, uint64_t out, uint64_t in)
{
	struct gw_tunnel_stats stats = tunnel_stats(plane);
	int i;

	for (i = 0; i < DEADLINE_MS && (stats.out_packets < out || stats.in_packets < in);
		i++) {
		(void)poll(NULL, 0, 1);
		stats = tunnel_stats(plane);
	}
	CHECK(stats.out_packets == out && stats.in_packets == in);
}

/* A drop reason's count, of the tunnel and of all workers. */
static inline uint64_t
drops(struct plane *plane, enum gw_drop reason)
{
	struct gw_worker_stats worker;
	uint64_t sum = tunnel_stats(plane).drops[reason];
	uint32_t i;

	for (i = 0; i < WORKERS; i++) {
		CHECK(gw_dp_worker_stats(plane->dp, i, &worker) == GW_OK);
		sum += worker.drops[reason];
	}
	return sum;
}

static inline uint64_t
all_drops(struct plane *plane)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < gw_drop_count(); i++)
		sum += drops(plane, (enum gw_drop)i);
	return sum;
}

/* Wait until a reason has this count. */
static inline void
wait_drops(struct plane *plane, enum gw_drop reason, uint64_t count)
{
	int i;

	for (i = 0; i < DEADLINE_MS && drops(plane, reason) < count; i++)
		(void)poll(NULL, 0, 1);
	CHECK(drops(plane, reason) == count);
}

#endif
