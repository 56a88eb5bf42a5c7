/* The pure ESP functions of gw_dp.h: one SA, no sockets, no threads. For tests and benches. */
#include <openssl/crypto.h>
#include <stdlib.h>
#include <time.h>

#include "backend.h"
#include "esp.h"

#define SPI_MIN 256u /* RFC 4303 section 2.1: below is reserved */

struct gw_esp {
	const struct gw_suite *suite;
	struct gw_cipher *cipher;
	struct gw_replay replay;
	uint32_t spi;
	bool esn;
	bool outbound;
	uint8_t scratch[GW_ESP_LEN_MAX];
};

const char *
gw_backend_name(uint16_t encr, uint16_t integ, uint16_t encr_key_len, uint8_t backend)
{
	if (encr_key_len == 0)
		return NULL;
	return gw_cipher_backend_name(gw_suite_find(encr, integ, encr_key_len), backend);
}

size_t
gw_esp_overhead(uint16_t encr, uint16_t integ, size_t len)
{
	const struct gw_suite *suite = gw_suite_find(encr, integ, 0);

	if (suite == NULL || len > GW_ESP_LEN_MAX)
		return 0;
	return gw_esp_sealed_len(suite, len) - len;
}

static bool
is_window_ok(const struct gw_sa *sa)
{
	return sa->replay_window >= GW_REPLAY_MIN && sa->replay_window <= GW_REPLAY_MAX;
}

int
gw_esp_new(const struct gw_sa *sa, bool outbound, struct gw_esp **out)
{
	struct gw_esp *esp;
	int err;

	if (out == NULL)
		return GW_E_INVALID;
	*out = NULL;
	if (sa == NULL || sa->spi < SPI_MIN || (!outbound && !is_window_ok(sa)))
		return GW_E_INVALID;
	esp = calloc(1, sizeof *esp);
	if (esp == NULL)
		return GW_E_NOMEM;
	err = gw_cipher_new(sa, outbound, &esp->cipher);
	if (err != GW_OK) {
		free(esp);
		return err;
	}
	esp->suite = gw_suite_find(sa->encr, sa->integ, sa->encr_key_len);
	esp->replay.window = sa->replay_window;
	esp->spi = sa->spi;
	esp->esn = sa->esn != 0;
	esp->outbound = outbound;
	*out = esp;
	return GW_OK;
}

void
gw_esp_free(struct gw_esp *esp)
{
	if (esp == NULL)
		return;
	gw_cipher_free(esp->cipher);
	OPENSSL_cleanse(esp, sizeof *esp);
	free(esp);
}

/* 4 or 41; 0 if it is neither IPv4 nor IPv6. */
static uint8_t
next_header_of(const uint8_t *packet, size_t len)
{
	if (len == 0)
		return 0;
	switch (packet[0] >> 4) {
	case 4:
		return 4;
	case 6:
		return 41;
	default:
		return 0;
	}
}

int
gw_esp_seal_packet(struct gw_esp *esp, uint64_t seq, const uint8_t *packet, size_t len,
	uint8_t *out, size_t out_size, size_t *out_len)
{
	struct gw_cipher_op op;
	uint8_t next_header;
	size_t sealed_len;

	if (out_len == NULL)
		return GW_E_INVALID;
	*out_len = 0;
	if (esp == NULL || packet == NULL || out == NULL || !esp->outbound || seq == 0 ||
		len > GW_ESP_LEN_MAX)
		return GW_E_INVALID;
	next_header = next_header_of(packet, len);
	sealed_len = gw_esp_sealed_len(esp->suite, len);
	if (next_header == 0 || sealed_len > GW_ESP_LEN_MAX)
		return GW_E_INVALID;
	if (!esp->esn && seq > UINT32_MAX)
		return GW_E_LIMIT;
	if (out_size < sealed_len)
		return GW_E_SPACE;
	memcpy(out + gw_esp_headroom(esp->suite), packet, len);
	gw_esp_prepare(esp->suite, esp->spi, seq, next_header, out, len, &op);
	gw_cipher_seal_many(esp->cipher, &op, 1);
	if (op.result == GW_OK)
		*out_len = sealed_len;
	return op.result;
}

