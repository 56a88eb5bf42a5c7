/*
 * What a cipher back end is to cipher.c: private to cipher.c and the aead_*.c files.
 *
 * A back end's cipher object begins with struct gw_cipher. What is common to all back ends (nonce,
 * additional data, which lengths are possible) is here, once.
 */
#ifndef GW_BACKEND_H
#define GW_BACKEND_H

#include <endian.h>
#include <string.h>

#include "aead.h"

#define GW_ESP_HEADER 8u
#define GW_NONCE_LEN  12u
#define GW_ICV_MAX    32u
#define GW_IV_KEY_LEN 16u
#define GW_CBC_BLOCK  16u

struct gw_cipher_ops {
	void (*seal_many)(
		struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count);
	void (*open_many)(
		struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count);
	int (*bare_seal)(struct gw_cipher *cipher, const struct gw_bare *bare);
	int (*bare_open)(struct gw_cipher *cipher, const struct gw_bare *bare);
	/* Wipes the key and frees the object. */
	void (*free)(struct gw_cipher *cipher);
};

struct gw_cipher {
	const struct gw_cipher_ops *ops;
	const struct gw_suite *suite;
	/* Keyed alike, for short runs of packets; NULL: this one does all. */
	struct gw_cipher *few;
	bool outbound;
	bool esn;
	uint32_t salt; /* host order; 0 for CBC */
};

struct gw_backend_entry {
	uint8_t id; /* enum gw_backend */
	const char *name;
	/* Does this machine have what the back end needs? */
	bool (*usable)(void);
	/* Makes what the calling thread needs; false: no memory. NULL: nothing. */
	bool (*start_thread)(void);
	/* The caller has checked every length in *sa and fills in struct gw_cipher but for ops. */
	int (*make)(const struct gw_suite *suite, const struct gw_sa *sa, bool outbound,
		struct gw_cipher **out);
};

extern const struct gw_backend_entry gw_backend_openssl;
#ifdef GW_HAVE_IPSECMB
extern const struct gw_backend_entry gw_backend_ipsecmb;
#endif

/* One store each: the library soon loads these bytes together, and cannot from several stores. */
static inline void
gw_store_be32(uint8_t *to, uint32_t value)
{
	value = htobe32(value);
	memcpy(to, &value, sizeof value);
}

static inline void
gw_store_be64(uint8_t *to, uint64_t value)
{
	value = htobe64(value);
	memcpy(to, &value, sizeof value);
}

static inline uint64_t
gw_load_be64(const uint8_t *from)
{
	uint64_t value;

	memcpy(&value, from, sizeof value);
	return be64toh(value);
}

static inline uint8_t *
gw_cipher_text(const struct gw_cipher *cipher, uint8_t *esp)
{
	return esp + GW_ESP_HEADER + cipher->suite->iv_len;
}

/* Bytes around the text: header, IV and ICV. */
static inline size_t
gw_cipher_frame(const struct gw_cipher *cipher)
{
	return GW_ESP_HEADER + cipher->suite->iv_len + (size_t)cipher->suite->icv_len;
}

/* Blocks are powers of two (4 and 16). */
static inline bool
gw_cipher_is_partial(const struct gw_suite *suite, size_t len)
{
	return (len & (suite->block - 1u)) != 0;
}

static inline int
gw_cipher_check_seal(const struct gw_cipher *cipher, const struct gw_cipher_op *op)
{
	const struct gw_suite *suite = cipher->suite;

	if (!cipher->outbound || op->seq == 0 || op->len == 0 ||
		gw_cipher_is_partial(suite, op->len))
		return GW_E_INVALID;
	if (op->len > GW_ESP_LEN_MAX - gw_cipher_frame(cipher))
		return GW_E_INVALID;
	if (!cipher->esn && op->seq > UINT32_MAX)
		return GW_E_LIMIT;
	return GW_OK;
}

static inline int
gw_cipher_check_open(const struct gw_cipher *cipher, const struct gw_cipher_op *op)
{
	size_t frame = gw_cipher_frame(cipher);

	if (cipher->outbound || op->len > GW_ESP_LEN_MAX)
		return GW_E_INVALID;
	if (op->len < frame + cipher->suite->block)
		return GW_E_SHORT;
	return gw_cipher_is_partial(cipher->suite, op->len - frame) ? GW_E_SHORT : GW_OK;
}

