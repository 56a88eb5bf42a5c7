/*
 * The ciphers: every suite, each back end with each other, side by side and one by one, with and
 * without ESN; what is refused; keys wiped.
 */
#include <malloc.h>
#include <pthread.h>
#include <string.h>

#include "check.h"
#include "esp.h"

#define PACKETS 70u
#define ROOM    4096u
#define SPI     0x01020304u

static const struct {
	uint16_t encr, integ, key_len, integ_key_len;
} suites[] = {
	{GW_ENCR_AES_GCM_16, GW_INTEG_NONE, 20, 0},
	{GW_ENCR_AES_GCM_16, GW_INTEG_NONE, 28, 0},
	{GW_ENCR_AES_GCM_16, GW_INTEG_NONE, 36, 0},
	{GW_ENCR_CHACHA20_POLY1305, GW_INTEG_NONE, 36, 0},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_256_128, 16, 32},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_256_128, 24, 32},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_256_128, 32, 32},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_384_192, 16, 48},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_384_192, 32, 48},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_512_256, 24, 64},
	{GW_ENCR_AES_CBC, GW_INTEG_SHA2_512_256, 32, 64},
};

#define SUITES (sizeof suites / sizeof suites[0])

/* ---- what is freed must not hold a key ---- */

void __real_free(void *pointer);
void __wrap_free(void *pointer);

static const uint8_t *watched_key; /* 16 bytes, which an expanded AES key begins with */
static unsigned frees, keys_found;

void
__wrap_free(void *pointer)
{
	size_t i, size = pointer == NULL ? 0 : malloc_usable_size(pointer);

	if (watched_key != NULL) {
		frees++;
		for (i = 0; i + 16 <= size; i++)
			if (memcmp((uint8_t *)pointer + i, watched_key, 16) == 0)
				keys_found++;
	}
	__real_free(pointer);
}

static struct gw_sa
make_sa(size_t suite, uint8_t backend, bool esn)
{
	struct gw_sa sa = {.spi = SPI,
		.encr = suites[suite].encr,
		.integ = suites[suite].integ,
		.encr_key_len = suites[suite].key_len,
		.integ_key_len = suites[suite].integ_key_len,
		.esn = esn,
		.backend = backend};
	uint8_t i;

	for (i = 0; i < GW_KEY_MAX; i++) {
		sa.encr_key[i] = (uint8_t)(i * 7 + 1);
		sa.integ_key[i] = (uint8_t)(i * 5 + 3);
	}
	return sa;
}

static bool
has(uint8_t backend)
{
	return gw_backend_name(GW_ENCR_AES_GCM_16, GW_INTEG_NONE, 20, backend) != NULL;
}

static uint8_t plain[PACKETS][ROOM], packets[PACKETS][ROOM];

/* Sizes that end anywhere in a block, and one that is as long as a fast path packet. */
static size_t
inner_len(size_t i)
{
	return i % 9 == 8 ? 1400 + i : 1 + i * 5;
}

static void
prepare(const struct gw_suite *suite, uint64_t first, struct gw_cipher_op *ops)
{
	unsigned random = 5;
	size_t i, j;

	for (i = 0; i < PACKETS; i++) {
		for (j = 0; j < inner_len(i); j++)
			plain[i][j] = (uint8_t)next_random(&random);
		memcpy(packets[i] + gw_esp_headroom(suite), plain[i], inner_len(i));
		gw_esp_prepare(
			suite, SPI, first + i, 4, packets[i], inner_len(i), &ops[i]);
	}
}

static void
check_opened(const struct gw_suite *suite, size_t i)
{
	size_t esp_len = gw_esp_sealed_len(suite, inner_len(i)), len;
	uint8_t *inner, next_header;

	CHECK(gw_esp_trailer(suite, packets[i], esp_len, &inner, &len, &next_header) ==
		GW_OK);
	CHECK(len == inner_len(i) && next_header == 4);
	CHECK(memcmp(inner, plain[i], len) == 0);
}

