/* Sockets of the data plane: adding, removing, choosing, and what control sends on them. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <linux/filter.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "internal.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static bool
same_place(const struct gw_socket *a, const struct gw_socket *b)
{
	return a->family == b->family && a->encap == b->encap && a->port == b->port &&
	       memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

void
gw_socket_free(void *object)
{
	struct gw_socket_state *sock = object;

	(void)close(sock->source.fd);
	free(sock);
}

static bool
path_is_of(const struct gw_path *path, const struct gw_socket *sock)
{
	return path->family == sock->family && path->encap == sock->encap &&
	       path->local_port == sock->port &&
	       memcmp(path->local, sock->address, sizeof(path->local)) == 0;
}

const struct gw_socket_state *
gw_socket_for(const struct gw_dp *dp, const struct gw_path *path, uint32_t worker)
{
	const struct gw_socket_state *sock, *first = NULL;

	for (sock = dp->sockets; sock != NULL; sock = sock->next) {
		if (!path_is_of(path, &sock->config))
			continue;
		if (sock->config.worker == worker)
			return sock;
		if (first == NULL)
			first = sock;
	}
	return first;
}

bool
gw_path_ok(const struct gw_path *path)
{
	if (path->family != 4 && path->family != 6)
		return false;
	if (path->encap == GW_ENCAP_UDP)
		return path->local_port != 0 && path->remote_port != 0;
	return path->encap == GW_ENCAP_ESP && path->local_port == 0 &&
	       path->remote_port == 0;
}

socklen_t
gw_path_remote(const struct gw_path *path, struct sockaddr_storage *out)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET, .sin_port = htons(path->remote_port)};
	struct sockaddr_in6 in6 = {
		.sin6_family = AF_INET6, .sin6_port = htons(path->remote_port)};

	memset(out, 0, sizeof(*out));
	if (path->family == 4) {
		memcpy(&in.sin_addr, path->remote, 4);
		memcpy(out, &in, sizeof(in));
		return sizeof(in);
	}
	memcpy(&in6.sin6_addr, path->remote, 16);
	memcpy(out, &in6, sizeof(in6));
	return sizeof(in6);
}

/*
 * Ask for GRO and TOS bytes. They are missing on some descriptors (a kernel before 5.0): work
 * without them. Buffer sizes and path MTU discovery are as the socket's maker set them.
 */
static void
set_options(const struct gw_socket *sock)
{
	const int on = 1;

	if (sock->encap == GW_ENCAP_UDP)
		(void)setsockopt(sock->fd, SOL_UDP, UDP_GRO, &on, sizeof(on));
	if (sock->family == 4)
		(void)setsockopt(sock->fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on));
	else
		(void)setsockopt(
			sock->fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof(on));
}

/*
 * Have a raw socket take its share of SPIs. The kernel gives each packet to every raw socket of
 * an address, not to one as with UDP: without a filter each worker would open all packets.
 */
static int
take_share(const struct gw_socket *sock, uint32_t share, uint32_t shares)
{
	struct sock_filter ipv4[] = {
		BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), /* the IP header's length */
		BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),  /* the SPI */
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, shares),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, share, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_filter ipv6[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* no IP header before it */
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, shares),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, share, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = {sizeof(ipv4) / sizeof(ipv4[0]), ipv4};

	if (sock->family == 6)
		program = (struct sock_fprog){sizeof(ipv6) / sizeof(ipv6[0]), ipv6};
	return setsockopt(sock->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
		       sizeof(program)) == 0
		       ? GW_OK
		       : GW_E_SYS;
}

/*
 * Have the UDP sockets of one address and port share what is for a worker's own SA by its SPI, as raw
 * sockets share all. The kernel gives any other datagram to the socket that its addresses and ports
 * say, which keeps the packets of a peer in order even where it goes over to another SA. The program is of the
 * whole group; without it (a socket made without SO_REUSEPORT) addresses and ports decide of all.
 */