/*
 * What of an AEAD's input is not in the packet as it is needed. Sixteen bytes that one instruction
 * stores: the library loads them as a vector right away, and a load that spans two stores waits for
 * both (18 ns a packet, a sixth of a packet of 1400 bytes).
 */
typedef uint64_t gw_bytes16 __attribute__((vector_size(16)));

struct gw_aead_room {
	gw_bytes16 nonce; /* 12 used */
	gw_bytes16 aad;   /* 8 used, with ESN 12 */
};

/*
 * Describe an ESP packet as an AEAD's input. The nonce is the salt and the IV that stands in the
 * packet (RFC 4106 section 4, RFC 7634 section 2). The additional data is the ESP header; with ESN
 * the high half of the sequence number, which is not in the packet, stands between SPI and low half.
 */
static inline void
gw_aead_parts(const struct gw_cipher *cipher, const struct gw_cipher_op *op, uint64_t iv,
	struct gw_aead_room *room, struct gw_bare *parts)
{
	uint64_t header = gw_load_be64(op->esp);

	room->nonce = (gw_bytes16){
		htobe64((uint64_t)cipher->salt << 32 | iv >> 32), htobe64(iv << 32)};
	room->aad = (gw_bytes16){htobe64(header), 0};
	parts->aad_len = 8;
	if (cipher->esn) {
		room->aad = (gw_bytes16){htobe64((header >> 32) << 32 | op->seq >> 32),
			htobe64(header << 32)};
		parts->aad_len = 12;
	}
	parts->nonce = (const uint8_t *)&room->nonce;
	parts->aad = (const uint8_t *)&room->aad;
	parts->text = gw_cipher_text(cipher, op->esp);
}

typedef int gw_bare_fn(struct gw_cipher *cipher, const struct gw_bare *bare);

/* seal_many and open_many of an AEAD that works on one packet at a time. Inlined, so that `seal` is, too. */
static inline void
gw_aead_seal_each(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count,
	gw_bare_fn *seal)
{
	struct gw_aead_room room;
	struct gw_cipher_op *op;
	struct gw_bare parts;

	for (op = ops; op < ops + count; op++) {
		op->result = gw_cipher_check_seal(cipher, op);
		if (op->result != GW_OK)
			continue;
		gw_store_be64(op->esp + GW_ESP_HEADER, op->seq);
		gw_aead_parts(cipher, op, op->seq, &room, &parts);
		parts.len = op->len;
		parts.icv = parts.text + parts.len;
		op->result = seal(cipher, &parts);
	}
}

static inline void
gw_aead_open_each(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count,
	gw_bare_fn *open)
{
	struct gw_aead_room room;
	struct gw_cipher_op *op;
	struct gw_bare parts;

	for (op = ops; op < ops + count; op++) {
		op->result = gw_cipher_check_open(cipher, op);
		if (op->result != GW_OK)
			continue;
		gw_aead_parts(
			cipher, op, gw_load_be64(op->esp + GW_ESP_HEADER), &room, &parts);
		parts.len = op->len - gw_cipher_frame(cipher);
		parts.icv = parts.text + parts.len;
		op->result = open(cipher, &parts);
	}
}

/* Describe a CBC packet: what the HMAC covers begins at the SPI and ends with the text. */
static inline void
gw_cbc_parts(const struct gw_cipher *cipher, uint8_t *esp, size_t text_len,
	struct gw_bare *parts)
{
	parts->nonce = esp + GW_ESP_HEADER;
	parts->aad = esp;
	parts->aad_len = GW_ESP_HEADER + GW_CBC_BLOCK;
	parts->text = gw_cipher_text(cipher, esp);
	parts->len = text_len;
	parts->icv = parts->text + text_len;
}

/*
 * The block that becomes a CBC packet's IV. An IV must not be foreseen (RFC 3602 section 3), and a system call per
 * packet is too dear: so AES under a random key of the SA's own encrypts the sequence number,
 * which never repeats. That is the first method of NIST SP 800-38A appendix C, but with a second
 * key: under the first one, a chosen block of plaintext could show what a later IV will be.
 */
static inline void
gw_cbc_number(uint64_t seq, uint8_t number[GW_CBC_BLOCK])
{
	memset(number, 0, GW_CBC_BLOCK - sizeof seq);
	gw_store_be64(number + GW_CBC_BLOCK - sizeof seq, seq);
}

#endif
