/* Merging consecutive segments of one TCP or UDP flow, as a network card's receive offload does. */
#include "merge.h"

#include <string.h>

#include "checksum.h"

#define IP_LEN_MAX 65535u
_Static_assert(GW_MERGE_SLOTS == 1u << (64 - 58), "gw_merge_slot() takes six bits");

static bool
tcp_can(const uint8_t *l4, const struct gw_packet *info)
{
	return info->l4_header_len != 0 && (l4[13] & ~(GW_TCP_ACK | GW_TCP_PSH)) == 0 &&
	       (l4[13] & GW_TCP_ACK) != 0;
}

static bool
udp_can(const uint8_t *l4, const struct gw_packet *info)
{
	return info->l4_header_len != 0 && gw_be16(l4 + 4) == info->len - info->ip_len &&
	       gw_be16(l4 + 6) != 0;
}

bool
gw_merge_can(const uint8_t *packet, const struct gw_packet *info, bool uso)
{
	const uint8_t *l4 = packet + info->ip_len;

	if (!info->plain || info->len <= (uint32_t)info->ip_len + info->l4_header_len)
		return false;
	if (info->protocol == GW_PROTO_TCP)
		return tcp_can(l4, info);
	return uso && info->protocol == GW_PROTO_UDP && udp_can(l4, info);
}

void
gw_merge_begin(struct gw_merge *merge, const void *owner, uint8_t *packet,
	const struct gw_packet *info)
{
	merge->owner = owner;
	merge->packet = packet;
	merge->total = info->len;
	merge->bytes = info->len;
	merge->ip_len = info->ip_len;
	merge->header_len = (uint16_t)(info->ip_len + info->l4_header_len);
	merge->size = (uint16_t)(info->len - merge->header_len);
	merge->count = 1;
	merge->family = info->family;
	merge->protocol = info->protocol;
	merge->verified = false;
	merge->closed = false;
	merge->next_id = (uint16_t)(gw_be16(packet + 4) + 1u);
	if (info->protocol == GW_PROTO_TCP) {
		merge->next_seq = gw_be32(packet + info->ip_len + 4) + merge->size;
		merge->closed = (packet[info->ip_len + 13] & GW_TCP_PSH) != 0;
	}
	merge->parts[0].iov_base = packet;
	merge->parts[0].iov_len = info->len;
}

static uint64_t
load64(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return word;
}

uint32_t
gw_merge_slot(const void *owner, const uint8_t *packet, const struct gw_packet *info)
{
	const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
	uint64_t hash =
		(uintptr_t)owner + ((uint64_t)info->source_port << 16 | info->dest_port);

	if (info->family == 4)
		hash += load64(packet + 12) * odd;
	else
		hash += (load64(packet + 8) + 3 * load64(packet + 16) +
				5 * load64(packet + 24) + 7 * load64(packet + 32)) *
			odd;
	/* Twice multiplied with a shift between: ports that follow each other would meet otherwise. */
	hash = (hash ^ hash >> 32) * odd;
	hash = (hash ^ hash >> 29) * odd;
	return (uint32_t)(hash >> 58);
}

bool
gw_merge_same_flow(const struct gw_merge *merge, const void *owner, const uint8_t *packet,
	const struct gw_packet *info)
{
	size_t addresses = info->family == 4 ? 12 : 8;
	size_t size = info->family == 4 ? 8 : 32;

	if (merge->owner != owner || merge->family != info->family)
		return false;
	if (memcmp(merge->packet + addresses, packet + addresses, size) != 0)
		return false;
	/* A fragment has no ports: count it in, so that it does not overtake its own flow. */
	if (!info->has_ports)
		return true;
	return merge->protocol == info->protocol &&
	       memcmp(merge->packet + merge->ip_len, packet + info->ip_len, 4) == 0;
}

/* All that a cut repeats from the first IP header: not length, id and checksum. */
static bool
same_ip_header(const struct gw_merge *merge, const uint8_t *packet)
{
	const uint8_t *first = merge->packet;

	if (merge->family == 6)
		return memcmp(first, packet, 4) == 0 &&
		       memcmp(first + 6, packet + 6, GW_IPV6_LEN - 6) == 0;
	if (memcmp(first, packet, 2) != 0 || memcmp(first + 6, packet + 6, 4) != 0 ||
		memcmp(first + 12, packet + 12, 8) != 0)
		return false;
	return (gw_be16(packet + 6) & GW_IPV4_DF) != 0 ||
	       gw_be16(packet + 4) == merge->next_id;
}

