/* MODP groups: both sides agree, bad arguments and bad peers are refused, nothing leaks. */
#include <string.h>

#include "check.h"
#include "gw_dp.h"

#define MOST 1024u

static const struct {
	uint16_t number;
	size_t len;
} groups[] = {{14, 256}, {15, 384}, {16, 512}, {17, 768}, {18, 1024}};

static void
test_agreement(uint16_t number, size_t len)
{
	static const uint8_t priv[40] = {0x7f, 1, 2, 3};
	uint8_t a_public[MOST], b_public[MOST], a_secret[MOST], b_secret[MOST];
	struct gw_modp *a, *b;

	CHECK(gw_modp_len(number) == len);
	CHECK(gw_modp_new(number, &a) == GW_OK);
	CHECK(gw_modp_from_private(number, priv, sizeof priv, &b) == GW_OK);
	CHECK(gw_modp_public(a, a_public, len) == GW_OK);
	CHECK(gw_modp_public(b, b_public, sizeof b_public) == GW_OK);
	CHECK(gw_modp_shared(a, b_public, len, a_secret, len) == GW_OK);
	CHECK(gw_modp_shared(b, a_public, len, b_secret, sizeof b_secret) == GW_OK);
	CHECK(memcmp(a_secret, b_secret, len) == 0);
	gw_modp_free(a);
	gw_modp_free(b);
}

/* 2^8 with the private value 8: a secret of mostly leading zeros keeps its length. */
static void
test_padding(uint16_t number, size_t len)
{
	static const uint8_t eight = 8;
	uint8_t peer[MOST] = {0}, expected[MOST] = {0}, found[MOST];
	struct gw_modp *dh;

	peer[len - 1] = 2;
	expected[len - 2] = 1;
	CHECK(gw_modp_from_private(number, &eight, 1, &dh) == GW_OK);
	CHECK(gw_modp_public(dh, found, len) == GW_OK);
	CHECK(memcmp(found, expected, len) == 0);
	memset(found, 0xff, sizeof found);
	CHECK(gw_modp_shared(dh, peer, len, found, len) == GW_OK);
	CHECK(memcmp(found, expected, len) == 0);
	gw_modp_free(dh);
}

static void
test_peers_that_are_refused(uint16_t number, size_t len)
{
	uint8_t peer[MOST] = {0}, secret[MOST];
	struct gw_modp *dh;

	CHECK(gw_modp_new(number, &dh) == GW_OK);
	CHECK(gw_modp_check(number, peer, len) == GW_E_INVALID);
	CHECK(gw_modp_shared(dh, peer, len, secret, len) == GW_E_INVALID);
	peer[len - 1] = 1;
	CHECK(gw_modp_check(number, peer, len) == GW_E_INVALID);
	CHECK(gw_modp_shared(dh, peer, len, secret, len) == GW_E_INVALID);
	peer[len - 1] = 2;
	CHECK(gw_modp_check(number, peer, len) == GW_OK);
	CHECK(gw_modp_shared(dh, peer, len, secret, len) == GW_OK);
	CHECK(gw_modp_check(number, peer, len - 1) == GW_E_INVALID);
	CHECK(gw_modp_shared(dh, peer, len - 1, secret, len) == GW_E_INVALID);
	CHECK(gw_modp_check(number, peer, 0) == GW_E_INVALID);
	CHECK(gw_modp_shared(dh, peer, 0, secret, len) == GW_E_INVALID);
	memset(peer, 0xff, sizeof peer);
	CHECK(gw_modp_check(number, peer, len) == GW_E_INVALID);
	CHECK(gw_modp_shared(dh, peer, len, secret, len) == GW_E_INVALID);
	gw_modp_free(dh);
}

static void
test_arguments(void)
{
	uint8_t value[256] = {0}, zeros[300] = {0};
	struct gw_modp *dh = (struct gw_modp *)value;

	CHECK(gw_modp_len(2) == 0);
	CHECK(gw_modp_new(2, &dh) == GW_E_UNSUPPORTED);
	CHECK(dh == NULL);
	CHECK(gw_modp_new(14, NULL) == GW_E_INVALID);
	CHECK(gw_modp_from_private(65535, zeros, 1, &dh) == GW_E_UNSUPPORTED);
	CHECK(gw_modp_from_private(14, zeros, 0, &dh) == GW_E_INVALID);
	CHECK(gw_modp_from_private(14, zeros, 256, &dh) == GW_E_INVALID);
	CHECK(gw_modp_from_private(14, zeros, 257, &dh) == GW_E_INVALID);
	CHECK(gw_modp_from_private(14, NULL, 1, &dh) == GW_E_INVALID);
	CHECK(gw_modp_from_private(14, zeros, 1, NULL) == GW_E_INVALID);
	memset(zeros, 0xff, sizeof zeros);
	CHECK(gw_modp_from_private(14, zeros, 256, &dh) == GW_E_INVALID);
	CHECK(dh == NULL);

	CHECK(gw_modp_new(14, &dh) == GW_OK);
	CHECK(gw_modp_public(dh, value, 255) == GW_E_SPACE);
	CHECK(gw_modp_public(dh, NULL, 256) == GW_E_INVALID);
	CHECK(gw_modp_public(NULL, value, 256) == GW_E_INVALID);
	CHECK(gw_modp_public(dh, value, 256) == GW_OK);
	CHECK(gw_modp_shared(dh, value, 256, zeros, 255) == GW_E_SPACE);
	CHECK(gw_modp_shared(NULL, value, 256, zeros, 256) == GW_E_INVALID);
	CHECK(gw_modp_shared(dh, NULL, 256, zeros, 256) == GW_E_INVALID);
	CHECK(gw_modp_check(14, NULL, 256) == GW_E_INVALID);
	CHECK(gw_modp_check(2, zeros, 256) == GW_E_UNSUPPORTED);
	CHECK(gw_modp_shared(dh, value, 256, NULL, 256) == GW_E_INVALID);
	gw_modp_free(dh);
	gw_modp_free(NULL);
}

int
main(void)
{
	for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
		test_agreement(groups[i].number, groups[i].len);
		test_padding(groups[i].number, groups[i].len);
		test_peers_that_are_refused(groups[i].number, groups[i].len);
	}
	test_arguments();
	return 0;
}
