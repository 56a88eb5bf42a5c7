/*
 * Sending what a batch has sealed.
 *
 * Sealed packets lie one behind the other in worker->buffers->out. Those of equal size that
 * follow each other are one message, sent with UDP_SEGMENT; a shorter one may end it. All
 * messages of a batch leave by one sendmmsg(); where many tunnels have a packet or two each, those of
 * several batches do, if they leave by one socket.
 *
 * When the kernel refuses segmentation (a device without checksum offload: EIO; other reasons:
 * EINVAL), the message is sent datagram by datagram, and so is everything on that tunnel for ten
 * seconds. Datagrams larger than the path's MTU (EMSGSIZE) are dropped and told: the tunnel's MTU
 * follows. Shorter ones of the message still leave. No tunnel's MTU is below 576: on a path that takes
 * less, which anybody can make of one by a forged ICMP message, packets of that size are fragmented.
 *
 * Linux 7.0 to 7.1.4 spoils runs of equal segments with some drivers. There a run ends with a
 * shorter one: a NAT keepalive, which every receiver ignores (RFC 3948 section 2.3).
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>

#include "internal.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

#define GSO_RETRY_NS UINT64_C(10000000000)
/* Send complete messages as soon as they are this much: the other side then works while we read on. */
#define FLUSH_BYTES 60000u
/* So many messages of small batches wait for each other: soon sent, and nothing is gained by more. */
#define FLUSH_MESSAGES 16u
/*
 * Where a worker has an SA of its own its packets have a TTL of their own. So receive offload at the
 * peer does not merge packets of two workers, which differ in nothing else that it looks at, into one
 * datagram: that would come to one of its workers whole, out of order with what its other
 * worker has of the same SA.
 */
#define OWN_TTL 64
/* How long a full socket or device queue is waited for, in all: two milliseconds, ten times. */
#define WAIT_MS       2
#define WAIT_TRIES    10
#define MTU_NOTICE_NS UINT64_C(1000000000)

void
gw_out_begin(struct gw_worker *worker, struct gw_out_batch *batch,
	struct gw_tunnel_state *tunnel)
{
	const struct gw_path_state *path = atomic_load(&tunnel->path);

	if (path->socket[worker->index] != batch->socket)
		gw_out_flush(worker, batch);
	batch->tunnel = tunnel;
	batch->own = atomic_load(&tunnel->own[worker->index]);
	batch->sa = atomic_load(&tunnel->outbound[0]);
	batch->slots = atomic_load(&tunnel->outbound_count);
	batch->path = path;
	batch->options = atomic_load(&tunnel->options);
	batch->socket = path->socket[worker->index];
	batch->counters = &tunnel->counters[worker->index];
	batch->now_ns = gw_now_ns();
	batch->gso = batch->path->path.encap == GW_ENCAP_UDP &&
		     !worker->dp->config.no_gso &&
		     batch->now_ns >= gw_counter_get(&tunnel->gso_retry_at_ns);
	batch->tail = worker->dp->config.gso_tail != 0;
}

static void
add_control(struct msghdr *header, int level, int type, const void *value, size_t len)
{
	struct cmsghdr *control;

	control = (struct cmsghdr *)(void *)((uint8_t *)header->msg_control +
					     header->msg_controllen);
	control->cmsg_level = level;
	control->cmsg_type = type;
	control->cmsg_len = CMSG_LEN(len);
	memcpy(CMSG_DATA(control), value, len);
	header->msg_controllen += CMSG_SPACE(len);
}

static void
prepare_header(const struct gw_worker *worker, const struct gw_out_batch *batch,
	const struct gw_out_message *message, uint32_t at)
{
	static uint8_t keepalive = 0xff;
	struct gw_buffers *b = worker->buffers;
	struct msghdr *header = &b->headers[at].msg_hdr;
	bool ipv4 = message->path->path.family == 4;
	int tos = message->tos, ttl = OWN_TTL - (int)worker->index;

	b->parts[at][0] = (struct iovec){b->out + message->start, message->len};
	b->parts[at][1] = (struct iovec){&keepalive, sizeof(keepalive)};
	memset(header, 0, sizeof(*header));
	header->msg_name = (void *)(uintptr_t)&message->path->remote;
	header->msg_namelen = message->path->remote_len;
	header->msg_iov = b->parts[at];
	header->msg_iovlen =
		batch->tail && message->count > 1 && !message->closed ? 2 : 1;
	header->msg_control = b->control[at];
	memset(b->control[at], 0, GW_CONTROL_SIZE);
	if (message->count > 1)
		add_control(header, SOL_UDP, UDP_SEGMENT, &message->size,
			sizeof(message->size));
	if (tos != 0)
		add_control(header, ipv4 ? IPPROTO_IP : IPPROTO_IPV6,
			ipv4 ? IP_TOS : IPV6_TCLASS, &tos, sizeof(tos));
	if (message->own)
		add_control(header, ipv4 ? IPPROTO_IP : IPPROTO_IPV6,
			ipv4 ? IP_TTL : IPV6_HOPLIMIT, &ttl, sizeof(ttl));
	if (header->msg_controllen == 0)
		header->msg_control = NULL;
}