/* Acknowledgment, flags but PSH, window, urgent pointer and options. */
static bool
same_tcp_header(const struct gw_merge *merge, const uint8_t *l4, size_t header_len)
{
	const uint8_t *first = merge->packet + merge->ip_len;

	return gw_be32(l4 + 4) == merge->next_seq && memcmp(first + 8, l4 + 8, 5) == 0 &&
	       ((first[13] ^ l4[13]) & ~GW_TCP_PSH) == 0 &&
	       memcmp(first + 14, l4 + 14, 2) == 0 &&
	       memcmp(first + 18, l4 + 18, header_len - 18) == 0;
}

static bool
checksums_good(const uint8_t *packet, const struct gw_packet *info)
{
	uint32_t l4_len = info->len - info->ip_len;
	uint64_t sum;

	if (info->family == 4 && gw_sum_fold(gw_sum(0, packet, info->ip_len)) != 0xffff)
		return false;
	sum = gw_sum_pseudo(packet, info->protocol, l4_len);
	return gw_sum_fold(gw_sum(sum, packet + info->ip_len, l4_len)) == 0xffff;
}

/* The first packet is checked when a second one comes: a packet that stays alone costs no checksum. */
static bool
first_is_good(struct gw_merge *merge)
{
	struct gw_packet info;

	if (merge->verified)
		return true;
	memset(&info, 0, sizeof(info));
	info.family = merge->family;
	info.protocol = merge->protocol;
	info.ip_len = merge->ip_len;
	info.len = merge->total;
	merge->verified = checksums_good(merge->packet, &info);
	merge->closed = !merge->verified;
	return merge->verified;
}

bool
gw_merge_add(struct gw_merge *merge, uint8_t *packet, const struct gw_packet *info)
{
	size_t header_len = (size_t)info->ip_len + info->l4_header_len;
	size_t payload = info->len - header_len;
	bool tcp = info->protocol == GW_PROTO_TCP;
	uint32_t parts_max = tcp ? GW_MERGE_PARTS : GW_MERGE_UDP_PARTS;

	if (merge->closed || merge->count == parts_max ||
		header_len != merge->header_len || payload > merge->size ||
		merge->total + payload > IP_LEN_MAX)
		return false;
	if (!same_ip_header(merge, packet))
		return false;
	if (tcp && !same_tcp_header(merge, packet + info->ip_len, info->l4_header_len))
		return false;
	if (!first_is_good(merge) || !checksums_good(packet, info))
		return false;
	merge->parts[merge->count].iov_base = packet + header_len;
	merge->parts[merge->count].iov_len = payload;
	merge->count++;
	merge->total += (uint32_t)payload;
	merge->bytes += info->len;
	merge->next_id = (uint16_t)(gw_be16(packet + 4) + 1u);
	merge->closed = payload < merge->size;
	if (tcp) {
		merge->next_seq += (uint32_t)payload;
		if ((packet[info->ip_len + 13] & GW_TCP_PSH) != 0) {
			merge->packet[merge->ip_len + 13] |= GW_TCP_PSH;
			merge->closed = true;
		}
	}
	return true;
}

/* The checksum field gets the pseudo-header's sum: the kernel or the last card finishes it. */
static void
finish_transport(struct gw_merge *merge, struct gw_vnet *vnet)
{
	uint8_t *l4 = merge->packet + merge->ip_len;
	uint32_t l4_len = merge->total - merge->ip_len;
	uint16_t sum = gw_sum_fold(gw_sum_pseudo(merge->packet, merge->protocol, l4_len));

	vnet->csum_start = merge->ip_len;
	if (merge->protocol == GW_PROTO_UDP) {
		gw_put_be16(l4 + 4, (uint16_t)l4_len);
		vnet->gso_type = GW_VNET_GSO_UDP_L4;
		vnet->csum_offset = 6;
	} else {
		vnet->gso_type =
			merge->family == 4 ? GW_VNET_GSO_TCPV4 : GW_VNET_GSO_TCPV6;
		vnet->csum_offset = 16;
	}
	memcpy(l4 + vnet->csum_offset, &sum, sizeof(sum));
}

void
gw_merge_finish(struct gw_merge *merge, struct gw_vnet *vnet)
{
	memset(vnet, 0, sizeof(*vnet));
	if (merge->count == 1)
		return;
	if (merge->family == 4) {
		gw_put_be16(merge->packet + 2, (uint16_t)merge->total);
		gw_sum_ipv4(merge->packet, merge->ip_len);
	} else {
		gw_put_be16(merge->packet + 4, (uint16_t)(merge->total - GW_IPV6_LEN));
	}
	vnet->flags = GW_VNET_NEEDS_CSUM;
	vnet->header_len = merge->header_len;
	vnet->gso_size = merge->size;
	finish_transport(merge, vnet);
}
