/*
 * Cutting a super-packet at gso_size: TCP segmentation (TSO) and UDP segmentation (USO).
 *
 * Each inner packet is written once: a copy of the headers, then its piece of the payload. Then
 * the fields that differ between segments are set: IP length and id, TCP sequence and flags (CWR
 * in the first segment only, FIN and PSH in the last only), UDP length, and the checksums, which
 * the kernel has left to us.
 */
#include "gso.h"

#include <string.h>

#include "checksum.h"

static int
check_type(const struct gw_vnet *vnet, const struct gw_packet *info)
{
	bool ok;

	switch (vnet->gso_type & ~GW_VNET_GSO_ECN) {
	case GW_VNET_GSO_TCPV4:
		ok = info->family == 4 && info->protocol == GW_PROTO_TCP;
		break;
	case GW_VNET_GSO_TCPV6:
		ok = info->family == 6 && info->protocol == GW_PROTO_TCP;
		break;
	case GW_VNET_GSO_UDP_L4:
		ok = info->protocol == GW_PROTO_UDP;
		break;
	default:
		ok = false;
	}
	if (!ok || info->fragment || info->l4_header_len == 0 || vnet->gso_size == 0)
		return GW_E_INVALID;
	return GW_OK;
}

static int
begin_segments(
	const struct gw_vnet *vnet, const struct gw_packet *info, struct gw_cut *out)
{
	uint32_t payload;
	int err;

	err = check_type(vnet, info);
	if (err != GW_OK)
		return err;
	out->header_len = (uint16_t)(info->ip_len + info->l4_header_len);
	payload = out->len - out->header_len;
	if (payload == 0)
		return GW_E_INVALID;
	out->size = vnet->gso_size;
	out->count = (payload + out->size - 1u) / out->size;
	return GW_OK;
}

int
gw_cut_begin(const struct gw_vnet *vnet, const uint8_t *packet,
	const struct gw_packet *info, struct gw_cut *out)
{
	memset(out, 0, sizeof(*out));
	out->packet = packet;
	out->len = info->len;
	out->ip_len = info->ip_len;
	out->family = info->family;
	out->protocol = info->protocol;
	out->count = 1;
	if (vnet->gso_type != GW_VNET_GSO_NONE)
		return begin_segments(vnet, info, out);
	out->needs_csum = (vnet->flags & GW_VNET_NEEDS_CSUM) != 0;
	if (!out->needs_csum)
		return GW_OK;
	out->csum_start = vnet->csum_start;
	out->csum_offset = vnet->csum_offset;
	if (out->csum_start < info->ip_len ||
		(uint32_t)out->csum_start + out->csum_offset + 2u > out->len)
		return GW_E_INVALID;
	return GW_OK;
}

void
gw_cut_resize(struct gw_cut *cut, uint16_t size)
{
	uint32_t payload = cut->len - cut->header_len;

	if (cut->header_len == 0 || size == 0 || size >= cut->size)
		return;
	cut->size = size;
	cut->count = (payload + size - 1u) / size;
}

uint32_t
gw_cut_len(const struct gw_cut *cut, uint32_t index)
{
	uint32_t payload;

	if (cut->header_len == 0)
		return cut->len;
	if (index + 1 < cut->count)
		return (uint32_t)cut->header_len + cut->size;
	payload = cut->len - cut->header_len;
	return cut->header_len + (payload - index * cut->size);
}

static void
fix_ip(const struct gw_cut *cut, uint32_t index, uint8_t *out, uint32_t len)
{
	if (cut->family == 6) {
		gw_put_be16(out + 4, (uint16_t)(len - GW_IPV6_LEN));
		return;
	}
	gw_put_be16(out + 2, (uint16_t)len);
	gw_put_be16(out + 4, (uint16_t)(gw_be16(out + 4) + index));
	gw_sum_ipv4(out, cut->ip_len);
}

/* Set what differs between segments in the transport header. Returns where its checksum stands. */
static uint8_t *
fix_transport(const struct gw_cut *cut, uint32_t index, uint8_t *l4, uint32_t l4_len)
{
	if (cut->protocol == GW_PROTO_UDP) {
		gw_put_be16(l4 + 4, (uint16_t)l4_len);
		return l4 + 6;
	}
	gw_put_be32(l4 + 4, gw_be32(l4 + 4) + index * cut->size);
	if (index > 0)
		l4[13] &= (uint8_t)~GW_TCP_CWR;
	if (index + 1 < cut->count)
		l4[13] &= (uint8_t)~(GW_TCP_FIN | GW_TCP_PSH);
	return l4 + 16;
}

/* A UDP checksum that comes out as zero is sent as all ones: zero would say "none" (RFC 768). */
static void
finish_checksum(const struct gw_cut *cut, uint8_t *out, uint8_t *field, uint32_t l4_len)
{
	uint8_t *l4 = out + cut->ip_len;

	gw_put_be16(field, 0);
	gw_sum_store(
		field, gw_sum(gw_sum_pseudo(out, cut->protocol, l4_len), l4, l4_len));
	if (cut->protocol == GW_PROTO_UDP && gw_be16(field) == 0)
		gw_put_be16(field, 0xffff);
}

/*
 * The kernel left the pseudo-header's sum in the field: adding all from csum_start finishes it.
 * What is there may lie within a tunnel, so it may be UDP whatever cut->protocol is; to other
 * protocols zero and all ones are the same.
 */
static void
finish_partial(const struct gw_cut *cut, uint8_t *out)
{
	uint8_t *start = out + cut->csum_start;
	uint8_t *field = start + cut->csum_offset;

	gw_sum_store(field, gw_sum(0, start, cut->len - cut->csum_start));
	if (gw_be16(field) == 0)
		gw_put_be16(field, 0xffff);
}

uint32_t
gw_cut_write(const struct gw_cut *cut, uint32_t index, uint8_t *out)
{
	uint32_t len = gw_cut_len(cut, index);
	uint32_t l4_len = len - cut->ip_len;
	uint8_t *field;

	if (cut->header_len == 0) {
		memcpy(out, cut->packet, len);
		if (cut->needs_csum)
			finish_partial(cut, out);
		return len;
	}
	memcpy(out, cut->packet, cut->header_len);
	memcpy(out + cut->header_len, cut->packet + cut->header_len + index * cut->size,
		len - cut->header_len);
	fix_ip(cut, index, out, len);
	field = fix_transport(cut, index, out + cut->ip_len, l4_len);
	finish_checksum(cut, out, field, l4_len);
	return len;
}
