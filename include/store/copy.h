#ifndef SUBRELAY_STORE_COPY_H
#define SUBRELAY_STORE_COPY_H

/*
 * Copies of a store: where one goes while it is made (a back end's `copy`), and whether it is good.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/* Each returns false with err to end the copying. */
struct copy_sink {
	/* Once, before anything is written: how long the copy will be. */
	bool (*begin)(void *context, int64_t bytes, struct error *err);
	/* Mostly in ascending order, but not always, and some twice: the later one counts. What is
	 * never written is zeros. */
	bool (*write)(
		void *context, int64_t offset, const void *data, size_t len, struct error *err);
	void *context;
	/* While a store is copied its log may only grow. By more than that, and it is given up. */
	int64_t log_growth_max;
};

struct copy_report {
	int64_t schema;
	int64_t events; /* that are kept */
	int64_t waiting;
	int64_t parked;
};

/* Reads all of a finished copy: false with err when it isn't whole, or isn't a store of ours.
 * `is_wanted` is asked now and then, and ends it by false. Nothing appears beside the file. */
bool copy_check(const char *path, bool (*is_wanted)(void *context), void *context,
	struct copy_report *ret, struct error *err);

#endif
