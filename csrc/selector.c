/* Matching inner packets against traffic selectors. */
#include "selector.h"

#include <stdlib.h>
#include <string.h>

static bool
all_bytes(const uint8_t *p, size_t len, uint8_t value)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (p[i] != value)
			return false;
	return true;
}

static bool
selector_ok(const struct gw_selector *s)
{
	size_t size = s->family == 4 ? 4 : 16;

	return (s->family == 4 || s->family == 6) && s->first_port <= s->last_port &&
	       memcmp(s->first, s->last, size) <= 0;
}

static bool
is_any(const struct gw_selector *s, uint8_t family)
{
	size_t size = family == 4 ? 4 : 16;

	return s->family == family && s->protocol == 0 && s->first_port == 0 &&
	       s->last_port == 0xffff && all_bytes(s->first, size, 0) &&
	       all_bytes(s->last, size, 0xff);
}

static bool
has_any(const struct gw_selector *list, size_t count, uint8_t family)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (is_any(&list[i], family))
			return true;
	return false;
}

static bool
sides_have_any(const struct gw_selectors *s, uint8_t family)
{
	return has_any(s->list, s->local_count, family) &&
	       has_any(s->list + s->local_count, s->remote_count, family);
}

int
gw_selectors_new(const struct gw_sa *sa, struct gw_selectors **out)
{
	size_t i, count = (size_t)sa->local_count + sa->remote_count;
	struct gw_selectors *s;

	*out = NULL;
	if (sa->local_count == 0 || sa->local_count > GW_SELECTORS_MAX ||
		sa->remote_count == 0 || sa->remote_count > GW_SELECTORS_MAX)
		return GW_E_INVALID;
	s = calloc(1, sizeof(*s) + count * sizeof(s->list[0]));
	if (s == NULL)
		return GW_E_NOMEM;
	s->local_count = sa->local_count;
	s->remote_count = sa->remote_count;
	memcpy(s->list, sa->local, sa->local_count * sizeof(s->list[0]));
	memcpy(s->list + sa->local_count, sa->remote,
		sa->remote_count * sizeof(s->list[0]));
	for (i = 0; i < count; i++) {
		if (!selector_ok(&s->list[i])) {
			free(s);
			return GW_E_INVALID;
		}
	}
	s->any4 = sides_have_any(s, 4);
	s->any6 = sides_have_any(s, 6);
	*out = s;
	return GW_OK;
}

static bool
side_matches(const struct gw_selector *list, size_t count, const uint8_t *address,
	uint16_t port, const struct gw_packet *info)
{
	size_t i, size = info->family == 4 ? 4 : 16;

	for (i = 0; i < count; i++) {
		const struct gw_selector *s = &list[i];

		if (s->family != info->family ||
			(s->protocol != 0 && s->protocol != info->protocol))
			continue;
		if (memcmp(address, s->first, size) < 0 ||
			memcmp(address, s->last, size) > 0)
			continue;
		if (s->first_port == 0 && s->last_port == 0xffff)
			return true;
		if (info->has_ports && port >= s->first_port && port <= s->last_port)
			return true;
	}
	return false;
}

bool
gw_selectors_match(const struct gw_selectors *selectors, const uint8_t *packet,
	const struct gw_packet *info, bool outbound)
{
	const struct gw_selector *local = selectors->list;
	const struct gw_selector *remote = selectors->list + selectors->local_count;
	size_t size = info->family == 4 ? 4 : 16;
	const uint8_t *source = packet + (info->family == 4 ? 12 : 8);
	const uint8_t *dest = source + size;

	if (info->family == 4 ? selectors->any4 : selectors->any6)
		return true;
	if (outbound)
		return side_matches(local, selectors->local_count, source,
			       info->source_port, info) &&
		       side_matches(remote, selectors->remote_count, dest,
			       info->dest_port, info);
	return side_matches(remote, selectors->remote_count, source, info->source_port,
		       info) &&
	       side_matches(local, selectors->local_count, dest, info->dest_port, info);
}
