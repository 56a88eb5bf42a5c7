/*
 * The packet loops.
 *
 * Outbound (outbound.c, send.c):      Inbound (inbound.c):
 *  1. read a batch from a TUN queue    1. recvmmsg a batch from a socket
 *  2. selectors, size, rate            2. IKE (marker zero) or keepalive: punt or ignore
 *  3. reserve sequence numbers         3. find the SA by SPI
 *  4. cut, seal in place               4. replay check, open in place, replay mark
 *  5. sendmmsg with UDP_SEGMENT        5. selectors, merge, write to the TUN
 *
 * Threads: each worker runs both loops for the sockets and TUN queues given to it, and waits for
 * them in epoll without a timeout. Sources are level-triggered and each gives one batch per
 * turn, so none starves; what is left brings the worker back at once. Urgent TUN queues are an
 * epoll set of their own within that of the worker: between the batches of others they have
 * their turn too. What is to be sent waits for other queues of the turn at most: then it is sent with
 * theirs. internal.h says what workers and control share, epoch.c how it is freed.
 *
 * A packet that goes no further is counted under exactly one enum gw_drop.
 *
 * Standards: RFC 4303 (tunnel mode only), RFC 3948, RFC 4106, RFC 6040, RFC 6479, RFC 7634.
 * Not here: transport mode, IP fragments of raw ESP (the kernel reassembles), sending TFC
 * padding (received padding is cut, received dummies are dropped).
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define EVENTS_MAX 64
/* Urgent queues are looked at so often while others have much: a syscall, where they are empty. */
#define URGENT_NS UINT64_C(50000)

uint64_t
gw_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void
tell_failed(struct gw_worker *worker, uint32_t tunnel, const char *what, int error)
{
	struct gw_punt record = {.type = GW_PUNT_WORKER_FAILED, .tunnel = tunnel};
	char text[128];
	int len;

	len = snprintf(text, sizeof(text), "%s: errno %d", what, error);
	if (len > 0)
		(void)gw_punt_send(worker, &record, text, (size_t)len);
}

/* A queue whose device is gone would wake the worker for ever. */
static void
forget_queue(struct gw_worker *worker, const struct gw_queue *queue)
{
	int error = errno;

	(void)epoll_ctl(
		gw_queue_epoll(worker->dp, queue), EPOLL_CTL_DEL, queue->source.fd, NULL);
	tell_failed(worker, queue->tunnel->id, "TUN queue is dead", error);
}

/* Send what waits for others that would be sent with it. */
static void
flush(struct gw_worker *worker)
{
	gw_out_flush(worker, &worker->buffers->out_batch);
}

/* Give each urgent queue a batch. */
static void
serve_urgent(struct gw_worker *worker, uint64_t now_ns)
{
	struct epoll_event events[EVENTS_MAX];
	struct gw_queue *queue;
	int i, count;

	worker->urgent_at_ns = now_ns;
	count = epoll_wait(worker->urgent.fd, events, EVENTS_MAX, 0);
	for (i = 0; i < count; i++) {
		queue = events[i].data.ptr;
		if (!gw_outbound_batch(worker, queue))
			forget_queue(worker, queue);
	}
}

static void
serve(struct gw_worker *worker, struct gw_source *source)
{
	uint64_t now_ns = gw_now_ns();
	struct gw_queue *queue;

	if (source->kind == GW_SOURCE_URGENT ||
		now_ns - worker->urgent_at_ns >= URGENT_NS)
		serve_urgent(worker, now_ns);
	switch (source->kind) {
	case GW_SOURCE_WAKE:
	case GW_SOURCE_URGENT:
		break;
	case GW_SOURCE_SOCKET:
		flush(worker);
		gw_inbound_batch(
			worker, (const struct gw_socket_state *)(const void *)source);
		break;
	case GW_SOURCE_QUEUE:
		queue = (struct gw_queue *)(void *)source;
		if (!gw_outbound_gather(worker, queue))
			forget_queue(worker, queue);
		break;
	case GW_SOURCE_SHAPER:
		gw_outbound_release(worker, (struct gw_shaper *)(void *)source);
		break;
	}
}

static int
loop(struct gw_worker *worker)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t epoch;
	int i, count;

	while (!atomic_load_explicit(&worker->dp->stop, memory_order_acquire)) {
		epoch = atomic_load(&worker->dp->epoch);
		count = epoll_wait(worker->epoll_fd, events, EVENTS_MAX, -1);
		if (count < 0 && errno != EINTR) {
			tell_failed(worker, 0, "epoll_wait", errno);
			return GW_E_SYS;
		}
		gw_count(&worker->counters.wakeups, 1);
		worker->turn++;
		gw_worker_enter(worker);
		/* What control retired while we waited may be freed, a source among it. The others
		 * are level-triggered: epoll tells of them again. */
		if (atomic_load(&worker->dp->epoch) != epoch)
			count = 0;
		for (i = 0; i < count; i++)
			serve(worker, events[i].data.ptr);
		flush(worker);
		gw_worker_leave(worker);
	}
	return GW_OK;
}

static void
pin(const struct gw_worker *worker)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(worker->index % (cpus > 0 ? (unsigned long)cpus : 1), &set);
	/* A container may forbid it. The worker then runs anywhere: slower, not wrong. */
	(void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

static int
start(struct gw_dp *dp, uint32_t index)
{
	struct gw_worker *worker = &dp->workers[index];
	void *memory;

	if (worker->running)
		return GW_E_INVALID;
	memory = mmap(NULL, sizeof(struct gw_buffers), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return GW_E_NOMEM;
	worker->buffers = memory;
	worker->running = true;
	return GW_OK;
}

int
gw_dp_run(struct gw_dp *dp, uint32_t index)
{
	struct gw_worker *worker;
	int err;

	if (dp == NULL || index >= dp->config.workers)
		return GW_E_INVALID;
	err = gw_cipher_start_thread();
	if (err != GW_OK)
		return err;
	pthread_mutex_lock(&dp->control);
	err = start(dp, index);
	gw_control_unlock(dp);
	if (err != GW_OK)
		return err;
	worker = &dp->workers[index];
	if (dp->config.pin_cpus != 0)
		pin(worker);
	err = loop(worker);
	pthread_mutex_lock(&dp->control);
	(void)munmap(worker->buffers, sizeof(struct gw_buffers));
	worker->buffers = NULL;
	worker->running = false;
	gw_control_unlock(dp);
	return err;
}

void
gw_dp_stop(struct gw_dp *dp)
{
	const uint64_t one = 1;
	uint32_t i;

	if (dp == NULL)
		return;
	atomic_store_explicit(&dp->stop, true, memory_order_release);
	/* The counters are never read: each wakes its worker until it sees `stop`. */
	for (i = 0; i < dp->config.workers; i++)
		(void)!write(dp->workers[i].wake.fd, &one, sizeof(one));
}