/* One back end seals a run, the other opens it; then the first of each `step` is broken. */
static void
test_pair(size_t s, uint8_t sealer, uint8_t opener, bool esn)
{
	struct gw_sa out = make_sa(s, sealer, esn), in = make_sa(s, opener, esn);
	const struct gw_suite *suite =
		gw_suite_find(out.encr, out.integ, out.encr_key_len);
	uint64_t first = esn ? (UINT64_C(1) << 32) - PACKETS / 2 : 1;
	struct gw_cipher_op ops[PACKETS];
	struct gw_cipher *seal, *open;
	size_t i;

	CHECK(gw_cipher_new(&out, true, &seal) == GW_OK);
	CHECK(gw_cipher_new(&in, false, &open) == GW_OK);
	prepare(suite, first, ops);
	gw_cipher_seal_many(seal, ops, PACKETS);
	for (i = 0; i < PACKETS; i++) {
		CHECK(ops[i].result == GW_OK);
		CHECK(memcmp(packets[i] + gw_esp_headroom(suite), plain[i],
			      inner_len(i)) != 0 ||
			inner_len(i) == 1);
		ops[i].len = gw_esp_sealed_len(suite, inner_len(i));
		if (i % 7 == 3)
			packets[i][ops[i].len - 1 - i % suite->icv_len] ^= 0x10;
		if (i % 7 == 5)
			ops[i].len -= suite->block / 2u;
	}
	gw_cipher_open_many(open, ops, PACKETS);
	for (i = 0; i < PACKETS; i++) {
		if (i % 7 == 3)
			CHECK(ops[i].result == GW_E_ICV);
		else if (i % 7 == 5)
			CHECK(ops[i].result == GW_E_SHORT);
		else {
			CHECK(ops[i].result == GW_OK);
			check_opened(suite, i);
		}
	}
	gw_cipher_free(seal);
	gw_cipher_free(open);
}

/* One by one is the same as side by side: what many sealed, single calls open, and the reverse. */
static void
test_single(size_t s, uint8_t backend, bool esn)
{
	struct gw_sa sa = make_sa(s, backend, esn);
	const struct gw_suite *suite = gw_suite_find(sa.encr, sa.integ, sa.encr_key_len);
	struct gw_cipher_op ops[PACKETS];
	struct gw_cipher *seal, *open;
	size_t i;

	CHECK(gw_cipher_new(&sa, true, &seal) == GW_OK);
	CHECK(gw_cipher_new(&sa, false, &open) == GW_OK);
	prepare(suite, 77, ops);
	for (i = 0; i < PACKETS; i++)
		CHECK(gw_cipher_seal(seal, packets[i], ops[i].len, ops[i].seq) == GW_OK);
	for (i = 0; i < PACKETS; i++)
		ops[i].len = gw_esp_sealed_len(suite, inner_len(i));
	gw_cipher_open_many(open, ops, PACKETS);
	for (i = 0; i < PACKETS; i++) {
		CHECK(ops[i].result == GW_OK);
		check_opened(suite, i);
	}
	prepare(suite, 77, ops);
	gw_cipher_seal_many(seal, ops, PACKETS);
	for (i = 0; i < PACKETS; i++) {
		CHECK(gw_cipher_open(open, packets[i],
			      gw_esp_sealed_len(suite, inner_len(i)),
			      ops[i].seq) == GW_OK);
		check_opened(suite, i);
	}
	gw_cipher_free(seal);
	gw_cipher_free(open);
}

/* With ESN the high half is authenticated although it is not in the packet. */
static void
test_wrong_high_half(size_t s, uint8_t backend)
{
	struct gw_sa sa = make_sa(s, backend, true);
	const struct gw_suite *suite = gw_suite_find(sa.encr, sa.integ, sa.encr_key_len);
	struct gw_cipher *seal, *open;
	struct gw_cipher_op ops[PACKETS];

	CHECK(gw_cipher_new(&sa, true, &seal) == GW_OK);
	CHECK(gw_cipher_new(&sa, false, &open) == GW_OK);
	prepare(suite, (UINT64_C(5) << 32) + 9, ops);
	CHECK(gw_cipher_seal(seal, packets[0], ops[0].len, ops[0].seq) == GW_OK);
	CHECK(gw_cipher_open(open, packets[0], gw_esp_sealed_len(suite, inner_len(0)),
		      (UINT64_C(6) << 32) + 9) == GW_E_ICV);
	gw_cipher_free(seal);
	gw_cipher_free(open);
}

