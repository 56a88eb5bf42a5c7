/*
 * What `./run bench stages` runs under callgrind: packets of one kind through two data planes, a
 * batch at a time, without worker threads, so that every run counts the same instructions.
 *
 *   stages PACKETS PAYLOAD TCP_SEGMENTS FLOWS
 *
 * PACKETS reads of the TUN, each of one UDP packet with PAYLOAD bytes, or with TCP_SEGMENTS > 0 of a
 * super-packet of so many TCP segments with PAYLOAD bytes each; PAYLOAD 0 is IMIX (7 of 40, 4 of 576
 * and 1 of 1386 bytes, whole packets). Prints how many inner packets arrived.
 */
#include "internal.h"
#include "plane.h"

#define BATCH 48u

static uint8_t packet[PACKET_MAX];
static unsigned random_state = 1;

static void
give_buffers(struct plane *plane)
{
	uint32_t i;

	for (i = 0; i < WORKERS; i++) {
		plane->dp->workers[i].buffers = calloc(1, sizeof(struct gw_buffers));
		CHECK(plane->dp->workers[i].buffers != NULL);
	}
}

static void
connect_planes(struct plane *a, struct plane *b)
{
	struct gw_sa sa = sa_config(0x1001);

	plane_new(a, 1);
	plane_new(b, 1);
	plane_add_tunnel(a, b->port, 1);
	plane_add_tunnel(b, a->port, 1);
	CHECK(gw_dp_add_inbound(b->dp, TUNNEL, &sa) == GW_OK);
	CHECK(gw_dp_set_outbound(a->dp, TUNNEL, 0, &sa) == GW_OK);
	give_buffers(a);
	give_buffers(b);
}

/* UDP payload of packet `i` of an IMIX. */
static size_t
imix(uint32_t i)
{
	uint32_t at = i % 12;

	return at < 7 ? 40 - 28 : at < 11 ? 576 - 28 : 1386 - 28;
}

static void
put_udp(struct plane *a, uint32_t i, size_t payload, uint32_t flows)
{
	struct flow f = {.family = 4,
		.protocol = 17,
		.ttl = 64,
		.df = true,
		.sport = 1000 + i % flows,
		.dport = 5201};

	tun_put(a->tun[0], NULL, packet,
		make_packet(packet, &f, payload > 0 ? payload : imix(i), &random_state));
}

static void
put_tcp(struct plane *a, uint32_t i, size_t size, size_t segments, uint32_t flows)
{
	static uint32_t sent[64];
	uint32_t flow = i % flows;
	struct flow f = {.family = 4,
		.protocol = 6,
		.options_len = 12,
		.ttl = 64,
		.df = true,
		.sport = 1000 + flow,
		.dport = 5201,
		.flags = 0x10,
		.seq = sent[flow]};
	struct gw_vnet vnet = {.flags = GW_VNET_NEEDS_CSUM,
		.gso_type = GW_VNET_GSO_TCPV4,
		.gso_size = (uint16_t)size,
		.csum_start = 20,
		.csum_offset = 16};

	sent[flow] += (uint32_t)(size * segments);
	tun_put(a->tun[0], &vnet, packet,
		make_packet(packet, &f, size * segments, &random_state));
}

/* Read what came out of the other end's TUN. */
static void
drain(struct plane *b)
{
	while (recv(b->tun[0], packet, sizeof(packet), MSG_DONTWAIT) > 0)
		;
}

static void
carry(struct plane *a, struct plane *b)
{
	struct gw_queue *queue = &gw_tunnel_find(a->dp, TUNNEL)->queue[0];
	uint64_t before,
		after = gw_counter_get(&b->dp->workers[0].counters.udp_segments_in);

	CHECK(gw_outbound_batch(&a->dp->workers[queue->worker], queue));
	do {
		before = after;
		gw_inbound_batch(&b->dp->workers[0], b->dp->sockets);
		drain(b);
		after = gw_counter_get(&b->dp->workers[0].counters.udp_segments_in);
	} while (after > before);
}

int
main(int argc, char **argv)
{
	uint32_t i, total, batch, flows;
	size_t payload, segments;
	struct plane a, b;

	CHECK(argc == 5);
	total = (uint32_t)atoi(argv[1]);
	payload = (size_t)atoi(argv[2]);
	segments = (size_t)atoi(argv[3]);
	flows = (uint32_t)atoi(argv[4]);
	CHECK(flows >= 1 && flows <= 64 &&
		(payload == 0 || payload * (segments + 1) < 65000));
	/* Super-packets fill the socket pair and the socket sooner. */
	batch = segments > 0 ? 2 : BATCH;
	connect_planes(&a, &b);
	for (i = 0; i < total; i++) {
		if (segments > 0)
			put_tcp(&a, i, payload, segments, flows);
		else
			put_udp(&a, i, payload, flows);
		if ((i + 1) % batch == 0 || i + 1 == total)
			carry(&a, &b);
	}
	printf("%llu\n", (unsigned long long)tunnel_stats(&b).in_packets);
	CHECK(tunnel_stats(&a).out_packets == tunnel_stats(&b).in_packets);
	for (i = 0; i < WORKERS; i++) {
		free(a.dp->workers[i].buffers);
		free(b.dp->workers[i].buffers);
	}
	plane_free(&a);
	plane_free(&b);
	return 0;
}
