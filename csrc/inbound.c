/*
 * From the network to the TUN devices, in this order:
 *  1. recvmmsg of datagrams, each of which the kernel may have made of many (UDP_GRO)
 *  2. per segment: marker zero is IKE and is punted, one byte 0xFF is a keepalive
 *  3. the SA by the low bits of the SPI; consecutive segments of one SA are a run
 *  4. the run: replay check, open in place, replay mark, under the SA's lock
 *  5. trailer, inner header, congestion mark, selectors
 *  6. consecutive segments of one flow are merged (merge.c) and written to the TUN with one call
 *
 * Nothing waits: all that was merged is written when the batch ends. Packets of a flow keep their
 * order: one that can not be merged is written after what it follows. Every ESP packet ends in
 * exactly one counter: in_packets, or one drop reason (of its tunnel, or of the worker as long
 * as no SA is known).
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ecn.h"
#include "internal.h"
#include "mss.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define NOTICE_RETRY_NS      UINT64_C(10000000)
#define PATH_NOTICE_NS       UINT64_C(1000000000)
#define UNKNOWN_SPI_EVERY_NS UINT64_C(100000000)

/* Bytes of large datagrams that one recvmmsg() takes: they stay in the second-level cache. */
#define LARGE_BATCH 8u
#define LARGE_BYTES 16384u

static struct gw_tunnel_counters *
counters_of(struct gw_worker *worker, const struct gw_inbound *sa)
{
	return &sa->tunnel->counters[worker->index];
}

static void
drop(struct gw_worker *worker, const struct gw_inbound *sa, enum gw_drop reason)
{
	gw_count(&counters_of(worker, sa)->drops[reason], 1);
}

/* A drop that belongs to no tunnel. */
static void
drop_stray(struct gw_worker *worker, enum gw_drop reason)
{
	gw_count(&worker->counters.drops[reason], 1);
}

/* ---- to the TUN ---- */

bool
gw_tun_write(struct gw_worker *worker, struct gw_tunnel_state *tunnel,
	struct iovec *parts, size_t count)
{
	ssize_t sent;

	do
		sent = writev(
			tunnel->write_queue[worker->index]->source.fd, parts, (int)count);
	while (sent < 0 && errno == EINTR);
	gw_count(&worker->counters.tun_writes, 1);
	return sent >= 0;
}

/* Write a packet of `count` inner packets and count them. */
static void
write_counted(struct gw_worker *worker, struct gw_tunnel_state *tunnel,
	struct iovec *parts, uint32_t count, uint64_t bytes, uint64_t now_ns)
{
	struct gw_tunnel_counters *counters = &tunnel->counters[worker->index];

	if (!gw_tun_write(worker, tunnel, parts, count)) {
		gw_count(&counters->drops[GW_DROP_TUN_WRITE], count);
		return;
	}
	gw_count(&counters->in_packets, count);
	gw_count(&counters->in_bytes, bytes);
	gw_counter_set(&counters->in_at_ns, now_ns);
	if (count > 1)
		gw_count(&worker->counters.merged, count);
}

/* The offload header goes right before the packet: its ESP header was there (16 bytes or more). */
static struct iovec
with_offload_header(uint8_t *packet, size_t len, const struct gw_vnet *vnet)
{
	memcpy(packet - GW_VNET_LEN, vnet, GW_VNET_LEN);
	return (struct iovec){packet - GW_VNET_LEN, len + GW_VNET_LEN};
}

static void
write_alone(struct gw_worker *worker, struct gw_in_batch *batch,
	struct gw_tunnel_state *tunnel, uint8_t *packet, const struct gw_packet *info)
{
	static const struct gw_vnet none = {0};
	struct iovec part = with_offload_header(packet, info->len, &none);

	write_counted(worker, tunnel, &part, 1, info->len, batch->now_ns);
}

static void
flush_slot(struct gw_worker *worker, struct gw_merge *slot, uint64_t now_ns)
{
	struct gw_tunnel_state *tunnel = (struct gw_tunnel_state *)(uintptr_t)slot->owner;
	struct gw_vnet vnet;

	gw_merge_finish(slot, &vnet);
	slot->parts[0] = with_offload_header(slot->packet, slot->parts[0].iov_len, &vnet);
	write_counted(worker, tunnel, slot->parts, slot->count, slot->bytes, now_ns);
	slot->owner = NULL;
}

