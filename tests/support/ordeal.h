#ifndef SUBRELAY_TESTS_SUPPORT_ORDEAL_H
#define SUBRELAY_TESTS_SUPPORT_ORDEAL_H

/*
 * One run of everything that the relay writes, on a disk that may fail: new customers, renewals, a
 * transfer, duplicates, ignored events, failed calls, parked work and its retry, a clean restart, a
 * purge. Whatever happens on the way, it goes on where it was, as a billing system does: what was
 * not answered 200 is sent again.
 *
 * The same run on a good disk says what Intercom must have in the end.
 *
 * Failures are assertions of cmocka. The log is silent while there is an ordeal.
 */

#include "base/buf.h"
#include "disk.h"
#include "rig.h"

#include <stdbool.h>
#include <stdint.h>

#define ORDEAL_EVENTS 32

struct ordeal {
	struct rig *rig;
	struct disk *disk;
	size_t step;
	bool acknowledged[ORDEAL_EVENTS];
	int filler;       /* so many fat webhooks besides, near the beginning, which fill the log */
	int filled;       /* that were answered 200 */
	bool is_purging;  /* delivered events may be gone */
	int64_t refusals; /* answers other than 200 */
	int64_t failed_starts;
	int64_t cut_past; /* write: the first 200 after it is followed by a cut; 0: none */
	char *expected;   /* ordeal_state of a good run */
};

struct ordeal *ordeal_create(void);
void ordeal_destroy(struct ordeal *ordeal);

/* From the start on a disk of this seed; the one before is destroyed. */
void ordeal_begin(struct ordeal *ordeal, uint64_t seed);
/* From here on each run fills the log until it is moved into the database while the relay works:
 * these writes do it. */
struct ordeal_checkpoint {
	int64_t first;
	int64_t last; /* the sync */
};
struct ordeal_checkpoint ordeal_fill_log(struct ordeal *ordeal);

/* Goes on until the end (true) or until there is no power (false; everything is stopped then). */
bool ordeal_go_on(struct ordeal *ordeal);
/* Switches the power on, starts and checks; false when the power failed again meanwhile. */
bool ordeal_recover(struct ordeal *ordeal);
/* Which part of the run it is in, for statistics: "start", "close", "post" … */
const char *ordeal_deed(const struct ordeal *ordeal);

/*
 * With the store open or not: every event that was answered 200 is there, nothing is half there,
 * the totals say what the rows say, SQLite finds the file sound.
 */
void ordeal_check(struct ordeal *ordeal);
/* At the end: nothing waits, and Intercom has what it has without faults. */
void ordeal_check_end(struct ordeal *ordeal);

/* From the environment, with its default. */
int64_t ordeal_number(const char *variable, int64_t fallback);

#endif
