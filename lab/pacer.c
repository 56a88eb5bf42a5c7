/*
 * A paced source of UDP datagrams, and the two ends that may take them.
 *
 *   pacer send ADDRESS PORT RATE SECONDS CPU SIZE...   datagrams a second, for so long, on that CPU
 *   pacer send ADDRESS/STEP/COUNT/RUN PORT ...         to so many addresses in turn, a run to each
 *   pacer send ADDRESS PORT RATE SECONDS CPU xHEX SIZE...   each begins with these bytes
 *   pacer send ADDRESS PORT RATE SECONDS CPU +TRAIN SIZE    so many with one message (UDP_SEGMENT)
 *   pacer take PORT                                    delay of each that arrives, until SIGTERM
 *   pacer sink PORT                                    a socket that nobody reads, until SIGTERM
 *
 * SIZE is of the whole IPv4 packet, in bytes; several take turns, so IMIX is a list of twelve. Every
 * datagram begins with the time it is sent at, if not with something else. What is due is sent with one sendmmsg each 50 us at
 * most, so a source needs no core to itself; it prints how many it sent, in how many seconds, and the
 * longest time that it did not look at what is due, as it waited for its CPU.
 * `take` prints the delays in ns from that time to the kernel's own time stamp of the arrival, so
 * that the taker's wait for a CPU is not in them. All ends must be on one machine, with one clock.
 * The datagrams of a sink are counted by its kernel, which costs least.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	BURST = 64,
	HEADERS = 28, /* IPv4 and UDP */
	PACKET_MIN = 44,
	PACKET_MAX = 9000,
	SIZES_MAX = 64,
	HEAD_MAX = 16,  /* the smallest packet has room for it */
	TRAIN_MAX = 64, /* datagrams, of the kernel */
	MESSAGE_MAX = 65507,
	BUFFER_BYTES = 8 << 20,
	DELAYS_MAX = 1 << 20,
	STEP_NS = 50 * 1000,
	QUIET_MS = 200,
};
#define NS_PER_S 1000000000LL

static volatile sig_atomic_t is_over;

static void
end(int number)
{
	(void)number;
	is_over = 1;
}

static _Noreturn void
fail(const char *what)
{
	fprintf(stderr, "pacer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t
now_ns(clockid_t clock)
{
	struct timespec at;

	clock_gettime(clock, &at);
	return at.tv_sec * NS_PER_S + at.tv_nsec;
}

static void
sleep_until(int64_t at_ns)
{
	struct timespec at = {.tv_sec = at_ns / NS_PER_S, .tv_nsec = at_ns % NS_PER_S};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static int
bound_socket(int port)
{
	struct sockaddr_in6 here = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0)
		fail("bind");
	return fd;
}

/* To whom datagrams go, and how large their packets are; both take turns. */
struct plan {
	struct sockaddr_in first;
	uint32_t step,
		addresses; /* from one address to the next, and how many there are */
	int64_t run;       /* datagrams to one before the next has its turn */
	int sizes, size[SIZES_MAX];
	int train; /* datagrams of one size that one message is cut into by the kernel */
	int head;  /* bytes that each begins with; none: the time */
	uint8_t head_byte[HEAD_MAX];
};

static int
sending_socket(const struct plan *plan)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0), bytes = BUFFER_BYTES,
	    segment = plan->size[0] - HEADERS;

	if (fd < 0)
		fail("socket");
	if (plan->train > 1 &&
		setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)) < 0)
		fail("UDP_SEGMENT");
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	return fd;
}