static void
flush_all(struct gw_worker *worker, struct gw_in_batch *batch)
{
	uint32_t i;

	for (i = 0; i < GW_MERGE_SLOTS; i++)
		if (batch->merge[i].owner != NULL)
			flush_slot(worker, &batch->merge[i], batch->now_ns);
}

/* The slot of the packet's flow, or NULL. A packet without ports follows every flow of its hosts. */
static struct gw_merge *
find_slot(struct gw_worker *worker, struct gw_in_batch *batch, const void *owner,
	const uint8_t *packet, const struct gw_packet *info)
{
	struct gw_merge *slot;
	uint32_t i;

	for (i = 0; i < GW_MERGE_SLOTS; i++) {
		slot = &batch->merge[i];
		if (slot->owner == NULL || !gw_merge_same_flow(slot, owner, packet, info))
			continue;
		if (info->has_ports)
			return slot;
		flush_slot(worker, slot, batch->now_ns);
	}
	return NULL;
}

static struct gw_merge *
free_slot(struct gw_worker *worker, struct gw_in_batch *batch)
{
	struct gw_merge *slot;
	uint32_t i;

	for (i = 0; i < GW_MERGE_SLOTS; i++)
		if (batch->merge[i].owner == NULL)
			return &batch->merge[i];
	slot = &batch->merge[batch->merge_next++ % GW_MERGE_SLOTS];
	flush_slot(worker, slot, batch->now_ns);
	return slot;
}

/* Merge a packet with what came before it, or begin anew, or write it now. */
static void
to_tun(struct gw_worker *worker, struct gw_in_batch *batch,
	struct gw_tunnel_state *tunnel, uint8_t *packet, const struct gw_packet *info)
{
	struct gw_merge *slot = find_slot(worker, batch, tunnel, packet, info);
	bool can = gw_merge_can(packet, info, tunnel->uso);

	if (slot != NULL) {
		if (can && gw_merge_add(slot, packet, info))
			return;
		flush_slot(worker, slot, batch->now_ns);
	}
	if (!can) {
		write_alone(worker, batch, tunnel, packet, info);
		return;
	}
	if (slot == NULL)
		slot = free_slot(worker, batch);
	gw_merge_begin(slot, tunnel, packet, info);
}

/* ---- an opened packet ---- */

/* Apply the outer header's congestion mark. False: the packet was dropped. */
static bool
apply_ecn(struct gw_worker *worker, const struct gw_inbound *sa, unsigned outer,
	uint8_t *packet, struct gw_packet *info)
{
	int mark = gw_ecn_combine(outer & 3, info->tos & 3);

	if (mark < 0) {
		drop(worker, sa, GW_DROP_ECN);
		return false;
	}
	if (mark != (info->tos & 3))
		gw_ecn_set(packet, info, (unsigned)mark);
	return true;
}

static void
deliver(struct gw_worker *worker, struct gw_in_batch *batch,
	const struct gw_cipher_op *op, unsigned outer_tos)
{
	struct gw_inbound *sa = batch->sa;
	const struct gw_options_state *options;
	struct gw_packet info;
	uint8_t *packet, next_header;
	size_t len;
	int err;

	if (gw_esp_trailer(sa->suite, op->esp, op->len, &packet, &len, &next_header) !=
		GW_OK) {
		drop(worker, sa, GW_DROP_PADDING);
		return;
	}
	if (next_header != GW_PROTO_IPV4 && next_header != GW_PROTO_IPV6) {
		drop(worker, sa,
			next_header == GW_PROTO_NONE ? GW_DROP_DUMMY
						     : GW_DROP_NEXT_HEADER);
		return;
	}
	err = gw_packet_parse(packet, len, &info);
	if (err == GW_OK && info.family != (next_header == GW_PROTO_IPV4 ? 4 : 6))
		err = GW_E_INVALID;
	if (err != GW_OK) {
		drop(worker, sa,
			err == GW_E_SHORT ? GW_DROP_INNER_TRUNCATED
					  : GW_DROP_INNER_HEADER);
		return;
	}
	if (!gw_selectors_match(sa->selectors, packet, &info, false)) {
		drop(worker, sa, GW_DROP_SELECTOR_IN);
		return;
	}
	if (!apply_ecn(worker, sa, outer_tos, packet, &info))
		return;
	options = atomic_load(&sa->tunnel->options);
	gw_mss_clamp(packet, &info,
		info.family == 4 ? options->options.mss_clamp4
				 : options->options.mss_clamp6);
	to_tun(worker, batch, sa->tunnel, packet, &info);
}

/* ---- a run of one SA ---- */

