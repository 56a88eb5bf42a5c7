/*
 * Back end ipsec-mb: AES-CBC with HMAC-SHA2, encrypt-then-MAC (RFC 3602, RFC 4868).
 *
 * One AES-CBC encryption, or one SHA-2, is a chain of dependent steps; the library's lanes hide that by working on up
 * to 16 packets side by side. So a whole run of packets is submitted before the first is waited for.
 */
#ifdef GW_HAVE_IPSECMB

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "ipsecmb.h"

/* Packets whose ICVs are checked together: twice the widest lanes, 2 KiB of stack. */
#define BATCH 32u

struct cbc {
	struct gw_cipher base;
	uint8_t encrypt[15 * 16] __attribute__((aligned(16)));
	uint8_t decrypt[15 * 16] __attribute__((aligned(16)));
	uint8_t iv_key[11 * 16] __attribute__((aligned(16)));
	uint8_t inner[64]
		__attribute__((aligned(16))); /* HMAC: SHA-2 state after key xor ipad */
	uint8_t outer[64] __attribute__((aligned(16)));
	IMB_HASH_ALG hash;
};

/*
 * With ESN the HMAC's last four bytes are the high half of the sequence number (RFC 4303 section
 * 2.2.1). It is written where the ICV will stand, so that one job hashes everything.
 */
static size_t
cbc_hash_len(const struct gw_cipher *cipher, const struct gw_bare *b, uint64_t seq)
{
	if (!cipher->esn)
		return b->aad_len + b->len;
	gw_store_be32(b->icv, (uint32_t)(seq >> 32));
	return b->aad_len + b->len + 4;
}

static void
cbc_write_iv(const struct cbc *c, IMB_MGR *mgr, struct gw_cipher_op *op)
{
	static const uint8_t zeros[GW_CBC_BLOCK];
	uint8_t number[GW_CBC_BLOCK];

	gw_cbc_number(op->seq, number);
	/* CFB of one block of zeros is the block cipher itself. */
	IMB_AES128_CFB_ONE(
		mgr, op->esp + GW_ESP_HEADER, zeros, number, c->iv_key, GW_CBC_BLOCK);
}

/* A job that encrypts or decrypts b->text, or with neither only hashes (RFC 4303 section 3.3.2.1). */
static void
cbc_submit(struct cbc *c, IMB_MGR *mgr, const struct gw_bare *b, IMB_CIPHER_MODE cipher,
	IMB_HASH_ALG hash, size_t hash_len, int *result)
{
	IMB_JOB *job = IMB_GET_NEXT_JOB(mgr);
	bool seal = c->base.outbound;

	job->cipher_mode = cipher;
	job->hash_alg = hash;
	job->cipher_direction = seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = seal ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->enc_keys = c->encrypt;
	job->dec_keys = c->decrypt;
	job->key_len_in_bytes = c->base.suite->key_len;
	job->iv = b->nonce;
	job->iv_len_in_bytes = GW_CBC_BLOCK;
	job->src = b->aad;
	job->dst = b->text;
	job->cipher_start_src_offset_in_bytes = b->aad_len;
	job->msg_len_to_cipher_in_bytes = b->len;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = hash_len;
	job->u.HMAC._hashed_auth_key_xor_ipad = c->inner;
	job->u.HMAC._hashed_auth_key_xor_opad = c->outer;
	job->auth_tag_output = b->icv;
	job->auth_tag_output_len_in_bytes = c->base.suite->icv_len;
	job->user_data = result;
	gw_ipsecmb_submit(mgr);
}

static void
cbc_seal_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count)
{
	struct cbc *c = (struct cbc *)cipher;
	IMB_MGR *mgr = gw_ipsecmb_manager();
	struct gw_cipher_op *op;
	struct gw_bare b;

	for (op = ops; op < ops + count; op++) {
		op->result = mgr == NULL ? GW_E_NOMEM : gw_cipher_check_seal(cipher, op);
		if (op->result != GW_OK)
			continue;
		op->result = GW_E_SYS;
		cbc_write_iv(c, mgr, op);
		gw_cbc_parts(cipher, op->esp, op->len, &b);
		cbc_submit(c, mgr, &b, IMB_CIPHER_CBC, c->hash,
			cbc_hash_len(cipher, &b, op->seq), &op->result);
	}
	if (mgr != NULL)
		gw_ipsecmb_flush(mgr);
}

