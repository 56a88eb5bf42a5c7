/*
 * Which worker's UDP socket gets what: SAs for a worker each (RFC 9611) by their SPI, all else of a peer at
 * one socket; and what each worker's own outbound SA looks like on the wire.
 */
#define _GNU_SOURCE 1
#include <netinet/udp.h>

#include "internal.h"
#include "peer.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { FIRST = 0x2001, COUNT = 4 };
#define OWN (GW_SPI_OWN + 0x4000u)

static struct gw_esp *sealers[2 * COUNT];

static uint32_t
spi_of(uint32_t i)
{
	return i < COUNT ? FIRST + i : OWN + i - COUNT;
}

/* A plane with a socket for each worker, and SAs of both kinds. */
static void
make_plane(bool ipv6)
{
	struct gw_sa sa;
	uint32_t i;

	plane_new_on(&plane, ipv6, WORKERS);
	peer_port = 0;
	peer = ipv6 ? udp6_socket(&peer_port) : udp_socket(&peer_port);
	plane_add_tunnel(&plane, peer_port, 1);
	for (i = 0; i < 2 * COUNT; i++) {
		sa = sa_config(spi_of(i));
		CHECK(gw_dp_add_inbound(plane.dp, TUNNEL, &sa) == GW_OK);
		CHECK(gw_esp_new(&sa, true, &sealers[i]) == GW_OK);
	}
	plane_run(&plane);
}

static void
free_plane(void)
{
	uint32_t i;

	for (i = 0; i < 2 * COUNT; i++)
		gw_esp_free(sealers[i]);
	plane_free(&plane);
	(void)close(peer);
}

/* Send to the plane's port; size > 0: cut into datagrams of that size that arrive as one. */
static void
send_to_plane(const uint8_t *data, size_t len, uint16_t size)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(plane.port)};
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(plane.port)};
	struct iovec part = {(void *)(uintptr_t)data, len};
	struct msghdr header = {.msg_name = &in,
		.msg_namelen = sizeof(in),
		.msg_iov = &part,
		.msg_iovlen = 1};

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in6.sin6_addr = in6addr_loopback;
	if (plane.ipv6) {
		header.msg_name = &in6;
		header.msg_namelen = sizeof(in6);
	}
	if (size > 0) {
		int segment = size;

		CHECK(setsockopt(peer, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment)) ==
			0);
	}
	CHECK(sendmsg(peer, &header, 0) == (ssize_t)len);
	if (size > 0) {
		int none = 0;

		CHECK(setsockopt(peer, SOL_UDP, UDP_SEGMENT, &none, sizeof(none)) == 0);
	}
}

static size_t
seal_by(uint32_t i, size_t payload, uint64_t number, uint8_t *out)
{
	size_t inner = make_packet(packet, &udp4, payload, &random_state), len;

	CHECK(gw_esp_seal_packet(
		      sealers[i], number, packet, inner, out, PACKET_MAX, &len) == GW_OK);
	return len;
}

static uint64_t
received_by(uint32_t worker)
{
	struct gw_worker_stats stats;

	CHECK(gw_dp_worker_stats(plane.dp, worker, &stats) == GW_OK);
	return stats.udp_segments_in;
}

static void
test_workers_share_spis_that_are_for_one_each(bool ipv6)
{
	uint32_t i, number;
	uint64_t before;
	uint8_t marker[100] = {0};

	make_plane(ipv6);
	for (i = COUNT; i < 2 * COUNT; i++)
		for (number = 1; number <= 5; number++)
			send_to_plane(esp, seal_by(i, 100, number, esp), 0);
	wait_counted(&plane, 0, 5 * COUNT);
	CHECK(received_by(0) == 5 * COUNT / 2 && received_by(1) == 5 * COUNT / 2);
	/* All else of this peer, IKE too, comes to one of them. */
	before = received_by(0);
	for (i = 0; i < COUNT; i++)
		send_to_plane(esp, seal_by(i, 100, 1, esp), 0);
	send_to_plane(marker, sizeof(marker), 0);
	wait_counted(&plane, 0, 6 * COUNT);
	(void)punt_get(&plane, GW_PUNT_IKE, &(struct gw_punt){0}, got);
	CHECK(received_by(0) == before || received_by(0) == before + COUNT + 1);
	CHECK(received_by(0) + received_by(1) == 6 * COUNT + 1);
	CHECK(all_drops(&plane) == 0);
	free_plane();
}