static void
stay_on(int cpu)
{
	cpu_set_t only;

	CPU_ZERO(&only);
	CPU_SET(cpu, &only);
	if (sched_setaffinity(0, sizeof(only), &only) < 0)
		fail("sched_setaffinity");
	prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

/* What one sendmmsg takes: each message has a buffer of its own, which begins with its time. */
struct burst {
	struct mmsghdr message[BURST];
	struct iovec part[BURST];
	struct sockaddr_in there[BURST];
	uint8_t data[BURST][MESSAGE_MAX];
};

static void
fill(struct burst *burst, int i, const struct plan *plan, int64_t number, int64_t at)
{
	uint32_t turn = (uint32_t)(number / plan->run) % plan->addresses;
	struct msghdr *message = &burst->message[i].msg_hdr;

	if (plan->head > 0)
		memcpy(burst->data[i], plan->head_byte, (size_t)plan->head);
	else
		memcpy(burst->data[i], &at, sizeof(at));
	burst->part[i].iov_base = burst->data[i];
	burst->part[i].iov_len =
		(plan->size[number % plan->sizes] - HEADERS) * plan->train;
	burst->there[i] = plan->first;
	burst->there[i].sin_addr.s_addr =
		htonl(ntohl(plan->first.sin_addr.s_addr) + turn * plan->step);
	message->msg_iov = &burst->part[i];
	message->msg_iovlen = 1;
	message->msg_name = &burst->there[i];
	message->msg_namelen = sizeof(burst->there[i]);
}

/* Send the next `count` messages after `sent` and return how many went out. */
static int
send_burst(int fd, struct burst *burst, int count, const struct plan *plan, int64_t sent)
{
	int64_t at = now_ns(CLOCK_REALTIME);
	int done;

	for (int i = 0; i < count; i++)
		fill(burst, i, plan, sent + i, at);
	done = sendmmsg(fd, burst->message, count, 0);
	if (done < 0 && errno != ENOBUFS)
		fail("sendmmsg");
	return done < 0 ? 0 : done;
}

/* Send `rate` messages a second. */
static void
run_source(const struct plan *plan, double rate, double seconds)
{
	static struct burst burst;
	int fd = sending_socket(plan);
	int64_t total = (int64_t)(rate * seconds), sent = 0,
		began = now_ns(CLOCK_MONOTONIC), looked = began, away = 0;
	/* A source that can not keep up ends after twice its time, and has then sent less. */
	int64_t give_up = began + (int64_t)(2 * seconds * NS_PER_S);

	while (sent < total && !is_over) {
		int64_t now = now_ns(CLOCK_MONOTONIC),
			due = (int64_t)((double)(now - began) * rate / NS_PER_S) + 1;

		if (now - looked > away)
			away = now - looked;
		looked = now;
		if (now > give_up)
			break;
		if (due > total)
			due = total;
		if (due <= sent) {
			int64_t next = began + (int64_t)((double)sent * NS_PER_S / rate);

			sleep_until(next > now + STEP_NS ? next : now + STEP_NS);
			continue;
		}
		sent += send_burst(fd, &burst,
			due - sent > BURST ? BURST : (int)(due - sent), plan, sent);
	}
	printf("{\"sent\": %lld, \"seconds\": %.6f, \"away\": %.6f}\n",
		(long long)(sent * plan->train),
		(double)(now_ns(CLOCK_MONOTONIC) - began) / NS_PER_S,
		(double)away / NS_PER_S);
}

static int64_t
arrival_ns(struct msghdr *message)
{
	struct cmsghdr *each = CMSG_FIRSTHDR(message);
	struct timespec at;

	if (!each || each->cmsg_type != SCM_TIMESTAMPNS) {
		errno = EPROTO;
		fail("no time stamp");
	}
	memcpy(&at, CMSG_DATA(each), sizeof(at));
	return at.tv_sec * NS_PER_S + at.tv_nsec;
}

static void
run_taker(int fd)
{
	static int64_t delay[DELAYS_MAX];
	struct timeval quiet = {.tv_usec = QUIET_MS * 1000};
	int yes = 1, bytes = BUFFER_BYTES, count = 0;

	setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &yes, sizeof(yes));
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof(quiet));
	while (count < DELAYS_MAX) {
		int64_t sent_at;
		char control[64];
		struct iovec part = {&sent_at, sizeof(sent_at)};
		struct msghdr message = {.msg_iov = &part,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control)};

		if (recvmsg(fd, &message, 0) == (ssize_t)sizeof(sent_at))
			delay[count++] = arrival_ns(&message) - sent_at;
		else if (is_over)
			break;
	}
	printf("[");
	for (int i = 0; i < count; i++)
		printf(i ? ", %lld" : "%lld", (long long)delay[i]);
	printf("]\n");
}

