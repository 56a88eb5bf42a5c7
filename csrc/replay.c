#include "replay.h"

/* A window never reaches back into a word that gw_replay_mark() has cleared for newer numbers. */
_Static_assert(
	(GW_REPLAY_WORDS & (GW_REPLAY_WORDS - 1u)) == 0, "the ring's index is a mask");
_Static_assert((GW_REPLAY_WORDS - 1u) * 64u >= GW_REPLAY_MAX, "the ring is too small");

static size_t
word_of(uint64_t seq)
{
	return (size_t)(seq >> 6) & (GW_REPLAY_WORDS - 1u);
}

static uint64_t
bit_of(uint64_t seq)
{
	return UINT64_C(1) << (seq & 63u);
}

bool
gw_replay_check(const struct gw_replay *w, uint64_t seq)
{
	if (seq == 0)
		return false;
	if (seq > w->top)
		return true;
	if (w->top - seq >= w->window)
		return false;
	return (w->seen[word_of(seq)] & bit_of(seq)) == 0;
}

bool
gw_replay_mark(struct gw_replay *w, uint64_t seq)
{
	uint64_t word, last;

	if (!gw_replay_check(w, seq))
		return false;
	if (seq > w->top) {
		/* Clear every word the window slides over, at most the whole ring. */
		word = w->top >> 6;
		last = seq >> 6;
		if (last - word > GW_REPLAY_WORDS)
			word = last - GW_REPLAY_WORDS;
		while (word++ < last)
			w->seen[word & (GW_REPLAY_WORDS - 1u)] = 0;
		w->top = seq;
	}
	w->seen[word_of(seq)] |= bit_of(seq);
	return true;
}

uint64_t
gw_replay_esn(const struct gw_replay *w, uint32_t seq_low)
{
	uint64_t high = w->top >> 32;
	uint32_t low = (uint32_t)w->top;
	uint32_t bottom = low - w->window + 1u;

	if (low >= w->window - 1u) {
		/* The window lies in one subspace (case A): what is below it belongs to the next. */
		if (seq_low < bottom) {
			if (high == UINT32_MAX)
				return 0;
			high++;
		}
	} else if (seq_low >= bottom && high > 0) {
		/* The window begins in the subspace before (case B). With no subspace before
		 * the first, such a number can only lie ahead. */
		high--;
	}
	return high << 32 | seq_low;
}
