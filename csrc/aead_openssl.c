/*
 * Back end: OpenSSL 3 libcrypto, on every machine.
 *
 * Algorithms are fetched once per process, a context is keyed once per cipher, and a packet costs
 * only a new IV: a fetch or a key schedule per packet would cost more than the packet.
 */
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>

#include "backend.h"

struct evp {
	struct gw_cipher base;
	EVP_CIPHER_CTX *text;
	EVP_CIPHER_CTX *iv; /* CBC: makes IVs; NULL for an AEAD */
	EVP_MAC_CTX *mac;   /* CBC; NULL for an AEAD */
};

/* ---- algorithms ---- */

enum { AES_128, AES_192, AES_256, AES_SIZES };

static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;
static EVP_CIPHER *gcm_ciphers[AES_SIZES];
static EVP_CIPHER *cbc_ciphers[AES_SIZES];
static EVP_CIPHER *chacha_cipher;
static EVP_CIPHER *ecb_cipher;
static EVP_MAC *hmac;
static bool fetched;

static void
fetch(void)
{
	static const char *const gcm_names[AES_SIZES] = {
		"AES-128-GCM", "AES-192-GCM", "AES-256-GCM"};
	static const char *const cbc_names[AES_SIZES] = {
		"AES-128-CBC", "AES-192-CBC", "AES-256-CBC"};
	size_t i;

	fetched = true;
	for (i = 0; i < AES_SIZES; i++) {
		gcm_ciphers[i] = EVP_CIPHER_fetch(NULL, gcm_names[i], NULL);
		cbc_ciphers[i] = EVP_CIPHER_fetch(NULL, cbc_names[i], NULL);
		fetched = fetched && gcm_ciphers[i] != NULL && cbc_ciphers[i] != NULL;
	}
	chacha_cipher = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	ecb_cipher = EVP_CIPHER_fetch(NULL, "AES-128-ECB", NULL);
	hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	fetched = fetched && chacha_cipher != NULL && ecb_cipher != NULL && hmac != NULL;
}

static bool
is_usable(void)
{
	return pthread_once(&fetch_once, fetch) == 0 && fetched;
}

static int
refused(void)
{
	errno = EIO;
	return GW_E_SYS;
}

/* ---- AEAD ---- */

static int
aead_bare_seal(struct gw_cipher *cipher, const struct gw_bare *b)
{
	EVP_CIPHER_CTX *ctx = ((struct evp *)cipher)->text;
	int n;

	if (EVP_EncryptInit_ex(ctx, NULL, NULL, NULL, b->nonce) != 1)
		return refused();
	if (b->aad_len > 0 &&
		EVP_EncryptUpdate(ctx, NULL, &n, b->aad, (int)b->aad_len) != 1)
		return refused();
	if (b->len > 0 && EVP_EncryptUpdate(ctx, b->text, &n, b->text, (int)b->len) != 1)
		return refused();
	if (EVP_EncryptFinal_ex(ctx, b->icv, &n) != 1 ||
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, b->icv) != 1)
		return refused();
	return GW_OK;
}

static int
aead_bare_open(struct gw_cipher *cipher, const struct gw_bare *b)
{
	EVP_CIPHER_CTX *ctx = ((struct evp *)cipher)->text;
	uint8_t rest[16];
	int n;

	if (EVP_DecryptInit_ex(ctx, NULL, NULL, NULL, b->nonce) != 1 ||
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, 16, b->icv) != 1)
		return refused();
	if (b->aad_len > 0 &&
		EVP_DecryptUpdate(ctx, NULL, &n, b->aad, (int)b->aad_len) != 1)
		return refused();
	if (b->len > 0 && EVP_DecryptUpdate(ctx, b->text, &n, b->text, (int)b->len) != 1)
		return refused();
	if (EVP_DecryptFinal_ex(ctx, rest, &n) == 1)
		return GW_OK;
	memset(b->text, 0, b->len);
	return GW_E_ICV;
}

static void
aead_seal_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count)
{
	gw_aead_seal_each(cipher, ops, count, aead_bare_seal);
}

static void
aead_open_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count)
{
	gw_aead_open_each(cipher, ops, count, aead_bare_open);
}

/* ---- AES-CBC with HMAC-SHA2, encrypt-then-MAC (RFC 3602, RFC 4868) ---- */

static int
cbc_crypt(struct evp *c, const uint8_t *iv, uint8_t *text, size_t len)
{
	int n;

	/* -1: the direction the context was keyed for. */
	if (EVP_CipherInit_ex(c->text, NULL, NULL, NULL, iv, -1) != 1)
		return refused();
	if (len > 0 && EVP_CipherUpdate(c->text, text, &n, text, (int)len) != 1)
		return refused();
	return GW_OK;
}

/* HMAC over `len` bytes, then with ESN over the high half of the sequence number. */
static int
cbc_hash(struct evp *c, const uint8_t *from, size_t len, const uint8_t *high,
	uint8_t icv[64])
{
	size_t n;

	if (EVP_MAC_init(c->mac, NULL, 0, NULL) != 1 ||
		EVP_MAC_update(c->mac, from, len) != 1)
		return refused();
	if (high != NULL && EVP_MAC_update(c->mac, high, 4) != 1)
		return refused();
	return EVP_MAC_final(c->mac, icv, &n, 64) == 1 ? GW_OK : refused();
}

static int
cbc_seal_parts(struct evp *c, const struct gw_bare *b, const uint8_t *high)
{
	uint8_t icv[64];
	int err = cbc_crypt(c, b->nonce, b->text, b->len);

	if (err == GW_OK)
		err = cbc_hash(c, b->aad, b->aad_len + b->len, high, icv);
	if (err == GW_OK)
		memcpy(b->icv, icv, c->base.suite->icv_len);
	return err;
}

