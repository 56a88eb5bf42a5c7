/*
 * One SA's cipher, by one of two back ends: aead_ipsecmb.c (x86-64) and aead_openssl.c (everywhere).
 *
 * A cipher is keyed once and is then used for many packets. It holds no sequence number. Not
 * thread-safe: one cipher per SA and worker.
 *
 * Both operations work in place on a whole ESP packet, from its SPI on. An AEAD authenticates SPI
 * and sequence number (8 bytes, 12 with ESN: RFC 4106 section 5, RFC 7634 section 2.1). CBC is
 * encrypt-then-MAC: the HMAC covers SPI, sequence number, IV, ciphertext, and with ESN the high
 * half of the sequence number, which is not sent (RFC 4303 section 2.2.1).
 */
#ifndef GW_AEAD_H
#define GW_AEAD_H

#include "gw_dp.h"

struct gw_cipher;

struct gw_suite {
	uint16_t encr;    /* enum gw_encr */
	uint16_t integ;   /* enum gw_integ */
	uint16_t key_len; /* cipher key without salt, bytes */
	uint8_t salt_len; /* 4 for an AEAD, 0 for CBC */
	uint8_t iv_len;   /* on the wire: 8 for an AEAD, 16 for CBC */
	uint8_t icv_len;  /* on the wire: 16, 24 or 32 */
	uint8_t block; /* payload and trailer are padded to a multiple of this: 4 or 16 */
	uint8_t integ_key_len; /* bytes; 0 for an AEAD */
};

/* The longest ESP packet, SPI .. ICV, that seal and open accept: what an IP packet can carry. */
#define GW_ESP_LEN_MAX 65535u

/*
 * The suite of these numbers and cipher key length (salt included, as in struct gw_sa); key length 0 means any,
 * for what does not depend on it. NULL if unknown.
 */
const struct gw_suite *gw_suite_find(
	uint16_t encr, uint16_t integ, uint16_t encr_key_len);

/*
 * Key a cipher for one direction. *out is NULL on failure. GW_E_INVALID (key length, unknown back end),
 * GW_E_UNSUPPORTED (suite, or a back end that this build or machine lacks), GW_E_NOMEM.
 */
GW_MUST_CHECK int gw_cipher_new(
	const struct gw_sa *sa, bool outbound, struct gw_cipher **out);
/* Wipes the key. NULL is allowed. */
void gw_cipher_free(struct gw_cipher *cipher);

/*
 * Make what the back ends keep per thread. A worker calls it before its first packet: otherwise that
 * packet waits for it (8 ms, 200 KiB). Freed when the thread ends. GW_E_NOMEM.
 */
GW_MUST_CHECK int gw_cipher_start_thread(void);

/* Name of the back end gw_cipher_new() would choose; NULL if it would fail with GW_E_UNSUPPORTED. */
const char *gw_cipher_backend_name(const struct gw_suite *suite, uint8_t backend);

/* One packet's work. */
struct gw_cipher_op {
	uint8_t *esp;
	size_t len;   /* seal: text_len; open: esp_len */
	uint64_t seq; /* all 64 bits, also without ESN */
	int result;   /* GW_OK or a negative enum gw_err */
};

/*
 * Encrypt `count` ESP packets in place and write their ICVs. A back end may work on them side by
 * side; the result is as one by one. For each packet:
 *   esp       SPI and sequence number (8 bytes, written already), room for the IV (iv_len), then
 *             len bytes of payload and trailer (a multiple of block), then room for icv_len bytes
 *   seq       not 0, and never the same twice on one key: for an AEAD the IV is this number. For
 *             CBC the IV is made from it, unpredictably.
 * result[i]: GW_E_INVALID (length, seq 0, an inbound cipher), GW_E_LIMIT (seq over 32 bits without
 * ESN), GW_E_NOMEM, GW_E_SYS (the library refused). Nothing is encrypted then.
 */
void gw_cipher_seal_many(
	struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count);

/*
 * Verify and decrypt `count` ESP packets in place. With CBC nothing is decrypted before the ICV
 * verified; with an AEAD a packet with a wrong ICV is overwritten with zeros.
 * result[i]: GW_E_ICV, GW_E_SHORT (length), GW_E_INVALID (an outbound cipher, over GW_ESP_LEN_MAX),
 * GW_E_NOMEM, GW_E_SYS.
 */
void gw_cipher_open_many(
	struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count);

/* The same for one packet. */
GW_MUST_CHECK int gw_cipher_seal(
	struct gw_cipher *cipher, uint8_t *esp, size_t text_len, uint64_t seq);
GW_MUST_CHECK int gw_cipher_open(
	struct gw_cipher *cipher, uint8_t *esp, size_t esp_len, uint64_t seq);

/*
 * The library's own operation without ESP around it: for self-test, test vectors and bench. In place.
 * For CBC, `nonce` is the 16-byte IV, `aad` must end where `text` begins, and the HMAC covers both.
 */
struct gw_bare {
	const uint8_t *nonce; /* 12 bytes (CBC: 16) */
	const uint8_t *aad;
	size_t aad_len;
	uint8_t *text;
	size_t len;   /* CBC: a multiple of 16 */
	uint8_t *icv; /* icv_len bytes: written by seal, compared by open */
};
GW_MUST_CHECK int gw_cipher_bare_seal(
	struct gw_cipher *cipher, const struct gw_bare *bare);
GW_MUST_CHECK int gw_cipher_bare_open(
	struct gw_cipher *cipher, const struct gw_bare *bare);

/* Known-answer tests of every back end this machine can use; run by gw_dp_new(). GW_E_UNSUPPORTED if one fails. */
GW_MUST_CHECK int gw_cipher_self_test(void);

#endif
