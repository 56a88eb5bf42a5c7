/*
 * Packets that wait for the rate cap of their tunnel.
 *
 * A cap that only drops takes the whole window of a TCP stream at once, and the stream then
 * stands still until its timer ends: one of 100 Mbit/s carried 11. So packets wait, in the order
 * they came, in a ring of their queue, and a timer of the queue brings its worker back to them.
 * What exceeds the bound is dropped, as at the end of any line. The bound is for all queues of a
 * tunnel that one worker reads: who has most there gives way (outbound.c).
 *
 * The ring is the queue's worker's alone. Control makes it before a cap takes effect, and it stays
 * until the tunnel goes. An entry is its length and its bytes, in one piece: one that does
 * not fit before the end of the ring begins at its start.
 */
#define _GNU_SOURCE 1
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "internal.h"

/* The largest read fits in twice, wherever the ring is then. */
#define RING_BYTES (1u << 20)
#define ALIGN      8u
/* So many bytes more may leave a queue with each of its turns. */
#define TURN_BYTES 4096
_Static_assert(RING_BYTES >= 4 * GW_READ_SIZE, "a ring holds some super-packets");

struct gw_shaper {
	struct gw_source source; /* first: epoll's pointer; a timerfd */
	struct gw_queue *queue;
	bool armed;
	uint32_t head; /* of the first entry */
	uint32_t tail; /* behind the last one */
	uint32_t end;  /* behind the last one before the ring began anew */
	uint32_t held; /* bytes of all entries */
	_Alignas(ALIGN) uint8_t ring[RING_BYTES];
};

struct entry {
	uint32_t len;
	uint32_t space; /* of the whole entry in the ring */
	uint8_t data[];
};

int
gw_shaper_make(struct gw_dp *dp, struct gw_queue *queue)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct gw_shaper *shaper;

	if (atomic_load(&queue->shaper) != NULL)
		return GW_OK;
	shaper = calloc(1, sizeof(*shaper));
	if (shaper == NULL)
		return GW_E_NOMEM;
	shaper->queue = queue;
	shaper->source.kind = GW_SOURCE_SHAPER;
	shaper->source.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	event.data.ptr = shaper;
	if (shaper->source.fd < 0 ||
		epoll_ctl(dp->workers[queue->worker].epoll_fd, EPOLL_CTL_ADD,
			shaper->source.fd, &event) != 0) {
		gw_shaper_free(shaper);
		return GW_E_SYS;
	}
	atomic_store(&queue->shaper, shaper);
	return GW_OK;
}

void
gw_shaper_unwatch(struct gw_dp *dp, struct gw_queue *queue)
{
	const struct gw_shaper *shaper = atomic_load(&queue->shaper);

	if (shaper != NULL)
		(void)epoll_ctl(dp->workers[queue->worker].epoll_fd, EPOLL_CTL_DEL,
			shaper->source.fd, NULL);
}

void
gw_shaper_free(struct gw_shaper *shaper)
{
	if (shaper != NULL && shaper->source.fd >= 0)
		(void)close(shaper->source.fd);
	free(shaper);
}

struct gw_queue *
gw_shaper_queue(const struct gw_shaper *shaper)
{
	return shaper->queue;
}

bool
gw_shaper_is_empty(const struct gw_shaper *shaper)
{
	return shaper->held == 0;
}

static struct entry *
entry_at(struct gw_shaper *shaper, uint32_t at)
{
	return (struct entry *)(void *)(shaper->ring + at);
}

/* Room for an entry of `space` bytes, or NULL. */
static struct entry *
take_room(struct gw_shaper *shaper, uint32_t space)
{
	if (shaper->held == 0)
		shaper->head = shaper->tail = shaper->end = 0;
	if (shaper->tail < shaper->head) {
		if (shaper->head - shaper->tail <= space)
			return NULL;
	} else if (RING_BYTES - shaper->tail < space) {
		if (shaper->head <= space)
			return NULL;
		shaper->end = shaper->tail;
		shaper->tail = 0;
	}
	shaper->tail += space;
	return entry_at(shaper, shaper->tail - space);
}

/* What waits in all queues of the tunnel that this one's worker reads. */
static uint32_t *
held_of(const struct gw_shaper *shaper)
{
	return &shaper->queue->tunnel->held[shaper->queue->worker];
}

bool
gw_shaper_hold(struct gw_shaper *shaper, const uint8_t *data, size_t len, uint32_t most)
{
	uint32_t space =
		(uint32_t)(sizeof(struct entry) + len + ALIGN - 1) / ALIGN * ALIGN;
	uint32_t *held = held_of(shaper);
	struct entry *entry;

	if (*held + space > most)
		return false;
	entry = take_room(shaper, space);
	if (entry == NULL)
		return false;
	entry->len = (uint32_t)len;
	entry->space = space;
	memcpy(entry->data, data, len);
	shaper->held += space;
	*held += space;
	return true;
}

struct gw_queue *
gw_shaper_next(struct gw_tunnel_state *tunnel, uint32_t worker)
{
	uint32_t *at = &tunnel->release_at[worker], passed = 0;

	while (passed < tunnel->queue_count) {
		struct gw_queue *queue = &tunnel->queue[*at];
		const struct gw_shaper *shaper = atomic_load(&queue->shaper);

		if (queue->worker != worker || shaper == NULL ||
			gw_shaper_is_empty(shaper)) {
			passed++;
		} else if (queue->credit > 0) {
			return queue;
		} else {
			queue->credit += TURN_BYTES;
			passed = 0;
		}
		*at = (*at + 1) % tunnel->queue_count;
	}
	return NULL;
}

struct gw_shaper *
gw_shaper_fullest(const struct gw_tunnel_state *tunnel, uint32_t worker)
{
	struct gw_shaper *shaper, *fullest = NULL;
	uint32_t i, most = 0;

	for (i = 0; i < tunnel->queue_count; i++) {
		if (tunnel->queue[i].worker != worker)
			continue;
		shaper = atomic_load(&tunnel->queue[i].shaper);
		if (shaper != NULL && shaper->held > most) {
			most = shaper->held;
			fullest = shaper;
		}
	}
	return fullest;
}

const uint8_t *
gw_shaper_first(const struct gw_shaper *shaper, size_t *len)
{
	const struct entry *entry =
		(const struct entry *)(const void *)(shaper->ring + shaper->head);

	if (shaper->held == 0)
		return NULL;
	*len = entry->len;
	return entry->data;
}

void
gw_shaper_pop(struct gw_shaper *shaper)
{
	uint32_t space = entry_at(shaper, shaper->head)->space;

	shaper->held -= space;
	*held_of(shaper) -= space;
	shaper->head += space;
	if (shaper->head == shaper->end && shaper->tail < shaper->head)
		shaper->head = shaper->end = 0;
}

void
gw_shaper_wait(struct gw_shaper *shaper, uint64_t ns)
{
	struct itimerspec after = {.it_value = {
					   .tv_sec = (time_t)(ns / UINT64_C(1000000000)),
					   .tv_nsec = (long)(ns % UINT64_C(1000000000)),
				   }};

	if (shaper->armed)
		return;
	shaper->armed = timerfd_settime(shaper->source.fd, 0, &after, NULL) == 0;
}

void
gw_shaper_rest(struct gw_shaper *shaper)
{
	uint64_t times;

	(void)!read(shaper->source.fd, &times, sizeof(times));
	shaper->armed = false;
}
