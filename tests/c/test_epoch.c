/*
 * What a worker was told of, and control removed before it could look: the linker puts a pause
 * between epoll_wait() and the worker, and in other places, so that the order of things is always the
 * worst one.
 */
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "aead.h"
#include "peer.h"

static atomic_bool armed;
static atomic_int threads_started;
static atomic_bool armed_in_batch, armed_refusal, armed_read, armed_dead;
static atomic_bool returned;
static _Thread_local bool armed_unlock, has_waited;
static atomic_int workers_running;
static sem_t told, go_on, refused;

int __real_epoll_wait(int fd, struct epoll_event *events, int max, int timeout);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout);
int __real_recvmmsg(int fd, struct mmsghdr *headers, unsigned count, int flags,
	struct timespec *wait);
int __wrap_recvmmsg(int fd, struct mmsghdr *headers, unsigned count, int flags,
	struct timespec *wait);
int __real_pthread_mutex_trylock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *lock);
int __real_pthread_mutex_unlock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *lock);
int __real_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int __wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
ssize_t __real_read(int fd, void *data, size_t size);
ssize_t __wrap_read(int fd, void *data, size_t size);
int __real_gw_cipher_start_thread(void);
int __wrap_gw_cipher_start_thread(void);

static void
pause_if(atomic_bool *wanted)
{
	if (!atomic_exchange(wanted, false))
		return;
	CHECK(sem_post(&told) == 0);
	CHECK(sem_wait(&go_on) == 0);
}

int
__wrap_epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
	int count;

	if (!has_waited)
		atomic_fetch_add(&workers_running, 1);
	has_waited = true;
	count = __real_epoll_wait(fd, events, max, timeout);

	if (count > 0)
		pause_if(&armed);
	return count;
}

int
__wrap_recvmmsg(
	int fd, struct mmsghdr *headers, unsigned count, int flags, struct timespec *wait)
{
	pause_if(&armed_in_batch);
	return __real_recvmmsg(fd, headers, count, flags, wait);
}

int
__wrap_pthread_mutex_trylock(pthread_mutex_t *lock)
{
	int error = __real_pthread_mutex_trylock(lock);

	if (error != 0)
		CHECK(sem_post(&refused) == 0);
	return error;
}

/* The worker ends its batch while control still holds the lock. */
int
__wrap_pthread_mutex_unlock(pthread_mutex_t *lock)
{
	if (armed_unlock) {
		armed_unlock = false;
		CHECK(sem_post(&go_on) == 0);
		CHECK(sem_wait(&refused) == 0);
	}
	return __real_pthread_mutex_unlock(lock);
}

/* A refusal reaches the caller when a worker already reads the queue that was taken before. */
int
__wrap_epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	int error = __real_epoll_ctl(epoll, op, fd, event);

	if (error != 0 && atomic_exchange(&armed_refusal, false))
		CHECK(sem_wait(&told) == 0);
	return error;
}

ssize_t
__wrap_read(int fd, void *data, size_t size)
{
	ssize_t len;
	int i;

	if (atomic_exchange(&armed_read, false)) {
		CHECK(sem_post(&told) == 0);
		for (i = 0; i < 100 && !atomic_load(&returned); i++)
			(void)poll(NULL, 0, 1);
		CHECK(!atomic_load(&returned));
	}
	len = __real_read(fd, data, size);
	if (len < 0 && atomic_exchange(&armed_dead, false))
		errno = EBADFD;
	return len;
}

int
__wrap_gw_cipher_start_thread(void)
{
	atomic_fetch_add(&threads_started, 1);
	return __real_gw_cipher_start_thread();
}

static void
begin_running(void)
{
	atomic_store(&workers_running, 0);
	begin();
	while (atomic_load(&workers_running) < (int)WORKERS)
		(void)poll(NULL, 0, 1);
}

/* The next worker that is told of something stops before it looks. */
static void
arm(void)
{
	atomic_store(&armed, true);
}

static void
wait_told(void)
{
	CHECK(sem_wait(&told) == 0);
}

static void
let_go(void)
{
	CHECK(sem_post(&go_on) == 0);
}

static void
test_a_removed_tunnel_is_not_read(void)
{
	size_t len = make_packet(packet, &udp4, 100, &random_state);

	begin_running();
	arm();
	tun_put(plane.tun[0], NULL, packet, len);
	wait_told();
	CHECK(gw_dp_del_tunnel(plane.dp, TUNNEL) == GW_OK);
	let_go();
	end();
}

