/*
 * gw_dp.h - the fast path's interface. THE ABI: Python's binding reads the part between the
 * two cffi marks, so what stands there is what both sides know.
 *
 * A data plane (struct gw_dp) owns TUN queues, UDP and raw ESP sockets, tunnels and their
 * ESP SAs, and carries packets between them in worker threads. It parses strangers' packets
 * and nothing else: no IKE, no files, no names.
 *
 * Threads. gw_dp_run() is called once per worker, each from a thread of its own, and returns
 * only after gw_dp_stop(). Every other gw_dp_ function is a control function: call it from
 * any thread but a worker; the data plane serialises control calls itself. Control functions
 * may be called before, while and after the workers run.
 *
 * Errors. Functions return GW_OK or a negative enum gw_err; gw_strerror() gives the text.
 *
 * Numbers are in host byte order unless a name ends in _be; addresses are bytes in network
 * order, an IPv4 address in the first 4 of 16 and zeros behind it: addresses are compared whole.
 *
 * Descriptors are *taken*: from a successful call on, the data plane closes them. On failure
 * they stay the caller's.
 */
#ifndef GW_DP_H
#define GW_DP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GW_MUST_CHECK __attribute__((warn_unused_result))

/* cffi: begin */

#define GW_ABI_VERSION   6
#define GW_WORKERS_MAX   16
#define GW_QUEUES_MAX    129 /* TUN queues of one tunnel: eight a worker, and one */
#define GW_SELECTORS_MAX 32  /* traffic selectors of one SA and side */
#define GW_OUTBOUND_MAX  32  /* outbound SAs of one tunnel: slots 0 to 31 */
#define GW_KEY_MAX       64  /* bytes */
#define GW_DROPS_MAX     48  /* at least the number of drop reasons */
#define GW_SPI_SLOT_BITS 20  /* low bits of an inbound SPI: its slot in the SA table */
/*
 * Inbound SPIs from here on are those of SAs for a worker each (RFC 9611): the sockets of one address
 * and port share them by the remainder of a division by their number.
 */
#define GW_SPI_OWN       0xc0000000
#define GW_PUNT_DATA_MAX 65536 /* bytes of data behind a punt record */

enum gw_err {
	GW_OK = 0,
	GW_E_INVALID = -1, /* an argument breaks this header's contract */
	GW_E_NOMEM = -2,
	GW_E_EXISTS = -3,      /* that tunnel, or that SPI's slot, is in use */
	GW_E_NOENT = -4,       /* no such SA, tunnel or socket */
	GW_E_SYS = -5,         /* a system call failed; see errno */
	GW_E_UNSUPPORTED = -6, /* a suite or feature this build or machine lacks */
	GW_E_SHORT = -7,       /* a packet is too short for what it claims to be */
	GW_E_ICV = -8,         /* the integrity check value is wrong */
	GW_E_REPLAY = -9,   /* the sequence number was seen or is older than the window */
	GW_E_PADDING = -10, /* trailer: pad length or pad bytes are wrong */
	GW_E_LIMIT = -11,   /* the SA has reached a hard limit */
	GW_E_SPACE = -12    /* the output buffer is too small */
};

/* IANA numbers: transform type 1 (encryption) and 3 (integrity). */
enum gw_encr {
	GW_ENCR_AES_CBC = 12,
	GW_ENCR_AES_GCM_16 = 20,
	GW_ENCR_CHACHA20_POLY1305 = 28
};
enum gw_integ {
	GW_INTEG_NONE = 0,
	GW_INTEG_SHA2_256_128 = 12,
	GW_INTEG_SHA2_384_192 = 13,
	GW_INTEG_SHA2_512_256 = 14
};

enum gw_backend { GW_BACKEND_BEST = 0, GW_BACKEND_OPENSSL = 1, GW_BACKEND_IPSECMB = 2 };

enum gw_encap { GW_ENCAP_UDP = 0, GW_ENCAP_ESP = 1 };

/* Where a tunnel's packets go, or where a datagram came from. Ports are 0 for GW_ENCAP_ESP. */
struct gw_path {
	uint8_t family; /* 4 or 6 */
	uint8_t encap;  /* enum gw_encap */
	uint16_t local_port;
	uint16_t remote_port;
	uint8_t local[16];
	uint8_t remote[16];
};