static void
share_udp(const struct gw_socket *sock, uint32_t shares)
{
	struct sock_filter choose[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			0), /* the SPI: no UDP header before it */
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, GW_SPI_OWN, 0, 2),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, shares), BPF_STMT(BPF_RET | BPF_A, 0),
		BPF_STMT(BPF_RET | BPF_K,
			UINT32_MAX), /* no socket: as without a program */
	};
	struct sock_fprog program = {sizeof(choose) / sizeof(choose[0]), choose};

	(void)setsockopt(sock->fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
		sizeof(program));
}

/* Share the SPIs among the sockets of one address. */
static int
share_spis(struct gw_dp *dp, const struct gw_socket *place)
{
	struct gw_socket_state *sock;
	uint32_t share = 0, shares = 0;
	int err = GW_OK;

	for (sock = dp->sockets; sock != NULL; sock = sock->next)
		shares += same_place(&sock->config, place);
	if (place->encap == GW_ENCAP_UDP && shares > 0)
		share_udp(place, shares);
	if (place->encap != GW_ENCAP_ESP)
		return GW_OK;
	for (sock = dp->sockets; sock != NULL && err == GW_OK; sock = sock->next)
		if (same_place(&sock->config, place))
			err = take_share(&sock->config, share++, shares);
	return err;
}

/* Find the paths of all tunnels their sockets again. */
static int
refresh_paths(struct gw_dp *dp)
{
	struct gw_tunnel_state *tunnel;
	uint32_t i;
	int err;

	for (i = 0; i < dp->tunnel_buckets; i++) {
		for (tunnel = dp->tunnels[i]; tunnel != NULL; tunnel = tunnel->next) {
			const struct gw_path path = atomic_load(&tunnel->path)->path;

			err = gw_tunnel_set_path(dp, tunnel, &path);
			if (err != GW_OK)
				return err;
		}
	}
	return GW_OK;
}

static bool
socket_ok(const struct gw_dp *dp, const struct gw_socket *sock)
{
	static const uint8_t zero[16];

	if (sock->fd < 0 || sock->worker >= dp->config.workers)
		return false;
	if ((sock->family != 4 && sock->family != 6) ||
		memcmp(sock->address, zero, 16) == 0)
		return false;
	if (sock->encap == GW_ENCAP_UDP)
		return sock->port != 0;
	return sock->encap == GW_ENCAP_ESP && sock->port == 0;
}

static int
insert_socket(struct gw_dp *dp, const struct gw_socket *config)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct gw_socket_state *sock;
	int err;

	for (sock = dp->sockets; sock != NULL; sock = sock->next)
		if (sock->config.worker == config->worker &&
			same_place(&sock->config, config))
			return GW_E_EXISTS;
	sock = calloc(1, sizeof(*sock));
	if (sock == NULL)
		return GW_E_NOMEM;
	sock->source = (struct gw_source){GW_SOURCE_SOCKET, config->fd};
	sock->config = *config;
	set_options(config);
	event.data.ptr = sock;
	sock->next = dp->sockets;
	dp->sockets = sock;
	err = refresh_paths(dp);
	if (err == GW_OK)
		err = share_spis(dp, config);
	if (err == GW_OK && epoll_ctl(dp->workers[config->worker].epoll_fd, EPOLL_CTL_ADD,
				    config->fd, &event) != 0)
		err = GW_E_SYS;
	if (err != GW_OK) {
		dp->sockets = sock->next;
		/* Paths that took the socket must let it go before it is freed. */
		(void)refresh_paths(dp);
		(void)share_spis(dp, config);
		gw_quiesce(dp);
		free(sock);
	}
	return err;
}

int
gw_dp_add_socket(struct gw_dp *dp, const struct gw_socket *sock)
{
	int err;

	if (dp == NULL || sock == NULL || !socket_ok(dp, sock))
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	err = insert_socket(dp, sock);
	gw_control_unlock(dp);
	return err;
}

/* Take the sockets of one place out of the list. */
static struct gw_socket_state *
unlink_sockets(struct gw_dp *dp, const struct gw_socket *config)
{
	struct gw_socket_state **at = &dp->sockets, *sock, *gone = NULL;

	while ((sock = *at) != NULL) {
		if (!same_place(&sock->config, config)) {
			at = &sock->next;
			continue;
		}
		*at = sock->next;
		sock->next = gone;
		gone = sock;
	}
	return gone;
}

