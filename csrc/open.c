/*
 * Runs of ESP packets of one SA: replay check, open in place, replay mark, under the SA's lock;
 * then trailer, inner header, selectors, congestion mark.
 */
#define _GNU_SOURCE 1
#include <string.h>

#include "ecn.h"
#include "internal.h"
#include "mss.h"

#define NOTICE_RETRY_NS      UINT64_C(10000000)
#define PATH_NOTICE_NS       UINT64_C(1000000000)
#define UNKNOWN_SPI_EVERY_NS UINT64_C(100000000)

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
	gw_tun_merge(worker, batch, sa->tunnel, packet, &info);
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
	gw_path_of(batch->socket, from, &record.path);
	if (record.path.family == known->family &&
		record.path.remote_port == known->remote_port &&
		memcmp(record.path.remote, known->remote, sizeof(known->remote)) == 0)
		return;
	told_at = atomic_load_explicit(&tunnel->path_told_at_ns, memory_order_relaxed);
	if (told_at != 0 && batch->now_ns < told_at + PATH_NOTICE_NS)
		return;
	record.spi = batch->sa->spi;
	/* Before it is sent: control's answer, a new path, begins again with 0. */
	atomic_store(&tunnel->path_told_at_ns, batch->now_ns);
	if (!gw_punt_send(worker, &record, NULL, 0))
		atomic_store(&tunnel->path_told_at_ns, told_at);
}

void
gw_open_run(struct gw_worker *worker, struct gw_in_batch *batch)
{
	struct gw_inbound *sa = batch->sa;
	uint64_t esp_bytes = 0;
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
	for (i = 0; i < batch->run_count; i++) {
		if (batch->ops[i].result != GW_OK)
			continue;
		esp_bytes += batch->ops[i].len;
		deliver(worker, batch, &batch->ops[i],
			batch->messages[batch->op_message[i]].tos);
	}
	gw_count(&sa->tunnel->counters[worker->index].in_esp_bytes, esp_bytes);
	batch->run_count = 0;
}

static void
unknown_spi(struct gw_worker *worker, const struct gw_in_batch *batch,
	const struct gw_in_message *m, uint32_t spi)
{
	struct gw_punt record = {.type = GW_PUNT_UNKNOWN_SPI, .spi = spi};
	_Atomic uint64_t *next = &worker->dp->unknown_spi_at_ns;
	uint64_t at = atomic_load_explicit(next, memory_order_relaxed);

	gw_count(&worker->counters.drops[GW_DROP_UNKNOWN_SPI], 1);
	if (batch->now_ns < at || !atomic_compare_exchange_strong(next, &at,
					  batch->now_ns + UNKNOWN_SPI_EVERY_NS))
		return;
	gw_path_of(batch->socket, m->from, &record.path);
	(void)gw_punt_send(worker, &record, NULL, 0);
}

/* Put an ESP packet into the run of its SA. */
void
gw_open_add(struct gw_worker *worker, struct gw_in_batch *batch, uint32_t message,
	uint8_t *esp, size_t len)
{
	uint32_t spi = gw_be32(esp);
	struct gw_inbound *sa = batch->sa;

	if (sa == NULL || sa->spi != spi) {
		gw_open_run(worker, batch);
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
		gw_open_run(worker, batch);
}
