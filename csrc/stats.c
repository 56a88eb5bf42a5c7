/* Reading counters while workers write them: each number is whole, and they are summed over workers. */
#define _GNU_SOURCE 1
#include <string.h>

#include "internal.h"

static uint64_t
later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void
add_counters(const struct gw_tunnel_counters *c, struct gw_tunnel_stats *out)
{
	uint32_t i;

	out->out_packets += gw_counter_get(&c->out_packets);
	out->out_bytes += gw_counter_get(&c->out_bytes);
	out->in_packets += gw_counter_get(&c->in_packets);
	out->in_bytes += gw_counter_get(&c->in_bytes);
	out->out_esp_bytes += gw_counter_get(&c->out_esp_bytes);
	out->in_esp_bytes += gw_counter_get(&c->in_esp_bytes);
	out->out_at_ns = later(out->out_at_ns, gw_counter_get(&c->out_at_ns));
	out->in_at_ns = later(out->in_at_ns, gw_counter_get(&c->in_at_ns));
	for (i = 0; i < GW_DROP_COUNT; i++)
		out->drops[i] += gw_counter_get(&c->drops[i]);
}

int
gw_dp_tunnel_stats(struct gw_dp *dp, uint32_t id, struct gw_tunnel_stats *out)
{
	struct gw_tunnel_state *tunnel;
	uint32_t i;

	if (dp == NULL || out == NULL)
		return GW_E_INVALID;
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&dp->control);
	tunnel = gw_tunnel_find(dp, id);
	for (i = 0; tunnel != NULL && i < dp->config.workers; i++)
		add_counters(&tunnel->counters[i], out);
	gw_control_unlock(dp);
	return tunnel == NULL ? GW_E_NOENT : GW_OK;
}

int
gw_dp_inbound_stats(struct gw_dp *dp, uint32_t spi, struct gw_sa_stats *out)
{
	struct gw_inbound *sa;

	if (dp == NULL || out == NULL)
		return GW_E_INVALID;
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&dp->control);
	sa = gw_inbound_find(dp, spi);
	if (sa != NULL) {
		pthread_mutex_lock(&sa->lock);
		out->packets = sa->packets;
		out->bytes = sa->bytes;
		out->seq = sa->replay.top;
		out->last_at_ns = sa->last_at_ns;
		pthread_mutex_unlock(&sa->lock);
	}
	gw_control_unlock(dp);
	return sa == NULL ? GW_E_NOENT : GW_OK;
}

/* A sequence number is used by each packet, so the last one is the number of packets as well. */
int
gw_dp_outbound_stats(
	struct gw_dp *dp, uint32_t id, uint32_t slot, struct gw_sa_stats *out)
{
	struct gw_tunnel_state *tunnel;
	struct gw_outbound *sa = NULL;

	if (dp == NULL || out == NULL || slot >= GW_OUTBOUND_MAX)
		return GW_E_INVALID;
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&dp->control);
	tunnel = gw_tunnel_find(dp, id);
	if (tunnel != NULL)
		sa = atomic_load(&tunnel->outbound[slot]);
	if (sa != NULL) {
		out->packets = out->seq = atomic_load(&sa->seq);
		out->bytes = atomic_load(&sa->bytes);
		out->last_at_ns = gw_counter_get(&sa->last_at_ns);
	}
	gw_control_unlock(dp);
	return sa == NULL ? GW_E_NOENT : GW_OK;
}

int
gw_dp_worker_stats(struct gw_dp *dp, uint32_t index, struct gw_worker_stats *out)
{
	const struct gw_worker_counters *c;
	uint32_t i;

	if (dp == NULL || out == NULL || index >= dp->config.workers)
		return GW_E_INVALID;
	memset(out, 0, sizeof(*out));
	c = &dp->workers[index].counters;
	out->wakeups = gw_counter_get(&c->wakeups);
	out->udp_batches_in = gw_counter_get(&c->udp_batches_in);
	out->udp_segments_in = gw_counter_get(&c->udp_segments_in);
	out->udp_batches_out = gw_counter_get(&c->udp_batches_out);
	out->udp_segments_out = gw_counter_get(&c->udp_segments_out);
	out->tun_reads = gw_counter_get(&c->tun_reads);
	out->tun_writes = gw_counter_get(&c->tun_writes);
	out->merged = gw_counter_get(&c->merged);
	out->punted = gw_counter_get(&c->punted);
	for (i = 0; i < GW_DROP_COUNT; i++)
		out->drops[i] = gw_counter_get(&c->drops[i]);
	return GW_OK;
}