static uint32_t
load_be32(const uint8_t *from)
{
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 |
	       (uint32_t)from[2] << 8 | (uint32_t)from[3];
}

int
gw_esp_open_packet(struct gw_esp *esp, const uint8_t *packet, size_t len, uint8_t *out,
	size_t out_size, size_t *out_len, uint8_t *next_header)
{
	uint8_t *inner;
	size_t inner_len;
	uint64_t seq;
	int err;

	if (out_len == NULL || next_header == NULL)
		return GW_E_INVALID;
	*out_len = 0;
	*next_header = 0;
	if (esp == NULL || packet == NULL || out == NULL || esp->outbound)
		return GW_E_INVALID;
	if (!gw_esp_len_ok(esp->suite, len))
		return GW_E_SHORT;
	if (load_be32(packet) != esp->spi)
		return GW_E_NOENT;
	/* The longest inner packet this one can hold: asked before the replay window moves. */
	if (out_size < len - gw_esp_headroom(esp->suite) - esp->suite->icv_len - 2)
		return GW_E_SPACE;
	seq = load_be32(packet + 4);
	if (esp->esn)
		seq = gw_replay_esn(&esp->replay, (uint32_t)seq);
	if (!gw_replay_check(&esp->replay, seq))
		return GW_E_REPLAY;
	memcpy(esp->scratch, packet, len);
	err = gw_cipher_open(esp->cipher, esp->scratch, len, seq);
	if (err == GW_OK && !gw_replay_mark(&esp->replay, seq))
		err = GW_E_REPLAY;
	if (err == GW_OK)
		err = gw_esp_trailer(
			esp->suite, esp->scratch, len, &inner, &inner_len, next_header);
	if (err != GW_OK)
		return err;
	if (*next_header == 59)
		return GW_OK;
	memcpy(out, inner, inner_len);
	*out_len = inner_len;
	return GW_OK;
}

/* ---- bench ---- */

#define BENCH_PACKETS 16u

struct bench {
	struct gw_cipher *seal, *open;
	const struct gw_suite *suite;
	size_t len;       /* inner packet */
	size_t slot;      /* bytes per packet in the arrays below */
	uint8_t *packets; /* what is timed works here, in place */
	uint8_t *sealed;  /* what opening begins with */
	uint64_t seq;
	uint64_t ns;
};

static uint64_t
now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What the worker does with a run of packets. */
static int
bench_seal(struct bench *b)
{
	struct gw_cipher_op ops[BENCH_PACKETS];
	size_t i;

	for (i = 0; i < BENCH_PACKETS; i++)
		gw_esp_prepare(b->suite, SPI_MIN, ++b->seq, 4, b->packets + i * b->slot,
			b->len, &ops[i]);
	gw_cipher_seal_many(b->seal, ops, BENCH_PACKETS);
	for (i = 0; i < BENCH_PACKETS; i++)
		if (ops[i].result != GW_OK)
			return ops[i].result;
	return GW_OK;
}

static int
bench_open(struct bench *b)
{
	size_t i, inner_len, esp_len = gw_esp_sealed_len(b->suite, b->len);
	struct gw_cipher_op ops[BENCH_PACKETS];
	uint8_t *inner, next_header;
	int err;

	for (i = 0; i < BENCH_PACKETS; i++)
		ops[i] = (struct gw_cipher_op){.esp = b->packets + i * b->slot,
			.len = esp_len,
			.seq = b->seq - BENCH_PACKETS + 1 + i};
	gw_cipher_open_many(b->open, ops, BENCH_PACKETS);
	for (i = 0; i < BENCH_PACKETS; i++) {
		err = ops[i].result;
		if (err == GW_OK)
			err = gw_esp_trailer(b->suite, ops[i].esp, esp_len, &inner,
				&inner_len, &next_header);
		if (err != GW_OK)
			return err;
	}
	return GW_OK;
}

