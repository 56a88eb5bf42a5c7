/*
 * A flood of UDP datagrams from forged addresses, for the laboratory's namespaces alone.
 *
 *   flood ADDRESS PORT RATE SECONDS SOURCE/COUNT FILE [AT/LENGTH]...
 *
 * RATE datagrams a second toward ADDRESS, each from one of COUNT addresses that begin with SOURCE,
 * chosen at random, and with what FILE holds; LENGTH bytes AT each place named are random in each.
 * What is due goes out with one sendmmsg. It prints how many it sent and in how many seconds; one
 * that can not keep up sends fewer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

enum { BURST = 64, HEADERS = 28, DATA_MAX = 1400, SPOTS_MAX = 8, STEP_NS = 200 * 1000 };
#define NS_PER_S 1000000000LL

struct spot {
	size_t at, length;
};

struct plan {
	struct sockaddr_in there;
	uint32_t source, sources;
	uint8_t data[DATA_MAX];
	size_t len;
	struct spot spots[SPOTS_MAX];
	int spot_count;
};

static uint64_t state = 88172645463325252u;

static uint64_t
random_word(void) /* xorshift64: nothing here is a secret */
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static _Noreturn void
fail(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t
now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * NS_PER_S + at.tv_nsec;
}

/* Write the next datagram with its headers; the kernel fills in the IP checksum. */
static size_t
make_packet(uint8_t *out, const struct plan *plan)
{
	struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP};
	struct udphdr udp = {.source = htons(500), .dest = plan->there.sin_port};
	size_t total = HEADERS + plan->len;

	ip.tot_len = htons((uint16_t)total);
	ip.saddr = htonl(plan->source + (uint32_t)(random_word() % plan->sources));
	ip.daddr = plan->there.sin_addr.s_addr;
	udp.len = htons((uint16_t)(8 + plan->len));
	memcpy(out, &ip, sizeof(ip));
	memcpy(out + sizeof(ip), &udp, sizeof(udp));
	memcpy(out + HEADERS, plan->data, plan->len);
	for (int i = 0; i < plan->spot_count; i++)
		for (size_t j = 0; j < plan->spots[i].length; j++)
			out[HEADERS + plan->spots[i].at + j] =
				(uint8_t)(random_word() >> 32);
	return total;
}

static int
send_burst(int fd, const struct plan *plan, int count)
{
	static uint8_t packets[BURST][HEADERS + DATA_MAX];
	static struct mmsghdr messages[BURST];
	static struct iovec parts[BURST];
	int done;

	for (int i = 0; i < count; i++) {
		parts[i] = (struct iovec){packets[i], make_packet(packets[i], plan)};
		messages[i].msg_hdr =
			(struct msghdr){.msg_name = (void *)(uintptr_t)&plan->there,
				.msg_namelen = sizeof(plan->there),
				.msg_iov = &parts[i],
				.msg_iovlen = 1};
	}
	done = sendmmsg(fd, messages, (unsigned)count, 0);
	if (done < 0 && errno != ENOBUFS)
		fail("sendmmsg");
	return done < 0 ? 0 : done;
}

static void
flood(const struct plan *plan, int64_t rate, double seconds)
{
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW), bytes = 8 << 20;
	int64_t began = now_ns(), over = began + (int64_t)(seconds * NS_PER_S), sent = 0,
		now;

	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	while ((now = now_ns()) < over) {
		int64_t due =
			(int64_t)((double)(now - began) * (double)rate / NS_PER_S) - sent;
		struct timespec step = {.tv_nsec = STEP_NS};

		if (due > 0)
			sent += send_burst(fd, plan, due > BURST ? BURST : (int)due);
		else
			clock_nanosleep(CLOCK_MONOTONIC, 0, &step, NULL);
	}
	printf("{\"sent\": %lld, \"seconds\": %.6f}\n", (long long)sent,
		(double)(now - began) / NS_PER_S);
}

static void
read_plan(struct plan *plan, int count, char **words)
{
	char *slash = strchr(words[4], '/');
	FILE *file = fopen(words[5], "rb");
	struct in_addr source;

	if (file == NULL)
		fail(words[5]);
	plan->len = fread(plan->data, 1, sizeof(plan->data), file);
	fclose(file);
	errno = EINVAL;
	if (slash == NULL)
		fail("SOURCE/COUNT");
	*slash = '\0';
	plan->sources = (uint32_t)strtoul(slash + 1, NULL, 10);
	plan->there.sin_family = AF_INET;
	plan->there.sin_port = htons((uint16_t)atoi(words[1]));
	if (inet_pton(AF_INET, words[0], &plan->there.sin_addr) != 1 ||
		inet_pton(AF_INET, words[4], &source) != 1 || plan->sources == 0)
		fail("address");
	plan->source = ntohl(source.s_addr);
	for (int i = 6; i < count && plan->spot_count < SPOTS_MAX; i++) {
		struct spot *spot = &plan->spots[plan->spot_count++];

		if (sscanf(words[i], "%zu/%zu", &spot->at, &spot->length) != 2 ||
			spot->at + spot->length > plan->len)
			fail("AT/LENGTH");
	}
}

int
main(int count, char **words)
{
	static struct plan plan;

	if (count < 7) { /* the program and six words */
		fprintf(stderr, "flood ADDRESS PORT RATE SECONDS SOURCE/COUNT FILE "
				"[AT/LENGTH]...\n");
		return 2;
	}
	read_plan(&plan, count - 1, words + 1);
	flood(&plan, strtoll(words[3], NULL, 10), strtod(words[4], NULL));
	return 0;
}
