/* Every reason to drop a packet from the network, and every record that is punted. */
#include "peer.h"

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
	/* And back within the same second. */
	udp_send(esp, sealed(packet, len));
	(void)punt_get(&plane, GW_PUNT_PATH_CHANGED, &record, data);
	CHECK(record.tunnel == TUNNEL && record.path.remote_port != port);
	end();
	(void)close(moved);
}

static void
test_a_full_punt_socket_is_counted(void)
{
	uint8_t ike[2000] = {0};
	unsigned i;

	begin();
	/* Not all at once: where the worker waits for a processor, its socket would drop them. */
	for (i = 0; i < 10000 && drops(&plane, GW_DROP_PUNT_FULL) == 0; i++) {
		udp_send(ike, sizeof(ike));
		(void)usleep(1000);
	}
	CHECK(drops(&plane, GW_DROP_PUNT_FULL) > 0);
	CHECK(gw_dp_set_punt(plane.dp, -1) == GW_OK);
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
	return 0;
}