static int
remove_sockets(struct gw_dp *dp, const struct gw_socket *config)
{
	struct gw_socket_state *sock, *gone = unlink_sockets(dp, config);
	int err = gone == NULL ? GW_E_NOENT : refresh_paths(dp);

	while ((sock = gone) != NULL) {
		gone = sock->next;
		if (err != GW_OK) {
			/* Some path may still lead to it. */
			sock->next = dp->sockets;
			dp->sockets = sock;
			continue;
		}
		(void)epoll_ctl(dp->workers[sock->config.worker].epoll_fd, EPOLL_CTL_DEL,
			sock->source.fd, NULL);
		gw_retire(dp, gw_socket_free, sock);
	}
	return err;
}

int
gw_dp_del_socket(struct gw_dp *dp, const struct gw_socket *config)
{
	int err;

	if (dp == NULL || config == NULL)
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	err = remove_sockets(dp, config);
	gw_control_unlock(dp);
	return err;
}

/* Back to what these sockets have, and not to what was there: that may be another thread's doing. */
ssize_t
gw_send_in_fragments(const struct gw_socket *sock, const struct msghdr *header)
{
	int level = sock->family == 4 ? IPPROTO_IP : IPPROTO_IPV6;
	int name = sock->family == 4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER;
	int never = sock->family == 4 ? IP_PMTUDISC_DO : IPV6_PMTUDISC_DO;
	int dont = sock->family == 4 ? IP_PMTUDISC_DONT : IPV6_PMTUDISC_DONT;
	ssize_t sent;
	int error;

	if (setsockopt(sock->fd, level, name, &dont, sizeof(dont)) != 0)
		return -1;
	sent = sendmsg(sock->fd, header, MSG_DONTWAIT | MSG_NOSIGNAL);
	error = errno;
	(void)setsockopt(sock->fd, level, name, &never, sizeof(never));
	errno = error;
	return sent;
}

/* Send one datagram on a path: up to two parts. */
static int
send_parts(
	struct gw_dp *dp, const struct gw_path *path, struct iovec *parts, size_t count)
{
	const struct gw_socket_state *sock = gw_socket_for(dp, path, 0);
	struct sockaddr_storage remote;
	struct msghdr header = {
		.msg_name = &remote, .msg_iov = parts, .msg_iovlen = count};
	ssize_t sent;

	if (sock == NULL)
		return GW_E_NOENT;
	header.msg_namelen = gw_path_remote(path, &remote);
	do
		sent = sendmsg(sock->source.fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0 && errno == EMSGSIZE) /* a peer may not know RFC 7383 */
		sent = gw_send_in_fragments(&sock->config, &header);
	return sent < 0 ? GW_E_SYS : GW_OK;
}

int
gw_dp_send_ike(
	struct gw_dp *dp, const struct gw_path *path, const uint8_t *data, size_t len)
{
	uint8_t marker[4] = {0};
	struct iovec parts[2] = {
		{marker, sizeof(marker)}, {(void *)(uintptr_t)data, len}};
	int err;

	if (dp == NULL || path == NULL || data == NULL || len == 0 ||
		len > GW_GSO_BYTES || !gw_path_ok(path) || path->encap != GW_ENCAP_UDP)
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	err = send_parts(dp, path, parts, 2);
	gw_control_unlock(dp);
	return err;
}

int
gw_dp_send_keepalive(struct gw_dp *dp, uint32_t id)
{
	uint8_t keepalive = 0xff;
	struct iovec part = {&keepalive, sizeof(keepalive)};
	struct gw_tunnel_state *tunnel;
	struct gw_path path;
	int err = GW_E_NOENT;

	if (dp == NULL)
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	tunnel = gw_tunnel_find(dp, id);
	if (tunnel != NULL) {
		path = atomic_load(&tunnel->path)->path;
		/* Protocol 50 has no keepalive: a NAT would not let it through at all. */
		err = path.encap == GW_ENCAP_UDP ? send_parts(dp, &path, &part, 1)
						 : GW_E_INVALID;
	}
	gw_control_unlock(dp);
	return err;
}
