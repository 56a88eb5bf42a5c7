/*
 * Finite-field Diffie-Hellman for IKE: groups 14 to 18 of RFC 3526, by libcrypto's EVP interface.
 *
 * All five primes are safe primes, so the range check 1 < y < p-1 is what RFC 6989 section 2.1
 * asks for. Values are padded to the prime's length on both sides (RFC 7296 section 2.14: g^ir
 * keeps its leading zeros). Secret numbers live in libcrypto's big numbers, which are
 * cleared when they are freed.
 */
#include "gw_dp.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include <stdlib.h>

struct group {
	uint16_t number;  /* IANA, transform type 4 */
	uint16_t len;     /* bytes of the prime */
	const char *name; /* in libcrypto */
};

static const struct group groups[] = {
	{14, 256, "modp_2048"},
	{15, 384, "modp_3072"},
	{16, 512, "modp_4096"},
	{17, 768, "modp_6144"},
	{18, 1024, "modp_8192"},
};

struct gw_modp {
	const struct group *group;
	EVP_PKEY *key;
};

static const struct group *
find_group(uint16_t number)
{
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (groups[i].number == number)
			return &groups[i];
	return NULL;
}

size_t
gw_modp_len(uint16_t number)
{
	const struct group *group = find_group(number);

	return group ? group->len : 0;
}

/* Make an EVP key of a group: of a public value, and a private one where it is not NULL. */
static int
make_key(const struct group *group, const BIGNUM *priv, const BIGNUM *pub, EVP_PKEY **out)
{
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
	OSSL_PARAM *params = NULL;
	int selection = priv ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY;
	int err = GW_E_NOMEM;

	*out = NULL;
	if (!build || !ctx)
		goto out;
	if (!OSSL_PARAM_BLD_push_utf8_string(
		    build, OSSL_PKEY_PARAM_GROUP_NAME, group->name, 0) ||
		!OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PUB_KEY, pub) ||
		(priv && !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, priv)))
		goto out;
	params = OSSL_PARAM_BLD_to_param(build);
	if (!params)
		goto out;
	err = GW_E_UNSUPPORTED;
	if (EVP_PKEY_fromdata_init(ctx) <= 0 ||
		EVP_PKEY_fromdata(ctx, out, selection, params) <= 0)
		goto out;
	err = GW_OK;
out:
	/* to_param() has put a copy of the private value here; free() does not clear it unless it
	 * lies in libcrypto's secure heap. */
	for (OSSL_PARAM *one = params; one && one->key; one++)
		if (one->data_type == OSSL_PARAM_UNSIGNED_INTEGER)
			OPENSSL_cleanse(one->data, one->data_size);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	EVP_PKEY_CTX_free(ctx);
	return err;
}

/* Make a fresh key. Private values have the length that suits the group's strength. */
static int
generate_key(const struct group *group, EVP_PKEY **out)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "DH", NULL);
	OSSL_PARAM params[2];
	int err = GW_E_UNSUPPORTED;

	*out = NULL;
	if (!ctx)
		return GW_E_NOMEM;
	/* The parameter only reads the name; OSSL_PARAM has no const form. */
	params[0] = OSSL_PARAM_construct_utf8_string(
		OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)group->name, 0);
	params[1] = OSSL_PARAM_construct_end();
	if (EVP_PKEY_keygen_init(ctx) > 0 && EVP_PKEY_CTX_set_params(ctx, params) > 0 &&
		EVP_PKEY_generate(ctx, out) > 0)
		err = GW_OK;
	EVP_PKEY_CTX_free(ctx);
	return err;
}

/* Put the group's prime and generator in new big numbers. */
static int
group_numbers(const struct group *group, BIGNUM **prime, BIGNUM **generator)
{
	EVP_PKEY *any = NULL;
	BIGNUM *one = BN_new();
	int err = GW_E_NOMEM;

	*prime = NULL;
	*generator = NULL;
	if (one && BN_one(one))
		err = make_key(group, NULL, one, &any);
	if (!err &&
		(!EVP_PKEY_get_bn_param(any, OSSL_PKEY_PARAM_FFC_P, prime) ||
			!EVP_PKEY_get_bn_param(any, OSSL_PKEY_PARAM_FFC_G, generator)))
		err = GW_E_UNSUPPORTED;
	EVP_PKEY_free(any);
	BN_free(one);
	return err;
}

/* Whether 1 < value < prime - 1. */
static bool
in_range(const BIGNUM *value, const BIGNUM *prime)
{
	BIGNUM *most = BN_dup(prime);
	bool fits = most && BN_sub_word(most, 1) && BN_cmp(value, BN_value_one()) > 0 &&
		    BN_cmp(value, most) < 0;

	BN_free(most);
	return fits;
}

static int
wrap(const struct group *group, EVP_PKEY *key, struct gw_modp **out)
{
	struct gw_modp *dh = calloc(1, sizeof(*dh));

	if (!dh) {
		EVP_PKEY_free(key);
		return GW_E_NOMEM;
	}
	dh->group = group;
	dh->key = key;
	*out = dh;
	return GW_OK;
}

int
gw_modp_new(uint16_t number, struct gw_modp **out)
{
	const struct group *group = find_group(number);
	EVP_PKEY *key;
	int err;

	if (!out)
		return GW_E_INVALID;
	*out = NULL;
	if (!group)
		return GW_E_UNSUPPORTED;
	err = generate_key(group, &key);
	return err ? err : wrap(group, key, out);
}

