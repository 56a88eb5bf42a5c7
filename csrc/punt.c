/*
 * What the fast path has to say: records on one SOCK_SEQPACKET, never waited for. A record that
 * finds the socket full is lost, and its caller counts it or says it again later.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <string.h>

#include "internal.h"

bool
gw_punt_send(struct gw_worker *worker, const struct gw_punt *record, const void *data,
	size_t len)
{
	struct gw_punt full = *record;
	struct iovec parts[2] = {{&full, sizeof(full)}, {(void *)(uintptr_t)data, len}};
	struct msghdr header = {.msg_iov = parts, .msg_iovlen = len > 0 ? 2 : 1};
	int fd = atomic_load(&worker->dp->punt_fd);
	ssize_t sent;

	if (fd < 0 || len > GW_PUNT_DATA_MAX)
		return false;
	full.worker = (uint16_t)worker->index;
	full.length = (uint32_t)len;
	do
		sent = sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return false;
	gw_count(&worker->counters.punted, 1);
	return true;
}

bool
gw_punt_sa(
	struct gw_worker *worker, enum gw_punt_type type, uint32_t tunnel, uint32_t spi)
{
	const struct gw_punt record = {
		.type = (uint16_t)type, .tunnel = tunnel, .spi = spi};

	return gw_punt_send(worker, &record, NULL, 0);
}
