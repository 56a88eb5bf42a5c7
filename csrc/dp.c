/* The life of a data plane: making, freeing, its workers' epoll sets and its punt socket. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

#define TUNNELS_MAX (1u << 20)

static void
close_fd(int fd)
{
	if (fd >= 0)
		(void)close(fd);
}

/* Have a worker wait for a source of its own. */
static bool
watch_own(struct gw_worker *worker, struct gw_source *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	return source->fd >= 0 &&
	       epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) == 0;
}

/* calloc gives 16 bytes of alignment; workers and counters need a cache line each. */
static int
make_workers(struct gw_dp *dp)
{
	size_t size = dp->config.workers * sizeof(struct gw_worker);
	uint32_t i;

	dp->workers = aligned_alloc(GW_CACHE_LINE, size);
	if (dp->workers == NULL)
		return GW_E_NOMEM;
	memset(dp->workers, 0, size);
	for (i = 0; i < dp->config.workers; i++) {
		struct gw_worker *worker = &dp->workers[i];

		worker->dp = dp;
		worker->index = i;
		worker->in_wanted = GW_IN_MESSAGES;
		worker->wake = (struct gw_source){GW_SOURCE_WAKE, -1};
		worker->urgent = (struct gw_source){GW_SOURCE_URGENT, -1};
		worker->epoll_fd = -1;
	}
	for (i = 0; i < dp->config.workers; i++) {
		struct gw_worker *worker = &dp->workers[i];

		worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		worker->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		worker->urgent.fd = epoll_create1(EPOLL_CLOEXEC);
		if (!watch_own(worker, &worker->wake) ||
			!watch_own(worker, &worker->urgent))
			return GW_E_SYS;
	}
	return GW_OK;
}

int
gw_queue_epoll(const struct gw_dp *dp, const struct gw_queue *queue)
{
	const struct gw_worker *worker = &dp->workers[queue->worker];

	return queue->urgent ? worker->urgent.fd : worker->epoll_fd;
}

/* The SPI table is large and sparse: mapped, so that memory is used only where SPIs are. */
static int
make_tables(struct gw_dp *dp)
{
	void *memory;

	memory = mmap(NULL, GW_SPI_SLOTS * sizeof(dp->spi_table[0]),
		PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		0);
	if (memory == MAP_FAILED)
		return GW_E_NOMEM;
	dp->spi_table = memory;
	dp->tunnel_buckets = 16;
	while (dp->tunnel_buckets < dp->config.tunnels_max)
		dp->tunnel_buckets *= 2;
	dp->tunnels = calloc(dp->tunnel_buckets, sizeof(dp->tunnels[0]));
	return dp->tunnels == NULL ? GW_E_NOMEM : GW_OK;
}

int
gw_dp_new(const struct gw_dp_config *config, struct gw_dp **out)
{
	struct gw_dp *dp;
	int err;

	if (out == NULL)
		return GW_E_INVALID;
	*out = NULL;
	if (config == NULL || config->workers == 0 || config->workers > GW_WORKERS_MAX ||
		config->tunnels_max == 0 || config->tunnels_max > TUNNELS_MAX)
		return GW_E_INVALID;
	err = gw_cipher_self_test();
	if (err != GW_OK)
		return err;
	dp = calloc(1, sizeof(*dp));
	if (dp == NULL)
		return GW_E_NOMEM;
	dp->config = *config;
	atomic_init(&dp->epoch, 1);
	atomic_init(&dp->punt_fd, config->punt_fd);
	(void)pthread_mutex_init(&dp->control, NULL);
	err = make_tables(dp);
	if (err == GW_OK)
		err = make_workers(dp);
	if (err != GW_OK) {
		gw_dp_free(dp);
		return err;
	}
	*out = dp;
	return GW_OK;
}

static void
free_tunnels(struct gw_dp *dp)
{
	struct gw_tunnel_state *tunnel;
	uint32_t i;

	for (i = 0; dp->tunnels != NULL && i < dp->tunnel_buckets; i++) {
		while ((tunnel = dp->tunnels[i]) != NULL) {
			dp->tunnels[i] = tunnel->next;
			gw_tunnel_free(tunnel);
		}
	}
	free(dp->tunnels);
}

void
gw_dp_free(struct gw_dp *dp)
{
	struct gw_socket_state *sock;
	uint32_t i;

	if (dp == NULL)
		return;
	gw_reclaim(dp);
	free_tunnels(dp);
	while ((sock = dp->sockets) != NULL) {
		dp->sockets = sock->next;
		gw_socket_free(sock);
	}
	for (i = 0; dp->workers != NULL && i < dp->config.workers; i++) {
		close_fd(dp->workers[i].epoll_fd);
		close_fd(dp->workers[i].wake.fd);
		close_fd(dp->workers[i].urgent.fd);
	}
	free(dp->workers);
	if (dp->spi_table != NULL)
		(void)munmap(dp->spi_table, GW_SPI_SLOTS * sizeof(dp->spi_table[0]));
	(void)pthread_mutex_destroy(&dp->control);
	free(dp);
}

int
gw_dp_set_punt(struct gw_dp *dp, int fd)
{
	if (dp == NULL)
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	atomic_store(&dp->punt_fd, fd);
	/* The old one is the caller's to close from here on: no worker may be sending on it. */
	gw_quiesce(dp);
	gw_control_unlock(dp);
	return GW_OK;
}
