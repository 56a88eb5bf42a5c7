/* ESP SAs: installing, swapping, removing (the SAD of RFC 4301 section 4.4.2). */
#define _GNU_SOURCE 1
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* The last sequence number of an SA without and with ESN; it never wraps (RFC 4303 section 2.2). */
#define SEQ_MAX     UINT64_C(0xffffffff)
#define SEQ_MAX_ESN (UINT64_MAX - 1)

void
gw_inbound_free(void *object)
{
	struct gw_inbound *sa = object;

	if (sa == NULL)
		return;
	gw_cipher_free(sa->cipher);
	free(sa->selectors);
	(void)pthread_mutex_destroy(&sa->lock);
	free(sa);
}

void
gw_outbound_free(void *object)
{
	struct gw_outbound *sa = object;
	uint32_t i;

	if (sa == NULL)
		return;
	for (i = 0; i < GW_WORKERS_MAX; i++)
		gw_cipher_free(sa->cipher[i]);
	free(sa->selectors);
	free(sa);
}

static bool
sa_ok(const struct gw_sa *sa)
{
	return sa->spi >= GW_SPI_MIN && sa->esn <= 1;
}

static int
make_inbound(struct gw_tunnel_state *tunnel, const struct gw_sa *config,
	struct gw_inbound **out)
{
	struct gw_inbound *sa;
	int err;

	*out = NULL;
	if (config->replay_window < GW_REPLAY_MIN ||
		config->replay_window > GW_REPLAY_MAX)
		return GW_E_INVALID;
	sa = calloc(1, sizeof(*sa));
	if (sa == NULL)
		return GW_E_NOMEM;
	(void)pthread_mutex_init(&sa->lock, NULL);
	sa->spi = config->spi;
	sa->esn = config->esn != 0;
	sa->suite = gw_suite_find(config->encr, config->integ, config->encr_key_len);
	sa->tunnel = tunnel;
	sa->soft_packets = config->soft_packets;
	sa->hard_packets = config->hard_packets;
	sa->soft_bytes = config->soft_bytes;
	sa->hard_bytes = config->hard_bytes;
	sa->replay.window = config->replay_window;
	err = sa->suite == NULL ? GW_E_UNSUPPORTED
				: gw_selectors_new(config, &sa->selectors);
	if (err == GW_OK)
		err = gw_cipher_new(config, false, &sa->cipher);
	if (err != GW_OK) {
		gw_inbound_free(sa);
		return err;
	}
	*out = sa;
	return GW_OK;
}

static int
insert_inbound(struct gw_dp *dp, uint32_t id, const struct gw_sa *config)
{
	struct gw_tunnel_state *tunnel = gw_tunnel_find(dp, id);
	_Atomic(struct gw_inbound *) *slot =
		&dp->spi_table[config->spi & (GW_SPI_SLOTS - 1)];
	struct gw_inbound *sa;
	int err;

	if (tunnel == NULL)
		return GW_E_NOENT;
	if (atomic_load(slot) != NULL)
		return GW_E_EXISTS;
	err = make_inbound(tunnel, config, &sa);
	if (err != GW_OK)
		return err;
	sa->next = tunnel->inbound;
	tunnel->inbound = sa;
	atomic_store(slot, sa);
	return GW_OK;
}

int
gw_dp_add_inbound(struct gw_dp *dp, uint32_t tunnel, const struct gw_sa *sa)
{
	int err;

	if (dp == NULL || sa == NULL || !sa_ok(sa))
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	err = insert_inbound(dp, tunnel, sa);
	gw_control_unlock(dp);
	return err;
}

struct gw_inbound *
gw_inbound_find(const struct gw_dp *dp, uint32_t spi)
{
	struct gw_inbound *sa = atomic_load(&dp->spi_table[spi & (GW_SPI_SLOTS - 1)]);

	return sa != NULL && sa->spi == spi ? sa : NULL;
}

int
gw_dp_del_inbound(struct gw_dp *dp, uint32_t spi)
{
	struct gw_inbound *sa, **at;

	if (dp == NULL)
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	sa = gw_inbound_find(dp, spi);
	if (sa != NULL) {
		at = &sa->tunnel->inbound;
		while (*at != sa)
			at = &(*at)->next;
		*at = sa->next;
		atomic_store(&dp->spi_table[spi & (GW_SPI_SLOTS - 1)], NULL);
		gw_retire(dp, gw_inbound_free, sa);
	}
	gw_control_unlock(dp);
	return sa == NULL ? GW_E_NOENT : GW_OK;
}

/* One cipher for each worker that reads a queue of the tunnel: ciphers are not shared. */
static int
make_ciphers(const struct gw_tunnel_state *tunnel, const struct gw_sa *config,
	struct gw_outbound *sa)
{
	uint32_t i;
	int err = GW_OK;

	for (i = 0; i < GW_WORKERS_MAX && err == GW_OK; i++)
		if ((tunnel->workers & 1u << i) != 0)
			err = gw_cipher_new(config, true, &sa->cipher[i]);
	return err;
}

