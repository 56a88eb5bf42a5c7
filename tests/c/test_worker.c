/*
 * Whole data planes carry packets between their TUN queues: super-packets, single packets, both
 * directions at once, while control changes things. Run under the thread sanitizer as well.
 */
#include <stdatomic.h>

#include "internal.h"
#include "merge.h"
#include "plane.h"

static const struct flow tcp4 = {.family = 4,
	.protocol = 6,
	.options_len = 12,
	.ttl = 63,
	.id = 100,
	.sport = 40000,
	.dport = 443,
	.seq = 1000,
	.ack = 77,
	.flags = 0x10,
	.window = 501};

static uint8_t sent[PACKET_MAX], got[PACKET_MAX], segment[PACKET_MAX];

/* Payload that a reader can check: byte i of the stream is a function of i. */
static uint8_t
stream_byte(size_t at)
{
	return (uint8_t)(at * 31 + (at >> 8) * 7);
}

static struct gw_vnet
tso(size_t size)
{
	return (struct gw_vnet){.flags = GW_VNET_NEEDS_CSUM,
		.gso_type = GW_VNET_GSO_TCPV4,
		.header_len = 52,
		.gso_size = (uint16_t)size,
		.csum_start = 20,
		.csum_offset = 16};
}

/* Put one super-packet of a stream into a TUN. Returns where the stream is then. */
static size_t
put_stream(int tun, struct flow *f, size_t at, size_t payload, size_t size)
{
	struct gw_vnet vnet = tso(size);
	unsigned random = 1;
	size_t i, header = 20 + 32;

	f->seq = 1000 + (uint32_t)at;
	(void)make_packet(sent, f, payload, &random);
	for (i = 0; i < payload; i++)
		sent[header + i] = stream_byte(at + i);
	seal_checksums(sent, header + payload, 6);
	tun_put(tun, &vnet, sent, header + payload);
	f->id += (unsigned)((payload + size - 1) / size);
	return at + payload;
}

/* Take one packet of the stream from a TUN, cut it as the kernel would, and check every byte. */
static size_t
get_stream(int tun, size_t at)
{
	struct gw_packet info;
	struct gw_vnet vnet;
	struct gw_cut cut;
	size_t i, j, len = tun_get(tun, &vnet, got, sizeof(got));

	CHECK(gw_packet_parse(got, len, &info) == GW_OK && info.len == len);
	CHECK(gw_cut_begin(&vnet, got, &info, &cut) == GW_OK);
	for (i = 0; i < cut.count; i++) {
		len = gw_cut_write(&cut, (uint32_t)i, segment);
		CHECK(checksums_hold(segment, len));
		CHECK(get32(segment + 24) == 1000 + (uint32_t)at);
		for (j = 52; j < len; j++)
			CHECK(segment[j] == stream_byte(at++));
	}
	return at;
}

static void
test_a_tcp_stream_arrives_whole_and_in_order(bool ipv6)
{
	struct gw_worker_stats worker;
	struct plane a, b;
	struct flow f = tcp4;
	size_t put = 0, taken = 0, writes = 0, payload, size, count = 0;
	unsigned random = 2, i;

	planes_connect_on(&a, &b, ipv6, 1);
	for (i = 0; i < 200; i++) {
		payload = 1 + next_random(&random) % 65000;
		size = 300 + next_random(&random) % 1000;
		put = put_stream(a.tun[0], &f, put, payload, size);
		count += (payload + size - 1) / size;
		for (; taken < put; writes++)
			taken = get_stream(b.tun[0], taken);
	}
	wait_counted(&a, count, 0);
	wait_counted(&b, 0, count);
	CHECK(all_drops(&a) == 0 && all_drops(&b) == 0);
	CHECK(tunnel_stats(&a).out_bytes == put + count * 52);
	CHECK(tunnel_stats(&b).in_bytes == put + count * 52 &&
		tunnel_stats(&b).in_at_ns > 0);
	/* Merging happened: fewer writes than packets. */
	CHECK(gw_dp_worker_stats(b.dp, 0, &worker) == GW_OK);
	CHECK(writes * 4 < count && worker.merged > 0);
	plane_free(&a);
	plane_free(&b);
}

