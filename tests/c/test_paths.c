/*
 * One data plane against a peer played by the test: every reason to drop a packet, every record
 * that is punted, limits, and what happens to packets that do not fit.
 */
#include "esp.h"
#include "plane.h"

#define SPI_IN  0x1001u
#define SPI_OUT 0x2002u

static const struct flow udp4 = {
	.family = 4, .protocol = 17, .ttl = 64, .sport = 5, .dport = 6};
static const struct flow tcp4 = {.family = 4,
	.protocol = 6,
	.options_len = 12,
	.ttl = 64,
	.sport = 5,
	.dport = 6,
	.flags = 0x10,
	.seq = 1};

static struct plane plane;
static int peer;
static uint16_t peer_port;
static struct gw_esp *sealer, *opener;
static uint64_t seq;
static unsigned random_state = 1;
static uint8_t packet[PACKET_MAX], esp[PACKET_MAX], got[PACKET_MAX];

static void
begin_with(const struct gw_sa *in, const struct gw_sa *out)
{
	peer_port = 0;
	peer = udp_socket(&peer_port);
	plane_new(&plane, 1);
	plane_add_tunnel(&plane, peer_port, 1);
	CHECK(gw_dp_add_inbound(plane.dp, TUNNEL, in) == GW_OK);
	CHECK(gw_dp_set_outbound(plane.dp, TUNNEL, out) == GW_OK);
	CHECK(gw_esp_new(in, true, &sealer) == GW_OK &&
		gw_esp_new(out, false, &opener) == GW_OK);
	plane_run(&plane);
	seq = 0;
}

static void
begin(void)
{
	struct gw_sa in = sa_config(SPI_IN), out = sa_config(SPI_OUT);

	begin_with(&in, &out);
}

static void
end(void)
{
	plane_free(&plane);
	gw_esp_free(sealer);
	gw_esp_free(opener);
	(void)close(peer);
}

static void
udp_send_from(int fd, const uint8_t *data, size_t len)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(plane.port)};

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(sendto(fd, data, len, 0, (struct sockaddr *)&to, sizeof(to)) ==
		(ssize_t)len);
}

static void
udp_send(const void *data, size_t len)
{
	udp_send_from(peer, data, len);
}

/* Seal a packet as the peer does. Returns the ESP packet's length. */
static size_t
sealed(const uint8_t *inner, size_t len)
{
	size_t esp_len;

	CHECK(gw_esp_seal_packet(sealer, ++seq, inner, len, esp, sizeof(esp), &esp_len) ==
		GW_OK);
	return esp_len;
}

/* Seal anything, with a trailer of one's own choice: what only a wrong or hostile peer would send. */
static size_t
sealed_raw(const uint8_t *text, size_t len)
{
	struct gw_sa sa = sa_config(SPI_IN);
	struct gw_cipher *cipher;

	CHECK(gw_cipher_new(&sa, true, &cipher) == GW_OK);
	put32(esp, SPI_IN);
	put32(esp + 4, (uint32_t)++seq);
	memcpy(esp + 16, text, len);
	CHECK(gw_cipher_seal(cipher, esp, len, seq) == GW_OK);
	gw_cipher_free(cipher);
	return 16 + len + 16;
}

/* Text with an honest trailer for `len` bytes of anything. */
static size_t
with_trailer(const uint8_t *data, size_t len, uint8_t next_header, uint8_t *text)
{
	size_t i, pad = (4 - (len + 2) % 4) % 4;

	memcpy(text, data, len);
	for (i = 0; i < pad; i++)
		text[len + i] = (uint8_t)(i + 1);
	text[len + pad] = (uint8_t)pad;
	text[len + pad + 1] = next_header;
	return len + pad + 2;
}

static void
send_text(const uint8_t *data, size_t len, uint8_t next_header)
{
	uint8_t text[4096];

	udp_send(esp, sealed_raw(text, with_trailer(data, len, next_header, text)));
}

static size_t
receive_esp(uint8_t *data)
{
	ssize_t len;

	wait_readable(peer);
	len = recv(peer, data, PACKET_MAX, 0);
	CHECK(len > 0);
	return (size_t)len;
}

/* Receive and open one packet that the plane sealed. */
static size_t
receive_inner(uint8_t *inner)
{
	static uint8_t data[PACKET_MAX];
	uint8_t next_header;
	size_t len;

	CHECK(gw_esp_open_packet(opener, data, receive_esp(data), inner, PACKET_MAX, &len,
		      &next_header) == GW_OK);
	return len;
}

