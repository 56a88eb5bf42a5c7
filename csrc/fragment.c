/* IPv4 fragmentation (RFC 791 section 3.2). A fragment may be cut again. */
#include "fragment.h"

#include <string.h>

#include "checksum.h"

enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_COPIED = 0x80 };

/* Payload bytes of each fragment but the last: a multiple of 8. */
static uint32_t
step(const struct gw_packet *info, uint32_t mtu)
{
	return (mtu - info->ip_len) & ~7u;
}

uint32_t
gw_fragment_count(const struct gw_packet *info, uint32_t mtu)
{
	uint32_t payload = info->len - info->ip_len;

	return payload == 0 ? 1 : (payload + step(info, mtu) - 1) / step(info, mtu);
}

uint32_t
gw_fragment_len(const struct gw_packet *info, uint32_t mtu, uint32_t index)
{
	uint32_t left = info->len - info->ip_len - index * step(info, mtu);

	return info->ip_len + (left < step(info, mtu) ? left : step(info, mtu));
}

/* Options that only the first fragment carries become padding in the others. */
static void
drop_uncopied_options(uint8_t *header, size_t header_len)
{
	size_t at = GW_IPV4_LEN, size;

	while (at + 2 <= header_len && header[at] != OPTION_END) {
		size = header[at] == OPTION_NOP ? 1 : header[at + 1];
		if (size == 0 || at + size > header_len)
			return;
		if ((header[at] & OPTION_COPIED) == 0)
			memset(header + at, OPTION_NOP, size);
		at += size;
	}
}

uint32_t
gw_fragment_write(const uint8_t *packet, const struct gw_packet *info, uint32_t mtu,
	uint32_t index, uint8_t *out)
{
	uint32_t len = gw_fragment_len(info, mtu, index);
	uint32_t at = index * step(info, mtu);
	uint16_t field = gw_be16(packet + 6);

	memcpy(out, packet, info->ip_len);
	memcpy(out + info->ip_len, packet + info->ip_len + at, len - info->ip_len);
	if (index > 0)
		drop_uncopied_options(out, info->ip_len);
	if (index + 1 < gw_fragment_count(info, mtu))
		field |= GW_IPV4_MF;
	gw_put_be16(out + 6, (uint16_t)(field + at / 8));
	gw_put_be16(out + 2, (uint16_t)len);
	gw_sum_ipv4(out, info->ip_len);
	return len;
}