/* A range of addresses, ports and one protocol (RFC 7296 section 3.13.1); inclusive. */
struct gw_selector {
	uint8_t family;      /* 4 or 6 */
	uint8_t protocol;    /* 0 = any */
	uint16_t first_port; /* 0..65535 = any. For ICMP: type << 8 | code */
	uint16_t last_port;
	uint8_t first[16];
	uint8_t last[16];
};

/* One ESP SA, inbound or outbound. Copied by the call it is given to; the caller wipes its own. */
struct gw_sa {
	uint32_t spi;           /* host order; 256 or more */
	uint16_t encr;          /* enum gw_encr */
	uint16_t integ;         /* enum gw_integ; GW_INTEG_NONE with an AEAD */
	uint16_t encr_key_len;  /* bytes, with the 4-byte salt of an AEAD */
	uint16_t integ_key_len; /* bytes */
	uint8_t esn;            /* 1 = 64-bit sequence numbers (RFC 4303 section 2.2.1) */
	uint8_t backend;        /* enum gw_backend */
	uint16_t replay_window; /* packets, inbound only: 64 to 4096 */
	/* Outbound only: the worker it is for, the first of those that read the tunnel being 1; 0 = all. */
	uint8_t resource;
	uint8_t encr_key[GW_KEY_MAX];
	uint8_t integ_key[GW_KEY_MAX];
	/* Limits, 0 = none. Soft: punted once. Hard: the SA refuses. */
	uint64_t soft_packets;
	uint64_t hard_packets;
	uint64_t soft_bytes; /* bytes of inner packets */
	uint64_t hard_bytes;
	uint16_t local_count; /* selectors: ours, and the peer's; at least one each */
	uint16_t remote_count;
	struct gw_selector local[GW_SELECTORS_MAX];
	struct gw_selector remote[GW_SELECTORS_MAX];
};

/* What may be changed on a tunnel while it runs. */
struct gw_tunnel_options {
	uint32_t mtu; /* largest inner packet, bytes: 576 to 65535 (IPv6 inside: 1280) */
	uint16_t mss_clamp4; /* TCP MSS over IPv4, bytes; 0 = do not clamp */
	uint16_t mss_clamp6; /* TCP MSS over IPv6, bytes; 0 = do not clamp */
	uint64_t rate_bps;   /* inner bits per second outbound; 0 = no cap */
	uint8_t copy_dscp; /* 1 = copy DSCP outward (RFC 4301 section 5.1.2); ECN always, by RFC 6040 */
	/* Source of ICMP errors toward inner senders; 0 = the packet's destination. */
	uint8_t icmp4[4];
	uint8_t icmp6[16];
};

/* A TUN queue. Those of one share are read by one worker, those of different shares by different ones. */
struct gw_tunnel_queue {
	int fd;         /* IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, non-blocking; taken */
	uint16_t share; /* from 0, none left out */
	uint8_t urgent; /* 1 = its packets are few and do not wait for those of other queues */
};

struct gw_tunnel {
	uint32_t id;          /* the caller's; not 0 */
	uint32_t queue_count; /* 1 pins the tunnel to one worker */
	struct gw_tunnel_queue queue[GW_QUEUES_MAX];
	uint8_t uso; /* 1 = TUNSETOFFLOAD accepted USO4 and USO6 */
	struct gw_path path;
	struct gw_tunnel_options options;
};

/*
 * A socket bound to one local address (not to "any"): UDP 4500, or raw protocol 50. Non-blocking;
 * taken. Its buffers and path MTU discovery are as it comes. Raw sockets of one address on several
 * workers share the SPIs by a socket filter. UDP sockets of one address and port (SO_REUSEPORT) are
 * shared by the kernel, but for what has an SPI of GW_SPI_OWN or more.
 */
struct gw_socket {
	int fd;
	uint32_t worker; /* the worker that reads it; any worker may send on it */
	uint8_t family;  /* 4 or 6 */
	uint8_t encap;   /* enum gw_encap */
	uint16_t port;   /* local UDP port, 0 for raw ESP */
	uint8_t address[16];
};

