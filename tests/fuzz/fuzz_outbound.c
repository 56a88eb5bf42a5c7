/*
 * The whole way from a TUN queue to the socket on any bytes: gw_outbound_batch() with the system calls
 * around it played by the fuzzer.
 *
 * An input is a list of reads, each an offload header and a packet, near what the kernel writes and far
 * from it, and what the kernel then says to each send. A plain model says what must come of it: every
 * inner packet ends in exactly one counter, and each datagram that is sent is the ESP of exactly
 * the inner packet whose turn its sequence number is.
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <netinet/udp.h>
#include <sanitizer/asan_interface.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../c/sa.h"
#include "internal.h"
#include "outbound_model.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

enum { RECORDS = 8, TUNNEL = 1, SPI = 0x2002, SEALED_MOST = 1 << 19 };

static struct gw_dp *dp;
static struct gw_worker *worker;
static struct gw_tunnel_state *tunnel;
static struct gw_esp *opener;
static int tun, punt, sock;
static struct record records[RECORDS];
static uint32_t record_count, next_read, sealed;
static bool is_sent[SEALED_MOST];
static bool copies_dscp;
static struct {
	uint64_t packets, sent;
} model;

/* ---- what is read ---- */

/* A packet of any of the flows, of many segments, with an offload header that fits. */
static size_t
make_super_packet(struct gw_vnet *vnet, uint8_t *packet)
{
	uint8_t which = byte(), how = byte();
	unsigned random = how;
	struct flow flow = flows[which % FLOWS];
	size_t size = (size_t)byte() * (which & 0x80 ? 100 : 8), len;

	flow.df = (how & 1) != 0;
	flow.flags = how & 2 ? byte() : 0x10;
	flow.tos = how & 4 ? byte() : 0;
	len = make_packet(packet, &flow, size, &random);
	memset(vnet, 0, sizeof(*vnet));
	if ((how & 8) != 0)
		return len;
	vnet->flags = 1;
	vnet->csum_start = (uint16_t)ip_header_len(&flow);
	vnet->csum_offset = flow.protocol == 6 ? 16 : 6;
	if ((how & 16) != 0)
		return len;
	vnet->gso_type = flow.protocol == 17 ? 5 : flow.family == 4 ? 1 : 4;
	vnet->gso_size = (uint16_t)(16 + byte() * (how & 32 ? 8 : 1));
	return len;
}

static void
make_record(struct record *r)
{
	uint8_t kind = byte();
	struct gw_vnet vnet;
	size_t len;

	if ((kind & 7) == 7) {
		r->data_len = 1 + bytes(r->data + 1, byte());
		r->data[0] = kind;
		return;
	}
	len = make_super_packet(&vnet, r->data + GW_VNET_LEN);
	if ((kind & 7) >= 4)
		len = spoil(r->data + GW_VNET_LEN, len);
	memcpy(r->data, &vnet, GW_VNET_LEN);
	if ((kind & 0x38) == 0x38)
		r->data[byte() % GW_VNET_LEN] = byte();
	r->data_len = GW_VNET_LEN + len;
}

/* ---- what is sent ---- */

static void
take_datagram(const uint8_t *esp, size_t len, int tos)
{
	static uint8_t inner[READ_MOST];
	uint32_t i, number = get32(esp + 4) - 1;
	uint8_t next_header;
	size_t inner_len;

	CHECK(len > 8 && get32(esp) == SPI);
	CHECK(gw_esp_open_packet(opener, esp, len, inner, sizeof(inner), &inner_len,
		      &next_header) == GW_OK);
	CHECK(number < sealed && !is_sent[number]);
	is_sent[number] = true;
	for (i = 0; i < record_count; i++)
		if (records[i].is_sealed && number >= records[i].first &&
			number - records[i].first < records[i].count)
			break;
	CHECK(i < record_count && i < next_read);
	CHECK(next_header == (is_v4(records[i].packet) ? 4 : 41));
	CHECK(inner_len <= MTU);
	CHECK(is_piece(&records[i], number - records[i].first, inner, inner_len));
	CHECK(tos == (copies_dscp ? records[i].tos : records[i].tos & 3));
	model.sent++;
}

