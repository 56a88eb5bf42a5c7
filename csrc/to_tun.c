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
flush_slot(struct gw_worker *worker, struct gw_merge *slot, uint64_t now_ns)
{
	struct gw_tunnel_state *tunnel = (struct gw_tunnel_state *)(uintptr_t)slot->owner;
	struct gw_vnet vnet;

	gw_merge_finish(slot, &vnet);
	slot->parts[0] = with_offload_header(slot->packet, slot->parts[0].iov_len, &vnet);
	write_counted(worker, tunnel, slot->parts, slot->count, slot->bytes, now_ns);
	slot->owner = NULL;
}

void
gw_tun_flush(struct gw_worker *worker, struct gw_in_batch *batch)
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
void
gw_tun_merge(struct gw_worker *worker, struct gw_in_batch *batch,
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
