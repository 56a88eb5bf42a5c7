/*
 * Back end: Intel ipsec-mb (1.x, 2.x), x86-64 only.
 *
 * AES-GCM goes through the direct calls: they need the library's function table and the cipher's expanded key
 * and keep no state. ChaCha20-Poly1305 and CBC with HMAC go through jobs, so that the library works
 * on several packets side by side (one AES-CBC encryption or SHA-2 alone is a chain of dependent
 * steps). Jobs need a manager per thread. Every function flushes what it submitted before
 * it returns, so a manager never holds another cipher's work. CBC is in aead_ipsecmb_cbc.c.
 */
#ifdef GW_HAVE_IPSECMB

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>

#include "ipsecmb.h"

struct gcm {
	struct gw_cipher base;
	IMB_MGR *mgr; /* the shared one: only its function table is used */
	struct gcm_key_data key __attribute__((aligned(64)));
};

struct chacha {
	struct gw_cipher base;
	uint8_t key[32];
};

/* ---- managers ---- */

static pthread_once_t shared_once = PTHREAD_ONCE_INIT;
static IMB_MGR *shared; /* NULL: this machine cannot use the library */
static pthread_key_t own_key;
static bool own_key_made;
static _Thread_local IMB_MGR *own;

static void
free_own(void *mgr)
{
	free_mb_mgr(mgr);
}

static IMB_MGR *
make_manager(void)
{
	/* Without these two the library falls back to slow emulation of AES: libcrypto is faster. */
	const uint64_t needed = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ;
	IMB_MGR *mgr = alloc_mb_mgr(0);

	if (mgr == NULL)
		return NULL;
	if ((mgr->features & needed) == needed)
		init_mb_mgr_auto(mgr, NULL);
	if ((mgr->features & needed) != needed || imb_get_errno(mgr) != 0) {
		free_mb_mgr(mgr);
		return NULL;
	}
	return mgr;
}

static void
make_shared(void)
{
	own_key_made = pthread_key_create(&own_key, free_own) == 0;
	if (own_key_made)
		shared = make_manager();
}

IMB_MGR *
gw_ipsecmb_manager(void)
{
	if (own != NULL)
		return own;
	own = make_manager();
	if (own != NULL && pthread_setspecific(own_key, own) != 0) {
		free_mb_mgr(own);
		own = NULL;
	}
	return own;
}

static bool
is_usable(void)
{
	return pthread_once(&shared_once, make_shared) == 0 && shared != NULL;
}

static bool
start_thread(void)
{
	return gw_ipsecmb_manager() != NULL;
}

/* ---- AES-GCM ---- */

static int
check_icv(const struct gw_bare *b, const uint8_t *icv)
{
	if (CRYPTO_memcmp(icv, b->icv, 16) == 0)
		return GW_OK;
	memset(b->text, 0, b->len);
	return GW_E_ICV;
}

static int
gcm_bare_seal(struct gw_cipher *cipher, const struct gw_bare *b)
{
	struct gcm *c = (struct gcm *)cipher;
	struct gcm_context_data ctx;

	switch (cipher->suite->key_len) {
	case 16:
		IMB_AES128_GCM_ENC(c->mgr, &c->key, &ctx, b->text, b->text, b->len,
			b->nonce, b->aad, b->aad_len, b->icv, 16);
		break;
	case 24:
		IMB_AES192_GCM_ENC(c->mgr, &c->key, &ctx, b->text, b->text, b->len,
			b->nonce, b->aad, b->aad_len, b->icv, 16);
		break;
	default:
		IMB_AES256_GCM_ENC(c->mgr, &c->key, &ctx, b->text, b->text, b->len,
			b->nonce, b->aad, b->aad_len, b->icv, 16);
	}
	return GW_OK;
}

static int
gcm_bare_open(struct gw_cipher *cipher, const struct gw_bare *b)
{
	struct gcm *c = (struct gcm *)cipher;
	struct gcm_context_data ctx;
	uint8_t icv[16];

	switch (cipher->suite->key_len) {
	case 16:
		IMB_AES128_GCM_DEC(c->mgr, &c->key, &ctx, b->text, b->text, b->len,
			b->nonce, b->aad, b->aad_len, icv, 16);
		break;
	case 24:
		IMB_AES192_GCM_DEC(c->mgr, &c->key, &ctx, b->text, b->text, b->len,
			b->nonce, b->aad, b->aad_len, icv, 16);
		break;
	default:
		IMB_AES256_GCM_DEC(c->mgr, &c->key, &ctx, b->text, b->text, b->len,
			b->nonce, b->aad, b->aad_len, icv, 16);
	}
	return check_icv(b, icv);
}

static void
gcm_seal_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count)
{
	gw_aead_seal_each(cipher, ops, count, gcm_bare_seal);
}

static void
gcm_open_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count)
{
	gw_aead_open_each(cipher, ops, count, gcm_bare_open);
}

