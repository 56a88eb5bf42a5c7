/*
 * From a TUN queue to the network, in this order:
 *  1. read one packet or super-packet with its offload header
 *  2. rate cap: it waits if others do, or if the cap is reached (shape.c)
 *  3. the worker's own outbound SA of the tunnel, or of all the first whose selectors match
 *  4. size: an ICMP error, fragments, or smaller segments if it does not fit
 *  5. a run of sequence numbers
 *  6. each inner packet written once, behind the room for its ESP header, and sealed in place
 *  7. added to the messages of the batch, which may wait for those of a few more queues (send.c)
 *
 * Every inner packet ends in exactly one counter: out_packets, or one drop reason of its tunnel.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "checksum.h"
#include "fragment.h"
#include "icmp.h"
#include "internal.h"
#include "mss.h"

/* A batch ends after so many reads or bytes, so that other sources have their turn: 0.2 ms at 10 Gbit/s. */
#define READS_MAX 64u
#define BYTES_MAX (1u << 18)
/* Packets that wait for the rate cap are looked at so often, and so many bytes leave at once: 8 Gbit/s. */
#define RELEASE_NS    UINT64_C(1000000)
#define RELEASE_BYTES (1u << 20)
/* A notice that found the punt socket full is tried again after this time. */
#define NOTICE_RETRY_NS UINT64_C(10000000)

/* Errors toward inner senders: 100 a second and tunnel, 50 at once. */
#define ICMP_PER_S    100u
#define ICMP_BURST_NS UINT64_C(500000000)

/* One packet on its way: how it falls into inner packets. */
struct packet_plan {
	struct gw_packet info;
	struct gw_cut cut;
	const uint8_t *
		whole; /* the packet that is fragmented; NULL = it is cut or left as it is */
	uint32_t mtu;
	uint32_t count; /* inner packets */
	uint16_t mss;   /* clamp of a SYN; 0 = none */
	uint8_t tos;    /* of the outer header */
};

static void
drop(struct gw_out_batch *batch, enum gw_drop reason, uint32_t count)
{
	gw_count(&batch->counters->drops[reason], count);
}

static uint32_t
inner_len(const struct packet_plan *plan, uint32_t index)
{
	if (plan->whole != NULL)
		return gw_fragment_len(&plan->info, plan->mtu, index);
	return gw_cut_len(&plan->cut, index);
}

static uint32_t
write_inner(const struct packet_plan *plan, uint32_t index, uint8_t *out)
{
	uint32_t len;

	if (plan->whole != NULL)
		return gw_fragment_write(plan->whole, &plan->info, plan->mtu, index, out);
	len = gw_cut_write(&plan->cut, index, out);
	if (plan->mss != 0)
		gw_mss_clamp(out, &plan->info, plan->mss);
	return len;
}

/* ---- limits ---- */

static void
tell_limit(struct gw_worker *worker, struct gw_out_batch *batch, bool hard)
{
	struct gw_outbound *sa = batch->sa;
	atomic_bool *told = hard ? &sa->hard_told : &sa->soft_told;
	enum gw_punt_type type = hard ? GW_PUNT_HARD_LIMIT : GW_PUNT_SOFT_LIMIT;

	if (atomic_load_explicit(told, memory_order_relaxed) ||
		batch->now_ns < gw_counter_get(&sa->notice_at_ns) ||
		atomic_exchange(told, true))
		return;
	if (!gw_punt_sa(worker, type, batch->tunnel->id, sa->spi)) {
		gw_counter_set(&sa->notice_at_ns, batch->now_ns + NOTICE_RETRY_NS);
		atomic_store(told, false);
	}
}

/* Reserve what `count` packets of together `bytes` bytes need; drops what is not granted. */
static uint32_t
reserve(struct gw_worker *worker, struct gw_out_batch *batch, uint32_t count,
	uint64_t bytes, uint64_t *first)
{
	struct gw_outbound *sa = batch->sa;
	uint64_t used = gw_counter_get(&sa->bytes);
	bool by_packets = sa->seq_max == sa->hard_packets; /* seq_max is never 0 */
	uint32_t granted;

	if (!gw_outbound_reserve_bytes(sa, bytes)) {
		tell_limit(worker, batch, true);
		drop(batch, GW_DROP_HARD_LIMIT, count);
		return 0;
	}
	granted = gw_outbound_reserve_seq(sa, count, first);
	if (granted < count) {
		tell_limit(worker, batch, true);
		drop(batch, by_packets ? GW_DROP_HARD_LIMIT : GW_DROP_SEQ_EXHAUSTED,
			count - granted);
	}
	if ((sa->soft_packets != 0 && *first + granted > sa->soft_packets) ||
		(sa->soft_bytes != 0 && used + bytes >= sa->soft_bytes))
		tell_limit(worker, batch, false);
	gw_counter_set(&sa->last_at_ns, batch->now_ns);
	return granted;
}