struct gw_dp_config {
	uint32_t workers;     /* 1 to GW_WORKERS_MAX */
	uint32_t tunnels_max; /* at most this many tunnels */
	int punt_fd; /* SOCK_SEQPACKET; borrowed until gw_dp_set_punt() or gw_dp_free(); -1 = none yet */
	uint8_t no_gso;   /* 1 = never use UDP_SEGMENT */
	uint8_t gso_tail; /* 1 = a run of equal segments ends with a keepalive: for kernels that spoil it otherwise */
	uint8_t pin_cpus; /* 1 = worker i runs on CPU i */
};

/* What goes up the punt socket: this record, then `length` bytes of data, in one message. */
enum gw_punt_type {
	/* Never from C: the serving process answers control messages with it. */
	GW_PUNT_REPLY = 0,
	/* Data: an IKE datagram, the non-ESP marker removed; path says from where. */
	GW_PUNT_IKE = 1,
	/* Tunnel, spi: an SA reached a soft limit, or a hard limit; each once per SA. */
	GW_PUNT_SOFT_LIMIT = 2,
	GW_PUNT_HARD_LIMIT = 3,
	/* Tunnel, path: an authenticated packet came from a new remote address or port. */
	GW_PUNT_PATH_CHANGED = 4,
	/* Spi, path: ESP for an SPI nobody installed; at most 10 a second. */
	GW_PUNT_UNKNOWN_SPI = 5,
	/* Tunnel, spi: the first packet arrived on an inbound SA. */
	GW_PUNT_FIRST_INBOUND = 6,
	/* Data: text; a worker met an error it can not go on from. */
	GW_PUNT_WORKER_FAILED = 7,
	/* Tunnel: a datagram was larger than the path's MTU; at most once a second and tunnel. */
	GW_PUNT_PATH_MTU = 8
};

struct gw_punt {
	uint16_t type; /* enum gw_punt_type */
	uint16_t worker;
	uint32_t tunnel; /* 0 = none */
	uint32_t spi;    /* 0 = none */
	uint32_t length; /* bytes that follow */
	struct gw_path path;
};

/* Counters since the tunnel was added; bytes are of inner packets. */
struct gw_tunnel_stats {
	uint64_t out_packets;
	uint64_t out_bytes;
	uint64_t in_packets;
	uint64_t in_bytes;
	uint64_t out_esp_bytes; /* of ESP packets, from SPI to ICV */
	uint64_t in_esp_bytes;  /* of those with a right ICV that are no replay */
	uint64_t out_at_ns;     /* CLOCK_MONOTONIC of the last packet; 0 = never */
	uint64_t in_at_ns;
	uint64_t drops[GW_DROPS_MAX]; /* by drop reason: gw_drop_name() */
};

/* Bytes are of inner packets; inbound with their ESP padding, which is what limits go by. */
struct gw_sa_stats {
	uint64_t packets;
	uint64_t bytes;
	uint64_t seq;        /* highest sequence number used or accepted */
	uint64_t last_at_ns; /* CLOCK_MONOTONIC; 0 = never */
};

/* Counters of one worker. `drops` are those that belong to no tunnel. */
struct gw_worker_stats {
	uint64_t wakeups;
	uint64_t udp_batches_in;
	uint64_t udp_segments_in;
	uint64_t udp_batches_out;
	uint64_t udp_segments_out;
	uint64_t tun_reads;
	uint64_t tun_writes;
	uint64_t merged; /* inner packets that left within a larger write */
	uint64_t punted;
	uint64_t drops[GW_DROPS_MAX];
};

struct gw_dp;

/* ---- life ---- */

/*
 * Make a data plane and put it in *out (NULL on failure). Runs the self-tests of the crypto
 * back ends. *config is copied; config->punt_fd is borrowed.
 * GW_E_INVALID, GW_E_NOMEM, GW_E_SYS, GW_E_UNSUPPORTED (a self-test failed).
 */
GW_MUST_CHECK int gw_dp_new(const struct gw_dp_config *config, struct gw_dp **out);

/* Free everything: closes taken descriptors, wipes keys. Call gw_dp_stop() and join the workers first. NULL is allowed. */
void gw_dp_free(struct gw_dp *dp);

/* Send punt records to another socket from now on (-1: discard and count them). Borrowed. */
GW_MUST_CHECK int gw_dp_set_punt(struct gw_dp *dp, int fd);