static void
count_sent(struct gw_worker *worker, struct gw_out_batch *batch,
	const struct gw_out_message *messages, uint32_t count)
{
	struct gw_tunnel_counters *counters;
	uint64_t packets = 0;
	uint32_t i;

	for (i = 0; i < count; i++) {
		counters = &messages[i].tunnel->counters[worker->index];
		gw_count(&counters->out_packets, messages[i].count);
		gw_count(&counters->out_bytes, messages[i].inner_bytes);
		gw_count(&counters->out_esp_bytes, messages[i].len);
		gw_counter_set(&counters->out_at_ns, batch->now_ns);
		packets += messages[i].count;
	}
	gw_count(&worker->counters.udp_batches_out, count);
	gw_count(&worker->counters.udp_segments_out, packets);
}

static void
wait_writable(int fd)
{
	struct pollfd wait = {.fd = fd, .events = POLLOUT};

	(void)poll(&wait, 1, WAIT_MS);
}

static bool
is_gso_refusal(int error)
{
	return error == EIO || error == EINVAL || error == EMSGSIZE;
}

/* Drop the message that the kernel did not take. */
static void
drop_refused(struct gw_worker *worker, struct gw_out_batch *batch,
	const struct gw_out_message *message, int error)
{
	struct gw_punt record = {.type = GW_PUNT_PATH_MTU, .tunnel = message->tunnel->id};
	struct gw_tunnel_counters *counters = &message->tunnel->counters[worker->index];
	_Atomic uint64_t *told = &message->tunnel->mtu_told_at_ns;
	uint64_t at = atomic_load_explicit(told, memory_order_relaxed);

	if (error != EMSGSIZE) {
		gw_count(&counters->drops[GW_DROP_SEND], message->count);
		return;
	}
	gw_count(&counters->drops[GW_DROP_PATH_MTU], message->count);
	if (at != 0 && batch->now_ns < at + MTU_NOTICE_NS)
		return;
	if (gw_punt_send(worker, &record, NULL, 0))
		atomic_store_explicit(told, batch->now_ns, memory_order_relaxed);
}

/* Send what the kernel has refused as larger than the path's MTU, if no tunnel's MTU prevents it. */
static bool
is_fragmented(const struct gw_out_batch *batch, const struct gw_out_message *message,
	const struct msghdr *header)
{
	return message->count == 1 && message->len <= GW_MTU_MIN + GW_ESP_MORE &&
	       gw_send_in_fragments(&batch->socket->config, header) >= 0;
}

/*
 * Send messages, each at most once. Returns how many were dealt with: fewer than `count` only if
 * the kernel refuses to segment the next one.
 */
