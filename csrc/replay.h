/*
 * Anti-replay window of one inbound SA (RFC 4303 section 3.4.3, ring of RFC 6479).
 *
 * A packet is judged twice: gw_replay_check() before decryption, which is cheap and changes
 * nothing, and gw_replay_mark() after the ICV verified, which alone moves the window.
 * Not thread-safe: the caller holds the SA's lock.
 */
#ifndef GW_REPLAY_H
#define GW_REPLAY_H

#include "gw_dp.h"

#define GW_REPLAY_WORDS 128u /* power of two; holds windows up to GW_REPLAY_MAX */
#define GW_REPLAY_MIN   64u  /* packets */
#define GW_REPLAY_MAX   4096u

/* Set `window` (GW_REPLAY_MIN..GW_REPLAY_MAX); all else zero is an empty window. */
struct gw_replay {
	uint64_t top;    /* highest sequence number marked; 0 = none */
	uint32_t window; /* packets */
	uint64_t seen[GW_REPLAY_WORDS];
};

/* May a packet with this sequence number be opened? 0 never may. */
bool gw_replay_check(const struct gw_replay *w, uint64_t seq);

/* Mark an authenticated packet. False (and no change) if gw_replay_check() would refuse it by now. */
bool gw_replay_mark(struct gw_replay *w, uint64_t seq);

/* The 64-bit sequence number that a packet's low 32 bits stand for (RFC 4303 appendix A2.1). */
uint64_t gw_replay_esn(const struct gw_replay *w, uint32_t seq_low);

#endif
