/*
 * Suites, choice of back end, self-test.
 *
 * The back end is chosen twice: when the extension is built (GW_HAVE_IPSECMB) and when a cipher is
 * made, by what the CPU can do.
 */
#include <openssl/crypto.h>

#include "backend.h"

#define AEAD(encr, key_len) {encr, GW_INTEG_NONE, key_len, 4, 8, 16, 4, 0}
#define CBC(integ, key_len, icv_len, integ_key_len)                                      \
	{GW_ENCR_AES_CBC, integ, key_len, 0, 16, icv_len, 16, integ_key_len}

/* ICV and HMAC key lengths: RFC 4868 section 2.6. AEAD blocks: padding to 4 bytes (RFC 4303 section 2.4). */
static const struct gw_suite suites[] = {
	AEAD(GW_ENCR_AES_GCM_16, 16),
	AEAD(GW_ENCR_AES_GCM_16, 24),
	AEAD(GW_ENCR_AES_GCM_16, 32),
	AEAD(GW_ENCR_CHACHA20_POLY1305, 32),
	CBC(GW_INTEG_SHA2_256_128, 16, 16, 32),
	CBC(GW_INTEG_SHA2_256_128, 24, 16, 32),
	CBC(GW_INTEG_SHA2_256_128, 32, 16, 32),
	CBC(GW_INTEG_SHA2_384_192, 16, 24, 48),
	CBC(GW_INTEG_SHA2_384_192, 24, 24, 48),
	CBC(GW_INTEG_SHA2_384_192, 32, 24, 48),
	CBC(GW_INTEG_SHA2_512_256, 16, 32, 64),
	CBC(GW_INTEG_SHA2_512_256, 24, 32, 64),
	CBC(GW_INTEG_SHA2_512_256, 32, 32, 64),
};

#define SUITE_COUNT (sizeof suites / sizeof suites[0])

/* Fastest first: what GW_BACKEND_BEST means. */
static const struct gw_backend_entry *const backends[] = {
#ifdef GW_HAVE_IPSECMB
	&gw_backend_ipsecmb,
#endif
	&gw_backend_openssl,
};

#define BACKEND_COUNT (sizeof backends / sizeof backends[0])

const struct gw_suite *
gw_suite_find(uint16_t encr, uint16_t integ, uint16_t encr_key_len)
{
	const struct gw_suite *s;

	for (s = suites; s < suites + SUITE_COUNT; s++)
		if (s->encr == encr && s->integ == integ &&
			(encr_key_len == 0 || s->key_len + s->salt_len == encr_key_len))
			return s;
	return NULL;
}

static const struct gw_backend_entry *
choose_backend(uint8_t backend)
{
	size_t i;

	for (i = 0; i < BACKEND_COUNT; i++)
		if ((backend == GW_BACKEND_BEST || backend == backends[i]->id) &&
			backends[i]->usable())
			return backends[i];
	return NULL;
}

int
gw_cipher_start_thread(void)
{
	size_t i;

	for (i = 0; i < BACKEND_COUNT; i++)
		if (backends[i]->usable() && backends[i]->start_thread != NULL &&
			!backends[i]->start_thread())
			return GW_E_NOMEM;
	return GW_OK;
}

const char *
gw_cipher_backend_name(const struct gw_suite *suite, uint8_t backend)
{
	const struct gw_backend_entry *entry = choose_backend(backend);

	return suite != NULL && entry != NULL ? entry->name : NULL;
}

static uint32_t
load_salt(const uint8_t *from)
{
	uint32_t salt;

	memcpy(&salt, from, sizeof salt);
	return be32toh(salt);
}

static int
make_cipher(const struct gw_backend_entry *entry, const struct gw_suite *suite,
	const struct gw_sa *sa, bool outbound, struct gw_cipher **out)
{
	int err = entry->make(suite, sa, outbound, out);

	if (err != GW_OK)
		return err;
	(*out)->suite = suite;
	(*out)->few = NULL;
	(*out)->outbound = outbound;
	(*out)->esn = sa->esn != 0;
	(*out)->salt =
		suite->salt_len == 0 ? 0 : load_salt(sa->encr_key + suite->key_len);
	return GW_OK;
}