static void
test_a_removed_socket_is_not_read(void)
{
	struct gw_socket sock = {
		.family = 4, .encap = GW_ENCAP_UDP, .address = {127, 0, 0, 1}};

	begin_running();
	sock.port = plane.port;
	arm();
	udp_send("\xff", 1);
	wait_told();
	CHECK(gw_dp_del_socket(plane.dp, &sock) == GW_OK);
	let_go();
	end();
}

static void
test_what_stays_is_read_after_a_change(void)
{
	struct gw_tunnel config;

	begin_running();
	config = tunnel_config(&plane, peer_port, TUNNEL);
	arm();
	udp_send("\xff", 1);
	wait_told();
	CHECK(gw_dp_set_options(plane.dp, TUNNEL, &config.options) == GW_OK);
	let_go();
	wait_drops(&plane, GW_DROP_KEEPALIVE, 1);
	end();
}

/* Its TUN queue is closed though no packet comes any more: a device of that name may be made again. */
static void
test_a_removed_tunnel_is_freed_without_another_batch(void)
{
	uint8_t data;

	begin_running();
	atomic_store(&armed_in_batch, true);
	udp_send("\xff", 1);
	wait_told();
	armed_unlock = true;
	CHECK(gw_dp_del_tunnel(plane.dp, TUNNEL) == GW_OK);
	wait_readable(plane.tun[0]);
	CHECK(recv(plane.tun[0], &data, 1, 0) == 0);
	end();
}

/* On failure descriptors stay the caller's: no worker reads them any more. */
static void
test_a_refused_tunnel_leaves_its_descriptors(void)
{
	struct gw_tunnel config;
	int pair[2], file;

	begin_running();
	config = tunnel_config(&plane, peer_port, TUNNEL + 1);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
	file = open("/dev/null", O_RDWR); /* epoll takes none (EPERM) */
	CHECK(file >= 0);
	config.queue_count = 2;
	config.queue[0].fd = pair[0];
	config.queue[1].fd = file;
	CHECK(close(pair[1]) ==
		0); /* dead, which a worker is told of without an SA too */
	atomic_store(&armed_refusal, true);
	atomic_store(&armed_read, true);
	CHECK(gw_dp_add_tunnel(plane.dp, &config) == GW_E_SYS);
	atomic_store(&returned, true);
	CHECK(close(pair[0]) == 0 && close(file) == 0);
	end();
}

/* The record says what the queue died of, not what the kernel said of the packets read before. */
static void
test_a_dead_queue_is_told_with_its_error(void)
{
	struct gw_vnet vnet = {.flags = GW_VNET_NEEDS_CSUM,
		.gso_type = GW_VNET_GSO_UDP_L4,
		.gso_size = 1000,
		.csum_start = 20,
		.csum_offset = 6};
	struct gw_tunnel config;
	struct gw_punt record;
	char data[4096], wanted[32];

	begin_running();
	config = tunnel_config(&plane, peer_port, TUNNEL);
	memset(config.path.remote, 0xff, 4); /* may not be sent to: EACCES */
	CHECK(gw_dp_set_path(plane.dp, TUNNEL, &config.path) == GW_OK);
	atomic_store(&armed_dead, true);
	/* So many that they do not wait for other tunnels' packets. */
	tun_put(plane.tun[0], &vnet, packet,
		make_packet(packet, &udp4, 61000, &random_state));
	(void)punt_get(&plane, GW_PUNT_WORKER_FAILED, &record, (uint8_t *)data);
	CHECK(drops(&plane, GW_DROP_SEND) == 61);
	(void)snprintf(wanted, sizeof(wanted), "errno %d", EBADFD);
	data[record.length] = 0;
	CHECK(strstr(data, wanted) != NULL);
	end();
}

static void
test_a_worker_makes_what_its_thread_needs(void)
{
	atomic_store(&threads_started, 0);
	begin_running();
	/* A worker that serves has done so before. */
	udp_send("\xff", 1);
	wait_drops(&plane, GW_DROP_KEEPALIVE, 1);
	CHECK(atomic_load(&threads_started) > 0);
	end();
	CHECK(atomic_load(&threads_started) == WORKERS);
}

int
main(void)
{
	CHECK(sem_init(&told, 0, 0) == 0 && sem_init(&go_on, 0, 0) == 0 &&
		sem_init(&refused, 0, 0) == 0);
	test_what_stays_is_read_after_a_change();
	test_a_removed_tunnel_is_not_read();
	test_a_removed_socket_is_not_read();
	test_a_removed_tunnel_is_freed_without_another_batch();
	test_a_refused_tunnel_leaves_its_descriptors();
	test_a_dead_queue_is_told_with_its_error();
	test_a_worker_makes_what_its_thread_needs();
	return 0;
}