/* Verify the ICVs of up to BATCH packets; op->result is GW_OK for those that may be decrypted. */
static void
cbc_verify(struct cbc *c, IMB_MGR *mgr, struct gw_cipher_op *ops, size_t count)
{
	struct gw_cipher *cipher = &c->base;
	uint8_t sent[BATCH][GW_ICV_MAX], wanted[BATCH][GW_ICV_MAX];
	size_t i, icv_len = cipher->suite->icv_len, hash_len;
	struct gw_cipher_op *op;
	struct gw_bare b;

	for (i = 0; i < count; i++) {
		op = &ops[i];
		op->result = gw_cipher_check_open(cipher, op);
		if (op->result != GW_OK)
			continue;
		op->result = GW_E_SYS;
		gw_cbc_parts(cipher, op->esp, op->len - gw_cipher_frame(cipher), &b);
		memcpy(sent[i], b.icv, icv_len);
		hash_len = cbc_hash_len(cipher, &b, op->seq);
		b.icv = wanted[i];
		cbc_submit(c, mgr, &b, IMB_CIPHER_NULL, c->hash, hash_len, &op->result);
	}
	gw_ipsecmb_flush(mgr);
	for (i = 0; i < count; i++)
		if (ops[i].result == GW_OK &&
			CRYPTO_memcmp(sent[i], wanted[i], icv_len) != 0)
			ops[i].result = GW_E_ICV;
}

static void
cbc_open_batch(struct cbc *c, IMB_MGR *mgr, struct gw_cipher_op *ops, size_t count)
{
	struct gw_cipher_op *op;
	struct gw_bare b;

	cbc_verify(c, mgr, ops, count);
	for (op = ops; op < ops + count; op++) {
		if (op->result != GW_OK)
			continue;
		op->result = GW_E_SYS;
		gw_cbc_parts(&c->base, op->esp, op->len - gw_cipher_frame(&c->base), &b);
		cbc_submit(c, mgr, &b, IMB_CIPHER_CBC, IMB_AUTH_NULL, 0, &op->result);
	}
	gw_ipsecmb_flush(mgr);
}

static void
cbc_open_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count)
{
	IMB_MGR *mgr = gw_ipsecmb_manager();
	size_t i, n;

	if (mgr == NULL) {
		for (i = 0; i < count; i++)
			ops[i].result = GW_E_NOMEM;
		return;
	}
	for (i = 0; i < count; i += n) {
		n = count - i < BATCH ? count - i : BATCH;
		cbc_open_batch((struct cbc *)cipher, mgr, ops + i, n);
	}
}

static int
cbc_bare_seal(struct gw_cipher *cipher, const struct gw_bare *b)
{
	struct cbc *c = (struct cbc *)cipher;
	IMB_MGR *mgr = gw_ipsecmb_manager();
	int result = GW_E_SYS;

	if (mgr == NULL)
		return GW_E_NOMEM;
	cbc_submit(c, mgr, b, b->len == 0 ? IMB_CIPHER_NULL : IMB_CIPHER_CBC, c->hash,
		b->aad_len + b->len, &result);
	gw_ipsecmb_flush(mgr);
	return result;
}

static int
cbc_bare_open(struct gw_cipher *cipher, const struct gw_bare *b)
{
	struct cbc *c = (struct cbc *)cipher;
	IMB_MGR *mgr = gw_ipsecmb_manager();
	uint8_t wanted[GW_ICV_MAX];
	struct gw_bare hash = *b;
	int result = GW_E_SYS;

	if (mgr == NULL)
		return GW_E_NOMEM;
	hash.icv = wanted;
	cbc_submit(c, mgr, &hash, IMB_CIPHER_NULL, c->hash, b->aad_len + b->len, &result);
	gw_ipsecmb_flush(mgr);
	if (result == GW_OK && CRYPTO_memcmp(wanted, b->icv, cipher->suite->icv_len) != 0)
		return GW_E_ICV;
	if (result != GW_OK || b->len == 0)
		return result;
	result = GW_E_SYS;
	cbc_submit(c, mgr, b, IMB_CIPHER_CBC, IMB_AUTH_NULL, 0, &result);
	gw_ipsecmb_flush(mgr);
	return result;
}

