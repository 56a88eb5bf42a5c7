/* Packets from the TUN that are wrong, do not fit, are too many, or ask for marks. */
#include "internal.h"
#include "peer.h"

/* Keys are made anew within a second: what waits for them is sent, and nothing older. */
static void
test_packets_wait_for_the_first_sa(bool stale)
{
	struct gw_sa out = sa_config(SPI_OUT);
	size_t len = make_packet(packet, &udp4, 100, &random_state);

	peer_port = 0;
	peer = udp_socket(&peer_port);
	plane_new(&plane, 1);
	plane_add_tunnel(&plane, peer_port, 1);
	CHECK(gw_esp_new(&out, true, &sealer) == GW_OK &&
		gw_esp_new(&out, false, &opener) == GW_OK);
	plane_run(&plane);
	tun_put(plane.tun[0], NULL, packet, len);
	if (stale)
		gw_tunnel_find(plane.dp, TUNNEL)->added_at_ns -= UINT64_C(2000000000);
	CHECK(tunnel_stats(&plane).drops[GW_DROP_NO_SA] == 0);
	CHECK(gw_dp_set_outbound(plane.dp, TUNNEL, 0, &out) == GW_OK);
	CHECK(tunnel_stats(&plane).drops[GW_DROP_NO_SA] == (stale ? 1 : 0));
	if (stale)
		tun_put(plane.tun[0], NULL, packet, len);
	CHECK(receive_inner(got) == len && memcmp(got, packet, len) == 0);
	wait_counted(&plane, 1, 0);
	CHECK(all_drops(&plane) == (stale ? 1 : 0));
	end();
}

static void
test_outbound_packets_that_are_wrong(void)
{
	struct gw_vnet vnet = {.gso_type = GW_VNET_GSO_TCPV6, .gso_size = 100};
	size_t len = make_packet(packet, &udp4, 100, &random_state);

	begin();
	tun_put(plane.tun[0], &vnet, packet, len);
	CHECK(send(plane.tun[0], &vnet, 9, 0) == 9);
	wait_drops(&plane, GW_DROP_BAD_OFFLOAD, 2);
	tun_put(plane.tun[0], NULL, packet, len - 1);
	wait_drops(&plane, GW_DROP_INNER_TRUNCATED, 1);
	packet[0] = 0x85;
	tun_put(plane.tun[0], NULL, packet, len);
	wait_drops(&plane, GW_DROP_NOT_IP, 1);
	packet[0] = 0x45;
	CHECK(gw_dp_clear_outbound(plane.dp, TUNNEL, 0) == GW_OK);
	tun_put(plane.tun[0], NULL, packet, len);
	wait_drops(&plane, GW_DROP_NO_SA, 1);
	CHECK(all_drops(&plane) == 5);
	end();
}

/* An SA for packets to UDP port `port` only. */
static struct gw_sa
sa_to_port(uint32_t spi, uint16_t port)
{
	struct gw_sa sa = sa_config(spi);

	sa.remote[0].protocol = 17;
	sa.remote[0].first_port = sa.remote[0].last_port = port;
	return sa;
}

static void
put_to_port(uint16_t port)
{
	struct flow flow = udp4;

	flow.dport = port;
	tun_put(plane.tun[0], NULL, packet,
		make_packet(packet, &flow, 100, &random_state));
}

static uint64_t
sent_in_slot(uint32_t slot)
{
	struct gw_sa_stats out;

	CHECK(gw_dp_outbound_stats(plane.dp, TUNNEL, slot, &out) == GW_OK);
	return out.packets;
}

