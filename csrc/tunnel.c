/* Tunnels: adding, removing, and what may be changed on them while packets pass. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "internal.h"

#define MTU_MAX 65535u

/* A rate cap lets this much time's worth pass at once, and at least this many bytes. */
#define BURST_NS    UINT64_C(20000000)
#define BURST_BYTES UINT64_C(131072)
/* So much may wait behind a rate cap: this part of a second's worth, but some super-packets, and a ring's most. */
#define HOLD_PART  20u
#define HOLD_LEAST UINT64_C(131072)
#define HOLD_MOST  UINT64_C(1048576)
/* What waits for the first outbound SA longer than this is of no use to anybody any more. */
#define STALE_NS UINT64_C(1000000000)
/* More packets than a queue holds. */
#define STALE_MOST 4096u

static struct gw_tunnel_state **
bucket_of(const struct gw_dp *dp, uint32_t id)
{
	/* Knuth's multiplier: ids are small and consecutive, or spread, and both fill the table. */
	return &dp->tunnels[(id * 2654435761u) & (dp->tunnel_buckets - 1)];
}

struct gw_tunnel_state *
gw_tunnel_find(const struct gw_dp *dp, uint32_t id)
{
	struct gw_tunnel_state *tunnel = *bucket_of(dp, id);

	while (tunnel != NULL && tunnel->id != id)
		tunnel = tunnel->next;
	return tunnel;
}

static void
free_shapers(struct gw_tunnel_state *tunnel)
{
	uint32_t i;

	for (i = 0; i < tunnel->queue_count; i++)
		gw_shaper_free(atomic_load(&tunnel->queue[i].shaper));
}

void
gw_tunnel_free(void *object)
{
	struct gw_tunnel_state *tunnel = object;
	struct gw_inbound *inbound;
	uint32_t i;

	while ((inbound = tunnel->inbound) != NULL) {
		tunnel->inbound = inbound->next;
		gw_inbound_free(inbound);
	}
	for (i = 0; i < GW_OUTBOUND_MAX; i++)
		gw_outbound_free(atomic_load(&tunnel->outbound[i]));
	free(atomic_load(&tunnel->path));
	free(atomic_load(&tunnel->options));
	for (i = 0; i < tunnel->queue_count; i++)
		(void)close(tunnel->queue[i].source.fd);
	free_shapers(tunnel);
	free(tunnel->counters);
	free(tunnel);
}

int
gw_tunnel_set_path(
	struct gw_dp *dp, struct gw_tunnel_state *tunnel, const struct gw_path *path)
{
	struct gw_path_state *state = calloc(1, sizeof(*state));
	uint32_t i;

	if (state == NULL)
		return GW_E_NOMEM;
	state->path = *path;
	state->remote_len = gw_path_remote(path, &state->remote);
	for (i = 0; i < dp->config.workers; i++)
		state->socket[i] = gw_socket_for(dp, path, i);
	gw_retire(dp, free, atomic_exchange(&tunnel->path, state));
	/* The next change is news again, however soon it comes. */
	atomic_store_explicit(&tunnel->path_told_at_ns, 0, memory_order_relaxed);
	return GW_OK;
}

static bool
options_ok(const struct gw_tunnel_options *options)
{
	return options->mtu >= GW_MTU_MIN && options->mtu <= MTU_MAX &&
	       options->copy_dscp <= 1;
}

/* How many bytes may wait: longer than TCP's bursts, shorter than what voice notices. */
static uint32_t
hold_bytes(uint64_t bytes_per_s)
{
	uint64_t bytes = bytes_per_s / HOLD_PART;

	if (bytes < HOLD_LEAST)
		return (uint32_t)HOLD_LEAST;
	return (uint32_t)(bytes < HOLD_MOST ? bytes : HOLD_MOST);
}

static int
make_shapers(struct gw_dp *dp, struct gw_tunnel_state *tunnel,
	const struct gw_tunnel_options *options)
{
	uint32_t i;
	int err = GW_OK;

	for (i = 0; options->rate_bps > 0 && i < tunnel->queue_count && err == GW_OK; i++)
		err = gw_shaper_make(dp, &tunnel->queue[i]);
	return err;
}

