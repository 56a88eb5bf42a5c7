/*
 * From the network to the TUN devices, in this order:
 *  1. recvmmsg of datagrams, each of which the kernel may have made of many (UDP_GRO)
 *  2. per segment: marker zero is IKE and is punted, one byte 0xFF is a keepalive
 *  3. the SA by the low bits of the SPI; consecutive segments of one SA are a run
 *  4. the run: replay check, open in place, replay mark, under the SA's lock (open.c)
 *  5. trailer, inner header, selectors, congestion mark
 *  6. consecutive segments of one flow are merged (merge.c) and written to the TUN with one
 *     call (to_tun.c)
 *
 * Every ESP packet ends in exactly one counter: in_packets, or one drop reason (of its tunnel,
 * or of the worker as long as no SA is known).
 */
#define _GNU_SOURCE 1
#include <netinet/udp.h>
#include <string.h>

#include "internal.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* Large datagrams that one recvmmsg() takes: they stay in the second-level cache. */
#define LARGE_BATCH 8u
#define LARGE_BYTES 16384u

/* A drop that belongs to no tunnel. */
static void
drop_stray(struct gw_worker *worker, enum gw_drop reason)
{
	gw_count(&worker->counters.drops[reason], 1);
}

void
gw_path_of(const struct gw_socket_state *sock, const struct sockaddr_storage *from,
	struct gw_path *out)
{
	memset(out, 0, sizeof(*out));
	out->family = sock->config.family;
	out->encap = sock->config.encap;
	out->local_port = sock->config.port;
	memcpy(out->local, sock->config.address, sizeof(out->local));
	if (out->family == 4) {
		const struct sockaddr_in *in =
			(const struct sockaddr_in *)(const void *)from;

		memcpy(out->remote, &in->sin_addr, 4);
		out->remote_port = ntohs(in->sin_port);
	} else {
		const struct sockaddr_in6 *in6 =
			(const struct sockaddr_in6 *)(const void *)from;

		memcpy(out->remote, &in6->sin6_addr, 16);
		out->remote_port = ntohs(in6->sin6_port);
	}
	if (out->encap == GW_ENCAP_ESP)
		out->remote_port = 0;
}

static void
punt_ike(struct gw_worker *worker, const struct gw_in_batch *batch,
	const struct gw_in_message *m, const uint8_t *data, size_t len)
{
	struct gw_punt record = {.type = GW_PUNT_IKE};

	gw_path_of(batch->socket, m->from, &record.path);
	if (!gw_punt_send(worker, &record, data, len))
		drop_stray(worker, GW_DROP_PUNT_FULL);
}

/* One UDP payload: keepalive, IKE behind the non-ESP marker, or ESP (RFC 3948 section 2). */
static void
take_segment(struct gw_worker *worker, struct gw_in_batch *batch, uint32_t message,
	uint8_t *data, size_t len)
{
	if (len == 1 && data[0] == 0xff)
		drop_stray(worker, GW_DROP_KEEPALIVE);
	else if (len < 4)
		drop_stray(worker, GW_DROP_MARKER_SHORT);
	else if (gw_be32(data) == 0)
		punt_ike(worker, batch, &batch->messages[message], data + 4, len - 4);
	else
		gw_open_add(worker, batch, message, data, len);
}

/* Raw ESP: an IPv4 socket hands over the IP header as well, an IPv6 socket does not. */
static void
take_raw(struct gw_worker *worker, struct gw_in_batch *batch, uint32_t message)
{
	struct gw_in_message *m = &batch->messages[message];
	size_t header = 0;

	if (batch->socket->config.family == 4) {
		header = m->len < GW_IPV4_LEN ? m->len : (size_t)(m->data[0] & 15) * 4;
		if (m->len > 1)
			m->tos = m->data[1];
	}
	if (m->len < header + 8) {
		drop_stray(worker, GW_DROP_ESP_SHORT);
		return;
	}
	gw_open_add(worker, batch, message, m->data + header, m->len - header);
}