static size_t
deliver_one(void)
{
	struct gw_vnet vnet;

	return tun_get(plane.tun[0], &vnet, got, sizeof(got));
}

/* ---- inbound ---- */

static void
test_datagrams_that_are_no_esp(void)
{
	struct gw_punt record;
	uint8_t ike[104] = {0}, data[4096];

	begin();
	ike[4] = 1;
	ike[103] = 9;
	udp_send("\xff", 1);
	wait_drops(&plane, GW_DROP_KEEPALIVE, 1);
	udp_send("\xff\xff\xff", 3);
	udp_send("", 0);
	wait_drops(&plane, GW_DROP_MARKER_SHORT, 2);
	udp_send(ike, sizeof(ike));
	CHECK(punt_get(&plane, GW_PUNT_IKE, &record, data) == 100);
	CHECK(memcmp(data, ike + 4, 100) == 0 && record.tunnel == 0 && record.spi == 0);
	CHECK(record.path.family == 4 && record.path.encap == GW_ENCAP_UDP);
	CHECK(record.path.local_port == plane.port &&
		record.path.remote_port == peer_port);
	CHECK(record.path.local[0] == 127 && record.path.remote[3] == 1);
	CHECK(all_drops(&plane) == 3);
	end();
}

static void
test_esp_for_nobody(void)
{
	struct gw_punt record;
	uint8_t data[4096], stray[64] = {0, 0, 0x30, 0x03, 0, 0, 0, 1};
	unsigned i;

	begin();
	for (i = 0; i < 50; i++)
		udp_send(stray, sizeof(stray));
	wait_drops(&plane, GW_DROP_UNKNOWN_SPI, 50);
	(void)punt_get(&plane, GW_PUNT_UNKNOWN_SPI, &record, data);
	CHECK(record.spi == 0x3003 && record.path.remote_port == peer_port);
	put32(stray, 0x00101001); /* the slot of SPI_IN, but another SPI */
	udp_send(stray, sizeof(stray));
	wait_drops(&plane, GW_DROP_UNKNOWN_SPI, 51);
	CHECK(all_drops(&plane) == 51);
	end();
}

static void
test_esp_that_does_not_open(void)
{
	size_t len, inner = make_packet(packet, &udp4, 100, &random_state);

	begin();
	len = sealed(packet, inner);
	udp_send(esp, 20);
	udp_send(esp, len - 1);
	wait_drops(&plane, GW_DROP_ESP_SHORT, 2);
	esp[len - 1] ^= 1;
	udp_send(esp, len);
	wait_drops(&plane, GW_DROP_ICV, 1);
	esp[len - 1] ^= 1;
	udp_send(esp, len); /* a forged packet has not moved the window */
	CHECK(deliver_one() == inner && memcmp(got, packet, inner) == 0);
	udp_send(esp, len);
	wait_drops(&plane, GW_DROP_REPLAY, 1);
	seq += 5000;
	udp_send(esp, sealed(packet, inner));
	CHECK(deliver_one() == inner);
	seq -= 1024;
	udp_send(esp, sealed(packet, inner)); /* just behind the window */
	seq -= 2;
	udp_send(esp, sealed(packet, inner));
	wait_drops(&plane, GW_DROP_REPLAY, 2);
	CHECK(deliver_one() == inner);
	CHECK(all_drops(&plane) == 5);
	wait_counted(&plane, 0, 3);
	end();
}

static void
test_inner_packets_that_are_wrong(void)
{
	uint8_t text[4096];
	size_t len = make_packet(packet, &udp4, 100, &random_state), size;

	begin();
	size = with_trailer(packet, len, 4, text);
	text[size - 2] = 200; /* a pad length behind the beginning */
	udp_send(esp, sealed_raw(text, size));
	size = with_trailer(packet, len + 1, 4, text);
	text[size - 3] ^= 1; /* a pad byte that is not 1, 2, 3 ... */
	udp_send(esp, sealed_raw(text, size));
	wait_drops(&plane, GW_DROP_PADDING, 2);
	send_text(packet, len, 59);
	send_text(packet, len, 6);
	wait_drops(&plane, GW_DROP_DUMMY, 1);
	wait_drops(&plane, GW_DROP_NEXT_HEADER, 1);
	send_text(packet, len, 41); /* says IPv6, is IPv4 */
	packet[0] = 0x44;
	send_text(packet, len, 4);
	packet[0] = 0x45;
	wait_drops(&plane, GW_DROP_INNER_HEADER, 2);
	send_text(packet, len - 1, 4);
	send_text(packet, 0, 4);
	wait_drops(&plane, GW_DROP_INNER_TRUNCATED, 2);
	CHECK(all_drops(&plane) == 8);
	/* Traffic flow confidentiality padding behind the packet is cut. */
	send_text(packet, len + 50, 4);
	CHECK(deliver_one() == len && memcmp(got, packet, len) == 0);
	end();
}