static int
set_options(struct gw_dp *dp, struct gw_tunnel_state *tunnel,
	const struct gw_tunnel_options *options)
{
	struct gw_options_state *state = calloc(1, sizeof(*state));
	uint64_t bytes_per_s = (options->rate_bps + 7) / 8;
	uint64_t burst_ns = BURST_NS;

	int err;

	if (state == NULL)
		return GW_E_NOMEM;
	err = make_shapers(dp, tunnel, options);
	if (err != GW_OK) {
		free(state);
		return err;
	}
	if (bytes_per_s > 0 &&
		BURST_BYTES * UINT64_C(1000000000) / bytes_per_s > burst_ns)
		burst_ns = BURST_BYTES * UINT64_C(1000000000) / bytes_per_s;
	state->options = *options;
	state->rate = gw_rate_make(bytes_per_s, burst_ns);
	state->hold_bytes = hold_bytes(bytes_per_s);
	gw_retire(dp, free, atomic_exchange(&tunnel->options, state));
	return GW_OK;
}

/* Is it a descriptor that gives packets as we read them? A test's socket pair, which is no TUN, is taken as it is. */
static bool
queue_ok(int fd)
{
	const int wanted = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
	struct ifreq request;
	int size = 0;

	memset(&request, 0, sizeof(request));
	if (fd < 0)
		return false;
	if (ioctl(fd, TUNGETIFF, &request) != 0)
		return errno != EBADF && errno != EBADFD;
	return (request.ifr_flags & wanted) == wanted &&
	       ioctl(fd, TUNGETVNETHDRSZ, &size) == 0 && size == (int)GW_VNET_LEN;
}

/* How many shares there are, if none is left out. */
static uint32_t
share_count(const struct gw_tunnel *config)
{
	uint32_t i, shares = 0;

	for (i = 0; i < config->queue_count; i++)
		if (config->queue[i].share < GW_WORKERS_MAX)
			shares |= 1u << config->queue[i].share;
	return (uint32_t)__builtin_popcount(shares);
}

static bool
tunnel_ok(const struct gw_dp *dp, const struct gw_tunnel *config)
{
	uint32_t i;

	if (config->id == 0 || config->queue_count == 0 ||
		config->queue_count > GW_QUEUES_MAX || !gw_path_ok(&config->path) ||
		!options_ok(&config->options))
		return false;
	for (i = 0; i < config->queue_count; i++)
		if (config->queue[i].share >= share_count(config) ||
			!queue_ok(config->queue[i].fd))
			return false;
	return share_count(config) <= dp->config.workers;
}

/*
 * Who takes the next share if all have as many: the sum of the digits of the tunnel's number, in
 * the base of the number of workers. Of the two, four or eight tunnels of a connection the first
 * carries the packets, and these must not all come to one worker, as they would by turns.
 */
static uint32_t
first_choice(uint32_t tunnel, uint32_t workers)
{
	uint32_t sum = 0;

	for (; workers > 1 && tunnel > 0; tunnel /= workers)
		sum += tunnel % workers;
	return sum;
}

/* The worker with the fewest tunnels takes the next share; with all, each has one. */
static uint32_t
least_loaded(const struct gw_dp *dp, uint32_t tunnel, uint32_t taken)
{
	uint32_t i, at, workers = dp->config.workers, best = GW_WORKERS_MAX;

	for (i = 0; i < workers; i++) {
		at = (first_choice(tunnel, workers) + i) % workers;
		if ((taken & 1u << at) == 0 &&
			(best == GW_WORKERS_MAX ||
				dp->workers[at].tunnel_count <
					dp->workers[best].tunnel_count))
			best = at;
	}
	return best;
}

static void
assign_queues(
	struct gw_dp *dp, struct gw_tunnel_state *tunnel, const struct gw_tunnel *config)
{
	uint32_t i, worker, of_share[GW_WORKERS_MAX];

