/*
 * Offload code on any bytes: an offload header and an inner packet from the TUN.
 *
 * Whatever parses is cut, each segment into a buffer of exactly its size (so that the address
 * sanitizer sees one byte too many), merged again as the inbound side would, and cut once more:
 * the second cut must give the same bytes as the first. Fragmentation and MSS clamping see the
 * same packets.
 */
#include <stdlib.h>
#include <string.h>

#include "fragment.h"
#include "gso.h"
#include "icmp.h"
#include "merge.h"
#include "mss.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool condition)
{
	if (!condition)
		abort();
}

static uint8_t *
segment(const struct gw_cut *cut, uint32_t index)
{
	uint32_t len = gw_cut_len(cut, index);
	uint8_t *out = malloc(len);

	must(out != NULL && gw_cut_write(cut, index, out) == len);
	return out;
}

/* Cut the super-packet of a slot: the result must be the segments that were merged into it. */
static void
check_merged(struct gw_merge *merge, const struct gw_cut *first)
{
	uint8_t *whole = malloc(merge->total), *a, *b;
	struct gw_packet info;
	struct gw_vnet vnet;
	struct gw_cut cut;
	uint32_t i, at = 0;

	must(whole != NULL);
	gw_merge_finish(merge, &vnet);
	for (i = 0; i < merge->count; i++) {
		memcpy(whole + at, merge->parts[i].iov_base, merge->parts[i].iov_len);
		at += (uint32_t)merge->parts[i].iov_len;
	}
	must(at == merge->total);
	must(gw_packet_parse(whole, at, &info) == GW_OK);
	must(gw_cut_begin(&vnet, whole, &info, &cut) == GW_OK);
	must(cut.count == merge->count);
	for (i = 0; i < cut.count; i++) {
		a = segment(first, i);
		b = segment(&cut, i);
		must(gw_cut_len(first, i) == gw_cut_len(&cut, i));
		must(memcmp(a, b, gw_cut_len(&cut, i)) == 0);
		free(a);
		free(b);
	}
	free(whole);
}

/* Merge as many of the first segments as go together. */
static void
merge_segments(const struct gw_cut *cut)
{
	uint8_t *pieces[GW_MERGE_PARTS];
	struct gw_packet info;
	struct gw_merge merge;
	uint32_t i, made = 0, slot = 0;
	bool merged = false;

	memset(&merge, 0, sizeof(merge));
	for (i = 0; i < cut->count && i < GW_MERGE_PARTS; i++) {
		pieces[made++] = segment(cut, i);
		must(gw_packet_parse(pieces[i], gw_cut_len(cut, i), &info) == GW_OK);
		if (!gw_merge_can(pieces[i], &info, true))
			break;
		if (i == 0) {
			gw_merge_begin(&merge, &merge, pieces[i], &info);
			slot = gw_merge_slot(&merge, pieces[i], &info);
			continue;
		}
		must(gw_merge_same_flow(&merge, &merge, pieces[i], &info));
		must(gw_merge_slot(&merge, pieces[i], &info) == slot);
		if (!gw_merge_add(&merge, pieces[i], &info))
			break;
		merged = true;
	}
	if (merged)
		check_merged(&merge, cut);
	while (made > 0)
		free(pieces[--made]);
}

static void
fragment_packet(const uint8_t *packet, const struct gw_packet *info, uint32_t mtu)
{
	uint32_t i, count = gw_fragment_count(info, mtu);
	uint8_t *out;

	for (i = 0; i < count; i++) {
		uint32_t len = gw_fragment_len(info, mtu, i);

		must(len <= mtu);
		out = malloc(len);
		must(out != NULL && gw_fragment_write(packet, info, mtu, i, out) == len);
		free(out);
	}
}

static void
alter_packet(const uint8_t *data, size_t size, const struct gw_packet *info)
{
	static const uint8_t zero[16];
	uint8_t reply[GW_ICMP_MAX], *packet = malloc(size);

	must(packet != NULL);
	memcpy(packet, data, size);
	gw_mss_clamp(packet, info, 1000);
	must(gw_icmp_too_big(packet, info, 1280, zero, reply) <= sizeof(reply));
	must(gw_merge_slot(NULL, packet, info) < GW_MERGE_SLOTS);
	if (info->family == 4)
		fragment_packet(packet, info, 576);
	free(packet);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *packet;
	struct gw_packet info;
	struct gw_vnet vnet;
	struct gw_cut cut;

	if (size <= sizeof(vnet))
		return 0;
	memcpy(&vnet, data, sizeof(vnet));
	size -= sizeof(vnet);
	packet = malloc(size);
	must(packet != NULL);
	memcpy(packet, data + sizeof(vnet), size);
	if (gw_packet_parse(packet, size, &info) == GW_OK) {
		must(info.len <= size && info.ip_len + info.l4_header_len <= info.len);
		if (gw_cut_begin(&vnet, packet, &info, &cut) == GW_OK)
			merge_segments(&cut);
		alter_packet(packet, size, &info);
	}
	free(packet);
	return 0;
}