static void
cbc_free(struct gw_cipher *cipher)
{
	OPENSSL_cleanse(cipher, sizeof(struct cbc));
	free(cipher);
}

static const struct gw_cipher_ops cbc_ops = {
	cbc_seal_many, cbc_open_many, cbc_bare_seal, cbc_bare_open, cbc_free};

/* The SHA-2 state after the key's block xor `mask` (RFC 2104): what every HMAC with this key begins with. */
static void
hmac_state(IMB_MGR *mgr, const struct gw_suite *suite, const uint8_t *key, uint8_t mask,
	uint8_t *out)
{
	uint8_t block[IMB_SHA_512_BLOCK_SIZE];
	size_t i;

	for (i = 0; i < sizeof block; i++)
		block[i] = (uint8_t)((i < suite->integ_key_len ? key[i] : 0) ^ mask);
	switch (suite->integ) {
	case GW_INTEG_SHA2_256_128:
		IMB_SHA256_ONE_BLOCK(mgr, block, out); /* reads half of the block */
		break;
	case GW_INTEG_SHA2_384_192:
		IMB_SHA384_ONE_BLOCK(mgr, block, out);
		break;
	default:
		IMB_SHA512_ONE_BLOCK(mgr, block, out);
	}
	OPENSSL_cleanse(block, sizeof block);
}

static void
expand_keys(
	IMB_MGR *mgr, struct cbc *c, const struct gw_suite *suite, const struct gw_sa *sa)
{
	switch (suite->key_len) {
	case 16:
		IMB_AES_KEYEXP_128(mgr, sa->encr_key, c->encrypt, c->decrypt);
		break;
	case 24:
		IMB_AES_KEYEXP_192(mgr, sa->encr_key, c->encrypt, c->decrypt);
		break;
	default:
		IMB_AES_KEYEXP_256(mgr, sa->encr_key, c->encrypt, c->decrypt);
	}
	switch (suite->integ) {
	case GW_INTEG_SHA2_256_128:
		c->hash = IMB_AUTH_HMAC_SHA_256;
		break;
	case GW_INTEG_SHA2_384_192:
		c->hash = IMB_AUTH_HMAC_SHA_384;
		break;
	default:
		c->hash = IMB_AUTH_HMAC_SHA_512;
	}
	hmac_state(mgr, suite, sa->integ_key, 0x36, c->inner);
	hmac_state(mgr, suite, sa->integ_key, 0x5c, c->outer);
}

int
gw_ipsecmb_cbc_make(
	const struct gw_suite *suite, const struct gw_sa *sa, struct gw_cipher **out)
{
	IMB_MGR *mgr = gw_ipsecmb_manager();
	uint8_t iv_key[GW_IV_KEY_LEN], unused[11 * 16] __attribute__((aligned(16)));
	void *memory = NULL;
	struct cbc *c;

	if (mgr == NULL || RAND_bytes(iv_key, sizeof iv_key) != 1)
		return GW_E_NOMEM;
	if (posix_memalign(&memory, _Alignof(struct cbc), sizeof *c) != 0) {
		OPENSSL_cleanse(iv_key, sizeof iv_key);
		return GW_E_NOMEM;
	}
	c = memory;
	memset(c, 0, sizeof *c);
	c->base.ops = &cbc_ops;
	IMB_AES_KEYEXP_128(mgr, iv_key, c->iv_key, unused);
	expand_keys(mgr, c, suite, sa);
	OPENSSL_cleanse(iv_key, sizeof iv_key);
	OPENSSL_cleanse(unused, sizeof unused);
	*out = &c->base;
	return GW_OK;
}

#endif
