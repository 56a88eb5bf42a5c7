/*
 * Known-answer tests at start: does each back end compute what it should on this very machine, with this very
 * library? A broken one is found before it sends a packet that nobody can read.
 */
#include <openssl/crypto.h>

#include "backend.h"

#define AAD_LEN  24u
#define TEXT_LEN 96u

/*
 * Key and additional data are the bytes 0, 1, 2 ...; the text too; the nonce or IV is a0, a1, a2 ... `icv` is what
 * begins the ICV. It depends on every byte of the ciphertext. Made with Python's cryptography and hmac.
 */
static const struct {
	uint16_t encr, integ, key_len, integ_key_len;
	uint8_t icv[8];
} answers[] = {
	{GW_ENCR_AES_GCM_16, GW_INTEG_NONE, 20, 0,
		{0xcb, 0xef, 0x48, 0x99, 0xd2, 0xbf, 0xd4, 0xbd}},
	{GW_ENCR_AES_GCM_16, GW_INTEG_NONE, 28, 0,
		{0x79, 0x15, 0x08, 0xd1, 0x50, 0x45, 0x1d, 0x17}},
	{GW_ENCR_AES_GCM_16, GW_INTEG_NONE, 36, 0,
		{0x4f, 0x64, 0x62, 0x9c, 0x8c, 0xcc, 0x0e, 0xe3}},
	{GW_ENCR_CHACHA20_POLY1305, GW_INTEG_NONE, 36, 0,
		{0x7b, 0xea, 0xc1, 0x5f, 0xfe, 0xd7, 0xfe, 0xb1}},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_256_128, 16, 32,
		{0xab, 0xc5, 0xdc, 0xe7, 0x35, 0x53, 0xa5, 0x53}},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_256_128, 24, 32,
		{0x35, 0xe5, 0xd9, 0x2e, 0xfc, 0x16, 0x9f, 0x5b}},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_256_128, 32, 32,
		{0xb6, 0x79, 0x90, 0x51, 0xfb, 0x58, 0xa6, 0x82}},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_384_192, 16, 48,
		{0x40, 0x92, 0x33, 0xd5, 0xa9, 0x2b, 0x0a, 0xcf}},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_384_192, 24, 48,
		{0x06, 0x9b, 0x42, 0xdf, 0xe1, 0x56, 0x59, 0xa8}},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_384_192, 32, 48,
		{0xc0, 0x97, 0x7c, 0x1b, 0xe2, 0xc0, 0xd2, 0x0a}},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_512_256, 16, 64,
		{0x51, 0x4d, 0xd5, 0x16, 0xba, 0xf2, 0xeb, 0xb3}},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_512_256, 24, 64,
		{0xea, 0x0e, 0xcf, 0xef, 0x97, 0x76, 0x3c, 0xf8}},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_512_256, 32, 64,
		{0x8a, 0xb8, 0x20, 0x4b, 0x73, 0x60, 0x1a, 0x5e}},
};

#define ANSWER_COUNT (sizeof answers / sizeof answers[0])

static void
count_up(uint8_t *to, size_t len, uint8_t first)
{
	size_t i;

	for (i = 0; i < len; i++)
		to[i] = (uint8_t)(first + i);
}

/* Seal, compare with the known answer, open, and refuse a changed packet. */
static bool
is_right(struct gw_cipher *seal, struct gw_cipher *open, const uint8_t icv[8])
{
	uint8_t nonce[GW_CBC_BLOCK], plain[TEXT_LEN],
		buffer[AAD_LEN + TEXT_LEN + GW_ICV_MAX] = {0};
	struct gw_bare bare = {.nonce = nonce,
		.aad = buffer,
		.aad_len = AAD_LEN,
		.text = buffer + AAD_LEN,
		.len = TEXT_LEN,
		.icv = buffer + AAD_LEN + TEXT_LEN};

	count_up(nonce, sizeof nonce, 0xa0);
	count_up(plain, sizeof plain, 0);
	count_up(buffer, AAD_LEN, 0);
	memcpy(bare.text, plain, TEXT_LEN);
	if (gw_cipher_bare_seal(seal, &bare) != GW_OK || memcmp(bare.icv, icv, 8) != 0)
		return false;
	if (gw_cipher_bare_open(open, &bare) != GW_OK ||
		memcmp(bare.text, plain, TEXT_LEN) != 0)
		return false;
	if (gw_cipher_bare_seal(seal, &bare) != GW_OK)
		return false;
	bare.icv[15] ^= 1;
	return gw_cipher_bare_open(open, &bare) == GW_E_ICV;
}

static int
test_suite(size_t i, uint8_t backend)
{
	struct gw_sa sa = {.spi = 256,
		.encr = answers[i].encr,
		.integ = answers[i].integ,
		.encr_key_len = answers[i].key_len,
		.integ_key_len = answers[i].integ_key_len,
		.backend = backend};
	struct gw_cipher *seal = NULL, *open = NULL;
	int err;

	count_up(sa.encr_key, sizeof sa.encr_key, 0);
	count_up(sa.integ_key, sizeof sa.integ_key, 0);
	err = gw_cipher_new(&sa, true, &seal);
	if (err == GW_OK)
		err = gw_cipher_new(&sa, false, &open);
	if (err == GW_OK && !is_right(seal, open, answers[i].icv))
		err = GW_E_UNSUPPORTED;
	gw_cipher_free(seal);
	gw_cipher_free(open);
	return err;
}

int
gw_cipher_self_test(void)
{
	static const uint8_t backends[] = {GW_BACKEND_OPENSSL, GW_BACKEND_IPSECMB};
	size_t i, b;
	int err;

	/* libcrypto is what every machine falls back to. */
	if (gw_cipher_backend_name(
		    gw_suite_find(GW_ENCR_AES_GCM_16, 0, 0), GW_BACKEND_OPENSSL) == NULL)
		return GW_E_UNSUPPORTED;
	for (b = 0; b < sizeof backends; b++)
		for (i = 0; i < ANSWER_COUNT; i++) {
			if (gw_cipher_backend_name(
				    gw_suite_find(answers[i].encr, answers[i].integ,
					    answers[i].key_len),
				    backends[b]) == NULL)
				continue;
			err = test_suite(i, backends[b]);
			if (err != GW_OK)
				return err;
		}
	return GW_OK;
}