/* Another peer's sender, or a card on the way, may put packets of several SAs into one datagram. */
static void
test_a_datagram_of_several_sas_is_taken_whole(void)
{
	struct gw_vnet vnet;
	size_t len = 0, size = 0;
	uint32_t i;

	make_plane(false);
	for (i = COUNT; i < 2 * COUNT; i++)
		len += size = seal_by(i, 100, 1, esp + len);
	send_to_plane(esp, len, (uint16_t)size);
	wait_counted(&plane, 0, COUNT);
	CHECK(received_by(0) == COUNT && all_drops(&plane) == 0);
	while (len > 0) {
		CHECK(tun_get(plane.tun[0], &vnet, got, sizeof(got)) >= 128);
		len -= vnet.gso_type == 0 ? size : len;
	}
	free_plane();
}

static int
take_ttl(void)
{
	uint8_t control[64];
	struct iovec part = {got, sizeof(got)};
	struct msghdr header = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *at;
	int ttl = 0;

	wait_readable(peer);
	CHECK(recvmsg(peer, &header, 0) > 0);
	for (at = CMSG_FIRSTHDR(&header); at != NULL; at = CMSG_NXTHDR(&header, at))
		if (at->cmsg_type == IP_TTL || at->cmsg_type == IPV6_HOPLIMIT)
			memcpy(&ttl, CMSG_DATA(at), sizeof(ttl));
	return ttl;
}

/* Packets that are merged on the way are of one worker: their TTL differs where their SA does. */
static void
test_own_sas_have_a_ttl_of_their_own(bool ipv6)
{
	struct gw_sa sa = sa_config(SPI_OUT);
	unsigned seen = 0;
	int on = 1, i;

	plane_new_on(&plane, ipv6, WORKERS);
	peer_port = 0;
	peer = ipv6 ? udp6_socket(&peer_port) : udp_socket(&peer_port);
	CHECK(setsockopt(peer, ipv6 ? IPPROTO_IPV6 : IPPROTO_IP,
		      ipv6 ? IPV6_RECVHOPLIMIT : IP_RECVTTL, &on, sizeof(on)) == 0);
	plane_add_tunnel(&plane, peer_port, WORKERS);
	CHECK(gw_dp_set_outbound(plane.dp, TUNNEL, 0, &sa) == GW_OK);
	for (sa.resource = 1; sa.resource <= WORKERS; sa.resource++) {
		sa.spi++;
		CHECK(gw_dp_set_outbound(plane.dp, TUNNEL, sa.resource, &sa) == GW_OK);
	}
	plane_run(&plane);
	for (i = 0; i < (int)WORKERS; i++) {
		tun_put(plane.tun[i], NULL, packet,
			make_packet(packet, &udp4, 100, &random_state));
		seen |= 1u << (64 - take_ttl());
	}
	CHECK(seen == 3);
	/* Without one of its own the second sends as all do. */
	CHECK(gw_dp_clear_outbound(plane.dp, TUNNEL, WORKERS) == GW_OK);
	for (i = 0; i < (int)WORKERS; i++) {
		tun_put(plane.tun[i], NULL, packet,
			make_packet(packet, &udp4, 100, &random_state));
		CHECK(take_ttl() == 64);
	}
	plane_free(&plane);
	(void)close(peer);
}

int
main(void)
{
	test_workers_share_spis_that_are_for_one_each(false);
	test_workers_share_spis_that_are_for_one_each(true);
	test_a_datagram_of_several_sas_is_taken_whole();
	test_own_sas_have_a_ttl_of_their_own(false);
	test_own_sas_have_a_ttl_of_their_own(true);
	return 0;
}
