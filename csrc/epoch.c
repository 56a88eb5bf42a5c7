/*
 * Freeing what workers may still hold, without locks in the packet path.
 *
 * Each worker says in `seen` in which epoch its batch began, 0 while it waits. Control makes an
 * object unreachable, then raises the epoch: a batch that began in an older epoch may hold the
 * object, any other can not. Sequential consistency matters in one place: a worker stores `seen`
 * before it loads a pointer, and control swaps the pointer before it reads `seen`; so either
 * control sees the worker or the worker sees the new pointer.
 *
 * A worker learns of its sources from epoll before its batch begins. So it loads the epoch before
 * epoll_wait() and again once `seen` is set, and serves nothing if control retired something in
 * between: a source leaves epoll before it is retired, and what epoll told may be freed by now.
 */
#define _GNU_SOURCE 1
#include <stdlib.h>
#include <time.h>

#include "internal.h"

/* How long to sleep between looks at a worker that is in a batch: a batch takes about that long. */
#define LOOK_NS 50000

void
gw_worker_enter(struct gw_worker *worker)
{
	atomic_store(&worker->seen, atomic_load(&worker->dp->epoch));
}

/* Whoever holds the lock instead of us does this when it lets go of it. */
static void
reclaim_wanted(struct gw_dp *dp)
{
	while (atomic_load(&dp->reclaim_wanted) &&
		pthread_mutex_trylock(&dp->control) == 0) {
		atomic_store(&dp->reclaim_wanted, false);
		gw_reclaim(dp);
		pthread_mutex_unlock(&dp->control);
	}
}

void
gw_control_unlock(struct gw_dp *dp)
{
	pthread_mutex_unlock(&dp->control);
	reclaim_wanted(dp);
}

void
gw_worker_leave(struct gw_worker *worker)
{
	struct gw_dp *dp = worker->dp;

	atomic_store(&worker->seen, 0);
	/* The last worker to pass frees, so that nothing waits for the next control call. */
	if (!atomic_load(&dp->retired_any))
		return;
	atomic_store(&dp->reclaim_wanted, true);
	reclaim_wanted(dp);
}

/* Has every worker that was in a batch when `epoch` began ended it? */
static bool
passed(struct gw_dp *dp, uint64_t epoch)
{
	uint64_t seen;
	uint32_t i;

	for (i = 0; i < dp->config.workers; i++) {
		seen = atomic_load(&dp->workers[i].seen);
		if (seen != 0 && seen < epoch)
			return false;
	}
	return true;
}

static void
wait_passed(struct gw_dp *dp, uint64_t epoch)
{
	const struct timespec look = {0, LOOK_NS};

	while (!passed(dp, epoch))
		(void)nanosleep(&look, NULL);
}

void
gw_quiesce(struct gw_dp *dp)
{
	wait_passed(dp, atomic_fetch_add(&dp->epoch, 1) + 1);
}

void
gw_retire(struct gw_dp *dp, void (*free_fn)(void *), void *object)
{
	struct gw_retired *note;
	uint64_t epoch;

	if (object == NULL)
		return;
	epoch = atomic_fetch_add(&dp->epoch, 1) + 1;
	note = malloc(sizeof(*note));
	if (note == NULL) {
		wait_passed(dp, epoch);
		free_fn(object);
		return;
	}
	*note = (struct gw_retired){dp->retired, epoch, free_fn, object};
	dp->retired = note;
	atomic_store(&dp->retired_any, true);
	gw_reclaim(dp);
}

void
gw_reclaim(struct gw_dp *dp)
{
	struct gw_retired **at = &dp->retired, *note;

	while ((note = *at) != NULL) {
		if (!passed(dp, note->epoch)) {
			at = &note->next;
			continue;
		}
		*at = note->next;
		note->free(note->object);
		free(note);
	}
	atomic_store(&dp->retired_any, dp->retired != NULL);
}
