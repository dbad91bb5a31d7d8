/*
 * The envelope of one webhook: made empty, and freed with everything in its arena.
 */

#include "event/event.h"

#include "base/clock.h"
#include "base/xalloc.h"

#include <stdlib.h>

#define DAY_MS (24LL * 60 * 60 * 1000)

struct event *event_create(const char *source)
{
	struct event *event = xcalloc(1, sizeof(*event));
	arena_init(&event->arena);
	event->source = arena_dup(&event->arena, source);
	event->at_ms = TIME_NONE;
	return event;
}

void event_settle_time(struct event *event, int64_t received_at_ms)
{
	if (event->at_ms == TIME_NONE || event->at_ms > received_at_ms + DAY_MS)
		event->at_ms = received_at_ms;
}

void event_destroy(struct event *event)
{
	if (!event)
		return;
	arena_finish(&event->arena);
	free(event);
}