	for (i = 0; i < share_count(config); i++) {
		of_share[i] = least_loaded(dp, tunnel->id, tunnel->workers);
		tunnel->workers |= 1u << of_share[i];
	}
	for (i = 0; i < tunnel->queue_count; i++) {
		struct gw_queue *queue = &tunnel->queue[i];

		worker = of_share[config->queue[i].share];
		queue->source = (struct gw_source){GW_SOURCE_QUEUE, config->queue[i].fd};
		queue->tunnel = tunnel;
		queue->worker = worker;
		queue->urgent = config->queue[i].urgent != 0;
		if (tunnel->write_queue[worker] == NULL)
			tunnel->write_queue[worker] = queue;
	}
	for (i = 0; i < dp->config.workers; i++)
		if (tunnel->write_queue[i] == NULL)
			tunnel->write_queue[i] = &tunnel->queue[i % tunnel->queue_count];
}

static void
unwatch(struct gw_dp *dp, struct gw_tunnel_state *tunnel, uint32_t count)
{
	uint32_t i;

	for (i = 0; i < count; i++) {
		(void)epoll_ctl(gw_queue_epoll(dp, &tunnel->queue[i]), EPOLL_CTL_DEL,
			tunnel->queue[i].source.fd, NULL);
		gw_shaper_unwatch(dp, &tunnel->queue[i]);
	}
}

/*
 * A TUN device has none of it, but names it whenever it wakes who waits. Without, nobody is told when the
 * device dies.
 */
#define DEATH EPOLLPRI

static int
watch_queue(struct gw_dp *dp, struct gw_queue *queue, int how, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = queue};

	return epoll_ctl(gw_queue_epoll(dp, queue), how, queue->source.fd, &event) == 0
		       ? GW_OK
		       : GW_E_SYS;
}

static int
watch(struct gw_dp *dp, struct gw_tunnel_state *tunnel)
{
	uint32_t i;

	for (i = 0; i < tunnel->queue_count; i++) {
		if (watch_queue(dp, &tunnel->queue[i], EPOLL_CTL_ADD, DEATH) != GW_OK) {
			unwatch(dp, tunnel, i);
			return GW_E_SYS;
		}
	}
	return GW_OK;
}

/* Drop what waits in a queue that no worker reads yet. */
static void
drop_stale(struct gw_tunnel_state *tunnel, const struct gw_queue *queue)
{
	uint8_t some[64];
	uint32_t count = 0;

	while (count < STALE_MOST && read(queue->source.fd, some, sizeof(some)) > 0)
		count++;
	gw_count(&tunnel->counters[queue->worker].drops[GW_DROP_NO_SA], count);
}

/*
 * Until the first outbound SA the kernel keeps what comes: a tunnel whose data plane was lost gets new keys
 * within a second, and its packets wait so long.
 */
void
gw_tunnel_read(struct gw_dp *dp, struct gw_tunnel_state *tunnel)
{
	bool stale = gw_now_ns() - tunnel->added_at_ns > STALE_NS;
	uint32_t i;

	if (tunnel->read)
		return;
	for (i = 0; i < tunnel->queue_count && stale; i++)
		drop_stale(tunnel, &tunnel->queue[i]);
	/* One that is dead is watched no more: nothing of it can be read either. */
	for (i = 0; i < tunnel->queue_count; i++)
		(void)watch_queue(dp, &tunnel->queue[i], EPOLL_CTL_MOD, EPOLLIN);
	tunnel->read = true;
}

/* Count the tunnel, or no more, among those of its workers. */
static void
count_tunnel(struct gw_dp *dp, const struct gw_tunnel_state *tunnel, bool more)
{
	uint32_t i;

	for (i = 0; i < dp->config.workers; i++) {
		if ((tunnel->workers & 1u << i) == 0)
			continue;
		if (more)
			dp->workers[i].tunnel_count++;
		else
			dp->workers[i].tunnel_count--;
	}
}

static struct gw_tunnel_state *
make_tunnel(struct gw_dp *dp, const struct gw_tunnel *config)
{
	struct gw_tunnel_state *tunnel = calloc(1, sizeof(*tunnel));
	size_t size = dp->config.workers * sizeof(struct gw_tunnel_counters);

	if (tunnel == NULL)
		return NULL;
	tunnel->id = config->id;
	tunnel->uso = config->uso != 0;
	tunnel->added_at_ns = gw_now_ns();
	tunnel->counters = aligned_alloc(GW_CACHE_LINE, size);
	if (tunnel->counters == NULL ||
		gw_tunnel_set_path(dp, tunnel, &config->path) != GW_OK ||
		set_options(dp, tunnel, &config->options) != GW_OK) {
		gw_tunnel_free(tunnel);
		return NULL;
	}
	memset(tunnel->counters, 0, size);
	return tunnel;
}

