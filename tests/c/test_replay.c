/* The anti-replay window: a numbered table, then a comparison with a plain array. */
#include <string.h>

#include "check.h"
#include "replay.h"

#define W 1024u

static const struct {
	uint64_t seq;
	bool ok;
} table[] = {
	/*  1 */ {0, false},
	/*  2 */ {1, true},
	/*  3 */ {1, false},
	/*  4 */ {9, true},
	/*  5 */ {8, true},
	/*  6 */ {8, false},
	/*  7 */ {W + 9, true},
	/*  8 */ {9, false}, /* just fell out */
	/*  9 */ {10, true}, /* just inside */
	/* 10 */ {10, false},
	/* 11 */ {W + 8, true},
	/* 12 */ {64 * GW_REPLAY_WORDS * 3, true}, /* slides over the whole ring */
	/* 13 */ {64 * GW_REPLAY_WORDS * 3 - W + 1, true},
	/* 14 */ {64 * GW_REPLAY_WORDS * 3 - W, false},
	/* 15 */ {UINT32_MAX, true},
	/* 16 */ {UINT64_C(1) << 32, true},
	/* 17 */ {UINT32_MAX, false},
	/* 18 */ {UINT32_MAX - 1, true},
	/* 19 */ {UINT64_MAX, true},
	/* 20 */ {UINT64_MAX, false},
	/* 21 */ {UINT64_MAX - W + 1, true},
	/* 22 */ {UINT64_MAX - W, false},
	/* 23 */ {1, false},
};

static void
test_table(void)
{
	struct gw_replay window = {.window = W}, before;
	size_t i;

	for (i = 0; i < sizeof table / sizeof table[0]; i++) {
		before = window;
		if (gw_replay_check(&window, table[i].seq) != table[i].ok ||
			memcmp(&before, &window, sizeof window) != 0 ||
			gw_replay_mark(&window, table[i].seq) != table[i].ok) {
			fprintf(stderr, "row %zu\n", i + 1);
			exit(1);
		}
		/* What is refused changes nothing. */
		CHECK(table[i].ok || memcmp(&before, &window, sizeof window) == 0);
	}
}

#define SEEN_MAX 60000u

/* Numbers around the top, with jumps: each is judged as an array of all numbers would judge it. */
static void
test_against_array(uint32_t size, unsigned random)
{
	static bool seen[SEEN_MAX];
	struct gw_replay window = {.window = size};
	uint64_t top = 0, seq;
	bool ok;

	memset(seen, 0, sizeof seen);
	while (top < SEEN_MAX - 10000) {
		switch (next_random(&random) % 16) {
		case 0:
			seq = top + next_random(&random) % 9000;
			break;
		case 1:
			seq = next_random(&random) % (top + 1);
			break;
		default:
			seq = top + 4;
			seq -= next_random(&random) % (size + 8);
			if (seq > top + 4)
				seq = top + 1;
		}
		ok = seq != 0 && !seen[seq] && (seq > top || top - seq < size);
		CHECK(gw_replay_check(&window, seq) == ok);
		CHECK(gw_replay_mark(&window, seq) == ok);
		seen[seq] = seen[seq] || ok;
		top = ok && seq > top ? seq : top;
		CHECK(window.top == top);
	}
}

/* A jump over more than the whole ring leaves nothing of the old numbers behind. */
static void
test_jump(uint32_t size)
{
	struct gw_replay window = {.window = size};
	const uint64_t ring = 64 * GW_REPLAY_WORDS;
	uint64_t seq, top;

	for (top = 3 * ring + 30; top < 3 * ring + 130; top += 7) {
		memset(&window, 0, sizeof window);
		window.window = size;
		for (seq = 1; seq <= ring; seq++)
			CHECK(gw_replay_mark(&window, seq));
		CHECK(gw_replay_mark(&window, top));
		for (seq = top - size + 1; seq < top; seq++)
			CHECK(gw_replay_mark(&window, seq));
	}
}

#define HIGH(n) ((uint64_t)(n) << 32)

/* RFC 4303 appendix A2.1: top, low 32 bits on the wire, what they stand for. */
static const struct {
	uint64_t top;
	uint32_t low;
	uint64_t seq;
} esn[] = {
	{0, 1, 1}, {0, UINT32_MAX, UINT32_MAX}, /* no subspace lies before the first */
	{5000, 4999, 4999}, {5000, 5000 - W + 1, 5000 - W + 1},
	{5000, 5000 - W, HIGH(1) + 5000 - W}, /* below the window: next subspace */
	{UINT32_MAX, 0, HIGH(1)}, {UINT32_MAX, UINT32_MAX - 5, UINT32_MAX - 5},
	{HIGH(1), UINT32_MAX, UINT32_MAX}, /* the window begins before the wrap */
	{HIGH(1), UINT32_MAX - W + 2, UINT32_MAX - W + 2},
	{HIGH(1), UINT32_MAX - W + 1, HIGH(1) + UINT32_MAX - W + 1},
	{HIGH(1) + 7, 7, HIGH(1) + 7}, {HIGH(1) + W - 1, 0, HIGH(1)},
	{HIGH(1) + W - 1, UINT32_MAX, HIGH(1) + UINT32_MAX},
	{HIGH(1) + W - 2, UINT32_MAX, UINT32_MAX}, {HIGH(7) + 100000, 3, HIGH(8) + 3},
	{UINT64_MAX, 3, 0}, /* nothing lies after the last: 0 is never accepted */
};

static void
test_esn(void)
{
	struct gw_replay window = {.window = W};
	size_t i;

	for (i = 0; i < sizeof esn / sizeof esn[0]; i++) {
		window.top = esn[i].top;
		if (gw_replay_esn(&window, esn[i].low) != esn[i].seq) {
			fprintf(stderr, "esn row %zu: %llx\n", i + 1,
				(unsigned long long)gw_replay_esn(&window, esn[i].low));
			exit(1);
		}
	}
}

/* Every number that lies in the window or just ahead is found again from its low half. */
static void
test_esn_around_the_wrap(void)
{
	struct gw_replay window = {.window = W};
	uint64_t top, seq;

	for (top = HIGH(3) - 2 * W; top < HIGH(3) + 2 * W; top += 61) {
		window.top = top;
		for (seq = top - W + 1; seq < top + 5000; seq++)
			CHECK(gw_replay_esn(&window, (uint32_t)seq) == seq);
	}
}

int
main(void)
{
	test_table();
	test_against_array(64, 1);
	test_against_array(65, 2);
	test_against_array(1024, 3);
	test_against_array(4096, 4);
	test_jump(64);
	test_jump(4096);
	test_esn();
	test_esn_around_the_wrap();
	return 0;
}