static void
test_a_packet_goes_by_the_first_slot_that_it_matches(void)
{
	struct gw_sa in = sa_config(SPI_IN), first = sa_to_port(SPI_OUT, 6);
	struct gw_sa last = sa_to_port(SPI_OUT + 1, 7),
		     other = sa_to_port(SPI_OUT + 2, 7);
	struct gw_sa_stats out;

	begin_with(&in, &first);
	CHECK(gw_dp_set_outbound(plane.dp, TUNNEL, GW_OUTBOUND_MAX, &last) ==
		GW_E_INVALID);
	CHECK(gw_dp_clear_outbound(plane.dp, TUNNEL, GW_OUTBOUND_MAX) == GW_E_INVALID);
	CHECK(gw_dp_outbound_stats(plane.dp, TUNNEL, GW_OUTBOUND_MAX, &out) ==
		GW_E_INVALID);
	put_to_port(7);
	wait_drops(&plane, GW_DROP_SELECTOR_OUT, 1);
	CHECK(gw_dp_set_outbound(plane.dp, TUNNEL, GW_OUTBOUND_MAX - 1, &last) == GW_OK);
	put_to_port(6);
	put_to_port(7);
	put_to_port(8);
	wait_counted(&plane, 2, 0);
	wait_drops(&plane, GW_DROP_SELECTOR_OUT, 2);
	CHECK(sent_in_slot(0) == 1 && sent_in_slot(GW_OUTBOUND_MAX - 1) == 1);
	/* Of two that fit the lower slot wins; without it the other one takes over. */
	CHECK(gw_dp_set_outbound(plane.dp, TUNNEL, 5, &other) == GW_OK);
	put_to_port(7);
	wait_counted(&plane, 3, 0);
	CHECK(sent_in_slot(5) == 1 && sent_in_slot(GW_OUTBOUND_MAX - 1) == 1);
	CHECK(gw_dp_clear_outbound(plane.dp, TUNNEL, 5) == GW_OK);
	CHECK(gw_dp_outbound_stats(plane.dp, TUNNEL, 5, &out) == GW_E_NOENT);
	put_to_port(7);
	wait_counted(&plane, 4, 0);
	CHECK(sent_in_slot(GW_OUTBOUND_MAX - 1) == 2);
	/* Slot 0 may be empty, and all of them. */
	CHECK(gw_dp_clear_outbound(plane.dp, TUNNEL, 0) == GW_OK);
	put_to_port(6);
	wait_drops(&plane, GW_DROP_SELECTOR_OUT, 3);
	put_to_port(7);
	wait_counted(&plane, 5, 0);
	CHECK(gw_dp_clear_outbound(plane.dp, TUNNEL, GW_OUTBOUND_MAX - 1) == GW_OK);
	put_to_port(7);
	wait_drops(&plane, GW_DROP_NO_SA, 1);
	CHECK(all_drops(&plane) == 4);
	end();
}

static void
test_no_socket_for_the_path(void)
{
	struct gw_socket sock = {
		.family = 4, .encap = GW_ENCAP_UDP, .address = {127, 0, 0, 1}};
	size_t len = make_packet(packet, &udp4, 100, &random_state);

	begin();
	sock.port = plane.port;
	CHECK(gw_dp_del_socket(plane.dp, &sock) == GW_OK);
	CHECK(gw_dp_del_socket(plane.dp, &sock) == GW_E_NOENT);
	CHECK(gw_dp_send_keepalive(plane.dp, TUNNEL) == GW_E_NOENT);
	tun_put(plane.tun[0], NULL, packet, len);
	wait_drops(&plane, GW_DROP_NO_SOCKET, 1);
	plane_add_socket(&plane, 1);
	tun_put(plane.tun[0], NULL, packet, len);
	CHECK(receive_inner(got) == len);
	end();
}