/* One message as the kernel takes it: cut at the size that its control data says. */
static void
take_message(const struct msghdr *header)
{
	struct msghdr copy = *header;
	struct cmsghdr *at;
	const uint8_t *data = header->msg_iov[0].iov_base;
	size_t len = header->msg_iov[0].iov_len, size = len, start;
	uint16_t segment;
	int tos = 0;

	for (at = CMSG_FIRSTHDR(&copy); at != NULL; at = CMSG_NXTHDR(&copy, at)) {
		if (at->cmsg_level == SOL_UDP && at->cmsg_type == UDP_SEGMENT) {
			memcpy(&segment, CMSG_DATA(at), sizeof(segment));
			size = segment;
		} else {
			CHECK(at->cmsg_level == IPPROTO_IP && at->cmsg_type == IP_TOS);
			memcpy(&tos, CMSG_DATA(at), sizeof(tos));
		}
	}
	CHECK(size > 0 && size <= len && (len + size - 1) / size <= GW_GSO_SEGMENTS);
	CHECK(len <= GW_GSO_BYTES);
	if (header->msg_iovlen == 2) {
		CHECK(len % size == 0 && header->msg_iov[1].iov_len == 1);
		CHECK(len / size < GW_GSO_SEGMENTS);
	}
	for (start = 0; start < len; start += size)
		take_datagram(data + start, len - start < size ? len - start : size, tos);
}

/* ---- the system calls ---- */

ssize_t __wrap_read(int fd, void *buffer, size_t size);
ssize_t __real_read(int fd, void *buffer, size_t size);
int __wrap_sendmmsg(int fd, struct mmsghdr *headers, unsigned count, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *header, int flags);
ssize_t __wrap_writev(int fd, const struct iovec *parts, int count);
ssize_t __real_writev(int fd, const struct iovec *parts, int count);

ssize_t
__wrap_read(int fd, void *buffer, size_t size)
{
	const struct record *r;

	if (fd != tun)
		return __real_read(fd, buffer, size);
	ASAN_UNPOISON_MEMORY_REGION(buffer, size);
	if (next_read == record_count) {
		errno = EAGAIN;
		return -1;
	}
	r = &records[next_read++];
	CHECK(r->data_len <= size);
	memcpy(buffer, r->data, r->data_len);
	ASAN_POISON_MEMORY_REGION((uint8_t *)buffer + r->data_len, size - r->data_len);
	return (ssize_t)r->data_len;
}

/* Takes what the input says, and fails by what it says then. */
int
__wrap_sendmmsg(int fd, struct mmsghdr *headers, unsigned count, int flags)
{
	static const int errors[] = {EIO, EINVAL, EMSGSIZE, EAGAIN, ENOBUFS, EPERM};
	uint8_t how = byte();
	unsigned i, taken = how < 0xc0 ? count : how % 8;

	CHECK(fd == sock && flags == (MSG_DONTWAIT | MSG_NOSIGNAL) && count > 0);
	taken = taken < count ? taken : count;
	for (i = 0; i < taken; i++)
		take_message(&headers[i].msg_hdr);
	if (taken > 0)
		return (int)taken;
	errno = errors[how / 8 % 6];
	return -1;
}

ssize_t
__wrap_sendmsg(int fd, const struct msghdr *header, int flags)
{
	CHECK(flags == (MSG_DONTWAIT | MSG_NOSIGNAL));
	if (fd == punt)
		return (ssize_t)sizeof(struct gw_punt);
	CHECK(fd == sock);
	take_message(header);
	return 1;
}