/* ---- sealing ---- */

/* Seal inner packets first .. first + count - 1 (at most GW_CHUNK) and add them to the batch. */
static void
seal_chunk(struct gw_worker *worker, struct gw_out_batch *batch,
	const struct packet_plan *plan, uint32_t first, uint32_t count)
{
	struct gw_outbound *sa = batch->sa;
	const struct gw_suite *suite = sa->suite;
	size_t headroom = gw_esp_headroom(suite);
	uint8_t next_header = plan->info.family == 4 ? GW_PROTO_IPV4 : GW_PROTO_IPV6;
	struct gw_cipher_op ops[GW_CHUNK];
	uint32_t len[GW_CHUNK], i, granted;
	uint64_t seq, bytes = 0;
	uint8_t *at;
	size_t need = 0;

	for (i = 0; i < count; i++) {
		len[i] = inner_len(plan, first + i);
		need += gw_esp_sealed_len(suite, len[i]);
		bytes += len[i];
	}
	at = gw_out_room(worker, batch, need + gw_esp_tailroom(suite));
	if (at == NULL) {
		drop(batch, GW_DROP_TOO_BIG, count);
		return;
	}
	granted = reserve(worker, batch, count, bytes, &seq);
	for (i = 0; i < granted; i++) {
		(void)write_inner(plan, first + i, at + headroom);
		gw_esp_prepare(suite, sa->spi, seq + i, next_header, at, len[i], &ops[i]);
		at += gw_esp_sealed_len(suite, len[i]);
	}
	gw_cipher_seal_many(sa->cipher[worker->index], ops, granted);
	for (i = 0; i < granted; i++) {
		if (ops[i].result != GW_OK) {
			drop(batch, GW_DROP_CRYPTO, 1);
			continue;
		}
		gw_out_add(worker, batch, ops[i].esp, gw_esp_sealed_len(suite, len[i]),
			len[i], plan->tos);
	}
}

/* ---- size ---- */

static void
answer_too_big(struct gw_worker *worker, struct gw_out_batch *batch,
	const struct packet_plan *plan)
{
	const struct gw_tunnel_options *options = &batch->options->options;
	const struct gw_rate_config limit = gw_rate_make(ICMP_PER_S, ICMP_BURST_NS);
	uint8_t *reply = worker->buffers->scratch;
	struct gw_vnet vnet = {0};
	struct iovec parts[2] = {{&vnet, GW_VNET_LEN}, {reply, 0}};

	parts[1].iov_len = gw_icmp_too_big(plan->cut.packet, &plan->info, plan->mtu,
		plan->info.family == 4 ? options->icmp4 : options->icmp6, reply);
	if (parts[1].iov_len == 0 ||
		gw_rate_take(&batch->tunnel->icmp_rate, &limit, batch->now_ns, 1, 1) == 0)
		return;
	(void)gw_tun_write(worker, batch->tunnel, parts, 2);
}

/* Send every datagram of a packet in fragments: more than one in a UDP super-packet. */
static void
seal_fragments(struct gw_worker *worker, struct gw_out_batch *batch,
	const struct packet_plan *plan)
{
	struct packet_plan piece = *plan;
	uint8_t *whole = worker->buffers->scratch;
	uint32_t i, at, len;

	for (i = 0; i < plan->count; i++) {
		len = gw_cut_write(&plan->cut, i, whole);
		if (gw_packet_parse(whole, len, &piece.info) != GW_OK) {
			drop(batch, GW_DROP_BAD_OFFLOAD, 1);
			continue;
		}
		piece.whole = whole;
		piece.count = gw_fragment_count(&piece.info, piece.mtu);
		for (at = 0; at < piece.count; at += GW_CHUNK)
			seal_chunk(worker, batch, &piece, at,
				piece.count - at < GW_CHUNK ? piece.count - at
							    : GW_CHUNK);
	}
}

/* ---- the packet ---- */

/*
 * Must the packet wait for the rate cap? A super-packet passes whole: it is paid for later. Control
 * passes: a full tunnel must not look like a dead one.
 */
static bool
must_wait(struct gw_out_batch *batch, const struct gw_shaper *shaper,
	const struct packet_plan *plan)
{
	const struct gw_rate_config *limit = &batch->options->rate;
	struct gw_rate *rate = &batch->tunnel->rate;

	if (gw_packet_is_control(&plan->info)) {
		gw_rate_charge(rate, limit, batch->now_ns, plan->cut.len);
		return false;
	}
	return (shaper != NULL && !gw_shaper_is_empty(shaper)) ||
	       gw_rate_take(rate, limit, batch->now_ns, 1, plan->cut.len) == 0;
}