static int64_t
number(const char *word, int64_t least, int64_t most)
{
	char *rest;
	int64_t value = strtoll(word, &rest, 10);

	if (*word == '\0' || *rest != '\0' || value < least || value > most) {
		fprintf(stderr, "pacer: %s: a number from %lld to %lld\n", word,
			(long long)least, (long long)most);
		exit(2);
	}
	return value;
}

/* Read ADDRESS or ADDRESS/STEP/COUNT/RUN; `word` is changed. */
static void
read_addresses(char *word, struct plan *plan)
{
	char *part[4];
	int parts = 0;

	for (char *each = strtok(word, "/"); each && parts < 4; each = strtok(NULL, "/"))
		part[parts++] = each;
	if ((parts != 1 && parts != 4) ||
		inet_pton(AF_INET, part[0], &plan->first.sin_addr) != 1) {
		errno = EINVAL;
		fail("address");
	}
	plan->first.sin_family = AF_INET;
	plan->step = parts == 1 ? 0 : (uint32_t)number(part[1], 0, 1 << 24);
	plan->addresses = parts == 1 ? 1 : (uint32_t)number(part[2], 1, 1 << 16);
	plan->run = parts == 1 ? 1 : number(part[3], 1, 1 << 16);
}

/* Read xHEX. */
static void
read_head(const char *word, struct plan *plan)
{
	char pair[3] = "";

	for (word++; word[0] != '\0' && word[1] != '\0' && plan->head < HEAD_MAX;
		word += 2) {
		memcpy(pair, word, 2);
		plan->head_byte[plan->head++] = (uint8_t)strtoul(pair, NULL, 16);
	}
	if (word[0] != '\0') {
		errno = EINVAL;
		fail("head");
	}
}

static int
send_main(int count, char **words)
{
	int cpu, given = 5;
	int64_t rate;
	struct plan plan = {.train = 1};

	if (count < 6)
		return 2;
	read_addresses(words[0], &plan);
	plan.first.sin_port = htons((uint16_t)number(words[1], 1, 65535));
	rate = number(words[2], 1, 100 * 1000 * 1000);
	cpu = (int)number(words[4], 0, CPU_SETSIZE - 1);
	if (words[given][0] == 'x')
		read_head(words[given++], &plan);
	else if (words[given][0] == '+')
		plan.train = (int)number(words[given++] + 1, 2, TRAIN_MAX);
	for (; given < count && plan.sizes < SIZES_MAX; given++)
		plan.size[plan.sizes++] =
			(int)number(words[given], PACKET_MIN, PACKET_MAX);
	if (given < count || plan.sizes == 0 || (plan.train > 1 && plan.sizes > 1) ||
		plan.train * (plan.size[0] - HEADERS) > MESSAGE_MAX)
		return 2;
	stay_on(cpu);
	run_source(&plan, (double)rate / plan.train, strtod(words[3], NULL));
	return 0;
}

int
main(int count, char **words)
{
	struct sigaction action = {.sa_handler = end};

	sigaction(SIGTERM, &action, NULL);
	if (count > 2 && !strcmp(words[1], "send"))
		return send_main(count - 2, words + 2);
	if (count == 3 && !strcmp(words[1], "take")) {
		run_taker(bound_socket((int)number(words[2], 1, 65535)));
		return 0;
	}
	if (count == 3 && !strcmp(words[1], "sink")) {
		int fd = bound_socket((int)number(words[2], 1, 65535)), least = 1;

		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
		while (!is_over)
			pause();
		return 0;
	}
	return 2;
}
