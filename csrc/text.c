/* Texts of errors and drop reasons. */
#include "drop.h"
#include "gw_dp.h"

static const struct {
	const char *name;
	const char *text;
} drops[] = {
#define X(id, name, text) {name, text},
	GW_FOREACH_DROP(X)
#undef X
};

const char *
gw_strerror(int err)
{
	switch (err) {
	case GW_OK:
		return "success";
	case GW_E_INVALID:
		return "invalid argument";
	case GW_E_NOMEM:
		return "out of memory";
	case GW_E_EXISTS:
		return "exists already";
	case GW_E_NOENT:
		return "no such SA, tunnel or socket";
	case GW_E_SYS:
		return "a system call failed";
	case GW_E_UNSUPPORTED:
		return "not supported by this build or machine";
	case GW_E_SHORT:
		return "packet too short";
	case GW_E_ICV:
		return "wrong integrity check value";
	case GW_E_REPLAY:
		return "sequence number seen or too old";
	case GW_E_PADDING:
		return "wrong padding";
	case GW_E_LIMIT:
		return "hard limit reached";
	case GW_E_SPACE:
		return "output buffer too small";
	default:
		return "unknown error";
	}
}

uint32_t
gw_drop_count(void)
{
	return GW_DROP_COUNT;
}

const char *
gw_drop_name(uint32_t reason)
{
	return reason < GW_DROP_COUNT ? drops[reason].name : NULL;
}

const char *
gw_drop_text(uint32_t reason)
{
	return reason < GW_DROP_COUNT ? drops[reason].text : NULL;
}