static void
test_outbound_limits(void)
{
	struct gw_sa in = sa_config(SPI_IN), out = sa_config(SPI_OUT);
	size_t i, len = make_packet(packet, &udp4, 100, &random_state);
	struct gw_punt record;
	uint8_t data[4096];

	out.soft_bytes = len * 2;
	out.hard_packets = 4;
	begin_with(&in, &out);
	for (i = 0; i < 6; i++)
		tun_put(plane.tun[0], NULL, packet, len);
	wait_drops(&plane, GW_DROP_HARD_LIMIT, 2);
	for (i = 0; i < 4; i++)
		CHECK(receive_inner(got) == len);
	(void)punt_get(&plane, GW_PUNT_SOFT_LIMIT, &record, data);
	CHECK(record.tunnel == TUNNEL && record.spi == SPI_OUT);
	(void)punt_get(&plane, GW_PUNT_HARD_LIMIT, &record, data);
	out.hard_packets = 0;
	out.soft_bytes = 0;
	out.hard_bytes = len * 3 + 1;
	CHECK(gw_dp_set_outbound(plane.dp, TUNNEL, 0, &out) == GW_OK);
	for (i = 0; i < 4; i++)
		tun_put(plane.tun[0], NULL, packet, len);
	wait_drops(&plane, GW_DROP_HARD_LIMIT, 3);
	wait_counted(&plane, 7, 0);
	end();
}

static void
test_packets_that_do_not_fit(void)
{
	struct flow df = udp4, six = udp4;
	struct gw_vnet vnet;
	size_t len, i, sum = 0;

	begin();
	df.df = true;
	six.family = 6;
	len = make_packet(
		packet, &df, 1373, &random_state); /* 1401 bytes: one too many */
	tun_put(plane.tun[0], NULL, packet, len);
	CHECK(tun_get(plane.tun[0], &vnet, got, sizeof(got)) == 576);
	CHECK(got[20] == 3 && got[21] == 4 && get16(got + 26) == 1400);
	len = make_packet(packet, &six, 1373, &random_state);
	tun_put(plane.tun[0], NULL, packet, len);
	CHECK(tun_get(plane.tun[0], &vnet, got, sizeof(got)) == 1280);
	CHECK(got[40] == 2 && get32(got + 44) == 1400);
	wait_drops(&plane, GW_DROP_TOO_BIG, 2);
	/* Without DF it leaves in fragments. */
	len = make_packet(packet, &udp4, 3000, &random_state);
	tun_put(plane.tun[0], NULL, packet, len);
	for (i = 0; i < 3; i++) {
		len = receive_inner(got);
		CHECK(len <= 1400 && slow_sum(0, got, 20) == 0xffff);
		CHECK(memcmp(got + 20, packet + 20 + sum, len - 20) == 0);
		sum += len - 20;
	}
	CHECK(sum == 3008);
	/* A TCP super-packet without DF leaves in smaller segments. */
	vnet = (struct gw_vnet){.flags = 1,
		.gso_type = GW_VNET_GSO_TCPV4,
		.gso_size = 2000,
		.csum_start = 20,
		.csum_offset = 16};
	tun_put(plane.tun[0], &vnet, packet,
		make_packet(packet, &tcp4, 4000, &random_state));
	for (i = 0; i < 3; i++) {
		len = receive_inner(got);
		CHECK(len == (i < 2 ? 1400 : 52 + 4000 - 2 * 1348) &&
			checksums_hold(got, len));
	}
	CHECK(all_drops(&plane) == 2);
	end();
}

static void
cap(uint64_t rate_bps)
{
	struct gw_tunnel config = tunnel_config(&plane, peer_port, TUNNEL);

	config.options.rate_bps = rate_bps;
	CHECK(gw_dp_set_options(plane.dp, TUNNEL, &config.options) == GW_OK);
}

