#ifndef SUBRELAY_EVENT_EVENT_H
#define SUBRELAY_EVENT_EVENT_H

/*
 * One webhook, understood: the envelope that all sources share, and the source's own detail.
 *
 * Everything in it lives in its arena. Made by a source's normalise, read-only afterwards; one
 * owner at a time.
 */

#include "base/arena.h"

#include <stdint.h>

struct event {
	struct arena arena;
	char *source;   /* the section that it came in by ("revenuecat", "revenuecat.ios") */
	char *id;       /* the provider's event id: duplicates are found by (source, id) */
	char *type;     /* the provider's word: "INITIAL_PURCHASE" */
	int64_t at_ms;  /* the billing system's time of the event; orders events. TIME_NONE: it gave
			   none that  makes sense, see event_settle_time */
	int rank;       /* orders events of one instant; smaller is earlier */
	char *customer; /* whom it is about, the provider's id; NULL: nobody in particular */
	char *ignored;  /* why it is not relayed; NULL: it is */
	void *detail;   /* the source's own form (struct sub_event for subscriptions) */
};

/* For sources: an empty event whose arena is ready. */
struct event *event_create(const char *source);
/*
 * Gives the event a time that can order it: that of its receipt where the provider gave none, or
 * one more than a day ahead (a published sample lies in the year 4466; it would outrank all that
 * follows).
 */
void event_settle_time(struct event *event, int64_t received_at_ms);
void event_destroy(struct event *event); /* NULL is fine */

#endif