static int
insert_tunnel(struct gw_dp *dp, const struct gw_tunnel *config)
{
	struct gw_tunnel_state *tunnel;
	int err;

	if (!tunnel_ok(dp, config) || dp->tunnel_count == dp->config.tunnels_max)
		return GW_E_INVALID;
	if (gw_tunnel_find(dp, config->id) != NULL)
		return GW_E_EXISTS;
	tunnel = make_tunnel(dp, config);
	if (tunnel == NULL)
		return GW_E_NOMEM;
	tunnel->queue_count = config->queue_count;
	assign_queues(dp, tunnel, config);
	err = watch(dp, tunnel);
	if (err == GW_OK) {
		err = make_shapers(dp, tunnel, &config->options);
		if (err != GW_OK)
			unwatch(dp, tunnel, tunnel->queue_count);
	}
	if (err != GW_OK) {
		/* The descriptors stay the caller's: no worker may still read one. */
		gw_quiesce(dp);
		free_shapers(tunnel);
		tunnel->queue_count = 0;
		gw_tunnel_free(tunnel);
		return err;
	}
	tunnel->next = *bucket_of(dp, tunnel->id);
	*bucket_of(dp, tunnel->id) = tunnel;
	dp->tunnel_count++;
	count_tunnel(dp, tunnel, true);
	return GW_OK;
}

int
gw_dp_add_tunnel(struct gw_dp *dp, const struct gw_tunnel *config)
{
	int err;

	if (dp == NULL || config == NULL)
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	err = insert_tunnel(dp, config);
	gw_control_unlock(dp);
	return err;
}

int
gw_dp_del_tunnel(struct gw_dp *dp, uint32_t id)
{
	struct gw_tunnel_state **at, *tunnel;
	struct gw_inbound *inbound;

	if (dp == NULL)
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	at = bucket_of(dp, id);
	while ((tunnel = *at) != NULL && tunnel->id != id)
		at = &tunnel->next;
	if (tunnel != NULL) {
		*at = tunnel->next;
		dp->tunnel_count--;
		count_tunnel(dp, tunnel, false);
		unwatch(dp, tunnel, tunnel->queue_count);
		for (inbound = tunnel->inbound; inbound != NULL; inbound = inbound->next)
			atomic_store(
				&dp->spi_table[inbound->spi & (GW_SPI_SLOTS - 1)], NULL);
		gw_retire(dp, gw_tunnel_free, tunnel);
	}
	gw_control_unlock(dp);
	return tunnel == NULL ? GW_E_NOENT : GW_OK;
}

int
gw_dp_set_options(struct gw_dp *dp, uint32_t id, const struct gw_tunnel_options *options)
{
	struct gw_tunnel_state *tunnel;
	int err;

	if (dp == NULL || options == NULL || !options_ok(options))
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	tunnel = gw_tunnel_find(dp, id);
	err = tunnel == NULL ? GW_E_NOENT : set_options(dp, tunnel, options);
	gw_control_unlock(dp);
	return err;
}

int
gw_dp_set_path(struct gw_dp *dp, uint32_t id, const struct gw_path *path)
{
	struct gw_tunnel_state *tunnel;
	int err;

	if (dp == NULL || path == NULL || !gw_path_ok(path))
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	tunnel = gw_tunnel_find(dp, id);
	err = tunnel == NULL ? GW_E_NOENT : gw_tunnel_set_path(dp, tunnel, path);
	gw_control_unlock(dp);
	return err;
}

int
gw_dp_set_carrier(struct gw_dp *dp, uint32_t id, bool up)
{
	struct gw_tunnel_state *tunnel;
	int err = GW_E_NOENT, carrier = up ? 1 : 0;

	if (dp == NULL)
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	tunnel = gw_tunnel_find(dp, id);
	if (tunnel != NULL)
		err = ioctl(tunnel->queue[0].source.fd, TUNSETCARRIER, &carrier) == 0
			      ? GW_OK
			      : GW_E_SYS;
	gw_control_unlock(dp);
	return err;
}