static void
test_the_rate_cap_lets_control_pass(void)
{
	struct flow bfd = udp4, bgp = tcp4;
	unsigned i;
	size_t len = make_packet(packet, &udp4, 1000, &random_state);

	begin();
	cap(1000); /* its burst is 128 KiB, as much may wait, then nothing for minutes */
	for (i = 0; i < 300; i++)
		tun_put(plane.tun[0], NULL, packet, len);
	wait_counted(&plane, 128, 0);
	wait_drops(&plane, GW_DROP_RATE, 300 - 128 - 125);
	bfd.dport = 3784;
	bgp.sport = 179;
	tun_put(plane.tun[0], NULL, packet, make_packet(packet, &bfd, 24, &random_state));
	tun_put(plane.tun[0], NULL, packet, make_packet(packet, &bgp, 19, &random_state));
	wait_counted(&plane, 130, 0);
	CHECK(drops(&plane, GW_DROP_RATE) == 300 - 128 - 125);
	/* Without the cap what has waited goes, too. */
	cap(0);
	tun_put(plane.tun[0], NULL, packet, len);
	wait_counted(&plane, 130 + 125 + 1, 0);
	CHECK(all_drops(&plane) == 300 - 128 - 125);
	end();
}

/* A UDP super-packet passes, waits or is dropped whole; each of its datagrams counts. */
static void
test_the_rate_cap_counts_every_datagram_of_a_super_packet(void)
{
	const struct gw_vnet vnet = {.flags = 1,
		.gso_type = GW_VNET_GSO_UDP_L4,
		.gso_size = 2000,
		.csum_start = 20,
		.csum_offset = 6};
	size_t i, len = make_packet(packet, &udp4, 60000, &random_state);

	begin();
	cap(1000);
	/* Three begin in the 128 KiB that pass, two more may wait; each datagram goes in two pieces. */
	for (i = 0; i < 6; i++)
		tun_put(plane.tun[0], &vnet, packet, len);
	wait_counted(&plane, 3 * 60, 0);
	wait_drops(&plane, GW_DROP_RATE, 30);
	end();
}

static size_t
put_numbered(unsigned first, unsigned count)
{
	struct flow flow = udp4;
	size_t len = 0;

	for (flow.id = first; flow.id < first + count; flow.id++) {
		len = make_packet(packet, &flow, 1000, &random_state);
		tun_put(plane.tun[0], NULL, packet, len);
	}
	return len;
}

static void
receive_numbered(unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++) {
		(void)receive_inner(got);
		CHECK(got[4] == (uint8_t)(i >> 8) && got[5] == (uint8_t)i);
	}
}

/* What exceeds the burst comes later: all of it, in order, and at the rate of the cap. */
static void
test_packets_over_the_rate_cap_wait_their_turn(void)
{
	enum { COUNT = 230, BYTES_PER_S = 1000 * 1000 };
	uint64_t began = gw_now_ns();
	size_t len;

	begin();
	cap(8 * BYTES_PER_S);
	len = put_numbered(0, 100); /* not more than the peer's buffer takes at once */
	receive_numbered(0, 100);
	(void)put_numbered(100, COUNT - 100);
	receive_numbered(100, COUNT - 100);
	/* The last one has waited until all but the burst was paid for. */
	CHECK(gw_now_ns() - began >=
		(COUNT * len - 131072 - len) * UINT64_C(1000000000) / BYTES_PER_S);
	CHECK(all_drops(&plane) == 0);
	end();
}

/* The TOS byte of the next datagram that the peer gets. */
static uint8_t
receive_tos(void)
{
	struct cmsghdr *control;
	uint8_t room[256], tos = 0;
	struct iovec part = {got, sizeof(got)};
	struct msghdr header = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = room,
		.msg_controllen = sizeof(room)};

	wait_readable(peer);
	CHECK(recvmsg(peer, &header, 0) > 0);
	for (control = CMSG_FIRSTHDR(&header); control != NULL;
		control = CMSG_NXTHDR(&header, control))
		if (control->cmsg_type == IP_TOS)
			tos = *CMSG_DATA(control);
	return tos;
}

