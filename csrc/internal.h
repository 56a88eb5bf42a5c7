/*
 * The objects of the data plane and who may touch them.
 *
 * Two kinds of thread: workers, inside gw_dp_run(), and control, any other thread, one at a time
 * under dp->control. Control makes objects and publishes pointers to them; a worker loads a
 * pointer once per batch and uses the object until the batch ends. An object that is replaced or
 * removed goes to dp->retired and is freed when every worker has passed a batch since (epoch.c).
 * So workers take no lock, but for the one of an inbound SA, once per run of packets: after a
 * NAT rebinding the packets of one SA may come to two workers for a while.
 *
 *   dp --- spi_table[2^20] ---> inbound SA ---> tunnel ---> outbound SAs by slot (swapped)
 *   dp --- worker[] --- epoll ---> source: socket, or TUN queue ---> tunnel ---> path, options (swapped)
 *
 * Counters are written by one worker each and read by control: relaxed atomics, no locked
 * instructions.
 */
#ifndef GW_INTERNAL_H
#define GW_INTERNAL_H

#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE first: recvmmsg() and pthread_setaffinity_np()"
#endif

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "drop.h"
#include "esp.h"
#include "gso.h"
#include "gw_dp.h"
#include "merge.h"
#include "rate.h"
#include "selector.h"
#include "shape.h"

#define GW_SPI_SLOTS ((size_t)1 << GW_SPI_SLOT_BITS)
#define GW_SPI_MIN   256u

#define GW_CACHE_LINE 64

/* Bytes a TUN read may need: offload header and the largest packet. */
#define GW_READ_SIZE (GW_VNET_LEN + 65536u)
/* Where it is read to: the IP header behind the offload header then lies on a multiple of 16. */
#define GW_READ_AT 6u
/*
 * Control messages of one datagram: segment size and TOS byte, and the packet information that a
 * socket's maker may have asked for. A message that found no room would be lost without notice.
 */
#define GW_CONTROL_SIZE 128u
_Static_assert(2 * CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo)) <=
		       GW_CONTROL_SIZE,
	"GW_CONTROL_SIZE is too small");
/* The least MTU of a tunnel, and what ESP adds to an inner packet at most. */
#define GW_MTU_MIN  576u
#define GW_ESP_MORE 96u
/* Segments in one UDP_SEGMENT send: UDP_MAX_SEGMENTS of kernels before 6.9. */
#define GW_GSO_SEGMENTS 64u
/*
 * Largest UDP payload of one send. With its headers it stays below 64 KiB, the usual
 * gso_max_size: a frame that reaches it is cut by the kernel in software, which costs several times
 * as much. 80 = IPv6, UDP and Ethernet header with two VLAN tags, and some room.
 */
#define GW_GSO_BYTES (65535u - 80u)
/* Inner packets that are sealed side by side: what they touch stays in the first-level cache. */
#define GW_CHUNK 16u
/* Messages that one sendmmsg() carries. */
#define GW_OUT_MESSAGES 64u
/* Sealed bytes kept before they are sent: a full GSO message and the packets behind it. */
#define GW_OUT_SIZE (4u * 65536u)
/* Datagrams (each up to 64 KiB by GRO) that one recvmmsg() takes. */
#define GW_IN_MESSAGES 64u
#define GW_IN_SIZE     65536u
_Static_assert(GW_OUT_MESSAGES <= GW_IN_MESSAGES, "sendmmsg() uses recvmmsg()'s headers");
/* Segments of one SA opened side by side. */
#define GW_IN_RUN 64u
_Static_assert(GW_MERGE_SLOTS <= 64, "gw_in_batch.merge_used has a bit for each");

typedef _Atomic uint64_t gw_counter;

/* A counter that one thread writes and others read. */
static inline void
gw_count(gw_counter *counter, uint64_t add)
{
	atomic_store_explicit(counter,
		atomic_load_explicit(counter, memory_order_relaxed) + add,
		memory_order_relaxed);
}

