#ifndef SUBRELAY_TESTS_FUZZ_MEMORY_H
#define SUBRELAY_TESTS_FUZZ_MEMORY_H

/*
 * The store's accept path over lists in memory: the real transaction code (store/accept.c) and the
 * real planner, without a disk. A world is everything that a relay knows; two worlds that were told
 * the same events in different orders must want the same of every contact.
 *
 * What is written is checked on its way in: records and attributes that can be read back, metadata
 * that is JSON, no two events of one name, contact and second.
 */

#include "fuzz.h"

struct conf;
struct conf_source;
struct event;
struct world;

#define WORLD_NOW_MS INT64_C(1780000000000)

struct world *world_create(void);
void world_destroy(struct world *world);

/* One webhook, as the intake hands it on. Its time is settled already. */
void world_accept(struct world *world, const struct conf *conf, const struct conf_source *section,
	const struct event *event);

/* Aborts unless both want the same of each contact; never written and written as null are the same
 * to Intercom. */
void world_compare(const struct world *a, const struct world *b);

/* Delivers all that waits to an Intercom where everything works; every call's body must be JSON. */
void world_deliver(const struct world *world, const struct conf *conf);

#endif