static void
test_dscp_is_copied_or_not(void)
{
	static const uint8_t wanted[2][2] = {{0xba, 0x28}, {0x02, 0x00}};
	struct flow marked = udp4, other = udp4;
	struct gw_tunnel config;
	int on = 1, i, round;

	begin();
	marked.tos = 0xba;
	other.tos = 0x28;
	CHECK(setsockopt(peer, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on)) == 0);
	config = tunnel_config(&plane, peer_port, TUNNEL);
	for (round = 0; round < 2; round++) {
		config.options.copy_dscp = round == 0;
		CHECK(gw_dp_set_options(plane.dp, TUNNEL, &config.options) == GW_OK);
		/* Packets of equal size, read in one batch: those of different marks must not share a message. */
		for (i = 0; i < 32; i++)
			tun_put(plane.tun[0], NULL, packet,
				make_packet(packet, i % 2 ? &other : &marked, 100,
					&random_state));
		for (i = 0; i < 32; i++)
			CHECK(receive_tos() == wanted[round][i % 2]);
	}
	end();
}

static void
test_syn_is_clamped_both_ways(void)
{
	static const uint8_t mss[12] = {2, 4, 0x05, 0xb4, 1, 1, 1, 1, 1, 1, 1, 1};
	struct gw_tunnel config;
	struct flow syn = tcp4;
	size_t len;

	begin();
	config = tunnel_config(&plane, peer_port, TUNNEL);
	config.options.mss_clamp4 = 1360;
	CHECK(gw_dp_set_options(plane.dp, TUNNEL, &config.options) == GW_OK);
	syn.flags = 0x02;
	len = make_packet(packet, &syn, 0, &random_state);
	memcpy(packet + 40, mss, sizeof(mss));
	seal_checksums(packet, len, 6);
	tun_put(plane.tun[0], NULL, packet, len);
	CHECK(receive_inner(got) == len && get16(got + 42) == 1360 &&
		checksums_hold(got, len));
	udp_send(esp, sealed(packet, len));
	CHECK(deliver_one() == len && get16(got + 42) == 1360 &&
		checksums_hold(got, len));
	end();
}

/*
 * A kernel that refuses UDP_SEGMENT: a socket without UDP checksums can not segment (EINVAL), as
 * a device without checksum offload can not (EIO). Every segment leaves as a datagram of its own.
 */
static void
test_refused_segmentation_falls_back_to_single_datagrams(void)
{
	struct gw_socket place = {
		.family = 4, .encap = GW_ENCAP_UDP, .address = {127, 0, 0, 1}};
	struct gw_vnet vnet = {.flags = 1,
		.gso_type = GW_VNET_GSO_TCPV4,
		.gso_size = 1000,
		.csum_start = 20,
		.csum_offset = 16};
	struct gw_socket sock;
	size_t len;
	int i, round, on = 1;

	begin();
	place.port = plane.port;
	CHECK(gw_dp_del_socket(plane.dp, &place) == GW_OK);
	sock = place;
	sock.fd = udp_socket(&sock.port);
	CHECK(setsockopt(sock.fd, SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)) == 0);
	CHECK(gw_dp_add_socket(plane.dp, &sock) == GW_OK);
	for (round = 0; round < 2; round++) {
		len = make_packet(packet, &tcp4, 9500, &random_state);
		tun_put(plane.tun[0], &vnet, packet, len);
		for (i = 0; i < 10; i++) {
			len = receive_inner(got);
			CHECK(len == (i < 9 ? 1052 : 552) && checksums_hold(got, len));
			CHECK(get32(got + 24) == 1 + 1000 * (uint32_t)i);
		}
	}
	wait_counted(&plane, 20, 0);
	CHECK(tunnel_stats(&plane).out_bytes == 2 * (9500 + 10 * 52));
	CHECK(all_drops(&plane) == 0);
	end();
}

/*
 * No datagram carries 65,507 bytes and more: the kernel says what it says of a path whose MTU is
 * smaller than the packet. Told once; what fits goes on, IKE too.
 */
