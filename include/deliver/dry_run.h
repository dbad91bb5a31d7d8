#ifndef SUBRELAY_DELIVER_DRY_RUN_H
#define SUBRELAY_DELIVER_DRY_RUN_H

/*
 * Dry run: the call is made up to the last byte, printed instead of sent, and answered as Intercom
 * would answer a call that works.
 */

#include <stdio.h>

struct errand;

/*
 * Prints request line, headers (the token as "…" when there is one) and body to `out` in one write,
 * and fills errand->reply: 200 with a made-up contact id (that of the path, or derived from the
 * call), 202 for events. Safe from any thread.
 */
void dry_run_answer(struct errand *errand, FILE *out);

#endif
