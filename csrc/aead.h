/*
 * One SA's cipher, by one of two back ends: aead_ipsecmb.c (x86-64) and aead_openssl.c (everywhere).
 *
 * A cipher is keyed once and is then used for many packets. It holds no sequence number. Not
 * thread-safe: one cipher per SA and worker.
 *
 * Both operations work in place on the ESP payload: `text` of `len` bytes (a multiple of the
 * block for CBC), with `aad` before it. For an AEAD `aad` is SPI and sequence number (8 bytes,
 * 12 with ESN: RFC 4106 section 5). For CBC with HMAC, `aad` is SPI and 32-bit sequence number and IV, and
 * `esn_high_be` is appended to the HMAC input when esn is set (RFC 4303 section 2.8); it is at
 * `mac_start` that the HMAC begins. See each function.
 */
#ifndef GW_AEAD_H
#define GW_AEAD_H

#include "gw_dp.h"

struct gw_cipher;

struct gw_suite {
	uint16_t encr;          /* enum gw_encr */
	uint16_t integ;         /* enum gw_integ */
	uint16_t key_len;       /* cipher key without salt, bytes */
	uint8_t salt_len;       /* 4 for an AEAD, 0 for CBC */
	uint8_t iv_len;         /* on the wire: 8 for an AEAD, 16 for CBC */
	uint8_t icv_len;        /* on the wire: 16, 24 or 32 */
	uint8_t block;          /* payload and trailer are padded to a multiple of this: 4 or 16 */
	uint8_t integ_key_len;  /* bytes; 0 for an AEAD */
};

/* The suite of these numbers and cipher key length (salt included, as in struct gw_sa). NULL if unknown. */
const struct gw_suite *gw_suite_find(uint16_t encr, uint16_t integ, uint16_t encr_key_len);

/* Key a cipher for one direction. *out is NULL on failure. GW_E_UNSUPPORTED, GW_E_NOMEM. */
GW_MUST_CHECK int gw_cipher_new(const struct gw_sa *sa, bool outbound, struct gw_cipher **out);
/* Wipes the key. NULL is allowed. */
void gw_cipher_free(struct gw_cipher *cipher);

/*
 * Encrypt an ESP packet in place and write its ICV.
 *   esp       SPI, sequence number (8 bytes), IV (iv_len), then text_len bytes of payload and trailer,
 *             then room for icv_len bytes
 *   seq       the full 64-bit sequence number; for an AEAD the IV is this number, big-endian, which
 *             the function writes; for CBC it writes a fresh unpredictable IV
 * SPI and sequence number must be written already.
 */
GW_MUST_CHECK int gw_cipher_seal(struct gw_cipher *cipher, uint8_t *esp, size_t text_len, uint64_t seq);

/* Verify and decrypt an ESP packet in place (esp_len: SPI .. ICV). The ICV is verified before anything
 * is decrypted or together with it. GW_E_ICV. */
GW_MUST_CHECK int gw_cipher_open(struct gw_cipher *cipher, uint8_t *esp, size_t esp_len, uint64_t seq);

/* Seal (or open) `count` packets: as one by one, but a back end may work on them side by side. result[i] is GW_OK or an error. */
struct gw_cipher_op {
	uint8_t *esp;
	size_t len;             /* seal: text_len; open: esp_len */
	uint64_t seq;
	int result;
};
void gw_cipher_seal_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count);
void gw_cipher_open_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count);

/* Known-answer test of a back end; run by gw_dp_new(). GW_E_UNSUPPORTED if it fails. */
GW_MUST_CHECK int gw_cipher_self_test(void);

#endif