static void
test_limits(size_t s, uint8_t backend)
{
	struct gw_sa sa = make_sa(s, backend, false);
	const struct gw_suite *suite = gw_suite_find(sa.encr, sa.integ, sa.encr_key_len);
	size_t frame = gw_esp_headroom(suite) + suite->icv_len;
	size_t longest = (GW_ESP_LEN_MAX - frame) / suite->block * suite->block;
	uint8_t *esp = malloc(GW_ESP_LEN_MAX + 64);
	struct gw_cipher *seal, *open;

	CHECK(esp != NULL);
	memset(esp, 0x33, GW_ESP_LEN_MAX + 64);
	CHECK(gw_cipher_new(&sa, true, &seal) == GW_OK);
	CHECK(gw_cipher_new(&sa, false, &open) == GW_OK);
	CHECK(gw_cipher_seal(seal, esp, suite->block, 0) == GW_E_INVALID);
	CHECK(gw_cipher_seal(seal, esp, 0, 1) == GW_E_INVALID);
	CHECK(gw_cipher_seal(seal, esp, suite->block + 1u, 1) == GW_E_INVALID);
	CHECK(gw_cipher_seal(seal, esp, longest + suite->block, 1) == GW_E_INVALID);
	CHECK(gw_cipher_seal(seal, esp, suite->block, UINT64_C(1) << 32) == GW_E_LIMIT);
	CHECK(gw_cipher_seal(open, esp, suite->block, 1) == GW_E_INVALID);
	CHECK(gw_cipher_open(seal, esp, frame + suite->block, 1) == GW_E_INVALID);
	CHECK(gw_cipher_open(open, esp, frame, 1) == GW_E_SHORT);
	CHECK(gw_cipher_open(open, esp, 0, 1) == GW_E_SHORT);
	CHECK(gw_cipher_open(open, esp, GW_ESP_LEN_MAX + 1, 1) == GW_E_INVALID);
	CHECK(gw_cipher_seal(seal, esp, longest, UINT32_MAX) == GW_OK);
	CHECK(esp[frame + longest] == 0x33);
	CHECK(gw_cipher_open(open, esp, frame + longest, UINT32_MAX) == GW_OK);
	CHECK(esp[gw_esp_headroom(suite)] == 0x33 &&
		esp[frame + longest - suite->icv_len - 1] == 0x33);
	gw_cipher_free(seal);
	gw_cipher_free(open);
	free(esp);
}

/* An AEAD's IV is the sequence number; a CBC IV differs between ciphers of one key and repeats nowhere. */
static void
test_iv(size_t s, uint8_t backend)
{
	struct gw_sa sa = make_sa(s, backend, false);
	const struct gw_suite *suite = gw_suite_find(sa.encr, sa.integ, sa.encr_key_len);
	uint8_t a[128] = {0}, b[128] = {0}, c[128] = {0};
	struct gw_cipher *one, *two;

	CHECK(gw_cipher_new(&sa, true, &one) == GW_OK);
	CHECK(gw_cipher_new(&sa, true, &two) == GW_OK);
	CHECK(gw_cipher_seal(one, a, 16, 0x0102) == GW_OK);
	CHECK(gw_cipher_seal(one, b, 16, 0x0103) == GW_OK);
	CHECK(gw_cipher_seal(two, c, 16, 0x0102) == GW_OK);
	if (suite->iv_len == 8) {
		CHECK(memcmp(a + 8, "\0\0\0\0\0\0\1\2", 8) == 0);
		CHECK(memcmp(b + 8, "\0\0\0\0\0\0\1\3", 8) == 0);
		CHECK(memcmp(a, c, sizeof a) == 0);
	} else {
		CHECK(memcmp(a + 8, b + 8, 16) != 0);
		CHECK(memcmp(a + 8, c + 8, 16) != 0);
	}
	gw_cipher_free(one);
	gw_cipher_free(two);
}

/* A packet with a wrong ICV leaves no plaintext behind. */
static void
test_nothing_left(size_t s, uint8_t backend)
{
	struct gw_sa sa = make_sa(s, backend, false);
	const struct gw_suite *suite = gw_suite_find(sa.encr, sa.integ, sa.encr_key_len);
	struct gw_cipher_op ops[PACKETS];
	struct gw_cipher *seal, *open;
	size_t len = gw_esp_sealed_len(suite, inner_len(8)), i;

	CHECK(gw_cipher_new(&sa, true, &seal) == GW_OK);
	CHECK(gw_cipher_new(&sa, false, &open) == GW_OK);
	prepare(suite, 1, ops);
	gw_cipher_seal_many(seal, ops, PACKETS);
	packets[8][len - 1] ^= 1;
	CHECK(gw_cipher_open(open, packets[8], len, ops[8].seq) == GW_E_ICV);
	for (i = 0; i + 8 <= inner_len(8); i += 8)
		CHECK(memcmp(packets[8] + gw_esp_headroom(suite) + i, plain[8] + i, 8) !=
			0);
	gw_cipher_free(seal);
	gw_cipher_free(open);
}

static void
test_wiped(size_t s, uint8_t backend)
{
	struct gw_sa sa = make_sa(s, backend, false);
	struct gw_cipher *cipher;

	CHECK(gw_cipher_new(&sa, true, &cipher) == GW_OK);
	frees = keys_found = 0;
	watched_key = sa.encr_key;
	gw_cipher_free(cipher);
	watched_key = NULL;
	CHECK(frees > 0 && keys_found == 0);
}