static uint32_t
send_messages(struct gw_worker *worker, struct gw_out_batch *batch,
	const struct gw_out_message *messages, uint32_t count)
{
	struct gw_buffers *b = worker->buffers;
	uint32_t i, done = 0;
	int sent, error, tries = 0;

	for (i = 0; i < count; i++)
		prepare_header(worker, batch, &messages[i], i);
	while (done < count) {
		sent = sendmmsg(batch->socket->source.fd, b->headers + done, count - done,
			MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent > 0) {
			count_sent(worker, batch, messages + done, (uint32_t)sent);
			done += (uint32_t)sent;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (messages[done].count > 1 && is_gso_refusal(errno))
			return done;
		if ((errno == EAGAIN || errno == ENOBUFS) && tries++ < WAIT_TRIES) {
			wait_writable(batch->socket->source.fd);
			continue;
		}
		error = errno;
		if (error == EMSGSIZE &&
			is_fragmented(batch, &messages[done], &b->headers[done].msg_hdr))
			count_sent(worker, batch, messages + done, 1);
		else
			drop_refused(worker, batch, &messages[done], error);
		done++;
	}
	return done;
}

/* Send a message that may not be segmented as single datagrams. */
static void
send_singly(struct gw_worker *worker, struct gw_out_batch *batch,
	const struct gw_out_message *message)
{
	struct gw_out_message singles[GW_GSO_SEGMENTS];
	uint32_t i, at = 0, inner = message->inner_bytes / message->count;

	for (i = 0; i < message->count; i++) {
		uint32_t left = message->len - at;

		singles[i] = *message;
		singles[i].start = message->start + at;
		singles[i].len = left < message->size ? left : message->size;
		singles[i].count = 1;
		singles[i].inner_bytes =
			i == 0 ? message->inner_bytes - inner * (message->count - 1u)
			       : inner;
		at += singles[i].len;
	}
	(void)send_messages(worker, batch, singles, message->count);
}

static void
drop_first(struct gw_worker *worker, struct gw_out_batch *batch, uint32_t count,
	enum gw_drop reason)
{
	const struct gw_out_message *message;
	uint32_t i;

	for (i = 0; i < count; i++) {
		message = &batch->messages[i];
		gw_count(&message->tunnel->counters[worker->index].drops[reason],
			message->count);
	}
}

/* Send the first `count` messages. */
static void
send_first(struct gw_worker *worker, struct gw_out_batch *batch, uint32_t count)
{
	uint32_t done = 0;

	if (batch->socket == NULL) {
		drop_first(worker, batch, count, GW_DROP_NO_SOCKET);
		return;
	}
	while (done < count) {
		done += send_messages(
			worker, batch, batch->messages + done, count - done);
		if (done == count)
			break;
		if (errno != EMSGSIZE) {
			batch->gso = false;
			gw_counter_set(&batch->messages[done].tunnel->gso_retry_at_ns,
				batch->now_ns + GSO_RETRY_NS);
		}
		send_singly(worker, batch, &batch->messages[done++]);
	}
}

void
gw_out_flush(struct gw_worker *worker, struct gw_out_batch *batch)
{
	send_first(worker, batch, batch->message_count);
	batch->message_count = 0;
	batch->used = 0;
}

void
gw_out_end(struct gw_worker *worker, struct gw_out_batch *batch)
{
	if (batch->message_count >= FLUSH_MESSAGES || batch->used >= FLUSH_BYTES)
		gw_out_flush(worker, batch);
}

/*
 * Send all but the last message. A TCP super-packet of 64 KiB is one segment or two more than a
 * datagram can carry: these wait for what is read next, instead of going as a small message.
 */
static void
flush_complete(struct gw_worker *worker, struct gw_out_batch *batch)
{
	uint32_t last = batch->message_count - 1;

	send_first(worker, batch, last);
	batch->messages[0] = batch->messages[last];
	batch->message_count = 1;
}

uint8_t *
gw_out_room(struct gw_worker *worker, struct gw_out_batch *batch, size_t need)
{
	uint32_t count = batch->message_count;

	if (need > GW_OUT_SIZE)
		return NULL;
	if (batch->used + need > GW_OUT_SIZE || count + GW_CHUNK > GW_OUT_MESSAGES)
		gw_out_flush(worker, batch);
	else if (count > 1 &&
		 batch->messages[count - 1].start - batch->messages[0].start >=
			 FLUSH_BYTES)
		flush_complete(worker, batch);
	return worker->buffers->out + batch->used;
}

/* May a packet be one more segment of the last message? */
static bool
fits_last(const struct gw_out_batch *batch, const struct gw_out_message *last,
	uint32_t start, size_t len, uint8_t tos)
{
	return last->path == batch->path && batch->gso && !last->closed &&
	       last->start + last->len == start && len <= last->size &&
	       last->tos == tos &&
	       last->count + (batch->tail ? 1u : 0u) < GW_GSO_SEGMENTS &&
	       last->len + len <= GW_GSO_BYTES;
}

void
gw_out_add(struct gw_worker *worker, struct gw_out_batch *batch, const uint8_t *esp,
	size_t len, size_t inner_len, uint8_t tos)
{
	uint32_t start = (uint32_t)(esp - worker->buffers->out);
	struct gw_out_message *last = NULL;

	if (batch->message_count > 0)
		last = &batch->messages[batch->message_count - 1];
	/* One SA in each message: the peer's kernel may choose who takes it by the first SPI. */
	if (last != NULL && fits_last(batch, last, start, len, tos) &&
		memcmp(esp, worker->buffers->out + last->start, 4) == 0) {
		last->closed = len < last->size;
		last->len += (uint32_t)len;
		last->inner_bytes += (uint32_t)inner_len;
		last->count++;
	} else {
		last = &batch->messages[batch->message_count++];
		*last = (struct gw_out_message){
			.tunnel = batch->tunnel,
			.path = batch->path,
			.start = start,
			.len = (uint32_t)len,
			.inner_bytes = (uint32_t)inner_len,
			.size = (uint16_t)len,
			.count = 1,
			.tos = tos,
			.own = batch->own != NULL,
		};
	}
	batch->used = start + (uint32_t)len;
}
