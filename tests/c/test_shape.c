/* The ring of packets that wait for a rate cap, against a plain list of them. */
#include "internal.h"
#include "plane.h"

enum { MOST = 64, ROUNDS = 200000 };

static struct {
	uint32_t len;
	uint8_t first, last;
} list[MOST];

static uint8_t data[GW_READ_SIZE];
static unsigned random_state = 2026;

static void
check_first(const struct gw_shaper *shaper, uint32_t at)
{
	size_t len = 0;
	const uint8_t *first = gw_shaper_first(shaper, &len);

	CHECK(first != NULL && len == list[at].len);
	CHECK(first[0] == list[at].first && first[len - 1] == list[at].last);
}

/* Packets come and go at random, from single ones to 64 KiB; the ring begins anew hundreds of times. */
static void
test_what_waits_comes_out_as_it_went_in(void)
{
	struct plane plane;
	struct gw_queue *queue;
	struct gw_shaper *shaper;
	uint32_t round, head = 0, tail = 0, refused = 0, kept = 0;
	size_t len;

	plane_new(&plane, 1);
	plane_add_tunnel(&plane, 4500, 1);
	queue = &gw_tunnel_find(plane.dp, TUNNEL)->queue[0];
	CHECK(gw_shaper_make(plane.dp, queue) == GW_OK);
	CHECK(gw_shaper_make(plane.dp, queue) == GW_OK);
	shaper = atomic_load(&queue->shaper);
	CHECK(gw_shaper_queue(shaper) == queue && gw_shaper_first(shaper, &len) == NULL);
	for (round = 0; round < ROUNDS; round++) {
		uint32_t size = 1 + (next_random(&random_state) % 4 == 0
						    ? next_random(&random_state) % 65000
						    : next_random(&random_state) % 1500);

		if (tail - head < MOST && (next_random(&random_state) >> 7) % 5 < 3) {
			data[size - 1] = (uint8_t)next_random(&random_state);
			data[0] = (uint8_t)next_random(&random_state);
			if (gw_shaper_hold(shaper, data, size, UINT32_MAX)) {
				list[tail % MOST].len = size;
				list[tail % MOST].first = data[0];
				list[tail++ % MOST].last = data[size - 1];
				kept++;
			} else {
				refused++;
			}
		} else if (tail != head) {
			check_first(shaper, head++ % MOST);
			gw_shaper_pop(shaper);
		}
		CHECK(gw_shaper_is_empty(shaper) == (head == tail));
	}
	CHECK(kept > ROUNDS / 4 && refused > 0);
	plane_free(&plane);
}

static void
test_no_more_waits_than_may(void)
{
	struct plane plane;
	struct gw_queue *queue;
	struct gw_shaper *shaper;
	uint32_t count = 0;

	plane_new(&plane, 1);
	plane_add_tunnel(&plane, 4500, 1);
	queue = &gw_tunnel_find(plane.dp, TUNNEL)->queue[0];
	CHECK(gw_shaper_make(plane.dp, queue) == GW_OK);
	shaper = atomic_load(&queue->shaper);
	while (gw_shaper_hold(shaper, data, 992, 100000))
		count++;
	CHECK(count == 100);
	CHECK(!gw_shaper_hold(shaper, data, GW_READ_SIZE, 100000));
	plane_free(&plane);
}

int
main(void)
{
	test_what_waits_comes_out_as_it_went_in();
	test_no_more_waits_than_may();
	return 0;
}
