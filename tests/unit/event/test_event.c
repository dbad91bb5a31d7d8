/*
 * The envelope begins empty and takes its arena with it.
 */

#include "event/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include <cmocka.h>

static void begins_empty(void **state)
{
	(void)state;
	struct event *event = event_create("revenuecat.ios");
	assert_string_equal(event->source, "revenuecat.ios");
	assert_null(event->id);
	assert_null(event->customer);
	assert_null(event->ignored);
	assert_null(event->detail);
	assert_int_equal(event->rank, 0);
	assert_true(event->at_ms == TIME_NONE);
	event->id = arena_dup(&event->arena, "id");
	event_destroy(event);
	event_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(begins_empty),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
