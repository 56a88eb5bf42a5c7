/*
 * The whole way from the socket to the TUN devices on any bytes: gw_inbound_batch() with the system
 * calls around it played by the fuzzer.
 *
 * An input is a list of datagrams, each of segments as UDP_GRO hands them over, for several SAs of two
 * tunnels: anything, keepalives, IKE, and ESP sealed with the right keys around inner packets that no
 * honest peer sends. A plain model says what must come of it: every segment ends in exactly one
 * counter, and what is written to a TUN is, cut as the kernel cuts it, exactly the inner packets that are
 * valid, in order within each flow.
 */
#define _GNU_SOURCE 1
#include <netinet/udp.h>
#include <sanitizer/asan_interface.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "inbound_model.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { DATAGRAMS = 8, SEGMENTS = 40, BATCHES = 4, TEXT_MOST = 9216 };

static struct gw_dp *dp;
static struct gw_worker *worker;
static int tun[TUNNELS], punt;
static struct gw_cipher *sealers[SAS];
static const struct gw_suite *suites[SAS];
static uint32_t next_seq[SAS];

/* ---- making packets ---- */

/* What is encrypted: a packet or anything, with a trailer that is seldom wrong. */
static size_t
make_text(const struct gw_suite *suite, uint8_t kind, uint8_t *text)
{
	size_t len, i, pad;

	if ((kind & 7) == 7) {
		len = bytes(text, byte());
	} else {
		len = next_of_flow(text);
		if ((kind & 7) >= 4)
			len = spoil(text, len);
	}
	pad = (suite->block - (len + 2) % suite->block) % suite->block;
	for (i = 0; i < pad; i++)
		text[len + i] = (uint8_t)(i + 1);
	text[len + pad] = (uint8_t)pad;
	text[len + pad + 1] = len > 0 && text[0] >> 4 == 6 ? 41 : 4;
	len += pad + 2;
	if ((kind & 24) == 24) {
		text[len - 1] ^= byte();
		text[len - 2] ^= byte();
	}
	return len;
}

static size_t
seal(uint8_t *out)
{
	static uint8_t text[TEXT_MOST];
	uint8_t kind = byte(), which = byte();
	uint32_t sa = which % SAS, seq;
	size_t text_len = make_text(suites[sa], kind, text), len;
	size_t headroom = 8u + suites[sa]->iv_len;

	if (which >= 0xe0)
		next_seq[sa] = byte() | (uint32_t)byte() << 8;
	seq = next_seq[sa]++ & 0xffff;
	if (seq == 0)
		seq = 1;
	put32(out, sas[sa].spi);
	put32(out + 4, seq);
	memcpy(out + headroom, text, text_len);
	CHECK(gw_cipher_seal(sealers[sa], out, text_len, seq) == GW_OK);
	len = headroom + text_len + suites[sa]->icv_len;
	if (sealed_count < KEPT && of_sealed.used + len + text_len < ARENA)
		sealed[sealed_count++] =
			(struct sealed){sa, seq, keep(&of_sealed, out, len),
				keep(&of_sealed, text, text_len), len, text_len};
	else
		out[len - 1] ^= 1;
	if (kind >> 5 == 7)
		out[byte() % len] ^= byte();
	return len;
}

static size_t
make_segment(uint8_t *out)
{
	uint8_t kind = byte();
	const struct sealed *again;

	switch (kind % 16) {
	case 0:
		return bytes(out, byte());
	case 1:
		out[0] = 0xff;
		return 1;
	case 2:
		memset(out, 0, 4);
		return 4 + bytes(out + 4, byte());
	case 3:
		if (sealed_count == 0)
			return 0;
		again = &sealed[byte() % sealed_count];
		memcpy(out, again->esp, again->len);
		return again->len;
	default:
		return seal(out);
	}
}

/* ---- datagrams ---- */

static struct datagram datagrams[DATAGRAMS];
static uint32_t datagram_count;
static struct gw_socket_state sock;
static uint8_t refuse; /* of the writes to the TUNs */