static void
take_message(struct gw_worker *worker, struct gw_in_batch *batch, uint32_t message)
{
	const struct gw_in_message *m = &batch->messages[message];
	size_t at = 0;

	if (batch->socket->config.encap == GW_ENCAP_ESP) {
		take_raw(worker, batch, message);
		gw_count(&worker->counters.udp_segments_in, 1);
		return;
	}
	do {
		size_t left = m->len - at;

		take_segment(worker, batch, message, m->data + at,
			left < m->size ? left : m->size);
		gw_count(&worker->counters.udp_segments_in, 1);
		at += m->size;
	} while (at < m->len);
}

static int
control_int(const struct cmsghdr *control)
{
	int value = 0;
	size_t len = control->cmsg_len - CMSG_LEN(0);

	memcpy(&value, CMSG_DATA(control), len < sizeof(value) ? len : sizeof(value));
	return value;
}

/* What the kernel says of a datagram: segment size and TOS byte. */
static void
read_control(struct msghdr *header, struct gw_in_message *m)
{
	struct cmsghdr *control;
	int size;

	for (control = CMSG_FIRSTHDR(header); control != NULL;
		control = CMSG_NXTHDR(header, control)) {
		if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) {
			size = control_int(control);
			if (size > 0)
				m->size = (uint32_t)size;
		} else if ((control->cmsg_level == IPPROTO_IP &&
				   control->cmsg_type == IP_TOS) ||
			   (control->cmsg_level == IPPROTO_IPV6 &&
				   control->cmsg_type == IPV6_TCLASS)) {
			m->tos = (uint8_t)control_int(control);
		}
	}
}

static uint32_t
receive(struct gw_worker *worker, struct gw_in_batch *batch)
{
	struct gw_buffers *b = worker->buffers;
	int i, count;

	for (i = 0; i < (int)worker->in_wanted; i++) {
		b->parts[i][0] = (struct iovec){b->in[i], GW_IN_SIZE};
		b->headers[i].msg_hdr = (struct msghdr){
			.msg_name = &b->from[i],
			.msg_namelen = sizeof(b->from[i]),
			.msg_iov = b->parts[i],
			.msg_iovlen = 1,
			.msg_control = b->control[i],
			.msg_controllen = GW_CONTROL_SIZE,
		};
	}
	count = recvmmsg(batch->socket->source.fd, b->headers, worker->in_wanted,
		MSG_DONTWAIT, NULL);
	for (i = 0; i < count; i++) {
		struct gw_in_message *m = &batch->messages[i];

		*m = (struct gw_in_message){
			.data = b->in[i],
			.len = b->headers[i].msg_len,
			.size = b->headers[i].msg_len > 0 ? b->headers[i].msg_len : 1,
			.from = &b->from[i],
		};
		read_control(&b->headers[i].msg_hdr, m);
	}
	return count > 0 ? (uint32_t)count : 0;
}

/* Large datagrams come a few at a time, so that they are opened while they are in the cache. */
static void
choose_wanted(struct gw_worker *worker, uint64_t bytes, uint32_t count)
{
	worker->in_wanted = bytes / count >= LARGE_BYTES ? LARGE_BATCH : GW_IN_MESSAGES;
}

void
gw_inbound_batch(struct gw_worker *worker, const struct gw_socket_state *sock)
{
	struct gw_in_batch *batch = &worker->buffers->in_batch;
	uint64_t bytes = 0;
	uint32_t i, count;

	batch->socket = sock;
	batch->now_ns = gw_now_ns();
	batch->sa = NULL;
	batch->run_count = 0;
	count = receive(worker, batch);
	for (i = 0; i < count; i++) {
		bytes += batch->messages[i].len;
		take_message(worker, batch, i);
	}
	gw_open_run(worker, batch);
	gw_tun_flush(worker, batch);
	if (count > 0)
		choose_wanted(worker, bytes, count);
	gw_count(&worker->counters.udp_batches_in, count);
}