static int
cbc_open_parts(struct evp *c, const struct gw_bare *b, const uint8_t *high)
{
	uint8_t icv[64];
	int err = cbc_hash(c, b->aad, b->aad_len + b->len, high, icv);

	if (err != GW_OK)
		return err;
	if (CRYPTO_memcmp(icv, b->icv, c->base.suite->icv_len) != 0)
		return GW_E_ICV;
	return cbc_crypt(c, b->nonce, b->text, b->len);
}

static int
cbc_bare_seal(struct gw_cipher *cipher, const struct gw_bare *b)
{
	return cbc_seal_parts((struct evp *)cipher, b, NULL);
}

static int
cbc_bare_open(struct gw_cipher *cipher, const struct gw_bare *b)
{
	return cbc_open_parts((struct evp *)cipher, b, NULL);
}

static int
cbc_write_iv(struct evp *c, struct gw_cipher_op *op)
{
	uint8_t number[GW_CBC_BLOCK];
	int n;

	gw_cbc_number(op->seq, number);
	if (EVP_EncryptUpdate(
		    c->iv, op->esp + GW_ESP_HEADER, &n, number, sizeof number) != 1)
		return refused();
	return GW_OK;
}

static void
cbc_seal_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count)
{
	struct evp *c = (struct evp *)cipher;
	struct gw_cipher_op *op;
	struct gw_bare parts;
	uint8_t high[4];

	for (op = ops; op < ops + count; op++) {
		op->result = gw_cipher_check_seal(cipher, op);
		if (op->result == GW_OK)
			op->result = cbc_write_iv(c, op);
		if (op->result != GW_OK)
			continue;
		gw_store_be32(high, (uint32_t)(op->seq >> 32));
		gw_cbc_parts(cipher, op->esp, op->len, &parts);
		op->result = cbc_seal_parts(c, &parts, cipher->esn ? high : NULL);
	}
}

static void
cbc_open_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count)
{
	struct gw_cipher_op *op;
	struct gw_bare parts;
	uint8_t high[4];

	for (op = ops; op < ops + count; op++) {
		op->result = gw_cipher_check_open(cipher, op);
		if (op->result != GW_OK)
			continue;
		gw_store_be32(high, (uint32_t)(op->seq >> 32));
		gw_cbc_parts(cipher, op->esp, op->len - gw_cipher_frame(cipher), &parts);
		op->result = cbc_open_parts(
			(struct evp *)cipher, &parts, cipher->esn ? high : NULL);
	}
}

/* ---- the back end ---- */

/* libcrypto wipes what the contexts hold. */
static void
evp_free(struct gw_cipher *cipher)
{
	struct evp *c = (struct evp *)cipher;

	EVP_CIPHER_CTX_free(c->text);
	EVP_CIPHER_CTX_free(c->iv);
	EVP_MAC_CTX_free(c->mac);
	free(c);
}

static const struct gw_cipher_ops aead_ops = {
	aead_seal_many, aead_open_many, aead_bare_seal, aead_bare_open, evp_free};
static const struct gw_cipher_ops cbc_ops = {
	cbc_seal_many, cbc_open_many, cbc_bare_seal, cbc_bare_open, evp_free};

static const EVP_CIPHER *
cipher_of(const struct gw_suite *suite)
{
	size_t size = suite->key_len / 8u - 2u;

	if (suite->encr == GW_ENCR_CHACHA20_POLY1305)
		return chacha_cipher;
	return suite->encr == GW_ENCR_AES_GCM_16 ? gcm_ciphers[size] : cbc_ciphers[size];
}

static bool
key_iv_and_mac(struct evp *c, const struct gw_suite *suite, const struct gw_sa *sa)
{
	static const char *const digests[] = {"SHA2-256", "SHA2-384", "SHA2-512"};
	/* The parameter's type lacks a const; libcrypto only reads it. */
	char *digest = (char *)(uintptr_t)digests[suite->integ - GW_INTEG_SHA2_256_128];
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	uint8_t iv_key[GW_IV_KEY_LEN];
	bool ok;

	c->iv = EVP_CIPHER_CTX_new();
	c->mac = EVP_MAC_CTX_new(hmac);
	ok = c->iv != NULL && c->mac != NULL && RAND_bytes(iv_key, sizeof iv_key) == 1 &&
	     EVP_EncryptInit_ex(c->iv, ecb_cipher, NULL, iv_key, NULL) == 1 &&
	     EVP_CIPHER_CTX_set_padding(c->iv, 0) == 1 &&
	     EVP_CIPHER_CTX_set_padding(c->text, 0) == 1 &&
	     EVP_MAC_init(c->mac, sa->integ_key, sa->integ_key_len, params) == 1;
	OPENSSL_cleanse(iv_key, sizeof iv_key);
	return ok;
}

static int
make(const struct gw_suite *suite, const struct gw_sa *sa, bool outbound,
	struct gw_cipher **out)
{
	struct evp *c = calloc(1, sizeof *c);
	bool is_cbc = suite->encr == GW_ENCR_AES_CBC;

	if (c == NULL)
		return GW_E_NOMEM;
	c->base.ops = is_cbc ? &cbc_ops : &aead_ops;
	c->text = EVP_CIPHER_CTX_new();
	if (c->text == NULL ||
		EVP_CipherInit_ex(c->text, cipher_of(suite), NULL, sa->encr_key, NULL,
			outbound) != 1 ||
		(is_cbc && !key_iv_and_mac(c, suite, sa))) {
		evp_free(&c->base);
		return GW_E_NOMEM;
	}
	*out = &c->base;
	return GW_OK;
}

const struct gw_backend_entry gw_backend_openssl = {
	GW_BACKEND_OPENSSL, "openssl", is_usable, NULL, make};