/* Segments of one size, of which the last may be shorter: as the kernel merges them. */
static void
fill(struct datagram *d)
{
	static uint8_t segment[TEXT_MOST + 256];
	size_t len, first = 0, header = 0;
	uint32_t most = 1 + byte() % SEGMENTS;

	d->len = 0;
	if (sock.config.encap == GW_ENCAP_ESP) {
		most = 1;
		header = sock.config.family == 4 ? 20 : 0;
		memset(d->data, 0, header);
		d->data[0] = 0x45;
		d->data[1] = byte();
		d->len = header;
	}
	do {
		len = make_segment(segment);
		if (d->len > header && len > first)
			break; /* one that does not fit there is lost on the way */
		if (d->len == header)
			first = len;
		memcpy(d->data + d->len, segment, len);
		d->len += len;
	} while (len == first && --most > 0 && left > 0 &&
		 d->len + TEXT_MOST + 256 < 65000);
	d->tos = byte();
	d->size = (int32_t)first;
	d->size_bytes = 4;
	if ((d->tos & 0xe0) == 0xe0) {
		d->size = (int16_t)(byte() | byte() << 8);
		d->size_bytes = 1 + byte() % 4;
	}
	if ((d->tos & 0xf0) == 0xf0)
		d->data[0] = byte();
}

/* ---- the system calls ---- */

int __wrap_recvmmsg(int fd, struct mmsghdr *headers, unsigned count, int flags,
	struct timespec *timeout);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);
ssize_t __real_writev(int fd, const struct iovec *parts, int count);

static void
tell(struct msghdr *header, size_t *at, int level, int type, const void *value,
	size_t len)
{
	struct cmsghdr *control =
		(struct cmsghdr *)(void *)((uint8_t *)header->msg_control + *at);

	control->cmsg_level = level;
	control->cmsg_type = type;
	control->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(control), value, len);
	*at += CMSG_SPACE(len);
}

int
__wrap_recvmmsg(int fd, struct mmsghdr *headers, unsigned count, int flags,
	struct timespec *timeout)
{
	uint32_t i;

	CHECK(fd == sock.source.fd && flags == MSG_DONTWAIT && timeout == NULL);
	CHECK(count >= datagram_count);
	for (i = 0; i < datagram_count; i++) {
		const struct datagram *d = &datagrams[i];
		struct msghdr *header = &headers[i].msg_hdr;
		uint8_t *to = header->msg_iov[0].iov_base;
		size_t at = 0;

		ASAN_UNPOISON_MEMORY_REGION(to, GW_IN_SIZE);
		memcpy(to, d->data, d->len);
		ASAN_POISON_MEMORY_REGION(to + d->len, GW_IN_SIZE - d->len);
		headers[i].msg_len = (unsigned)d->len;
		memset(header->msg_name, 0, sizeof(struct sockaddr_storage));
		tell(header, &at, sock.config.family == 4 ? IPPROTO_IP : IPPROTO_IPV6,
			sock.config.family == 4 ? IP_TOS : IPV6_TCLASS, &d->tos, 1);
		tell(header, &at, SOL_UDP, UDP_GRO, &d->size, d->size_bytes);
		header->msg_controllen = at;
	}
	return (int)datagram_count;
}

/* Only punts are sent. An IKE datagram must be there whole, a full socket is tried too. */
ssize_t
__wrap_sendmsg(int fd, const struct msghdr *header, int flags)
{
	const struct gw_punt *record = header->msg_iov[0].iov_base;

	CHECK(fd == punt && flags == (MSG_DONTWAIT | MSG_NOSIGNAL));
	CHECK(record->length ==
		(header->msg_iovlen > 1 ? header->msg_iov[1].iov_len : 0));
	if (record->type == GW_PUNT_IKE && record->length > 0)
		(void)slow_sum(0, header->msg_iov[1].iov_base, record->length);
	if ((refuse & 4) != 0)
		return -1;
	if (record->type == GW_PUNT_IKE)
		model.punted++;
	return (ssize_t)sizeof(*record);
}

ssize_t
__wrap_writev(int fd, const struct iovec *parts, int count)
{
	static uint8_t whole[GW_VNET_LEN + INNER_MAX], piece[INNER_MAX];
	const uint8_t *packet = whole + GW_VNET_LEN;
	size_t len = 0, size, pieces = 0;
	struct gw_vnet vnet;
	int i;

	if (fd != tun[0] && fd != tun[1])
		return __real_writev(fd, parts, count);
	for (i = 0; i < count; len += parts[i++].iov_len) {
		CHECK(len + parts[i].iov_len <= sizeof(whole));
		memcpy(whole + len, parts[i].iov_base, parts[i].iov_len);
	}
	CHECK(len > GW_VNET_LEN);
	memcpy(&vnet, whole, sizeof(vnet));
	if (vnet.gso_type == 0) {
		CHECK(vnet.flags == 0);
		meet(fd == tun[1], packet, len - GW_VNET_LEN, false);
		pieces = 1;
	} else {
		while ((size = cut_piece(
				&vnet, packet, len - GW_VNET_LEN, pieces, piece)) > 0) {
			meet(fd == tun[1], piece, size, true);
			pieces++;
		}
	}
	if ((refuse & 3) == 3) {
		model.refused += pieces;
		return -1;
	}
	model.written += pieces;
	return (ssize_t)len;
}