/* Tell once; a full punt socket is tried again later. Under the SA's lock. */
static void
tell(struct gw_worker *worker, struct gw_inbound *sa, bool *told, enum gw_punt_type type,
	uint64_t now_ns)
{
	if (*told || now_ns < sa->notice_at_ns)
		return;
	*told = gw_punt_sa(worker, type, sa->tunnel->id, sa->spi);
	if (!*told)
		sa->notice_at_ns = now_ns + NOTICE_RETRY_NS;
}

static void
tell_news(struct gw_worker *worker, struct gw_inbound *sa, uint64_t now_ns)
{
	if (!sa->first_told && sa->packets > 0)
		tell(worker, sa, &sa->first_told, GW_PUNT_FIRST_INBOUND, now_ns);
	if ((sa->soft_packets != 0 && sa->packets >= sa->soft_packets) ||
		(sa->soft_bytes != 0 && sa->bytes >= sa->soft_bytes))
		tell(worker, sa, &sa->soft_told, GW_PUNT_SOFT_LIMIT, now_ns);
	if (sa->hard_hit)
		tell(worker, sa, &sa->hard_told, GW_PUNT_HARD_LIMIT, now_ns);
}

static bool
at_hard_limit(const struct gw_inbound *sa)
{
	return (sa->hard_packets != 0 && sa->packets >= sa->hard_packets) ||
	       (sa->hard_bytes != 0 && sa->bytes >= sa->hard_bytes);
}

/* Keep the packets of the run that the window lets pass. Under the SA's lock. */
static void
check_replay(struct gw_worker *worker, struct gw_in_batch *batch)
{
	struct gw_inbound *sa = batch->sa;
	uint32_t i, kept = 0;

	for (i = 0; i < batch->run_count; i++) {
		struct gw_cipher_op op = batch->ops[i];
		uint32_t low = gw_be32(op.esp + 4);

		op.seq = sa->esn ? gw_replay_esn(&sa->replay, low) : low;
		if (!gw_replay_check(&sa->replay, op.seq)) {
			drop(worker, sa, GW_DROP_REPLAY);
			continue;
		}
		batch->op_message[kept] = batch->op_message[i];
		batch->ops[kept++] = op;
	}
	batch->run_count = kept;
}

/*
 * Mark what was opened and count it: bytes are counted as ESP text, near enough for a limit.
 * result of a packet that goes no further becomes an error. Returns the packet that moved the
 * window's top, or -1. Under the SA's lock.
 */
static int
mark_opened(struct gw_worker *worker, struct gw_in_batch *batch)
{
	struct gw_inbound *sa = batch->sa;
	int newest = -1;
	uint32_t i;

	for (i = 0; i < batch->run_count; i++) {
		struct gw_cipher_op *op = &batch->ops[i];
		uint64_t top = sa->replay.top;

		if (op->result != GW_OK) {
			drop(worker, sa,
				op->result == GW_E_ICV ? GW_DROP_ICV : GW_DROP_CRYPTO);
			continue;
		}
		if (at_hard_limit(sa)) {
			sa->hard_hit = true;
			drop(worker, sa, GW_DROP_HARD_LIMIT);
			op->result = GW_E_LIMIT;
			continue;
		}
		if (!gw_replay_mark(&sa->replay, op->seq)) {
			drop(worker, sa, GW_DROP_REPLAY);
			op->result = GW_E_REPLAY;
			continue;
		}
		if (op->seq > top)
			newest = (int)i;
		sa->packets++;
		sa->bytes += op->len - 8u - sa->suite->iv_len - sa->suite->icv_len - 2u;
		sa->last_at_ns = batch->now_ns;
	}
	return newest;
}

/* ---- the path ---- */