/* Packets of several flows and sizes, some of them no IP flow at all: each comes out as it went in. */
static void
test_single_packets_of_many_flows_arrive_unchanged(void)
{
	static uint8_t waiting[64][2048];
	size_t len[64], next[4] = {0, 1, 2, 3}, out_len;
	unsigned random = 3, round, i, flow;
	struct plane a, b;
	struct gw_vnet vnet;

	planes_connect(&a, &b, 1);
	for (round = 0; round < 50; round++) {
		for (i = 0; i < 64; i++) {
			struct flow f = {.family = i & 1 ? 6 : 4,
				.protocol = i & 2 ? 17 : 6,
				.ttl = 64,
				.df = true,
				.sport = 1000 + i % 4,
				.dport = 80,
				.flags = 0x18,
				.seq = next_random(&random),
				.tos = round % 2 ? 0xb8 : 0};

			len[i] = make_packet(
				waiting[i], &f, next_random(&random) % 1300, &random);
			tun_put(a.tun[0], NULL, waiting[i], len[i]);
		}
		memcpy(next, (size_t[]){0, 1, 2, 3}, sizeof(next));
		for (i = 0; i < 64; i++) {
			struct gw_packet info;
			struct gw_cut cut;
			uint32_t piece;

			out_len = tun_get(b.tun[0], &vnet, got, sizeof(got));
			CHECK(gw_packet_parse(got, out_len, &info) == GW_OK);
			CHECK(gw_cut_begin(&vnet, got, &info, &cut) == GW_OK);
			flow = info.source_port - 1000u;
			i += cut.count - 1;
			for (piece = 0; piece < cut.count; piece++, next[flow] += 4) {
				out_len = gw_cut_write(&cut, piece, segment);
				CHECK(out_len == len[next[flow]]);
				put16(segment + 4,
					get16(waiting[next[flow]] +
						4)); /* the id, and its checksum */
				if (info.family == 4)
					put16(segment + 10,
						get16(waiting[next[flow]] + 10));
				CHECK(memcmp(segment, waiting[next[flow]], out_len) == 0);
			}
		}
	}
	CHECK(all_drops(&a) == 0 && all_drops(&b) == 0);
	plane_free(&a);
	plane_free(&b);
}

/* ---- control while packets pass ---- */

struct traffic {
	int from, to;
	unsigned rounds; /* made so far */
	atomic_bool *stop;
};

/* One side of a conversation: puts super-packets, takes what arrives, in step with itself. */
static void *
carry_stream(void *argument)
{
	struct traffic *t = argument;
	static _Thread_local uint8_t whole[PACKET_MAX], piece[PACKET_MAX];
	struct flow f = tcp4;
	struct gw_vnet in = {0}, vnet = tso(1200);
	unsigned random = 4;
	size_t len, left;

	for (; !atomic_load(t->stop); t->rounds++) {
		len = make_packet(whole, &f, 36000, &random);
		tun_put(t->from, &vnet, whole, len);
		for (left = 36000; left > 0; left -= len) {
			len = tun_get(t->to, &in, piece, sizeof(piece)) - 52;
			CHECK(len <= left);
		}
		f.seq += 36000;
	}
	return NULL;
}

static void
change_everything(struct plane *plane, uint16_t remote_port, uint32_t round)
{
	struct gw_sa out = sa_config(plane->port < remote_port ? 0x1001 : 0x2002);
	struct gw_tunnel other = tunnel_config(plane, remote_port, 1000 + round);
	struct gw_sa in = sa_config(0x5000 + round);
	int pair[2];

	CHECK(gw_dp_set_options(plane->dp, TUNNEL, &other.options) == GW_OK);
	CHECK(gw_dp_set_path(plane->dp, TUNNEL, &other.path) == GW_OK);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0);
	other.queue_count = 1;
	other.queue[0].fd = pair[0];
	CHECK(gw_dp_add_tunnel(plane->dp, &other) == GW_OK);
	CHECK(gw_dp_add_inbound(plane->dp, other.id, &in) == GW_OK);
	CHECK(gw_dp_set_outbound(plane->dp, other.id, 0, &out) == GW_OK);
	CHECK(gw_dp_set_outbound(plane->dp, other.id, 0, &out) == GW_OK);
	CHECK(gw_dp_set_punt(plane->dp, -1) == GW_OK);
	(void)tunnel_stats(plane);
	(void)drops(plane, GW_DROP_REPLAY);
	if (round % 2 == 0)
		CHECK(gw_dp_del_inbound(plane->dp, in.spi) == GW_OK);
	CHECK(gw_dp_del_tunnel(plane->dp, other.id) == GW_OK);
	(void)close(pair[1]);
}

