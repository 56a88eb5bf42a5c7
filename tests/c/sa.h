/* The ESP SA that most tests and fuzzers of a whole way use. */
#ifndef SA_H
#define SA_H

#include <string.h>

#include "gw_dp.h"

/* Any IPv4 and IPv6 packet, AES-256-GCM, a key made of the SPI. */
static inline struct gw_sa
sa_config(uint32_t spi)
{
	struct gw_sa sa = {.spi = spi,
		.encr = GW_ENCR_AES_GCM_16,
		.encr_key_len = 36,
		.replay_window = 1024,
		.local_count = 2,
		.remote_count = 2};

	memset(sa.encr_key, (int)(spi & 0xff), 36);
	sa.local[0] = (struct gw_selector){.family = 4, .last_port = 65535};
	memset(sa.local[0].last, 0xff, 16);
	sa.local[1] = sa.local[0];
	sa.local[1].family = 6;
	memcpy(sa.remote, sa.local, 2 * sizeof(sa.local[0]));
	return sa;
}

#endif
