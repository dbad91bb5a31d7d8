#ifndef SUBRELAY_MAP_SUBSCRIPTION_PLAN_H
#define SUBRELAY_MAP_SUBSCRIPTION_PLAN_H

/*
 * The plan of a subscription event: which attributes the contact should have, which Intercom event
 * it becomes. For sources whose detail is a struct sub_event; shapes and names as RevenueCat's own
 * Intercom integration sends them (its page's sample events), choices of our own in
 * subscription_plan.c.
 *
 * Attributes (keys of [attributes]): latest_store, latest_entitlement, expires_at (unix seconds),
 * subscription_status. Metadata: product_identifier, entitlement, store, expires_at, environment,
 * app_id, and cancellation_reason or expiration_reason.
 */

#include <stdbool.h>

struct conf;
struct conf_source;
struct error;
struct event;
struct ledger;
struct plan;

/* As struct source's plan. */
bool subscription_plan(const struct conf *conf, const struct conf_source *section,
	const struct event *event, struct ledger *ledger, struct plan *plan, struct error *err);

#endif
