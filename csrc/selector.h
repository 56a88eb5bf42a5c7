/*
 * The traffic selectors of an SA (RFC 4301 section 4.4.1.1, RFC 7296 section 3.13.1).
 */
#ifndef GW_SELECTOR_H
#define GW_SELECTOR_H

#include "packet.h"

/* Both sides' selectors, in one block. */
struct gw_selectors {
	bool any4; /* every IPv4 packet matches: nothing to look at */
	bool any6;
	uint16_t local_count;
	uint16_t remote_count;
	struct gw_selector list[]; /* local ones, then remote ones */
};

/* Copy and check the selectors of an SA; free() them. GW_E_INVALID (a range is wrong, a side has none), GW_E_NOMEM. */
GW_MUST_CHECK int gw_selectors_new(const struct gw_sa *sa, struct gw_selectors **out);

/*
 * Is the packet within the selectors? Outbound: source is local. Inbound: source is remote.
 * A packet whose ports are not known (a later fragment) is within a selector of all ports only.
 */
bool gw_selectors_match(const struct gw_selectors *selectors, const uint8_t *packet,
	const struct gw_packet *info, bool outbound);

#endif