static void
test_a_datagram_larger_than_the_path_is_told(void)
{
	struct gw_tunnel config;
	struct gw_punt record;
	uint8_t data[64];
	size_t len;
	int i;

	begin();
	config = tunnel_config(&plane, peer_port, TUNNEL);
	config.options.mtu = 65535;
	CHECK(gw_dp_set_options(plane.dp, TUNNEL, &config.options) == GW_OK);
	for (i = 0; i < 3; i++) {
		len = make_packet(packet, &udp4, 65470, &random_state);
		tun_put(plane.tun[0], NULL, packet, len);
	}
	wait_drops(&plane, GW_DROP_PATH_MTU, 3);
	CHECK(punt_get(&plane, GW_PUNT_PATH_MTU, &record, data) == 0);
	CHECK(record.tunnel == TUNNEL);
	len = make_packet(packet, &udp4, 1000, &random_state);
	tun_put(plane.tun[0], NULL, packet, len);
	CHECK(receive_inner(got) == len);
	CHECK(recv(plane.punt, &record, sizeof(record), MSG_DONTWAIT) < 0);
	CHECK(all_drops(&plane) == 3);
	end();
}

static void
test_a_dead_queue_is_told_once_and_left_alone(void)
{
	struct gw_punt record;
	uint8_t data[4096];

	begin();
	(void)close(plane.tun[0]);
	plane.queues = 0;
	CHECK(punt_get(&plane, GW_PUNT_WORKER_FAILED, &record, data) > 0);
	CHECK(record.tunnel == TUNNEL);
	/* The worker still serves its socket, and is not woken by the queue again. */
	udp_send("\xff", 1);
	wait_drops(&plane, GW_DROP_KEEPALIVE, 1);
	CHECK(recv(plane.punt, data, sizeof(data), MSG_DONTWAIT) < 0);
	CHECK(gw_dp_del_tunnel(plane.dp, TUNNEL) == GW_OK);
	CHECK(gw_dp_del_tunnel(plane.dp, TUNNEL) == GW_E_NOENT);
	end();
}

static void
test_ike_and_keepalives_are_sent(void)
{
	struct gw_tunnel config;
	uint8_t ike[28] = {7};

	begin();
	config = tunnel_config(&plane, peer_port, TUNNEL);
	CHECK(gw_dp_send_ike(plane.dp, &config.path, ike, sizeof(ike)) == GW_OK);
	CHECK(receive_esp(got) == 32 && get32(got) == 0 && memcmp(got + 4, ike, 28) == 0);
	CHECK(gw_dp_send_keepalive(plane.dp, TUNNEL) == GW_OK);
	CHECK(receive_esp(got) == 1 && got[0] == 0xff);
	config.path.local_port++;
	CHECK(gw_dp_send_ike(plane.dp, &config.path, ike, sizeof(ike)) == GW_E_NOENT);
	CHECK(gw_dp_send_ike(plane.dp, &config.path, ike, 0) == GW_E_INVALID);
	CHECK(gw_dp_send_keepalive(plane.dp, TUNNEL + 1) == GW_E_NOENT);
	end();
}

int
main(void)
{
	test_packets_wait_for_the_first_sa(false);
	test_packets_wait_for_the_first_sa(true);
	test_outbound_packets_that_are_wrong();
	test_a_packet_goes_by_the_first_slot_that_it_matches();
	test_no_socket_for_the_path();
	test_outbound_limits();
	test_packets_that_do_not_fit();
	test_the_rate_cap_lets_control_pass();
	test_the_rate_cap_counts_every_datagram_of_a_super_packet();
	test_packets_over_the_rate_cap_wait_their_turn();
	test_dscp_is_copied_or_not();
	test_syn_is_clamped_both_ways();
	test_refused_segmentation_falls_back_to_single_datagrams();
	test_a_datagram_larger_than_the_path_is_told();
	test_a_dead_queue_is_told_once_and_left_alone();
	test_ike_and_keepalives_are_sent();
	return 0;
}
