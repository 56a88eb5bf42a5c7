/*
 * One data plane against a peer played by the test: the test seals and opens with the pure
 * functions, and its UDP socket is the peer's end of the path.
 */
#ifndef PEER_H
#define PEER_H

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

static inline void
begin_with(const struct gw_sa *in, const struct gw_sa *out)
{
	peer_port = 0;
	peer = udp_socket(&peer_port);
	plane_new(&plane, 1);
	plane_add_tunnel(&plane, peer_port, 1);
	CHECK(gw_dp_add_inbound(plane.dp, TUNNEL, in) == GW_OK);
	CHECK(gw_dp_set_outbound(plane.dp, TUNNEL, 0, out) == GW_OK);
	CHECK(gw_esp_new(in, true, &sealer) == GW_OK &&
		gw_esp_new(out, false, &opener) == GW_OK);
	plane_run(&plane);
	seq = 0;
}

static inline void
begin(void)
{
	struct gw_sa in = sa_config(SPI_IN), out = sa_config(SPI_OUT);

	begin_with(&in, &out);
}

static inline void
end(void)
{
	plane_free(&plane);
	gw_esp_free(sealer);
	gw_esp_free(opener);
	(void)close(peer);
}

static inline void
udp_send_from(int fd, const uint8_t *data, size_t len)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(plane.port)};

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(sendto(fd, data, len, 0, (struct sockaddr *)&to, sizeof(to)) ==
		(ssize_t)len);
}

static inline void
udp_send(const void *data, size_t len)
{
	udp_send_from(peer, data, len);
}

/* Seal a packet as the peer does. Returns the ESP packet's length. */
static inline size_t
sealed(const uint8_t *inner, size_t len)
{
	size_t esp_len;

	CHECK(gw_esp_seal_packet(sealer, ++seq, inner, len, esp, sizeof(esp), &esp_len) ==
		GW_OK);
	return esp_len;
}

/* Seal anything, with a trailer of one's own choice: what only a wrong or hostile peer would send. */
static inline size_t
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
static inline size_t
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

static inline void
send_text(const uint8_t *data, size_t len, uint8_t next_header)
{
	uint8_t text[4096];

	udp_send(esp, sealed_raw(text, with_trailer(data, len, next_header, text)));
}

static inline size_t
receive_esp(uint8_t *data)
{
	ssize_t len;

	wait_readable(peer);
	len = recv(peer, data, PACKET_MAX, 0);
	CHECK(len > 0);
	return (size_t)len;
}

/* Receive and open one packet that the plane sealed. */
static inline size_t
receive_inner(uint8_t *inner)
{
	static uint8_t data[PACKET_MAX];
	uint8_t next_header;
	size_t len;

	CHECK(gw_esp_open_packet(opener, data, receive_esp(data), inner, PACKET_MAX, &len,
		      &next_header) == GW_OK);
	return len;
}

static inline size_t
deliver_one(void)
{
	struct gw_vnet vnet;

	return tun_get(plane.tun[0], &vnet, got, sizeof(got));
}

#endif