/*
 * ipsec-mb's lanes take as long for one CBC packet as for sixteen (1400 bytes: 5.7 us), libcrypto 2 us
 * for each. So a cipher that may choose has both, and a run of up to FEW packets goes to libcrypto.
 */
#define FEW 2u

static int
add_few(const struct gw_backend_entry *entry, const struct gw_sa *sa,
	struct gw_cipher *cipher)
{
	if (sa->backend != GW_BACKEND_BEST || cipher->suite->encr != GW_ENCR_AES_CBC ||
		entry == &gw_backend_openssl || !gw_backend_openssl.usable())
		return GW_OK;
	return make_cipher(
		&gw_backend_openssl, cipher->suite, sa, cipher->outbound, &cipher->few);
}

int
gw_cipher_new(const struct gw_sa *sa, bool outbound, struct gw_cipher **out)
{
	const struct gw_suite *suite =
		gw_suite_find(sa->encr, sa->integ, sa->encr_key_len);
	const struct gw_backend_entry *entry = choose_backend(sa->backend);
	int err;

	*out = NULL;
	if (sa->backend > GW_BACKEND_IPSECMB || sa->encr_key_len == 0 || sa->esn > 1)
		return GW_E_INVALID;
	if (suite == NULL || entry == NULL)
		return GW_E_UNSUPPORTED;
	if (sa->integ_key_len != suite->integ_key_len)
		return GW_E_INVALID;
	err = make_cipher(entry, suite, sa, outbound, out);
	if (err == GW_OK)
		err = add_few(entry, sa, *out);
	if (err != GW_OK) {
		gw_cipher_free(*out);
		*out = NULL;
	}
	return err;
}

void
gw_cipher_free(struct gw_cipher *cipher)
{
	if (cipher == NULL)
		return;
	if (cipher->few != NULL)
		cipher->few->ops->free(cipher->few);
	OPENSSL_cleanse(&cipher->salt, sizeof cipher->salt);
	cipher->ops->free(cipher);
}

static struct gw_cipher *
for_run(struct gw_cipher *cipher, size_t count)
{
	return count <= FEW && cipher->few != NULL ? cipher->few : cipher;
}

void
gw_cipher_seal_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count)
{
	cipher = for_run(cipher, count);
	cipher->ops->seal_many(cipher, ops, count);
}

void
gw_cipher_open_many(struct gw_cipher *cipher, struct gw_cipher_op *ops, size_t count)
{
	cipher = for_run(cipher, count);
	cipher->ops->open_many(cipher, ops, count);
}

int
gw_cipher_seal(struct gw_cipher *cipher, uint8_t *esp, size_t text_len, uint64_t seq)
{
	struct gw_cipher_op op = {
		.esp = esp, .len = text_len, .seq = seq, .result = GW_E_SYS};

	gw_cipher_seal_many(cipher, &op, 1);
	return op.result;
}

int
gw_cipher_open(struct gw_cipher *cipher, uint8_t *esp, size_t esp_len, uint64_t seq)
{
	struct gw_cipher_op op = {
		.esp = esp, .len = esp_len, .seq = seq, .result = GW_E_SYS};

	gw_cipher_open_many(cipher, &op, 1);
	return op.result;
}

static bool
is_bare_ok(const struct gw_cipher *cipher, const struct gw_bare *bare)
{
	if (bare->len > GW_ESP_LEN_MAX || bare->aad_len > GW_ESP_LEN_MAX - bare->len)
		return false;
	if (cipher->suite->encr != GW_ENCR_AES_CBC)
		return true;
	return bare->len % GW_CBC_BLOCK == 0 && bare->aad + bare->aad_len == bare->text;
}

int
gw_cipher_bare_seal(struct gw_cipher *cipher, const struct gw_bare *bare)
{
	if (!cipher->outbound || !is_bare_ok(cipher, bare))
		return GW_E_INVALID;
	return cipher->ops->bare_seal(cipher, bare);
}

int
gw_cipher_bare_open(struct gw_cipher *cipher, const struct gw_bare *bare)
{
	if (cipher->outbound || !is_bare_ok(cipher, bare))
		return GW_E_INVALID;
	return cipher->ops->bare_open(cipher, bare);
}