static void
test_inner_packets_outside_the_selectors(void)
{
	struct gw_sa in = sa_config(SPI_IN), out = sa_config(SPI_OUT);
	size_t len = make_packet(packet, &udp4, 100, &random_state);

	in.local_count = in.remote_count = out.local_count = out.remote_count = 1;
	memcpy(in.local[0].first, packet + 16, 4);
	memcpy(in.local[0].last, packet + 16, 4);
	memcpy(out.remote[0].first, packet + 16, 4);
	memcpy(out.remote[0].last, packet + 16, 4);
	begin_with(&in, &out);
	udp_send(esp, sealed(packet, len));
	CHECK(deliver_one() == len);
	tun_put(plane.tun[0], NULL, packet, len);
	CHECK(receive_inner(got) == len && memcmp(got, packet, len) == 0);
	packet[19]++;
	udp_send(esp, sealed(packet, len));
	wait_drops(&plane, GW_DROP_SELECTOR_IN, 1);
	tun_put(plane.tun[0], NULL, packet, len);
	wait_drops(&plane, GW_DROP_SELECTOR_OUT, 1);
	CHECK(all_drops(&plane) == 2);
	end();
}

static void
test_congestion_marks_of_the_outer_header(void)
{
	struct flow ect0 = udp4;
	int ce = 3;
	size_t len;

	begin();
	CHECK(setsockopt(peer, IPPROTO_IP, IP_TOS, &ce, sizeof(ce)) == 0);
	ect0.tos = 0xb8 | 2;
	len = make_packet(packet, &ect0, 100, &random_state);
	udp_send(esp, sealed(packet, len));
	CHECK(deliver_one() == len && got[1] == (0xb8 | 3) && checksums_hold(got, len));
	ect0.tos = 0xb8;
	len = make_packet(packet, &ect0, 100, &random_state);
	udp_send(esp, sealed(packet, len));
	wait_drops(&plane, GW_DROP_ECN, 1);
	end();
}

static void
test_first_packet_soft_and_hard_limit_are_told_once(void)
{
	struct gw_sa in = sa_config(SPI_IN), out = sa_config(SPI_OUT);
	size_t i, len = make_packet(packet, &udp4, 100, &random_state);
	struct gw_punt record;
	uint8_t data[4096];

	in.soft_packets = 3;
	in.hard_packets = 5;
	begin_with(&in, &out);
	for (i = 0; i < 8; i++)
		udp_send(esp, sealed(packet, len));
	(void)punt_get(&plane, GW_PUNT_FIRST_INBOUND, &record, data);
	CHECK(record.tunnel == TUNNEL && record.spi == SPI_IN);
	(void)punt_get(&plane, GW_PUNT_SOFT_LIMIT, &record, data);
	CHECK(record.tunnel == TUNNEL && record.spi == SPI_IN);
	(void)punt_get(&plane, GW_PUNT_HARD_LIMIT, &record, data);
	wait_drops(&plane, GW_DROP_HARD_LIMIT, 3);
	for (i = 0; i < 5; i++)
		CHECK(deliver_one() == len);
	CHECK(recv(plane.punt, data, sizeof(data), MSG_DONTWAIT) < 0);
	end();
}

static void
test_a_new_address_of_the_peer_is_told(void)
{
	size_t esp_len, len = make_packet(packet, &udp4, 100, &random_state);
	struct gw_punt record;
	uint16_t port = 0;
	uint8_t data[4096], old[4096];
	int moved = udp_socket(&port);

	begin();
	esp_len = sealed(packet, len);
	memcpy(old, esp, esp_len);
	udp_send(esp, sealed(packet, len));
	CHECK(deliver_one() == len);
	(void)punt_get(&plane, GW_PUNT_FIRST_INBOUND, &record, data);
	udp_send_from(moved, old,
		esp_len); /* valid, but older than what came from the known address */
	CHECK(deliver_one() == len);
	CHECK(sealed(packet, len) == esp_len);
	esp[30] ^= 1;
	udp_send_from(moved, esp, esp_len); /* newer, but forged */
	wait_drops(&plane, GW_DROP_ICV, 1);
	CHECK(recv(plane.punt, data, sizeof(data), MSG_DONTWAIT) < 0);
	esp[30] ^= 1;
	udp_send_from(moved, esp, esp_len);
	(void)punt_get(&plane, GW_PUNT_PATH_CHANGED, &record, data);
	CHECK(record.tunnel == TUNNEL && record.path.remote_port == port);
	CHECK(record.path.local_port == plane.port);
	/* The path moves when control says so, and no earlier. */
	CHECK(gw_dp_set_path(plane.dp, TUNNEL, &record.path) == GW_OK);
	tun_put(plane.tun[0], NULL, packet, len);
	wait_readable(moved);
	end();
	(void)close(moved);
}