/* The worker that an SA is for, of those that have a cipher: they read the tunnel's queues. */
static uint32_t
owner_of(const struct gw_outbound *sa, uint32_t resource)
{
	uint32_t i;

	for (i = 0; i < GW_WORKERS_MAX && resource > 0; i++)
		if (sa->cipher[i] != NULL && --resource == 0)
			return i;
	return GW_WORKERS_MAX;
}

static int
make_outbound(struct gw_tunnel_state *tunnel, const struct gw_sa *config,
	struct gw_outbound **out)
{
	struct gw_outbound *sa;
	int err;

	*out = NULL;
	sa = aligned_alloc(GW_CACHE_LINE, sizeof(*sa));
	if (sa == NULL)
		return GW_E_NOMEM;
	memset(sa, 0, sizeof(*sa));
	sa->spi = config->spi;
	sa->suite = gw_suite_find(config->encr, config->integ, config->encr_key_len);
	sa->tunnel = tunnel;
	sa->seq_max = config->esn ? SEQ_MAX_ESN : SEQ_MAX;
	if (config->hard_packets != 0 && config->hard_packets < sa->seq_max)
		sa->seq_max = config->hard_packets;
	sa->soft_packets = config->soft_packets;
	sa->hard_packets = config->hard_packets;
	sa->soft_bytes = config->soft_bytes;
	sa->hard_bytes = config->hard_bytes;
	err = sa->suite == NULL ? GW_E_UNSUPPORTED
				: gw_selectors_new(config, &sa->selectors);
	if (err == GW_OK)
		err = make_ciphers(tunnel, config, sa);
	if (err != GW_OK) {
		gw_outbound_free(sa);
		return err;
	}
	sa->owner = owner_of(sa, config->resource);
	*out = sa;
	return GW_OK;
}

/* Find for each worker the first SA that is for it alone. */
static void
assign_own(struct gw_tunnel_state *tunnel)
{
	struct gw_outbound *own[GW_WORKERS_MAX] = {NULL}, *sa;
	uint32_t i;

	for (i = 0; i < GW_OUTBOUND_MAX; i++) {
		sa = atomic_load(&tunnel->outbound[i]);
		if (sa != NULL && sa->owner < GW_WORKERS_MAX && own[sa->owner] == NULL)
			own[sa->owner] = sa;
	}
	for (i = 0; i < GW_WORKERS_MAX; i++)
		atomic_store(&tunnel->own[i], own[i]);
}

/* Put an SA, or none, into a slot. Workers that do not look at the slot yet do so with the next batch. */
static void
put_outbound(struct gw_dp *dp, struct gw_tunnel_state *tunnel, uint32_t slot,
	struct gw_outbound *sa)
{
	struct gw_outbound *before = atomic_exchange(&tunnel->outbound[slot], sa);
	uint32_t count = GW_OUTBOUND_MAX;

	assign_own(tunnel); /* before its end: nobody may find it any more */
	gw_retire(dp, gw_outbound_free, before);
	while (count > 0 && atomic_load(&tunnel->outbound[count - 1]) == NULL)
		count--;
	atomic_store(&tunnel->outbound_count, count);
}

int
gw_dp_set_outbound(
	struct gw_dp *dp, uint32_t id, uint32_t slot, const struct gw_sa *config)
{
	struct gw_tunnel_state *tunnel;
	struct gw_outbound *sa;
	int err = GW_E_NOENT;

	if (dp == NULL || config == NULL || slot >= GW_OUTBOUND_MAX || !sa_ok(config))
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	tunnel = gw_tunnel_find(dp, id);
	if (tunnel != NULL) {
		err = make_outbound(tunnel, config, &sa);
		if (err == GW_OK) {
			put_outbound(dp, tunnel, slot, sa);
			gw_tunnel_read(dp, tunnel);
		}
	}
	gw_control_unlock(dp);
	return err;
}

int
gw_dp_clear_outbound(struct gw_dp *dp, uint32_t id, uint32_t slot)
{
	struct gw_tunnel_state *tunnel;

	if (dp == NULL || slot >= GW_OUTBOUND_MAX)
		return GW_E_INVALID;
	pthread_mutex_lock(&dp->control);
	tunnel = gw_tunnel_find(dp, id);
	if (tunnel != NULL)
		put_outbound(dp, tunnel, slot, NULL);
	gw_control_unlock(dp);
	return tunnel == NULL ? GW_E_NOENT : GW_OK;
}

bool
gw_outbound_reserve_bytes(struct gw_outbound *sa, uint64_t bytes)
{
	uint64_t before =
		atomic_fetch_add_explicit(&sa->bytes, bytes, memory_order_relaxed);

	if (sa->hard_bytes == 0 || before + bytes <= sa->hard_bytes)
		return true;
	atomic_fetch_sub_explicit(&sa->bytes, bytes, memory_order_relaxed);
	return false;
}

uint32_t
gw_outbound_reserve_seq(struct gw_outbound *sa, uint32_t count, uint64_t *first)
{
	uint64_t last = atomic_load_explicit(&sa->seq, memory_order_relaxed);
	uint64_t granted;

	do {
		granted = sa->seq_max - last;
		if (granted > count)
			granted = count;
	} while (!atomic_compare_exchange_weak_explicit(&sa->seq, &last, last + granted,
		memory_order_relaxed, memory_order_relaxed));
	*first = last + 1;
	return (uint32_t)granted;
}
