/* The MSS option of TCP SYN segments (RFC 9293 section 3.7.1). */
#include "mss.h"

#include "checksum.h"

enum { OPTION_END = 0, OPTION_NOP = 1, OPTION_MSS = 2 };

/* The value of the MSS option, or NULL. */
static uint8_t *
find_mss(uint8_t *tcp, size_t header_len)
{
	size_t at = GW_TCP_LEN;

	while (at + 4 <= header_len && tcp[at] != OPTION_END) {
		if (tcp[at] == OPTION_NOP) {
			at++;
			continue;
		}
		if (tcp[at] == OPTION_MSS && tcp[at + 1] == 4)
			return tcp + at + 2;
		if (tcp[at + 1] < 2)
			return NULL;
		at += tcp[at + 1];
	}
	return NULL;
}

/*
 * An option may stand at an odd offset. The checksum counts even words, so the two words that
 * hold the value are changed one after the other.
 */
static void
write_mss(uint8_t *tcp, uint8_t *value, uint16_t mss)
{
	uint8_t *check = tcp + 16;

	if ((value - tcp) % 2 == 0) {
		gw_sum_patch(check, value, mss);
		return;
	}
	gw_sum_patch(check, value - 1, (uint16_t)(value[-1] << 8 | mss >> 8));
	gw_sum_patch(check, value + 1, (uint16_t)((mss & 0xff) << 8 | value[2]));
}

void
gw_mss_clamp(uint8_t *packet, const struct gw_packet *info, uint16_t mss)
{
	uint8_t *tcp = packet + info->ip_len;
	uint8_t *value;

	if (mss == 0 || info->protocol != GW_PROTO_TCP || info->l4_header_len == 0 ||
		(tcp[13] & GW_TCP_SYN) == 0)
		return;
	value = find_mss(tcp, info->l4_header_len);
	if (value != NULL && gw_be16(value) > mss)
		write_mss(tcp, value, mss);
}