/* Find out what a packet is and how it is cut. False: it was dropped. */
static bool
make_plan(struct gw_out_batch *batch, const uint8_t *data, size_t len,
	struct packet_plan *plan)
{
	const struct gw_tunnel_options *options = &batch->options->options;
	struct gw_vnet vnet;
	int err;

	if (len < GW_VNET_LEN) {
		drop(batch, GW_DROP_BAD_OFFLOAD, 1);
		return false;
	}
	memcpy(&vnet, data, GW_VNET_LEN);
	err = gw_packet_parse(data + GW_VNET_LEN, len - GW_VNET_LEN, &plan->info);
	if (err != GW_OK) {
		drop(batch, err == GW_E_SHORT ? GW_DROP_INNER_TRUNCATED : GW_DROP_NOT_IP,
			1);
		return false;
	}
	if (gw_cut_begin(&vnet, data + GW_VNET_LEN, &plan->info, &plan->cut) != GW_OK) {
		drop(batch, GW_DROP_BAD_OFFLOAD, 1);
		return false;
	}
	plan->whole = NULL;
	plan->mtu = options->mtu;
	plan->count = plan->cut.count;
	plan->mss = plan->info.family == 4 ? options->mss_clamp4 : options->mss_clamp6;
	if (plan->info.protocol != GW_PROTO_TCP || plan->cut.header_len != 0)
		plan->mss = 0;
	plan->tos = options->copy_dscp ? plan->info.tos : plan->info.tos & 3;
	return true;
}

/* Make a packet that is too big smaller, if it may be. False: it was answered or sent in fragments. */
static bool
make_fit(struct gw_worker *worker, struct gw_out_batch *batch, struct packet_plan *plan)
{
	if (plan->info.df) {
		answer_too_big(worker, batch, plan);
		drop(batch, GW_DROP_TOO_BIG, plan->count);
		return false;
	}
	if (plan->cut.header_len == 0 || plan->cut.protocol != GW_PROTO_TCP) {
		seal_fragments(worker, batch, plan);
		return false;
	}
	gw_cut_resize(&plan->cut, (uint16_t)(plan->mtu - plan->cut.header_len));
	plan->count = plan->cut.count;
	return true;
}

/* Does the packet go by the only outbound SA? If not, it was dropped. */
static bool
is_selected(struct gw_out_batch *batch, const struct packet_plan *plan)
{
	if (batch->sa == NULL) {
		drop(batch, GW_DROP_NO_SA, plan->count);
		return false;
	}
	if (!gw_selectors_match(
		    batch->sa->selectors, plan->cut.packet, &plan->info, true)) {
		drop(batch, GW_DROP_SELECTOR_OUT, plan->count);
		return false;
	}
	return true;
}

/* Take the first of several outbound SAs that the packet goes by. False: it was dropped. */
static bool
choose_sa(struct gw_out_batch *batch, const struct packet_plan *plan)
{
	enum gw_drop reason = GW_DROP_NO_SA;
	uint32_t i;

	for (i = 0; i < batch->slots; i++) {
		batch->sa = atomic_load(&batch->tunnel->outbound[i]);
		if (batch->sa == NULL)
			continue;
		if (gw_selectors_match(
			    batch->sa->selectors, plan->cut.packet, &plan->info, true))
			return true;
		reason = GW_DROP_SELECTOR_OUT;
	}
	drop(batch, reason, plan->count);
	return false;
}

/* Take the outbound SA that a packet goes by: the worker's own before all others. False: it was dropped. */
static bool
select_sa(struct gw_out_batch *batch, const struct packet_plan *plan)
{
	if (batch->own != NULL && gw_selectors_match(batch->own->selectors,
					  plan->cut.packet, &plan->info, true)) {
		batch->sa = batch->own;
		return true;
	}
	return batch->slots > 1 ? choose_sa(batch, plan) : is_selected(batch, plan);
}

/* Send a packet that need not wait. */
static void
carry(struct gw_worker *worker, struct gw_out_batch *batch, struct packet_plan *plan)
{
	uint32_t at;

	if (!select_sa(batch, plan))
		return;
	if (gw_cut_len(&plan->cut, 0) > plan->mtu && !make_fit(worker, batch, plan))
		return;
	for (at = 0; at < plan->count; at += GW_CHUNK)
		seal_chunk(worker, batch, plan, at,
			plan->count - at < GW_CHUNK ? plan->count - at : GW_CHUNK);
}