/* Run worker `worker` in the calling thread until gw_dp_stop(). GW_E_INVALID if it is out of range or runs already. */
GW_MUST_CHECK int gw_dp_run(struct gw_dp *dp, uint32_t worker);

/* Make every gw_dp_run() return soon. May be called from any thread. */
void gw_dp_stop(struct gw_dp *dp);

/* ---- sockets and tunnels ---- */

/* Read and send through one more socket. GW_E_EXISTS if this worker has one for the same address, port and encap. */
GW_MUST_CHECK int gw_dp_add_socket(struct gw_dp *dp, const struct gw_socket *sock);

/* Stop using and close the sockets of one address, port and encap (of every worker). GW_E_NOENT if there are none. */
GW_MUST_CHECK int gw_dp_del_socket(struct gw_dp *dp, const struct gw_socket *sock);

/*
 * Send an IKE datagram on path->local_port's socket (the non-ESP marker is put before it).
 * `data` is borrowed until return. GW_E_NOENT if no socket has that local address and port, GW_E_SYS.
 */
GW_MUST_CHECK int gw_dp_send_ike(
	struct gw_dp *dp, const struct gw_path *path, const uint8_t *data, size_t len);

/* Send one NAT keepalive, the byte 0xFF (RFC 3948 section 2.3), on a tunnel's path. */
GW_MUST_CHECK int gw_dp_send_keepalive(struct gw_dp *dp, uint32_t tunnel);

/*
 * Add a tunnel without SAs. What the kernel has for it waits in its queues until the first outbound SA is
 * set; is that later than a second, what waits then is dropped and counted.
 */
GW_MUST_CHECK int gw_dp_add_tunnel(struct gw_dp *dp, const struct gw_tunnel *tunnel);

/* Remove a tunnel and its SAs; closes its TUN queues. */
GW_MUST_CHECK int gw_dp_del_tunnel(struct gw_dp *dp, uint32_t tunnel);

GW_MUST_CHECK int gw_dp_set_options(
	struct gw_dp *dp, uint32_t tunnel, const struct gw_tunnel_options *options);
GW_MUST_CHECK int gw_dp_set_path(
	struct gw_dp *dp, uint32_t tunnel, const struct gw_path *path);

/* Set the carrier of the tunnel's TUN device (TUNSETCARRIER). */
GW_MUST_CHECK int gw_dp_set_carrier(struct gw_dp *dp, uint32_t tunnel, bool up);

/* ---- ESP SAs ---- */

/* Install an inbound SA. Packets for sa->spi are accepted from the moment this returns. GW_E_EXISTS if its slot is in use. */
GW_MUST_CHECK int gw_dp_add_inbound(
	struct gw_dp *dp, uint32_t tunnel, const struct gw_sa *sa);
GW_MUST_CHECK int gw_dp_del_inbound(struct gw_dp *dp, uint32_t spi);

/*
 * Swap the outbound SA in one slot of a tunnel in one step. The old one is wiped and freed once no
 * worker uses it. A packet goes by the first slot whose SA's selectors it matches, and is dropped
 * if there is none. A tunnel with one outbound SA has it in slot 0: that costs the least.
 * An SA for one worker (sa->resource, RFC 9611) goes before all others there. So such a worker has
 * sequence numbers of its own, and one that has no such SA sends on that of slot 0.
 * GW_E_INVALID if `slot` is GW_OUTBOUND_MAX or more.
 */
GW_MUST_CHECK int gw_dp_set_outbound(
	struct gw_dp *dp, uint32_t tunnel, uint32_t slot, const struct gw_sa *sa);

/* Leave a slot without an SA. With none in any slot, packets read from the tunnel's TUN are dropped. */
GW_MUST_CHECK int gw_dp_clear_outbound(struct gw_dp *dp, uint32_t tunnel, uint32_t slot);

/* ---- what happened ---- */

GW_MUST_CHECK int gw_dp_tunnel_stats(
	struct gw_dp *dp, uint32_t tunnel, struct gw_tunnel_stats *out);
GW_MUST_CHECK int gw_dp_inbound_stats(
	struct gw_dp *dp, uint32_t spi, struct gw_sa_stats *out);
GW_MUST_CHECK int gw_dp_outbound_stats(
	struct gw_dp *dp, uint32_t tunnel, uint32_t slot, struct gw_sa_stats *out);