/* To the TUN go errors of ICMP alone, within their bounds and with right checksums. */
ssize_t
__wrap_writev(int fd, const struct iovec *parts, int count)
{
	static const uint8_t zero[GW_VNET_LEN];
	const uint8_t *p;
	size_t len;

	if (fd != tun)
		return __real_writev(fd, parts, count);
	CHECK(count == 2 && parts[0].iov_len == GW_VNET_LEN);
	CHECK(memcmp(parts[0].iov_base, zero, GW_VNET_LEN) == 0);
	p = parts[1].iov_base;
	len = parts[1].iov_len;
	CHECK(inner_length(p, len, is_v4(p) ? 4 : 6) == len);
	CHECK(len <= (is_v4(p) ? 576 : 1280));
	CHECK(protocol_of(p) == (is_v4(p) ? 1 : 58));
	if (is_v4(p))
		CHECK(ip_checksum_holds(p) && slow_sum(0, p + 20, len - 20) == 0xffff);
	else
		CHECK(checksums_hold(p, len));
	return (ssize_t)len;
}

/* ---- the judge, and the beginning ---- */

static void
judge(void)
{
	struct gw_tunnel_stats stats;
	uint64_t total;
	uint32_t i;

	CHECK(gw_dp_tunnel_stats(dp, TUNNEL, &stats) == GW_OK);
	total = stats.out_packets;
	for (i = 0; i < GW_DROP_COUNT; i++)
		total += stats.drops[i];
	CHECK(total == model.packets);
	CHECK(stats.out_packets == model.sent);
}

static void
start(void)
{
	struct gw_dp_config config = {.workers = 1, .tunnels_max = 1};
	struct gw_socket from = {.family = 4, .port = 4500, .address = {127, 0, 0, 1}};
	struct gw_tunnel made = {.id = TUNNEL, .queue_count = 1, .uso = 1};

	punt = config.punt_fd = eventfd(0, EFD_NONBLOCK);
	CHECK(gw_dp_new(&config, &dp) == GW_OK);
	worker = &dp->workers[0];
	worker->buffers = aligned_alloc(GW_CACHE_LINE, sizeof(struct gw_buffers));
	CHECK(worker->buffers != NULL);
	memset(worker->buffers, 0, sizeof(struct gw_buffers));
	from.fd = sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	CHECK(gw_dp_add_socket(dp, &from) == GW_OK);
	made.path = (struct gw_path){.family = 4,
		.local_port = 4500,
		.remote_port = 4500,
		.local = {127, 0, 0, 1},
		.remote = {127, 0, 0, 2}};
	made.options.mtu = MTU;
	made.queue[0].fd = tun = eventfd(0, EFD_NONBLOCK);
	CHECK(gw_dp_add_tunnel(dp, &made) == GW_OK);
	tunnel = gw_tunnel_find(dp, TUNNEL);
}

/* A fresh SA, and the kernel's refusals forgotten. */
static void
begin(uint8_t how)
{
	struct gw_tunnel_options options = {.mtu = MTU, .copy_dscp = how & 1};
	struct gw_sa sa = sa_config(SPI);

	copies_dscp = (how & 1) != 0;
	dp->config.gso_tail = (how & 6) == 6;
	dp->config.no_gso = (how & 24) == 24;
	gw_counter_set(&tunnel->gso_retry_at_ns, 0);
	CHECK(gw_dp_set_options(dp, TUNNEL, &options) == GW_OK);
	CHECK(gw_dp_set_outbound(dp, TUNNEL, 0, &sa) == GW_OK);
	CHECK(gw_esp_new(&sa, false, &opener) == GW_OK);
	next_read = sealed = record_count = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record *r;

	if (dp == NULL)
		start();
	input = data;
	left = size;
	begin(byte());
	/* What is left then is what the kernel says of each send. */
	while (record_count < RECORDS && left > 0 && (byte() & 0xf0) != 0xf0) {
		r = &records[record_count];
		make_record(r);
		classify(r);
		if (sealed + r->count > SEALED_MOST)
			break;
		record_count++;
		r->first = sealed;
		sealed += r->is_sealed ? r->count : 0;
		model.packets += r->count;
	}
	memset(is_sent, 0, sealed);
	while (next_read < record_count)
		CHECK(gw_outbound_batch(worker, &tunnel->queue[0]));
	judge();
	gw_esp_free(opener);
	return 0;
}