/* Rekey: a new inbound SA at the receiver, then a new outbound SA at the sender, then the old one goes. */
static void
rekey(struct plane *from, struct plane *to, uint32_t spi, uint32_t old)
{
	struct gw_sa sa = sa_config(spi);
	struct gw_sa_stats stats;
	int i;

	CHECK(gw_dp_add_inbound(to->dp, TUNNEL, &sa) == GW_OK);
	CHECK(gw_dp_set_outbound(from->dp, TUNNEL, 0, &sa) == GW_OK);
	/* The old SA may go when the new one has been heard. */
	for (i = 0; i < DEADLINE_MS; i++) {
		CHECK(gw_dp_inbound_stats(to->dp, spi, &stats) == GW_OK);
		if (stats.packets > 0)
			break;
		(void)poll(NULL, 0, 1);
	}
	CHECK(stats.packets > 0);
	CHECK(gw_dp_del_inbound(to->dp, old) == GW_OK);
}

static void
test_nothing_is_lost_while_control_changes_things(void)
{
	struct plane a, b;
	struct traffic there, back;
	atomic_bool stop = false;
	pthread_t threads[2];
	uint32_t round, old_there = 0x1001, old_back = 0x2002;

	planes_connect(&a, &b, 1);
	there = (struct traffic){a.tun[0], b.tun[0], 0, &stop};
	back = (struct traffic){b.tun[0], a.tun[0], 0, &stop};
	CHECK(pthread_create(&threads[0], NULL, carry_stream, &there) == 0);
	CHECK(pthread_create(&threads[1], NULL, carry_stream, &back) == 0);
	for (round = 0; round < 40; round++) {
		change_everything(&a, b.port, round);
		change_everything(&b, a.port, round);
		rekey(&a, &b, 0x11000 + round, old_there);
		rekey(&b, &a, 0x12000 + round, old_back);
		old_there = 0x11000 + round;
		old_back = 0x12000 + round;
	}
	atomic_store(&stop, true);
	CHECK(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
	wait_counted(&a, there.rounds * UINT64_C(30), back.rounds * UINT64_C(30));
	wait_counted(&b, back.rounds * UINT64_C(30), there.rounds * UINT64_C(30));
	CHECK(all_drops(&a) == 0 && all_drops(&b) == 0);
	plane_free(&a);
	plane_free(&b);
}

/* Two queues are read by two workers that share one outbound SA: every sequence number is used once. */
static void
test_two_queues_share_the_sequence_numbers(void)
{
	struct gw_sa_stats out, in;
	struct plane a, b;
	unsigned round, i, random = 5;
	size_t len;

	planes_connect(&a, &b, 2);
	for (round = 0; round < 40; round++) {
		for (i = 0; i < 20; i++) {
			len = make_packet(sent, &tcp4, 1000, &random);
			tun_put(a.tun[i % 2], NULL, sent, len);
		}
		tun_take(&b, 20, got, sizeof(got));
	}
	CHECK(all_drops(&a) == 0 && all_drops(&b) == 0);
	CHECK(gw_dp_outbound_stats(a.dp, TUNNEL, 0, &out) == GW_OK);
	CHECK(gw_dp_inbound_stats(b.dp, 0x1001, &in) == GW_OK);
	CHECK(out.seq == 800 && out.packets == 800 && in.seq == 800 && in.packets == 800);
	plane_free(&a);
	plane_free(&b);
}

/* Packets in both queues of a tunnel, in step with what arrives: the peer's replay window has an end. */
static void *
carry_by_two(void *argument)
{
	void **planes = argument;
	struct plane *from = planes[0], *to = planes[1];
	atomic_bool *stop = planes[2];
	unsigned i, random = 7;
	uint64_t rounds;
	size_t len;

	for (rounds = 0; !atomic_load(stop); rounds++) {
		for (i = 0; i < 40; i++) {
			len = make_packet(sent, &tcp4, 1000, &random);
			tun_put(from->tun[i % 2], NULL, sent, len);
		}
		tun_take(to, 40, got, sizeof(got));
	}
	return (void *)(uintptr_t)rounds;
}

/* The same while SAs are replaced, tunnels come and go, and a rate cap that is never reached as well. */
static void
test_two_workers_of_a_tunnel_while_control_changes_things(void)
{
	struct gw_sa sa = sa_config(0x1001);
	struct gw_tunnel config;
	struct gw_sa_stats stats;
	struct plane a, b;
	atomic_bool stop = false;
	void *planes[3] = {&a, &b, &stop}, *rounds;
	uint32_t round;
	pthread_t thread;
	int i;

	planes_connect(&a, &b, 2);
	config = tunnel_config(&a, b.port, TUNNEL);
	CHECK(pthread_create(&thread, NULL, carry_by_two, planes) == 0);
	for (round = 0; round < 30; round++) {
		change_everything(&a, b.port, round);
		change_everything(&b, a.port, round);
		config.options.rate_bps = round % 2 * UINT64_C(20000000000);
		CHECK(gw_dp_set_options(a.dp, TUNNEL, &config.options) == GW_OK);
		sa = sa_config(0x11000 + round);
		CHECK(gw_dp_add_inbound(b.dp, TUNNEL, &sa) == GW_OK);
		CHECK(gw_dp_set_outbound(a.dp, TUNNEL, 0, &sa) == GW_OK);
		do {
			CHECK(gw_dp_inbound_stats(b.dp, sa.spi, &stats) == GW_OK);
			(void)poll(NULL, 0, 1);
		} while (stats.packets < 80);
		/* By now no worker sends on the one before; it stays a round longer all the same. */
		if (round >= 2)
			CHECK(gw_dp_del_inbound(b.dp, sa.spi - 2) == GW_OK);
	}
	atomic_store(&stop, true);
	CHECK(pthread_join(thread, &rounds) == 0);
	wait_counted(&a, (uintptr_t)rounds * UINT64_C(40), 0);
	wait_counted(&b, 0, (uintptr_t)rounds * UINT64_C(40));
	CHECK(all_drops(&a) == 0 && all_drops(&b) == 0);
	for (i = 0; i < (int)WORKERS; i++) {
		struct gw_worker_stats worker;

		CHECK(gw_dp_worker_stats(a.dp, (uint32_t)i, &worker) == GW_OK);
		CHECK(worker.udp_segments_out > 0);
	}
	plane_free(&a);
	plane_free(&b);
}

/* Of each pair of tunnels the first one carries the packets: these must not come to one worker. */
static void
test_the_first_of_twin_tunnels_fall_on_all_workers(void)
{
	struct plane a;
	struct gw_tunnel tunnel;
	uint32_t id, all[WORKERS] = {0}, firsts[WORKERS] = {0};
	int pairs[8][2];

	plane_new(&a, 1);
	for (id = 1; id <= 8; id++) {
		uint32_t worker;

		tunnel = tunnel_config(&a, 4500, id);
		CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0,
			      pairs[id - 1]) == 0);
		tunnel.queue_count = 1;
		tunnel.queue[0].fd = pairs[id - 1][0];
		CHECK(gw_dp_add_tunnel(a.dp, &tunnel) == GW_OK);
		worker = gw_tunnel_find(a.dp, id)->queue[0].worker;
		all[worker]++;
		firsts[worker] += id % 2;
	}
	CHECK(all[0] == 4 && all[1] == 4);
	CHECK(firsts[0] == 2 && firsts[1] == 2);
	plane_free(&a);
	for (id = 0; id < 8; id++)
		(void)close(pairs[id][1]);
}

static void
test_a_worker_runs_once_and_stops(void)
{
	struct plane a;

	plane_new(&a, 0);
	CHECK(gw_dp_run(a.dp, WORKERS) == GW_E_INVALID);
	plane_run(&a);
	plane_free(&a);
}

int
main(void)
{
	test_a_worker_runs_once_and_stops();
	test_the_first_of_twin_tunnels_fall_on_all_workers();
	test_a_tcp_stream_arrives_whole_and_in_order(false);
	test_a_tcp_stream_arrives_whole_and_in_order(true);
	test_single_packets_of_many_flows_arrive_unchanged();
	test_two_queues_share_the_sequence_numbers();
	test_two_workers_of_a_tunnel_while_control_changes_things();
	test_nothing_is_lost_while_control_changes_things();
	return 0;
}