/* The bare call on the same buffers and lengths, as little around it as there can be. */
static int
bench_library(struct bench *b, bool seal)
{
	bool is_cbc = b->suite->encr == GW_ENCR_AES_CBC;
	struct gw_bare bare = {
		.aad_len = is_cbc ? gw_esp_headroom(b->suite) : GW_ESP_HEADER,
		.len = gw_esp_text_len(b->suite, b->len)};
	static const uint8_t nonce[GW_CBC_BLOCK];
	size_t i;
	int err = GW_OK;

	bare.nonce = nonce;
	for (i = 0; i < BENCH_PACKETS && err == GW_OK; i++) {
		bare.aad = b->packets + i * b->slot;
		bare.text = b->packets + i * b->slot + gw_esp_headroom(b->suite);
		bare.icv = bare.text + bare.len;
		err = seal ? gw_cipher_bare_seal(b->seal, &bare)
			   : gw_cipher_bare_open(b->open, &bare);
	}
	return err;
}

static int
bench_round(struct bench *b, bool seal, bool library)
{
	uint64_t start;
	int err;

	if (!seal)
		memcpy(b->packets, b->sealed, b->slot * BENCH_PACKETS);
	start = now_ns();
	if (library)
		err = bench_library(b, seal);
	else
		err = seal ? bench_seal(b) : bench_open(b);
	b->ns += now_ns() - start;
	return err;
}

static int
bench_run(struct bench *b, bool seal, bool library, uint32_t count, double *ns)
{
	uint32_t rounds = (count + BENCH_PACKETS - 1) / BENCH_PACKETS, i;
	int err = bench_seal(b);

	if (err == GW_OK && library && !seal)
		err = bench_library(b, true);
	memcpy(b->sealed, b->packets, b->slot * BENCH_PACKETS);
	/* One round that is not counted, for the caches. */
	if (err == GW_OK)
		err = bench_round(b, seal, library);
	b->ns = 0;
	for (i = 0; i < rounds && err == GW_OK; i++)
		err = bench_round(b, seal, library);
	if (err == GW_OK)
		*ns = (double)b->ns / ((double)rounds * BENCH_PACKETS);
	return err;
}

int
gw_esp_bench(const struct gw_sa *sa, bool seal, bool library, size_t len, uint32_t count,
	double *ns)
{
	struct bench b = {.len = len};
	int err;

	if (sa == NULL || ns == NULL || count == 0 || count > 100000000u || len == 0)
		return GW_E_INVALID;
	*ns = 0;
	b.suite = gw_suite_find(sa->encr, sa->integ, sa->encr_key_len);
	if (b.suite == NULL)
		return GW_E_UNSUPPORTED;
	if (len > GW_ESP_LEN_MAX || gw_esp_sealed_len(b.suite, len) > GW_ESP_LEN_MAX)
		return GW_E_INVALID;
	/* Whole cache lines and one more, so that packets do not share the lower address bits. */
	b.slot = (gw_esp_sealed_len(b.suite, len) + 127u) & ~(size_t)63u;
	err = gw_cipher_new(sa, true, &b.seal);
	if (err == GW_OK)
		err = gw_cipher_new(sa, false, &b.open);
	b.packets = calloc(BENCH_PACKETS, b.slot);
	b.sealed = calloc(BENCH_PACKETS, b.slot);
	if (err == GW_OK)
		err = b.packets == NULL || b.sealed == NULL
			      ? GW_E_NOMEM
			      : bench_run(&b, seal, library, count, ns);
	gw_cipher_free(b.seal);
	gw_cipher_free(b.open);
	free(b.packets);
	free(b.sealed);
	return err;
}
