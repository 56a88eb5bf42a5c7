/*
 * Rate limits without a lock: the generic cell rate algorithm, a token bucket whose whole state
 * is one time, so that one compare-and-swap takes tokens.
 *
 * The state is the time at which the bucket will be full again. It may lie ahead of now by at
 * most the burst.
 */
#ifndef GW_RATE_H
#define GW_RATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct gw_rate_config {
	/* Picoseconds that one unit (a byte, a packet) costs; 0 = no limit. */
	uint64_t ps_per_unit;
	uint64_t burst_ns;
};

struct gw_rate {
	_Atomic uint64_t full_at_ns;
};

/* `units` per second, and as many at once as `burst_ns` pays for. units 0 = no limit; at most 10^12. */
static inline struct gw_rate_config
gw_rate_make(uint64_t units_per_s, uint64_t burst_ns)
{
	struct gw_rate_config config = {0, burst_ns};

	if (units_per_s > 0)
		config.ps_per_unit = UINT64_C(1000000000000) / units_per_s;
	if (units_per_s > 0 && config.ps_per_unit == 0)
		config.ps_per_unit = 1;
	return config;
}

/*
 * Take up to `count` items of `units` units each. Returns how many were granted. An item is
 * granted as long as the bucket is not empty, so one larger than the burst passes now and then.
 */
static inline uint32_t
gw_rate_take(struct gw_rate *rate, const struct gw_rate_config *config, uint64_t now_ns,
	uint32_t count, uint64_t units)
{
	uint64_t full_at, start, cost, room, granted;

	if (config->ps_per_unit == 0)
		return count;
	cost = units * config->ps_per_unit / 1000 + 1;
	full_at = atomic_load_explicit(&rate->full_at_ns, memory_order_relaxed);
	do {
		start = full_at > now_ns ? full_at : now_ns;
		if (start - now_ns >= config->burst_ns)
			return 0;
		room = config->burst_ns - (start - now_ns);
		granted = (room + cost - 1) / cost;
		if (granted > count)
			granted = count;
	} while (!atomic_compare_exchange_weak_explicit(&rate->full_at_ns, &full_at,
		start + granted * cost, memory_order_relaxed, memory_order_relaxed));
	return (uint32_t)granted;
}

/* Charge without asking: traffic that is never refused still uses the line. At most one burst of debt. */
static inline void
gw_rate_charge(struct gw_rate *rate, const struct gw_rate_config *config, uint64_t now_ns,
	uint64_t units)
{
	(void)gw_rate_take(rate, config, now_ns, 1, units);
}

#endif