static void
path_of(const struct gw_socket_state *sock, const struct sockaddr_storage *from,
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

/*
 * The newest authenticated packet of a run shows where the peer is now (RFC 7296 section 2.23).
 * Older ones do not: they may be late, or replayed by someone else.
 */
static void
watch_path(struct gw_worker *worker, struct gw_in_batch *batch,
	const struct sockaddr_storage *from)
{
	struct gw_tunnel_state *tunnel = batch->sa->tunnel;
	const struct gw_path *known = &atomic_load(&tunnel->path)->path;
	struct gw_punt record = {.type = GW_PUNT_PATH_CHANGED, .tunnel = tunnel->id};
	uint64_t told_at;

	if (batch->socket->config.encap != GW_ENCAP_UDP || known->encap != GW_ENCAP_UDP)
		return;
	path_of(batch->socket, from, &record.path);
	if (record.path.family == known->family &&
		record.path.remote_port == known->remote_port &&
		memcmp(record.path.remote, known->remote, sizeof(known->remote)) == 0)
		return;
	told_at = atomic_load_explicit(&tunnel->path_told_at_ns, memory_order_relaxed);
	if (told_at != 0 && batch->now_ns < told_at + PATH_NOTICE_NS)
		return;
	record.spi = batch->sa->spi;
	if (gw_punt_send(worker, &record, NULL, 0))
		atomic_store_explicit(
			&tunnel->path_told_at_ns, batch->now_ns, memory_order_relaxed);
}

static void
open_run(struct gw_worker *worker, struct gw_in_batch *batch)
{
	struct gw_inbound *sa = batch->sa;
	uint32_t i;
	int newest;

	if (batch->run_count == 0)
		return;
	pthread_mutex_lock(&sa->lock);
	check_replay(worker, batch);
	gw_cipher_open_many(sa->cipher, batch->ops, batch->run_count);
	newest = mark_opened(worker, batch);
	tell_news(worker, sa, batch->now_ns);
	pthread_mutex_unlock(&sa->lock);
	if (newest >= 0)
		watch_path(
			worker, batch, batch->messages[batch->op_message[newest]].from);
	for (i = 0; i < batch->run_count; i++)
		if (batch->ops[i].result == GW_OK)
			deliver(worker, batch, &batch->ops[i],
				batch->messages[batch->op_message[i]].tos);
	batch->run_count = 0;
}

/* ---- datagrams ---- */

static void
punt_ike(struct gw_worker *worker, const struct gw_in_batch *batch,
	const struct gw_in_message *m, const uint8_t *data, size_t len)
{
	struct gw_punt record = {.type = GW_PUNT_IKE};

	path_of(batch->socket, m->from, &record.path);
	if (!gw_punt_send(worker, &record, data, len))
		drop_stray(worker, GW_DROP_PUNT_FULL);
}

static void
unknown_spi(struct gw_worker *worker, const struct gw_in_batch *batch,
	const struct gw_in_message *m, uint32_t spi)
{
	struct gw_punt record = {.type = GW_PUNT_UNKNOWN_SPI, .spi = spi};
	_Atomic uint64_t *next = &worker->dp->unknown_spi_at_ns;
	uint64_t at = atomic_load_explicit(next, memory_order_relaxed);

	drop_stray(worker, GW_DROP_UNKNOWN_SPI);
	if (batch->now_ns < at || !atomic_compare_exchange_strong(next, &at,
					  batch->now_ns + UNKNOWN_SPI_EVERY_NS))
		return;
	path_of(batch->socket, m->from, &record.path);
	(void)gw_punt_send(worker, &record, NULL, 0);
}

/* Put an ESP packet into the run of its SA. */
static void
take_esp(struct gw_worker *worker, struct gw_in_batch *batch, uint32_t message,
	uint8_t *esp, size_t len)
{
	uint32_t spi = gw_be32(esp);
	struct gw_inbound *sa = batch->sa;

	if (sa == NULL || sa->spi != spi) {
		open_run(worker, batch);
		sa = atomic_load(&worker->dp->spi_table[spi & (GW_SPI_SLOTS - 1)]);
		if (sa == NULL || sa->spi != spi) {
			unknown_spi(worker, batch, &batch->messages[message], spi);
			return;
		}
		batch->sa = sa;
	}
	if (!gw_esp_len_ok(sa->suite, len)) {
		drop(worker, sa, GW_DROP_ESP_SHORT);
		return;
	}
	batch->ops[batch->run_count] = (struct gw_cipher_op){.esp = esp, .len = len};
	batch->op_message[batch->run_count++] = message;
	if (batch->run_count == GW_IN_RUN)
		open_run(worker, batch);
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
		take_esp(worker, batch, message, data, len);
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
	take_esp(worker, batch, message, m->data + header, m->len - header);
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
		b->parts[i] = (struct iovec){b->in[i], GW_IN_SIZE};
		b->headers[i].msg_hdr = (struct msghdr){
			.msg_name = &b->from[i],
			.msg_namelen = sizeof(b->from[i]),
			.msg_iov = &b->parts[i],
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
			.data = b->parts[i].iov_base,
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
	open_run(worker, batch);
	flush_all(worker, batch);
	if (count > 0)
		choose_wanted(worker, bytes, count);
	gw_count(&worker->counters.udp_batches_in, count);
}
