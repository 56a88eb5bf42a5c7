/*
 * ESP tunnel mode (RFC 4303): header, trailer, padding and sequence numbers around gw_cipher.
 *
 * The caller places the inner packet so that gw_esp_headroom() bytes lie before it and
 * gw_esp_tailroom() behind it; seal and open work in place and copy nothing.
 */
#ifndef GW_ESP_H
#define GW_ESP_H

#include "aead.h"
#include "replay.h"

static inline size_t
gw_esp_headroom(const struct gw_suite *suite)
{
	return 8u + suite->iv_len;
}

/* Padding (at most block - 1), pad length, next header, ICV. */
static inline size_t
gw_esp_tailroom(const struct gw_suite *suite)
{
	return (size_t)suite->block + 1u + suite->icv_len;
}

/* Length of what is encrypted: the inner packet, padding, pad length, next header. */
static inline size_t
gw_esp_text_len(const struct gw_suite *suite, size_t len)
{
	/* A power of two: a division would show in the time of a small packet. */
	return (len + 2u + suite->block - 1u) & ~((size_t)suite->block - 1u);
}

/* Length of SPI .. ICV for an inner packet of `len` bytes. */
static inline size_t
gw_esp_sealed_len(const struct gw_suite *suite, size_t len)
{
	return gw_esp_headroom(suite) + gw_esp_text_len(suite, len) + suite->icv_len;
}

/*
 * Write ESP header and trailer around the inner packet at esp + gw_esp_headroom(), `len` bytes, next header 4 or 41,
 * and describe the cipher's work in *op. The caller then runs gw_cipher_seal_many().
 */
void gw_esp_prepare(const struct gw_suite *suite, uint32_t spi, uint64_t seq,
	uint8_t next_header, uint8_t *esp, size_t len, struct gw_cipher_op *op);

/*
 * After a packet was opened: find the inner packet. *inner points into esp. GW_E_PADDING, GW_E_SHORT.
 * *next_header is as the trailer says. TFC padding behind the inner packet is the caller's to cut.
 */
GW_MUST_CHECK int gw_esp_trailer(const struct gw_suite *suite, uint8_t *esp,
	size_t esp_len, uint8_t **inner, size_t *inner_len, uint8_t *next_header);

/* Is this length possible for the suite (header, IV, at least one block, ICV; a whole number of blocks)? */
bool gw_esp_len_ok(const struct gw_suite *suite, size_t esp_len);

#endif
