/*
 * Fuzzes what a stranger's ESP packet meets: length, replay window, cipher, trailer.
 *
 * The first byte chooses suite, back end and ESN, the second how the rest is used: as a packet as it is (the ICV is then
 * nearly always wrong), or as the text of a packet that is sealed first, so that trailers no honest
 * sender writes come with a right ICV. Each input may hold several packets for one SA.
 */
#include <stdlib.h>
#include <string.h>

#include "esp.h"

#define SPI      0x01020304u
#define TEXT_MAX 1024u

static const struct {
	uint16_t encr, integ, key_len, integ_key_len;
} suites[] = {
	{GW_ENCR_AES_GCM_16, GW_INTEG_NONE, 20, 0},
	{GW_ENCR_AES_GCM_16, GW_INTEG_NONE, 36, 0},
	{GW_ENCR_CHACHA20_POLY1305, GW_INTEG_NONE, 36, 0},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_256_128, 16, 32},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_384_192, 24, 48},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_512_256, 32, 64},
};

static void
require(int holds)
{
	if (!holds)
		abort();
}

static struct gw_sa
make_sa(uint8_t choice)
{
	size_t s = choice % (sizeof suites / sizeof suites[0]);
	struct gw_sa sa = {.spi = SPI,
		.encr = suites[s].encr,
		.integ = suites[s].integ,
		.encr_key_len = suites[s].key_len,
		.integ_key_len = suites[s].integ_key_len,
		.esn = choice >> 7,
		.backend = choice & 0x40 ? GW_BACKEND_BEST : GW_BACKEND_OPENSSL,
		.replay_window = 64};

	memset(sa.encr_key, 0x11, sizeof sa.encr_key);
	memset(sa.integ_key, 0x22, sizeof sa.integ_key);
	return sa;
}

static void
open_packet(struct gw_esp *esp, const uint8_t *packet, size_t len, int is_ours)
{
	uint8_t *out = malloc(len + 1); /* exact, so that ASan sees a byte too far */
	uint8_t next_header;
	size_t out_len = 0;
	int err;

	require(out != NULL);
	err = gw_esp_open_packet(esp, packet, len, out, len, &out_len, &next_header);
	require(err == GW_OK || err == GW_E_SHORT || err == GW_E_REPLAY ||
		err == GW_E_ICV || err == GW_E_PADDING || err == GW_E_NOENT);
	require(out_len < len || len == 0);
	require(err == GW_OK || out_len == 0);
	require(!is_ours || (err != GW_E_ICV && err != GW_E_SHORT));
	/* A packet that was opened is never opened again. */
	if (err == GW_OK || err == GW_E_PADDING)
		require(gw_esp_open_packet(esp, packet, len, out, len, &out_len,
				&next_header) == GW_E_REPLAY);
	free(out);
}

/* Seal `len` bytes as they are, their own last bytes serving as trailer. */
static void
seal_and_open(struct gw_esp *esp, struct gw_cipher *seal, const struct gw_suite *suite,
	const uint8_t *text, size_t len, uint32_t seq, int is_esn)
{
	uint8_t packet[TEXT_MAX + 128] = {1, 2, 3, 4, (uint8_t)(seq >> 24),
		(uint8_t)(seq >> 16), (uint8_t)(seq >> 8), (uint8_t)seq};

	len = len < TEXT_MAX ? len / suite->block * suite->block : TEXT_MAX;
	if (len == 0 || seq == 0)
		return;
	memcpy(packet + gw_esp_headroom(suite), text, len);
	require(gw_cipher_seal(seal, packet, len, seq) == GW_OK);
	/* With ESN a low number after a high one is read as the next 2^32's, so its ICV is wrong. */
	open_packet(esp, packet, gw_esp_headroom(suite) + len + suite->icv_len, !is_esn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct gw_suite *suite;
	struct gw_cipher *seal;
	struct gw_esp *esp;
	struct gw_sa sa;
	size_t len;

	if (size < 1)
		return 0;
	sa = make_sa(data[0]);
	suite = gw_suite_find(sa.encr, sa.integ, sa.encr_key_len);
	require(gw_esp_new(&sa, false, &esp) == GW_OK);
	require(gw_cipher_new(&sa, true, &seal) == GW_OK);
	for (data++, size--; size >= 4; data += len, size -= len) {
		uint8_t how = data[0];
		uint32_t seq = data[1];

		len = (size_t)data[2] << 2;
		data += 3;
		size -= 3;
		len = len < size ? len : size;
		if (how & 1)
			seal_and_open(esp, seal, suite, data, len, seq, sa.esn);
		else
			open_packet(esp, data, len, 0);
	}
	gw_cipher_free(seal);
	gw_esp_free(esp);
	return 0;
}