/* Drop the oldest packet of the fullest lane. False if that is this one: it has its share. */
static bool
make_room(struct gw_worker *worker, struct gw_out_batch *batch,
	const struct gw_shaper *shaper)
{
	struct gw_shaper *fullest = gw_shaper_fullest(batch->tunnel, worker->index);
	struct packet_plan plan;
	const uint8_t *data;
	size_t len;

	if (fullest == NULL || fullest == shaper)
		return false;
	data = gw_shaper_first(fullest, &len);
	if (make_plan(batch, data, len, &plan))
		drop(batch, GW_DROP_RATE, plan.count);
	gw_shaper_pop(fullest);
	return true;
}

/* Keep a packet for later, if there is room or another lane has more than its share. */
static void
hold(struct gw_worker *worker, struct gw_out_batch *batch, struct gw_shaper *shaper,
	const struct packet_plan *plan, const uint8_t *data, size_t len)
{
	while (!gw_shaper_hold(shaper, data, len, batch->options->hold_bytes))
		if (!make_room(worker, batch, shaper)) {
			drop(batch, GW_DROP_RATE, plan->count);
			return;
		}
	gw_shaper_wait(shaper, RELEASE_NS);
}

/* Carry what was read from a queue, or let it wait. */
static void
take(struct gw_worker *worker, struct gw_out_batch *batch, const struct gw_queue *queue,
	const uint8_t *data, size_t len)
{
	struct gw_shaper *shaper =
		atomic_load_explicit(&queue->shaper, memory_order_acquire);
	struct packet_plan plan;

	if (!make_plan(batch, data, len, &plan))
		return;
	if (shaper != NULL && must_wait(batch, shaper, &plan))
		hold(worker, batch, shaper, &plan, data, len);
	else
		carry(worker, batch, &plan);
}

/*
 * How often to read. Many tunnels have one packet each at a time: a read to find no more would cost each
 * a system call. If there is more, epoll tells of the queue in the next turn again.
 */
static uint64_t
reads_most(const struct gw_worker *worker, struct gw_queue *queue)
{
	bool again = queue->turn + 1 >= worker->turn;

	queue->turn = worker->turn;
	return queue->lone && !again ? 1 : READS_MAX;
}

bool
gw_outbound_gather(struct gw_worker *worker, struct gw_queue *queue)
{
	struct gw_out_batch *batch = &worker->buffers->out_batch;
	uint8_t *data = worker->buffers->read + GW_READ_AT;
	uint64_t most = reads_most(worker, queue), reads = 0, bytes = 0;
	int error = EAGAIN;
	ssize_t len;

	gw_out_begin(worker, batch, queue->tunnel);
	while (reads < most && bytes < BYTES_MAX) {
		len = read(queue->source.fd, data, GW_READ_SIZE);
		if (len <= 0) {
			error = len < 0 ? errno : 0;
			break;
		}
		reads++;
		bytes += (uint64_t)len;
		take(worker, batch, queue, data, (size_t)len);
	}
	gw_out_end(worker, batch);
	queue->lone = reads == 1;
	gw_count(&worker->counters.tun_reads, reads);
	errno = error; /* sending has its own */
	return error == EAGAIN || error == EINTR;
}

bool
gw_outbound_batch(struct gw_worker *worker, struct gw_queue *queue)
{
	bool alive = gw_outbound_gather(worker, queue);
	int error = errno;

	gw_out_flush(worker, &worker->buffers->out_batch);
	errno = error;
	return alive;
}

void
gw_outbound_release(struct gw_worker *worker, struct gw_shaper *timer)
{
	struct gw_tunnel_state *tunnel = gw_shaper_queue(timer)->tunnel;
	struct gw_out_batch *batch = &worker->buffers->out_batch;
	struct gw_shaper *shaper;
	struct gw_queue *queue;
	struct packet_plan plan;
	const uint8_t *data;
	uint64_t bytes = 0;
	size_t len;

	gw_shaper_rest(timer);
	gw_out_begin(worker, batch, tunnel);
	while (bytes < RELEASE_BYTES &&
		(queue = gw_shaper_next(tunnel, worker->index)) != NULL) {
		shaper = atomic_load(&queue->shaper);
		data = gw_shaper_first(shaper, &len);
		if (make_plan(batch, data, len, &plan)) {
			if (gw_rate_take(&tunnel->rate, &batch->options->rate,
				    batch->now_ns, 1, plan.cut.len) == 0)
				break;
			carry(worker, batch, &plan);
		}
		gw_shaper_pop(shaper);
		queue->credit -= (int64_t)len;
		bytes += len;
	}
	gw_out_flush(worker, batch);
	if (!gw_shaper_is_empty(timer))
		gw_shaper_wait(timer, RELEASE_NS);
}