GW_MUST_CHECK int gw_dp_worker_stats(
	struct gw_dp *dp, uint32_t worker, struct gw_worker_stats *out);

/* Text of an enum gw_err; never NULL. */
const char *gw_strerror(int err);

/* Number of drop reasons, and the name ("replay") and explanation of each; NULL past the end. */
uint32_t gw_drop_count(void);
const char *gw_drop_name(uint32_t reason);
const char *gw_drop_text(uint32_t reason);

/* Name of the back end an SA with this suite would use ("ipsecmb", "openssl"); NULL if none can. */
const char *gw_backend_name(
	uint16_t encr, uint16_t integ, uint16_t encr_key_len, uint8_t backend);

/* ---- pure functions, for tests and benches ---- */

struct gw_esp; /* one SA's cryptographic state, one direction, no tunnel */

/* Make the state of an SA. GW_E_INVALID, GW_E_UNSUPPORTED, GW_E_NOMEM. */
GW_MUST_CHECK int gw_esp_new(const struct gw_sa *sa, bool outbound, struct gw_esp **out);
void gw_esp_free(struct gw_esp *esp);

/*
 * Seal one inner IP packet as ESP tunnel mode (RFC 4303) with sequence number `seq` (not 0).
 * `out` must not overlap `packet`; *out_len gets the length of SPI .. ICV. GW_E_SPACE, GW_E_INVALID.
 */
GW_MUST_CHECK int gw_esp_seal_packet(struct gw_esp *esp, uint64_t seq,
	const uint8_t *packet, size_t len, uint8_t *out, size_t out_size,
	size_t *out_len);

/*
 * Open one ESP packet: replay check, ICV, replay mark, trailer. The inner packet goes to `out`;
 * *next_header gets 4, 41 or 59 (a dummy, RFC 4303 section 2.6, is GW_OK with *out_len 0).
 * GW_E_SHORT, GW_E_REPLAY, GW_E_ICV, GW_E_PADDING, GW_E_SPACE.
 */
GW_MUST_CHECK int gw_esp_open_packet(struct gw_esp *esp, const uint8_t *packet,
	size_t len, uint8_t *out, size_t out_size, size_t *out_len, uint8_t *next_header);

/* Bytes that ESP adds to an inner packet of `len` bytes (SPI .. ICV, padding included; no IP or UDP header). */
size_t gw_esp_overhead(uint16_t encr, uint16_t integ, size_t len);

/* ns per call of `count` seals (or opens) of `len`-byte packets: bench/esp. library = true times the bare AEAD call. */
GW_MUST_CHECK int gw_esp_bench(const struct gw_sa *sa, bool seal, bool library,
	size_t len, uint32_t count, double *ns);

/* ---- finite-field Diffie-Hellman for IKE (RFC 3526), by libcrypto ---- */

/*
 * Groups 14, 15, 16, 17, 18. `group_len` bytes is the length of the prime: public values and the
 * shared secret are padded to it. A peer value of 0, 1, p-1 or more is refused (RFC 6989 section 2.1).
 */
size_t gw_modp_len(uint16_t group); /* bytes; 0 = not supported */
struct gw_modp;
GW_MUST_CHECK int gw_modp_new(uint16_t group, struct gw_modp **out);
/* As gw_modp_new, with a given private value (big-endian). */
GW_MUST_CHECK int gw_modp_from_private(
	uint16_t group, const uint8_t *priv, size_t len, struct gw_modp **out);
GW_MUST_CHECK int gw_modp_public(const struct gw_modp *dh, uint8_t *out, size_t out_size);
/* The private value, padded: what gw_modp_from_private takes. The caller wipes it. */
GW_MUST_CHECK int gw_modp_private(
	const struct gw_modp *dh, uint8_t *out, size_t out_size);
/* GW_E_INVALID if a peer's value of the group is refused; no power is computed. */
GW_MUST_CHECK int gw_modp_check(uint16_t group, const uint8_t *peer, size_t len);
/* The same error, and the secret if there is none. */
GW_MUST_CHECK int gw_modp_shared(const struct gw_modp *dh, const uint8_t *peer,
	size_t len, uint8_t *out, size_t out_size);
void gw_modp_free(struct gw_modp *dh);

/* cffi: end */

#endif