static inline uint64_t
gw_counter_get(const gw_counter *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static inline void
gw_counter_set(gw_counter *counter, uint64_t value)
{
	atomic_store_explicit(counter, value, memory_order_relaxed);
}

struct gw_worker;
struct gw_tunnel_state;

/* ---- what epoll points at ---- */

enum gw_source_kind {
	GW_SOURCE_WAKE,
	GW_SOURCE_URGENT, /* the epoll set of the worker's urgent queues */
	GW_SOURCE_SOCKET,
	GW_SOURCE_QUEUE,
	GW_SOURCE_SHAPER
};

struct gw_source {
	enum gw_source_kind kind;
	int fd;
};

struct gw_socket_state {
	struct gw_source source;      /* first: epoll's pointer is a source */
	struct gw_socket config;      /* its fd is source.fd */
	struct gw_socket_state *next; /* control only */
};

struct gw_shaper;

struct gw_queue {
	struct gw_source source; /* first */
	struct gw_tunnel_state *tunnel;
	uint32_t worker;
	bool urgent;
	_Atomic(struct gw_shaper *) shaper; /* from the first rate cap on */
	/* Its worker's alone. */
	int64_t credit; /* bytes it may send of what waits for the cap */
	uint64_t turn;  /* when it was served last */
	bool lone;      /* it had one packet when it was last read until it was empty */
};

/* ---- tunnels ---- */

/* A path with everything that sending on it needs. Never changed: control makes another one. */
struct gw_path_state {
	struct gw_path path;
	struct sockaddr_storage remote;
	socklen_t remote_len;
	const struct gw_socket_state
		*socket[GW_WORKERS_MAX]; /* by worker; NULL = none has the address */
};

struct gw_options_state {
	struct gw_tunnel_options options;
	struct gw_rate_config rate;
	uint32_t hold_bytes; /* that may wait for the rate cap with each worker */
};

struct gw_inbound {
	uint32_t spi;
	bool esn;
	const struct gw_suite *suite;
	struct gw_tunnel_state *tunnel;
	struct gw_selectors *selectors;
	uint64_t soft_packets, hard_packets, soft_bytes, hard_bytes;
	struct gw_inbound *next; /* of the tunnel; control only */

	/* Under `lock`, held by a worker for one run of packets. */
	pthread_mutex_t lock;
	struct gw_cipher *cipher;
	struct gw_replay replay;
	uint64_t packets;
	uint64_t bytes;
	uint64_t last_at_ns;
	uint64_t notice_at_ns; /* not before this time is another notice tried */
	bool first_told;
	bool soft_told;
	bool hard_hit; /* a packet was refused */
	bool hard_told;
};

struct gw_outbound {
	uint32_t spi;
	const struct gw_suite *suite;
	struct gw_tunnel_state *tunnel;
	struct gw_selectors *selectors;
	uint64_t seq_max; /* last sequence number that may be used */
	uint32_t owner;   /* the worker that it is for; GW_WORKERS_MAX = all */
	uint64_t soft_packets, hard_packets, soft_bytes, hard_bytes;
	/* Of the workers that have a queue of the tunnel. */
	struct gw_cipher *cipher[GW_WORKERS_MAX];

	_Alignas(GW_CACHE_LINE) _Atomic uint64_t seq; /* last one reserved */
	_Atomic uint64_t bytes; /* of inner packets, reserved with the sequence numbers */
	gw_counter last_at_ns;
	gw_counter notice_at_ns;
	atomic_bool soft_told;
	atomic_bool hard_told;
};

struct gw_tunnel_counters {
	_Alignas(GW_CACHE_LINE) gw_counter out_packets;
	gw_counter out_bytes;
	gw_counter in_packets;
	gw_counter in_bytes;
	gw_counter out_esp_bytes;
	gw_counter in_esp_bytes;
	gw_counter out_at_ns;
	gw_counter in_at_ns;
	gw_counter drops[GW_DROP_COUNT];
};

struct gw_tunnel_state {
	uint32_t id;
	uint32_t queue_count;
	uint32_t workers; /* that read a queue of it: a bit each */
	bool uso;
	struct gw_queue queue[GW_QUEUES_MAX];
	/* By worker: where it writes inbound packets. */
	struct gw_queue *write_queue[GW_WORKERS_MAX];
	struct gw_tunnel_state *next; /* control only: same hash bucket */
	struct gw_inbound *inbound;   /* control only */
	uint64_t added_at_ns;         /* control only */
	bool read; /* control only: workers read the queues, from the first outbound SA on */

	_Atomic(struct gw_outbound *) outbound[GW_OUTBOUND_MAX];
	/* By worker: the SA among them that is for it alone, or NULL. */
	_Atomic(struct gw_outbound *) own[GW_WORKERS_MAX];
	/* Slots up to the last one in use. Up to 1, slot 0 alone decides. */
	_Atomic uint32_t outbound_count;
	_Atomic(struct gw_path_state *) path;
	_Atomic(struct gw_options_state *) options;

	struct gw_rate rate;
	uint32_t release_at
		[GW_WORKERS_MAX]; /* by worker and its alone: the queue whose turn it is */
	uint32_t held[GW_WORKERS_MAX]; /* likewise: bytes that wait in its queues */
	struct gw_rate icmp_rate;
	/* Until then UDP_SEGMENT is not used: the kernel refused it. */
	gw_counter gso_retry_at_ns;
	_Atomic uint64_t path_told_at_ns;
	_Atomic uint64_t mtu_told_at_ns;
	struct gw_tunnel_counters *counters; /* by worker */
};

/* ---- workers ---- */

/* One datagram, or one GSO run of datagrams, that waits to be sent. */
struct gw_out_message {
	struct gw_tunnel_state *tunnel;
	const struct gw_path_state *path;
	uint32_t start; /* offset in worker->out */
	uint32_t len;
	uint32_t inner_bytes;
	uint16_t size; /* bytes of every segment but the last */
	uint16_t count;
	uint8_t tos;
	bool closed; /* its last segment was shorter */
	bool own;    /* its worker has an SA of its own */
};

/*
 * What a worker sends in one batch. The pointers are those of the tunnel whose queue is read, loaded
 * once per batch; messages of tunnels before it may still wait for the same socket.
 */
struct gw_out_batch {
	struct gw_tunnel_state *tunnel;
	struct gw_outbound *sa;  /* of slot 0; with several slots, of the packet */
	struct gw_outbound *own; /* the worker's, or NULL */
	uint32_t slots;
	const struct gw_path_state *path;
	const struct gw_options_state *options;
	const struct gw_socket_state *socket;
	struct gw_tunnel_counters *counters;
	uint64_t now_ns;
	bool gso;
	bool tail;     /* a run of equal segments ends with a keepalive */
	uint32_t used; /* bytes of worker->out in use */
	uint32_t message_count;
	struct gw_out_message messages[GW_OUT_MESSAGES];
};

/* What a worker knows of one received datagram. */
struct gw_in_message {
	uint8_t *data;
	size_t len;
	uint32_t size; /* of one segment: UDP_GRO's, or len */
	uint8_t tos;
	const struct sockaddr_storage *from;
};

struct gw_in_batch {
	const struct gw_socket_state *socket;
	uint64_t now_ns;
	struct gw_inbound *sa; /* of the run */
	uint32_t run_count;
	struct gw_cipher_op ops[GW_IN_RUN];
	uint32_t op_message[GW_IN_RUN]; /* which received datagram each came in */
	uint64_t merge_used; /* slots in use, one bit each; 0 between batches */
	struct gw_merge merge[GW_MERGE_SLOTS];
	struct gw_in_message messages[GW_IN_MESSAGES];
};

struct gw_worker_counters {
	gw_counter wakeups;
	gw_counter udp_batches_in;
	gw_counter udp_segments_in;
	gw_counter udp_batches_out;
	gw_counter udp_segments_out;
	gw_counter tun_reads;
	gw_counter tun_writes;
	gw_counter merged;
	gw_counter punted;
	gw_counter drops[GW_DROP_COUNT];
};

/* The memory a worker carries packets in: one mapping, made when it starts to run. */
struct gw_buffers {
	struct gw_out_batch out_batch;
	struct gw_in_batch in_batch;
	struct mmsghdr headers[GW_IN_MESSAGES]; /* of recvmmsg() or sendmmsg() */
	struct iovec parts[GW_IN_MESSAGES]
			  [2]; /* [1]: a keepalive behind a run of segments */
	struct sockaddr_storage from[GW_IN_MESSAGES];
	_Alignas(GW_CACHE_LINE) uint8_t control[GW_IN_MESSAGES][GW_CONTROL_SIZE];
	_Alignas(GW_CACHE_LINE) uint8_t read[GW_READ_AT + GW_READ_SIZE];
	_Alignas(GW_CACHE_LINE) uint8_t
		scratch[65536]; /* a packet that is to be fragmented; an ICMP error */
	_Alignas(GW_CACHE_LINE) uint8_t out[GW_OUT_SIZE];
	_Alignas(GW_CACHE_LINE) uint8_t in[GW_IN_MESSAGES][GW_IN_SIZE];
};

struct gw_worker {
	_Alignas(GW_CACHE_LINE) struct gw_dp *dp;
	uint32_t index;
	int epoll_fd;
	struct gw_source wake;   /* an eventfd: stop */
	struct gw_source urgent; /* ready if one of its urgent queues is */
	uint64_t urgent_at_ns;   /* when these were looked at */
	uint64_t turn;           /* counts what epoll_wait() told */
	bool running;            /* under dp->control */
	uint32_t tunnel_count;   /* under dp->control: tunnels of which it reads queues */
	uint32_t in_wanted;      /* datagrams the next recvmmsg() asks for */
	struct gw_buffers *buffers; /* while it runs */
	/* Epoch in which its batch began; 0 = idle. */
	_Alignas(GW_CACHE_LINE) _Atomic uint64_t seen;
	struct gw_worker_counters counters;
};

/* Something to free when no worker can hold it any more. */
struct gw_retired {
	struct gw_retired *next;
	uint64_t epoch;
	void (*free)(void *object);
	void *object;
};

struct gw_dp {
	struct gw_dp_config config;
	pthread_mutex_t control;
	struct gw_worker *workers;
	_Atomic(struct gw_inbound *) *spi_table; /* GW_SPI_SLOTS */
	_Atomic uint64_t epoch;                  /* from 1 */
	atomic_bool stop;
	atomic_int punt_fd;
	_Atomic uint64_t unknown_spi_at_ns; /* no punt of an unknown SPI before */

	/* Under `control`. */
	struct gw_socket_state *sockets;
	struct gw_tunnel_state **tunnels; /* hash table by id */
	uint32_t tunnel_buckets;          /* power of two */
	uint32_t tunnel_count;
	struct gw_retired *retired;
	atomic_bool retired_any; /* read by workers */
	/* A worker has passed a batch: gw_reclaim() may find something. */
	atomic_bool reclaim_wanted;
};

/* ---- epoch.c ---- */

/* Called by a worker around each batch. */
void gw_worker_enter(struct gw_worker *worker);
void gw_worker_leave(struct gw_worker *worker);

/*
 * Free `object` by `free_fn` once every worker has passed a batch; at once if all are idle. The
 * object must be unreachable for new batches. Under dp->control. Never fails: without memory for
 * the note it waits for the workers.
 */
void gw_retire(struct gw_dp *dp, void (*free_fn)(void *), void *object);

/* Unlock dp->control; never by other means. Does what a worker could not do meanwhile. */
void gw_control_unlock(struct gw_dp *dp);

/* Free what can be freed. Under dp->control. */
void gw_reclaim(struct gw_dp *dp);

/* Wait until every worker has passed a batch. Under dp->control. */
void gw_quiesce(struct gw_dp *dp);

/* ---- dp.c (the epoll set that has a queue), worker.c, inbound.c, open.c, to_tun.c, outbound.c, send.c ---- */

int gw_queue_epoll(const struct gw_dp *dp, const struct gw_queue *queue);
uint64_t gw_now_ns(void);

/* Read one batch from a socket and carry it to the TUN devices. */
void gw_inbound_batch(struct gw_worker *worker, const struct gw_socket_state *sock);

/* Where a datagram that came in on a socket is from, as a path. */
void gw_path_of(const struct gw_socket_state *sock, const struct sockaddr_storage *from,
	struct gw_path *out);

/* Put an ESP packet of received datagram `message` into the run of its SA. */
void gw_open_add(struct gw_worker *worker, struct gw_in_batch *batch, uint32_t message,
	uint8_t *esp, size_t len);
/* Open the run, if there is one, and deliver its packets. */
void gw_open_run(struct gw_worker *worker, struct gw_in_batch *batch);

/* Merge an inner packet with what came before it, or write it now. It is borrowed until the batch ends. */
void gw_tun_merge(struct gw_worker *worker, struct gw_in_batch *batch,
	struct gw_tunnel_state *tunnel, uint8_t *packet, const struct gw_packet *info);
/* Write all that was merged. */
void gw_tun_flush(struct gw_worker *worker, struct gw_in_batch *batch);

/* Read one batch from a TUN queue and carry it to the network. False if the queue is dead: errno says of what. */
bool gw_outbound_batch(struct gw_worker *worker, struct gw_queue *queue);
/* The same, but little may wait for what others have for the same socket, until gw_out_flush(). */
bool gw_outbound_gather(struct gw_worker *worker, struct gw_queue *queue);

/* Carry what has waited for the rate cap, as far as it lets pass now. */
void gw_outbound_release(struct gw_worker *worker, struct gw_shaper *shaper);

/* Begin, fill, end and send what a batch sends. */
void gw_out_begin(struct gw_worker *worker, struct gw_out_batch *batch,
	struct gw_tunnel_state *tunnel);
/* Room for `need` bytes: sends what is there if it must. Returns the place, or NULL if need is more than the buffer. */
uint8_t *gw_out_room(struct gw_worker *worker, struct gw_out_batch *batch, size_t need);
/* Add a sealed packet that lies at gw_out_room()'s place or right behind the last one added. */
void gw_out_add(struct gw_worker *worker, struct gw_out_batch *batch, const uint8_t *esp,
	size_t len, size_t inner_len, uint8_t tos);
/* The tunnel has no more in this turn: send, unless it is so little that others may be sent with it. */
void gw_out_end(struct gw_worker *worker, struct gw_out_batch *batch);
void gw_out_flush(struct gw_worker *worker, struct gw_out_batch *batch);

/* Write a packet with its offload header to the tunnel's TUN. False (counted) if the kernel refused it. */
bool gw_tun_write(struct gw_worker *worker, struct gw_tunnel_state *tunnel,
	struct iovec *parts, size_t count);

/* ---- sa.c: called by workers ---- */

/* Reserve bytes of the SA's life. False if it has not that many left. */
bool gw_outbound_reserve_bytes(struct gw_outbound *sa, uint64_t bytes);
/* Reserve up to `count` sequence numbers from *first on. They are never given back. */
uint32_t gw_outbound_reserve_seq(struct gw_outbound *sa, uint32_t count, uint64_t *first);

/* ---- tunnel.c, sa.c, socket.c: under dp->control ---- */

struct gw_tunnel_state *gw_tunnel_find(const struct gw_dp *dp, uint32_t id);
/* These are for gw_retire(): they take the object's pointer, and NULL. */
void gw_tunnel_free(void *tunnel);
void gw_inbound_free(void *sa);
void gw_outbound_free(void *sa);
struct gw_inbound *gw_inbound_find(const struct gw_dp *dp, uint32_t spi);
/* Have the workers read the tunnel's queues from now on, if they do not yet. */
void gw_tunnel_read(struct gw_dp *dp, struct gw_tunnel_state *tunnel);
/* Make the path of a tunnel again, for other sockets or another path. GW_E_NOMEM. */
GW_MUST_CHECK int gw_tunnel_set_path(
	struct gw_dp *dp, struct gw_tunnel_state *tunnel, const struct gw_path *path);
void gw_socket_free(void *sock);
/*
 * Send one datagram in IP fragments, since it is larger than the path's MTU. What another thread
 * sends on the socket in this moment may be fragmented as well.
 */
ssize_t gw_send_in_fragments(const struct gw_socket *sock, const struct msghdr *header);
const struct gw_socket_state *gw_socket_for(
	const struct gw_dp *dp, const struct gw_path *path, uint32_t worker);
/* The remote end of a path as a socket address. */
socklen_t gw_path_remote(const struct gw_path *path, struct sockaddr_storage *out);
bool gw_path_ok(const struct gw_path *path);

/* ---- punt.c: called by workers ---- */

/* Send one record. False if there is no punt socket or it is full. */
bool gw_punt_send(struct gw_worker *worker, const struct gw_punt *record,
	const void *data, size_t len);
/* Tell of an SA: first packet, soft or hard limit. */
bool gw_punt_sa(
	struct gw_worker *worker, enum gw_punt_type type, uint32_t tunnel, uint32_t spi);

#endif
