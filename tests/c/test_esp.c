/* ESP header, trailer and padding (RFC 4303), without a cipher. */
#include <string.h>

#include "check.h"
#include "esp.h"

static const struct gw_suite *
aead(void)
{
	return gw_suite_find(GW_ENCR_AES_GCM_16, GW_INTEG_NONE, 36);
}

static const struct gw_suite *
cbc(void)
{
	return gw_suite_find(GW_ENCR_AES_CBC, GW_INTEG_SHA2_512_256, 32);
}

/* What is prepared is found again, for every length up to some blocks; nothing is written beyond. */
static void
test_prepare_and_trailer(const struct gw_suite *suite)
{
	uint8_t esp[256], *inner, next_header;
	struct gw_cipher_op op;
	size_t len, inner_len, sealed;

	for (len = 0; len < 100; len++) {
		memset(&op, 0, sizeof op);
		memset(esp, 0xee, sizeof esp);
		memset(esp + gw_esp_headroom(suite), 0x45, len);
		gw_esp_prepare(suite, 0x01020304, 0x1122334455667788, 41, esp, len, &op);
		sealed = gw_esp_sealed_len(suite, len);
		CHECK(memcmp(esp, "\x01\x02\x03\x04\x55\x66\x77\x88\xee", 9) == 0);
		CHECK(op.esp == esp && op.seq == 0x1122334455667788);
		CHECK(op.result == GW_E_SYS); /* it is not sealed yet */
		CHECK(op.len % suite->block == 0 && op.len >= len + 2 &&
			op.len < len + 2 + suite->block);
		CHECK(sealed == gw_esp_headroom(suite) + op.len + suite->icv_len);
		CHECK(sealed <= gw_esp_headroom(suite) + len + gw_esp_tailroom(suite));
		CHECK(esp[gw_esp_headroom(suite) + op.len] == 0xee);
		CHECK(gw_esp_len_ok(suite, sealed));
		CHECK(gw_esp_trailer(suite, esp, sealed, &inner, &inner_len,
			      &next_header) == GW_OK);
		CHECK(inner == esp + gw_esp_headroom(suite) && inner_len == len &&
			next_header == 41);
		CHECK(gw_esp_overhead(suite->encr, suite->integ, len) == sealed - len);
	}
}

/* What is too short has no trailer. */
static void
test_short(const struct gw_suite *suite)
{
	size_t frame = gw_esp_headroom(suite) + suite->icv_len, len, inner_len = 1;
	uint8_t esp[256] = {0}, *inner = esp, next_header = 1;

	for (len = 0; len < frame + suite->block; len++) {
		CHECK(gw_esp_trailer(suite, esp, len, &inner, &inner_len, &next_header) ==
			GW_E_SHORT);
		CHECK(inner == NULL && inner_len == 0 && next_header == 0);
	}
}

static void
test_len_ok(const struct gw_suite *suite)
{
	size_t frame = gw_esp_headroom(suite) + suite->icv_len, len;

	for (len = 0; len < frame + suite->block; len++)
		CHECK(!gw_esp_len_ok(suite, len));
	CHECK(gw_esp_len_ok(suite, frame + suite->block));
	CHECK(!gw_esp_len_ok(suite, frame + suite->block + 1));
	CHECK(!gw_esp_len_ok(suite, frame + suite->block * 100000u));
	CHECK(!gw_esp_len_ok(suite, SIZE_MAX));
}

/*
 * Every pad length against every text length: right, too long (with right pad bytes even before
 * the text), and each pad byte wrong once.
 */
static void
test_padding(const struct gw_suite *suite)
{
	size_t frame = gw_esp_headroom(suite) + suite->icv_len, text, inner_len;
	uint8_t esp[1024], *inner, *end, next_header;
	unsigned pad, i;

	for (text = suite->block; text <= 272; text += suite->block)
		for (pad = 0; pad <= 255; pad++) {
			memset(esp, 0, sizeof esp);
			end = esp + gw_esp_headroom(suite) + text - 2;
			end[0] = (uint8_t)pad;
			end[1] = 4;
			for (i = 1; i <= pad && end - i >= esp; i++)
				end[-(int)i] = (uint8_t)(pad - i + 1);
			CHECK(gw_esp_trailer(suite, esp, frame + text, &inner, &inner_len,
				      &next_header) ==
				(pad + 2 <= text ? GW_OK : GW_E_PADDING));
			CHECK(next_header == (pad + 2 <= text ? 4 : 0));
			if (pad + 2 > text)
				continue;
			CHECK(inner_len == text - 2 - pad);
			for (i = 1; i <= pad; i++) {
				end[-(int)i] ^= 1;
				CHECK(gw_esp_trailer(suite, esp, frame + text, &inner,
					      &inner_len, &next_header) == GW_E_PADDING);
				CHECK(inner == NULL && inner_len == 0 &&
					next_header == 0);
				end[-(int)i] ^= 1;
			}
		}
}

int
main(void)
{
	test_prepare_and_trailer(aead());
	test_prepare_and_trailer(cbc());
	test_short(aead());
	test_short(cbc());
	test_len_ok(aead());
	test_len_ok(cbc());
	test_padding(aead());
	test_padding(cbc());
	CHECK(gw_esp_overhead(GW_ENCR_AES_GCM_16, GW_INTEG_SHA2_256_128, 100) == 0);
	CHECK(gw_esp_overhead(GW_ENCR_AES_GCM_16, GW_INTEG_NONE, GW_ESP_LEN_MAX + 1) ==
		0);
	return 0;
}