static void
test_a_full_punt_socket_is_counted(void)
{
	uint8_t ike[2000] = {0};
	unsigned i;

	begin();
	for (i = 0; i < 2000 && drops(&plane, GW_DROP_PUNT_FULL) == 0; i++)
		udp_send(ike, sizeof(ike));
	CHECK(drops(&plane, GW_DROP_PUNT_FULL) > 0);
	CHECK(gw_dp_set_punt(plane.dp, -1) == GW_OK);
	end();
}

/* ---- outbound ---- */

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
	CHECK(gw_dp_clear_outbound(plane.dp, TUNNEL) == GW_OK);
	tun_put(plane.tun[0], NULL, packet, len);
	wait_drops(&plane, GW_DROP_NO_SA, 1);
	CHECK(all_drops(&plane) == 5);
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
	CHECK(gw_dp_set_outbound(plane.dp, TUNNEL, &out) == GW_OK);
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
test_the_rate_cap_lets_control_pass(void)
{
	struct flow bfd = udp4, bgp = tcp4;
	struct gw_tunnel config;
	unsigned i;
	size_t len = make_packet(packet, &udp4, 1000, &random_state);

	begin();
	config = tunnel_config(&plane, peer_port, TUNNEL);
	config.options.rate_bps =
		1000; /* its burst is 128 KiB, then nothing for minutes */
	CHECK(gw_dp_set_options(plane.dp, TUNNEL, &config.options) == GW_OK);
	for (i = 0; i < 300; i++)
		tun_put(plane.tun[0], NULL, packet, len);
	wait_counted(&plane, 128, 0);
	wait_drops(&plane, GW_DROP_RATE, 172);
	bfd.dport = 3784;
	bgp.sport = 179;
	tun_put(plane.tun[0], NULL, packet, make_packet(packet, &bfd, 24, &random_state));
	tun_put(plane.tun[0], NULL, packet, make_packet(packet, &bgp, 19, &random_state));
	wait_counted(&plane, 130, 0);
	CHECK(drops(&plane, GW_DROP_RATE) == 172);
	end();
}

static void
test_dscp_is_copied_or_not(void)
{
	struct gw_tunnel config;
	struct flow f = udp4;
	uint8_t control[64];
	struct iovec part = {got, sizeof(got)};
	struct msghdr header = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = control};
	static const uint8_t wanted[2] = {0xba, 0x02};
	size_t len;
	int on = 1, i;

	begin();
	f.tos = 0xba;
	len = make_packet(packet, &f, 100, &random_state);
	CHECK(setsockopt(peer, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on)) == 0);
	config = tunnel_config(&plane, peer_port, TUNNEL);
	for (i = 0; i < 2; i++) {
		config.options.copy_dscp = i == 0;
		CHECK(gw_dp_set_options(plane.dp, TUNNEL, &config.options) == GW_OK);
		tun_put(plane.tun[0], NULL, packet, len);
		wait_readable(peer);
		header.msg_controllen = sizeof(control);
		CHECK(recvmsg(peer, &header, 0) > 0);
		CHECK(*CMSG_DATA(CMSG_FIRSTHDR(&header)) == wanted[i]);
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
	test_datagrams_that_are_no_esp();
	test_esp_for_nobody();
	test_esp_that_does_not_open();
	test_inner_packets_that_are_wrong();
	test_inner_packets_outside_the_selectors();
	test_congestion_marks_of_the_outer_header();
	test_first_packet_soft_and_hard_limit_are_told_once();
	test_a_new_address_of_the_peer_is_told();
	test_a_full_punt_socket_is_counted();
	test_outbound_packets_that_are_wrong();
	test_no_socket_for_the_path();
	test_outbound_limits();
	test_packets_that_do_not_fit();
	test_the_rate_cap_lets_control_pass();
	test_dscp_is_copied_or_not();
	test_syn_is_clamped_both_ways();
	test_ike_and_keepalives_are_sent();
	return 0;
}