/* ---- the beginning ---- */

static struct gw_sa
sa_of(uint32_t at)
{
	struct gw_sa sa = sas[at];

	memset(sa.encr_key, (int)(0x11 * (at + 1)), sa.encr_key_len);
	memset(sa.integ_key, 0x77, sa.integ_key_len);
	sa.local_count = sa.remote_count = at == 2 ? 1 : 2;
	sa.local[0] = (struct gw_selector){.family = 4, .last_port = 65535};
	memset(sa.local[0].last, 0xff, 16);
	sa.local[1] = sa.local[0];
	sa.local[1].family = 6;
	memcpy(sa.remote, sa.local, 2 * sizeof(sa.local[0]));
	if (at == 2)
		sa.remote[0].first[0] = sa.remote[0].last[0] = 10;
	return sa;
}

static void
add_tunnel(uint32_t at)
{
	struct gw_tunnel tunnel = {.id = at + 1, .queue_count = 1, .uso = 1};

	tunnel.path = (struct gw_path){.family = 4,
		.local_port = 4500,
		.remote_port = 4500,
		.local = {127, 0, 0, 1},
		.remote = {127, 0, 0, 2}};
	tunnel.options.mtu = 1400;
	tunnel.options.mss_clamp4 = at == 1 ? CLAMP : 0;
	tunnel.queue[0].fd = tun[at] = eventfd(0, EFD_NONBLOCK);
	CHECK(gw_dp_add_tunnel(dp, &tunnel) == GW_OK);
}

static void
start(void)
{
	struct gw_dp_config config = {.workers = 1, .tunnels_max = TUNNELS};
	struct gw_sa sa;
	uint32_t i;

	punt = config.punt_fd = eventfd(0, EFD_NONBLOCK);
	CHECK(gw_dp_new(&config, &dp) == GW_OK);
	worker = &dp->workers[0];
	worker->in_wanted = DATAGRAMS;
	worker->buffers = aligned_alloc(GW_CACHE_LINE, sizeof(struct gw_buffers));
	CHECK(worker->buffers != NULL);
	memset(worker->buffers, 0, sizeof(struct gw_buffers));
	for (i = 0; i < TUNNELS; i++)
		add_tunnel(i);
	for (i = 0; i < SAS; i++) {
		sa = sa_of(i);
		suites[i] = gw_suite_find(sa.encr, sa.integ, sa.encr_key_len);
		CHECK(gw_cipher_new(&sa, true, &sealers[i]) == GW_OK);
	}
}

/* Fresh SAs, and nothing known of them. */
static void
begin(void)
{
	struct gw_sa sa;
	uint32_t i;

	for (i = 0; i < SAS; i++) {
		sa = sa_of(i);
		CHECK(gw_dp_add_inbound(dp, 1 + (i == 2), &sa) == GW_OK);
		next_seq[i] = 1;
	}
	memset(windows, 0, sizeof(windows));
	memset(sent, 0, sizeof(sent));
	of_sealed.used = sealed_count = 0;
}

static void
run_batch(void)
{
	uint8_t how = byte();

	memset(&sock, 0, sizeof(sock));
	sock.source.fd = 1000;
	sock.config.family = how & 1 ? 6 : 4;
	sock.config.encap = (how & 6) == 6 ? GW_ENCAP_ESP : GW_ENCAP_UDP;
	refuse = how >> 5;
	of_expected.used = expected_count = 0;
	for (datagram_count = 0; datagram_count < DATAGRAMS && left > 0; datagram_count++)
		fill(&datagrams[datagram_count]);
	for (how = 0; how < datagram_count; how++)
		expect_datagram(&datagrams[how], &sock.config);
	gw_inbound_batch(worker, &sock);
	judge(dp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t i;

	if (dp == NULL)
		start();
	input = data;
	left = size;
	begin();
	for (i = 0; i < BATCHES && left > 0; i++)
		run_batch();
	for (i = 0; i < SAS; i++)
		CHECK(gw_dp_del_inbound(dp, sas[i].spi) == GW_OK);
	return 0;
}
