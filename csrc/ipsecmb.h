/* What the two files of the ipsec-mb back end share. */
#ifndef GW_IPSECMB_H
#define GW_IPSECMB_H

#include <errno.h>
#include <intel-ipsec-mb.h>

#include "backend.h"

/* The calling thread's manager, made at the thread's first job (200 KiB). NULL: no memory. */
IMB_MGR *gw_ipsecmb_manager(void);

/* As gw_backend_entry.make, for AES-CBC with HMAC-SHA2. */
int gw_ipsecmb_cbc_make(
	const struct gw_suite *suite, const struct gw_sa *sa, struct gw_cipher **out);

/* Every job's user_data is where its result goes. */
static inline void
gw_ipsecmb_finish(const IMB_JOB *job)
{
	int *result = job->user_data;

	*result = GW_OK;
	if (job->status != IMB_STATUS_COMPLETED) {
		errno = EIO;
		*result = GW_E_SYS;
	}
}

/* Hand over the job that IMB_GET_NEXT_JOB() gave out, and take what is ready. */
static inline void
gw_ipsecmb_submit(IMB_MGR *mgr)
{
	IMB_JOB *done;

	for (done = IMB_SUBMIT_JOB(mgr); done != NULL; done = IMB_GET_COMPLETED_JOB(mgr))
		gw_ipsecmb_finish(done);
}

static inline void
gw_ipsecmb_flush(IMB_MGR *mgr)
{
	IMB_JOB *done;

	while ((done = IMB_FLUSH_JOB(mgr)) != NULL)
		gw_ipsecmb_finish(done);
}

#endif
