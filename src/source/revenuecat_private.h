#ifndef SUBRELAY_SOURCE_REVENUECAT_PRIVATE_H
#define SUBRELAY_SOURCE_REVENUECAT_PRIVATE_H

/* What the files of the RevenueCat source tell each other. */

#include "conf/options.h"
#include "event/sub_event.h"
#include "source/revenuecat.h"

#include <jansson.h>

struct arena;
struct conf;
struct conf_source;
struct error;

/* revenuecat_options.c */
extern const struct option revenuecat_option_table[];
bool revenuecat_check(
	const struct conf *conf, const struct conf_source *section, struct error *err);
bool revenuecat_ignores_sandbox(const struct revenuecat_options *options);
/* The name in `sandbox = NAME`; NULL when it is ignore or send. */
const char *revenuecat_sandbox_workspace(const struct revenuecat_options *options);

/*
 * revenuecat_identity.c: fills in whom the event is about and whom Intercom is told about:
 * customer, original_customer, aliases, email, identity; of a transfer its two sides. `json` is the
 * event object.
 */
void revenuecat_read_people(const struct revenuecat_options *options, const json_t *json,
	struct arena *arena, struct sub_event *sub);
/* True when `anonymous = skip` means this event's identity. */
bool revenuecat_is_skipped(const struct revenuecat_options *options, const struct sub_event *sub);

#endif