static void
gcm_free(struct gw_cipher *cipher)
{
	OPENSSL_cleanse(cipher, sizeof(struct gcm));
	free(cipher);
}

static const struct gw_cipher_ops gcm_ops = {
	gcm_seal_many, gcm_open_many, gcm_bare_seal, gcm_bare_open, gcm_free};

static void
gcm_make(struct gcm *c, const struct gw_suite *suite, const struct gw_sa *sa)
{
	c->base.ops = &gcm_ops;
	c->mgr = shared;
	switch (suite->key_len) {
	case 16:
		IMB_AES128_GCM_PRE(shared, sa->encr_key, &c->key);
		break;
	case 24:
		IMB_AES192_GCM_PRE(shared, sa->encr_key, &c->key);
		break;
	default:
		IMB_AES256_GCM_PRE(shared, sa->encr_key, &c->key);
	}
}

/* ---- ChaCha20-Poly1305 ---- */

static void
chacha_submit(struct chacha *c, IMB_MGR *mgr, const struct gw_bare *b, uint8_t *icv,
	int *result)
{
	IMB_JOB *job = IMB_GET_NEXT_JOB(mgr);
	bool seal = c->base.outbound;

	job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
	job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
	job->cipher_direction = seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
	job->chain_order = seal ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	job->enc_keys = c->key;
	job->dec_keys = c->key;
	job->key_len_in_bytes = sizeof c->key;
	job->iv = b->nonce;
	job->iv_len_in_bytes = GW_NONCE_LEN;
	job->u.CHACHA20_POLY1305.aad = b->aad;
	job->u.CHACHA20_POLY1305.aad_len_in_bytes = b->aad_len;
	job->src = b->text;
	job->dst = b->text;
	job->cipher_start_src_offset_in_bytes = 0;
	job->msg_len_to_cipher_in_bytes = b->len;
	job->hash_start_src_offset_in_bytes = 0;
	job->msg_len_to_hash_in_bytes = b->len;
	job->auth_tag_output = icv;
	job->auth_tag_output_len_in_bytes = 16;
	job->user_data = result;
	gw_ipsecmb_submit(mgr);
}

static int
chacha_bare_seal(struct gw_cipher *cipher, const struct gw_bare *b)
{
	IMB_MGR *mgr = gw_ipsecmb_manager();
	int result = GW_E_SYS;

	if (mgr == NULL)
		return GW_E_NOMEM;
	chacha_submit((struct chacha *)cipher, mgr, b, b->icv, &result);
	gw_ipsecmb_flush(mgr);
	return result;
}

static int
chacha_bare_open(struct gw_cipher *cipher, const struct gw_bare *b)
{
	IMB_MGR *mgr = gw_ipsecmb_manager();
	int result = GW_E_SYS;
	uint8_t icv[16];

	if (mgr == NULL)
		return GW_E_NOMEM;
	chacha_submit((struct chacha *)cipher, mgr, b, icv, &result);
	gw_ipsecmb_flush(mgr);
	return result == GW_OK ? check_icv(b, icv) : result;
}

static void
chacha_seal_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count)
{
	gw_aead_seal_each(cipher, ops, count, chacha_bare_seal);
}

static void
chacha_open_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count)
{
	gw_aead_open_each(cipher, ops, count, chacha_bare_open);
}

static void
chacha_free(struct gw_cipher *cipher)
{
	OPENSSL_cleanse(cipher, sizeof(struct chacha));
	free(cipher);
}

static const struct gw_cipher_ops chacha_ops = {chacha_seal_many, chacha_open_many,
	chacha_bare_seal, chacha_bare_open, chacha_free};

static void
chacha_make(struct chacha *c, const struct gw_sa *sa)
{
	c->base.ops = &chacha_ops;
	memcpy(c->key, sa->encr_key, sizeof c->key);
}

/* ---- the back end ---- */

static int
make(const struct gw_suite *suite, const struct gw_sa *sa, bool outbound,
	struct gw_cipher **out)
{
	size_t size = suite->encr == GW_ENCR_AES_GCM_16 ? sizeof(struct gcm)
							: sizeof(struct chacha);
	void *memory = NULL;

	(void)outbound; /* both directions use the same expanded key */
	if (suite->encr == GW_ENCR_AES_CBC)
		return gw_ipsecmb_cbc_make(suite, sa, out);
	if (posix_memalign(&memory, _Alignof(struct gcm), size) != 0)
		return GW_E_NOMEM;
	memset(memory, 0, size);
	if (suite->encr == GW_ENCR_AES_GCM_16)
		gcm_make(memory, suite, sa);
	else
		chacha_make(memory, sa);
	*out = memory;
	return GW_OK;
}

const struct gw_backend_entry gw_backend_ipsecmb = {
	GW_BACKEND_IPSECMB, "ipsecmb", is_usable, start_thread, make};

#endif