static void
test_refused(void)
{
	struct gw_cipher *cipher;
	struct gw_sa sa = make_sa(0, GW_BACKEND_BEST, false);

	sa.encr = 11;
	CHECK(gw_cipher_new(&sa, true, &cipher) == GW_E_UNSUPPORTED && cipher == NULL);
	sa = make_sa(0, GW_BACKEND_BEST, false);
	sa.encr_key_len = 21;
	CHECK(gw_cipher_new(&sa, true, &cipher) == GW_E_UNSUPPORTED);
	sa.encr_key_len = 0;
	CHECK(gw_cipher_new(&sa, true, &cipher) == GW_E_INVALID);
	sa = make_sa(0, 3, false);
	CHECK(gw_cipher_new(&sa, true, &cipher) == GW_E_INVALID);
	sa = make_sa(0, GW_BACKEND_BEST, false);
	sa.integ = GW_INTEG_SHA2_256_128;
	CHECK(gw_cipher_new(&sa, true, &cipher) == GW_E_UNSUPPORTED);
	sa = make_sa(0, GW_BACKEND_BEST, false);
	sa.integ_key_len = 32;
	CHECK(gw_cipher_new(&sa, true, &cipher) == GW_E_INVALID);
	sa = make_sa(4, GW_BACKEND_BEST, false);
	sa.integ_key_len = 31;
	CHECK(gw_cipher_new(&sa, true, &cipher) == GW_E_INVALID);
	sa = make_sa(0, GW_BACKEND_BEST, false);
	sa.esn = 2;
	CHECK(gw_cipher_new(&sa, true, &cipher) == GW_E_INVALID);
	gw_cipher_free(NULL);
}

/* A worker's own threads: jobs of two threads never meet, and a thread's end frees what it made. */
static void *
thread_main(void *argument)
{
	static const size_t cbc = 6;
	const uint8_t *backend = argument;
	struct gw_sa sa = make_sa(cbc, *backend, false);
	const struct gw_suite *suite = gw_suite_find(sa.encr, sa.integ, sa.encr_key_len);
	struct gw_cipher *seal, *open;
	uint8_t esp[16][256];
	struct gw_cipher_op ops[16];
	size_t i, round;

	CHECK(gw_cipher_start_thread() == GW_OK);
	CHECK(gw_cipher_new(&sa, true, &seal) == GW_OK);
	CHECK(gw_cipher_new(&sa, false, &open) == GW_OK);
	for (round = 0; round < 50; round++) {
		for (i = 0; i < 16; i++) {
			memset(esp[i], (int)(i + round), sizeof esp[i]);
			gw_esp_prepare(
				suite, SPI, round * 16 + i + 1, 41, esp[i], 150, &ops[i]);
		}
		gw_cipher_seal_many(seal, ops, 16);
		for (i = 0; i < 16; i++)
			ops[i].len = gw_esp_sealed_len(suite, 150);
		gw_cipher_open_many(open, ops, 16);
		for (i = 0; i < 16; i++) {
			CHECK(ops[i].result == GW_OK);
			CHECK(esp[i][gw_esp_headroom(suite) + 149] ==
				(uint8_t)(i + round));
		}
	}
	gw_cipher_free(seal);
	gw_cipher_free(open);
	return NULL;
}

static void
test_threads(uint8_t backend)
{
	pthread_t threads[3];
	size_t i;

	for (i = 0; i < 3; i++)
		CHECK(pthread_create(&threads[i], NULL, thread_main, &backend) == 0);
	for (i = 0; i < 3; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

int
main(void)
{
	static const uint8_t backends[] = {
		GW_BACKEND_OPENSSL, GW_BACKEND_IPSECMB, GW_BACKEND_BEST};
	size_t s, a, b;

	CHECK(gw_cipher_self_test() == GW_OK);
	CHECK(has(GW_BACKEND_OPENSSL) && has(GW_BACKEND_BEST));
	test_refused();
	for (a = 0; a < 3; a++) {
		if (!has(backends[a]))
			continue;
		for (s = 0; s < SUITES; s++) {
			for (b = 0; b < 3; b++) {
				if (!has(backends[b]))
					continue;
				test_pair(s, backends[a], backends[b], false);
				test_pair(s, backends[a], backends[b], true);
			}
			test_single(s, backends[a], false);
			test_single(s, backends[a], true);
			test_wrong_high_half(s, backends[a]);
			test_limits(s, backends[a]);
			test_iv(s, backends[a]);
			test_nothing_left(s, backends[a]);
			test_wiped(s, backends[a]);
		}
		test_threads(backends[a]);
	}
	return 0;
}
