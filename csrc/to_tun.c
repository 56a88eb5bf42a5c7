/*
 * Writing inner packets to the TUN devices: consecutive segments of one flow as one super-packet.
 *
 * Nothing waits: all that was merged is written when the batch ends. Packets of a flow keep their
 * order: one that can not be merged is written after what it follows.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "internal.h"

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
flush_slot(struct gw_worker *worker, struct gw_in_batch *batch, uint32_t at)
{
	struct gw_merge *slot = &batch->merge[at];
	struct gw_tunnel_state *tunnel = (struct gw_tunnel_state *)(uintptr_t)slot->owner;
	struct gw_vnet vnet;

	gw_merge_finish(slot, &vnet);
	slot->parts[0] = with_offload_header(slot->packet, slot->parts[0].iov_len, &vnet);
	write_counted(
		worker, tunnel, slot->parts, slot->count, slot->bytes, batch->now_ns);
	batch->merge_used &= ~(UINT64_C(1) << at);
}

void
gw_tun_flush(struct gw_worker *worker, struct gw_in_batch *batch)
{
	while (batch->merge_used != 0)
		flush_slot(worker, batch, (uint32_t)__builtin_ctzll(batch->merge_used));
}

/* A packet without ports (a fragment) follows every flow of its hosts. */
static void
flush_hosts(struct gw_worker *worker, struct gw_in_batch *batch, const void *owner,
	const uint8_t *packet, const struct gw_packet *info)
{
	uint64_t left = batch->merge_used;
	uint32_t at;

	for (; left != 0; left &= left - 1) {
		at = (uint32_t)__builtin_ctzll(left);
		if (gw_merge_same_flow(&batch->merge[at], owner, packet, info))
			flush_slot(worker, batch, at);
	}
}

static bool
is_used(const struct gw_in_batch *batch, uint32_t at)
{
	return (batch->merge_used >> at & 1) != 0;
}

/* The slot that has the packet's flow, else a free one, else one that is in use by another flow. */
static uint32_t
choose_slot(const struct gw_in_batch *batch, const void *owner, const uint8_t *packet,
	const struct gw_packet *info, bool *same)
{
	uint32_t first = gw_merge_slot(owner, packet, info), at, way;

	*same = true;
	for (way = 0; way < GW_MERGE_WAYS; way++) {
		at = first ^ way;
		if (is_used(batch, at) &&
			gw_merge_same_flow(&batch->merge[at], owner, packet, info))
			return at;
	}
	*same = false;
	for (way = 0; way < GW_MERGE_WAYS; way++)
		if (!is_used(batch, first ^ way))
			return first ^ way;
	return first;
}

/* Merge a packet with what came before it, or begin anew, or write it now. */
void
gw_tun_merge(struct gw_worker *worker, struct gw_in_batch *batch,
	struct gw_tunnel_state *tunnel, uint8_t *packet, const struct gw_packet *info)
{
	bool can = gw_merge_can(packet, info, tunnel->uso), same;
	uint32_t at = choose_slot(batch, tunnel, packet, info, &same);

	if (!info->has_ports)
		flush_hosts(worker, batch, tunnel, packet, info);
	else if (same && can && gw_merge_add(&batch->merge[at], packet, info))
		return;
	if (is_used(batch, at) && (same || can))
		flush_slot(worker, batch, at);
	if (!can) {
		write_alone(worker, batch, tunnel, packet, info);
		return;
	}
	gw_merge_begin(&batch->merge[at], tunnel, packet, info);
	batch->merge_used |= UINT64_C(1) << at;
}