int
gw_modp_from_private(
	uint16_t number, const uint8_t *priv, size_t len, struct gw_modp **out)
{
	const struct group *group = find_group(number);
	BIGNUM *prime = NULL, *generator = NULL, *secret = NULL, *pub = BN_new();
	BN_CTX *ctx = BN_CTX_secure_new();
	EVP_PKEY *key = NULL;
	int err = GW_E_INVALID;

	if (out)
		*out = NULL;
	if (!out || !priv || len == 0 || (group && len > group->len))
		goto out;
	err = group ? group_numbers(group, &prime, &generator) : GW_E_UNSUPPORTED;
	if (err)
		goto out;
	err = GW_E_NOMEM;
	secret = BN_bin2bn(priv, (int)len, NULL);
	if (!secret || !pub || !ctx)
		goto out;
	err = GW_E_INVALID;
	if (!in_range(secret, prime))
		goto out;
	BN_set_flags(secret, BN_FLG_CONSTTIME);
	err = GW_E_NOMEM;
	if (!BN_mod_exp(pub, generator, secret, prime, ctx))
		goto out;
	err = make_key(group, secret, pub, &key);
	if (!err)
		err = wrap(group, key, out);
out:
	BN_CTX_free(ctx);
	BN_clear_free(secret);
	BN_free(pub);
	BN_free(prime);
	BN_free(generator);
	return err;
}

int
gw_modp_public(const struct gw_modp *dh, uint8_t *out, size_t out_size)
{
	BIGNUM *pub = NULL;
	int err = GW_E_UNSUPPORTED;

	if (!dh || !out)
		return GW_E_INVALID;
	if (out_size < dh->group->len)
		return GW_E_SPACE;
	if (EVP_PKEY_get_bn_param(dh->key, OSSL_PKEY_PARAM_PUB_KEY, &pub) &&
		BN_bn2binpad(pub, out, dh->group->len) == dh->group->len)
		err = GW_OK;
	BN_free(pub);
	return err;
}

int
gw_modp_private(const struct gw_modp *dh, uint8_t *out, size_t out_size)
{
	BIGNUM *priv = NULL;
	int err = GW_E_UNSUPPORTED;

	if (!dh || !out)
		return GW_E_INVALID;
	if (out_size < dh->group->len)
		return GW_E_SPACE;
	if (EVP_PKEY_get_bn_param(dh->key, OSSL_PKEY_PARAM_PRIV_KEY, &priv) &&
		BN_bn2binpad(priv, out, dh->group->len) == dh->group->len)
		err = GW_OK;
	BN_clear_free(priv);
	return err;
}

int
gw_modp_check(uint16_t number, const uint8_t *peer, size_t len)
{
	const struct group *group = find_group(number);
	BIGNUM *prime = NULL, *generator = NULL, *value = NULL;
	int err;

	if (!group)
		return GW_E_UNSUPPORTED;
	if (!peer || len != group->len)
		return GW_E_INVALID;
	err = group_numbers(group, &prime, &generator);
	if (!err) {
		value = BN_bin2bn(peer, (int)len, NULL);
		err = !value ? GW_E_NOMEM : in_range(value, prime) ? GW_OK : GW_E_INVALID;
	}
	BN_free(value);
	BN_free(prime);
	BN_free(generator);
	return err;
}

/* Read and check the peer's value, and make a public key of it. */
static int
peer_key(const struct gw_modp *dh, const uint8_t *peer, size_t len, EVP_PKEY **out)
{
	BIGNUM *prime = NULL;
	BIGNUM *value = BN_bin2bn(peer, (int)len, NULL);
	int err = GW_E_NOMEM;

	*out = NULL;
	if (!value || !EVP_PKEY_get_bn_param(dh->key, OSSL_PKEY_PARAM_FFC_P, &prime))
		goto out;
	err = GW_E_INVALID;
	if (in_range(value, prime))
		err = make_key(dh->group, NULL, value, out);
out:
	BN_free(prime);
	BN_free(value);
	return err;
}

int
gw_modp_shared(const struct gw_modp *dh, const uint8_t *peer, size_t len, uint8_t *out,
	size_t out_size)
{
	EVP_PKEY_CTX *ctx = NULL;
	EVP_PKEY *key = NULL;
	unsigned int pad = 1;
	OSSL_PARAM params[2];
	size_t out_len = out_size;
	int err;

	if (!dh || !peer || !out || len != dh->group->len)
		return GW_E_INVALID;
	if (out_size < dh->group->len)
		return GW_E_SPACE;
	err = peer_key(dh, peer, len, &key);
	if (err)
		return err;
	err = GW_E_NOMEM;
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, dh->key, NULL);
	if (!ctx)
		goto out;
	params[0] = OSSL_PARAM_construct_uint(OSSL_EXCHANGE_PARAM_PAD, &pad);
	params[1] = OSSL_PARAM_construct_end();
	/* The range is checked already, so the peer's value is not validated once more. */
	err = GW_E_UNSUPPORTED;
	if (EVP_PKEY_derive_init_ex(ctx, params) > 0 &&
		EVP_PKEY_derive_set_peer_ex(ctx, key, 0) > 0 &&
		EVP_PKEY_derive(ctx, out, &out_len) > 0 && out_len == dh->group->len)
		err = GW_OK;
	else
		OPENSSL_cleanse(out, out_size);
out:
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
	return err;
}

void
gw_modp_free(struct gw_modp *dh)
{
	if (!dh)
		return;
	EVP_PKEY_free(dh->key);
	free(dh);
}
