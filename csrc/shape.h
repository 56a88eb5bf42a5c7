/* Packets that wait for the rate cap of their tunnel. */
#ifndef GW_SHAPE_H
#define GW_SHAPE_H

#include "gw_dp.h"

struct gw_queue;
struct gw_shaper;
struct gw_tunnel_state;

/* One for a queue, with its timer in the worker's epoll set; under dp->control. GW_E_NOMEM, GW_E_SYS. */
GW_MUST_CHECK int gw_shaper_make(struct gw_dp *dp, struct gw_queue *queue);
void gw_shaper_unwatch(struct gw_dp *dp, struct gw_queue *queue);
void gw_shaper_free(struct gw_shaper *shaper); /* or NULL */

/* The others are for the queue's worker alone. */
struct gw_queue *gw_shaper_queue(const struct gw_shaper *shaper);
bool gw_shaper_is_empty(const struct gw_shaper *shaper);
/*
 * Keep a copy of what was read, behind the others. False if more than `most` bytes would wait in the
 * worker's queues of the tunnel.
 */
bool gw_shaper_hold(
	struct gw_shaper *shaper, const uint8_t *data, size_t len, uint32_t most);
/*
 * The queue of a tunnel whose turn it is to send what waits: each worker goes round its own, and each
 * that waits gets as many bytes (deficit round robin), whatever its packets are. NULL: none waits.
 */
struct gw_queue *gw_shaper_next(struct gw_tunnel_state *tunnel, uint32_t worker);
/* The one of a worker's queues of a tunnel in which most waits; NULL: none waits. */
struct gw_shaper *gw_shaper_fullest(
	const struct gw_tunnel_state *tunnel, uint32_t worker);
/* The first that waits, or NULL; it stays until gw_shaper_pop(). */
const uint8_t *gw_shaper_first(const struct gw_shaper *shaper, size_t *len);
void gw_shaper_pop(struct gw_shaper *shaper);
/* Have gw_outbound_release() called after so long, or not any more. */
void gw_shaper_wait(struct gw_shaper *shaper, uint64_t ns);
void gw_shaper_rest(struct gw_shaper *shaper);

#endif
