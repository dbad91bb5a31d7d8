#ifndef SUBRELAY_STORE_STORE_PRIVATE_H
#define SUBRELAY_STORE_STORE_PRIVATE_H

/*
 * What the files of the front share: the writer's side of the store. Everything here belongs to the
 * writer's thread and happens inside a transaction.
 */

#include "store/store.h"

#define DESTINATIONS_MAX 64

struct writing {
	const struct store_backend *ops;
	struct backend *backend;
	const struct clock *clock;
	struct totals
		totals; /* of the open transaction; goes back to what was committed on failure */
	struct {
		char name[80];
		int64_t id;
		bool has_new_work; /* since the last notice */
	} destinations[DESTINATIONS_MAX];
	size_t destination_count;
};

/* The slot of a destination, made when it is new; NULL with err. */
int64_t writing_destination(struct writing *writing, const char *name, struct error *err);
void writing_note_work(struct writing *writing, int64_t destination_id);

bool accept_execute(struct writing *writing, struct accept *accept, struct error *err);
bool finish_execute(struct writing *writing, const struct finish *finish, struct error *err);

#endif
