#include "esp.h"

#include "backend.h"

void
gw_esp_prepare(const struct gw_suite *suite, uint32_t spi, uint64_t seq,
	uint8_t next_header, uint8_t *esp, size_t len, struct gw_cipher_op *op)
{
	uint8_t *end = esp + gw_esp_headroom(suite) + len;
	size_t text_len = gw_esp_text_len(suite, len);
	uint8_t pad_len = (uint8_t)(text_len - len - 2);
	uint8_t i;

	gw_store_be64(esp, (uint64_t)spi << 32 | (uint32_t)seq);
	/* RFC 4303 section 2.4: 1, 2, 3 ... The receiver checks it. */
	for (i = 0; i < pad_len; i++)
		end[i] = (uint8_t)(i + 1);
	end[pad_len] = pad_len;
	end[pad_len + 1] = next_header;
	op->esp = esp;
	op->len = text_len;
	op->seq = seq;
	op->result = GW_E_SYS;
}

bool
gw_esp_len_ok(const struct gw_suite *suite, size_t esp_len)
{
	size_t frame = gw_esp_headroom(suite) + suite->icv_len;

	return esp_len >= frame + suite->block && esp_len <= GW_ESP_LEN_MAX &&
	       !gw_cipher_is_partial(suite, esp_len - frame);
}

int
gw_esp_trailer(const struct gw_suite *suite, uint8_t *esp, size_t esp_len,
	uint8_t **inner, size_t *inner_len, uint8_t *next_header)
{
	const uint8_t *end, *pad;
	size_t text_len;
	uint8_t pad_len, wrong = 0, i;

	*inner = NULL;
	*inner_len = 0;
	*next_header = 0;
	if (!gw_esp_len_ok(suite, esp_len))
		return GW_E_SHORT;
	text_len = esp_len - gw_esp_headroom(suite) - suite->icv_len;
	end = esp + gw_esp_headroom(suite) + text_len - 2;
	pad_len = end[0];
	if (pad_len + 2u > text_len)
		return GW_E_PADDING;
	pad = end - pad_len;
	for (i = 0; i < pad_len; i++)
		wrong |= (uint8_t)(pad[i] ^ (i + 1));
	if (wrong != 0)
		return GW_E_PADDING;
	*inner = esp + gw_esp_headroom(suite);
	*inner_len = text_len - 2 - pad_len;
	*next_header = end[1];
	return GW_OK;
}
