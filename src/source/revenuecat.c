/*
 * RevenueCat: verify and normalise.
 *
 * The body is {"api_version":"1.0","event":{…}}. Only what names and orders the event is required
 * (id, type, event_timestamp_ms): without these it could not be stored, found or sorted, and the
 * answer is 400. Everything else is read as "absent, null or a value" (json_in.h), because
 * RevenueCat adds fields, types and enum values without notice.
 *
 * What is not relayed is still read as far as it goes, so that `events` can say whom it was about.
 */

#include "base/error.h"
#include "base/text.h"
#include "conf/conf.h"
#include "event/event.h"
#include "map/subscription_plan.h"
#include "revenuecat_private.h"
#include "source/json_in.h"
#include "source/signature.h"
#include "source/source.h"

#include <ctype.h>
#include <string.h>

#define SIGNATURE_TOLERANCE_S 300 /* RevenueCat's advice */
#define WORD_MAX 255              /* bytes of an event's id or type */

/* ---- options ---- */

static const char *source_path(const void *options)
{
	const struct revenuecat_options *revenuecat = options;
	return revenuecat->path ? revenuecat->path : "";
}

static const char *source_workspace(const void *options)
{
	const struct revenuecat_options *revenuecat = options;
	return revenuecat->workspace ? revenuecat->workspace : "";
}

static bool allows_anyone(const void *options)
{
	const struct revenuecat_options *revenuecat = options;
	return revenuecat->allow_unauthenticated;
}

/* ---- verify ---- */

static bool verify_authorization(const struct revenuecat_options *options,
	const struct source_request *request, struct error *err)
{
	if (options->allow_unauthenticated)
		return true;
	const char *given = request->header(request->context, "Authorization");
	if (!given)
		return error_set(err, "there is no Authorization header");
	if (!secret_equals(&options->authorization, given, strlen(given)))
		return error_set(err, "the Authorization header is not the configured one");
	return true;
}

static bool verify_signature(const struct revenuecat_options *options,
	const struct source_request *request, struct error *err)
{
	if (!secret_is_set(&options->signing_secret))
		return true;
	const char *header = request->header(request->context, options->signature_header);
	if (!header)
		return error_set(err, "there is no %s header", options->signature_header);
	return signature_verify(header, request->body, request->body_len, &options->signing_secret,
		1, request->now_ms, SIGNATURE_TOLERANCE_S, err);
}

static bool verify(
	const struct conf_source *section, const struct source_request *request, struct error *err)
{
	const struct revenuecat_options *options = section->options;
	return verify_authorization(options, request, err) &&
		verify_signature(options, request, err);
}

static bool screen(
	const struct conf_source *section, const struct source_request *request, struct error *err)
{
	return verify_authorization(section->options, request, err);
}

/* ---- normalise ---- */

/* Orders events of one instant: a purchase is what a cancellation of the same moment is about. */
enum rank {
	RANK_PURCHASE,
	RANK_CHANGE,
	RANK_BILLING_ISSUE,
	RANK_CANCELLATION,
	RANK_EXPIRATION,
	RANK_TRANSFER, /* takes over everything before it */
};

struct type {
	const char *name;
	enum sub_kind kind;
	enum rank rank;
};

/* Of the kind SUB_OTHER: known, and nothing that Intercom is told about. */
static const struct type types[] = {
	{"BILLING_ISSUE", SUB_BILLING_ISSUE, RANK_BILLING_ISSUE},
	{"CANCELLATION", SUB_CANCELLATION, RANK_CANCELLATION},
	{"EXPERIMENT_ENROLLMENT", SUB_OTHER, RANK_PURCHASE},
	{"EXPIRATION", SUB_EXPIRATION, RANK_EXPIRATION},
	{"INITIAL_PURCHASE", SUB_INITIAL_PURCHASE, RANK_PURCHASE},
	{"INVOICE_ISSUANCE", SUB_OTHER, RANK_PURCHASE},
	{"NON_RENEWING_PURCHASE", SUB_ONE_TIME_PURCHASE, RANK_PURCHASE},
	{"PRICE_INCREASE_CONSENT_APPROVED", SUB_OTHER, RANK_PURCHASE},
	{"PRICE_INCREASE_CONSENT_REQUIRED", SUB_OTHER, RANK_PURCHASE},
	{"PRODUCT_CHANGE", SUB_PRODUCT_CHANGE, RANK_CHANGE},
	{"PURCHASE_REDEEMED", SUB_OTHER, RANK_PURCHASE},
	{"REFUND_REVERSED", SUB_REFUND_REVERSED, RANK_CHANGE},
	{"RENEWAL", SUB_RENEWAL, RANK_PURCHASE},
	{"SUBSCRIBER_ALIAS", SUB_OTHER, RANK_PURCHASE},
	{"SUBSCRIPTION_EXTENDED", SUB_EXTENSION, RANK_CHANGE},
	{"SUBSCRIPTION_PAUSED", SUB_PAUSE_SCHEDULED, RANK_CANCELLATION},
	{"TEMPORARY_ENTITLEMENT_GRANT", SUB_TEMPORARY_GRANT, RANK_PURCHASE},
	{"TEST", SUB_OTHER, RANK_PURCHASE},
	{"TRANSFER", SUB_TRANSFER, RANK_TRANSFER},
	{"UNCANCELLATION", SUB_UNCANCELLATION, RANK_CHANGE},
	{"VIRTUAL_CURRENCY_TRANSACTION", SUB_OTHER, RANK_PURCHASE},
};

static const struct type *find_type(const char *name)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (strcmp(types[i].name, name) == 0)
			return &types[i];
	}
	return NULL;
}

static enum sub_period read_period(const json_t *json)
{
	static const struct {
		const char *word;
		enum sub_period period;
	} periods[] = {
		{"INTRO", SUB_INTRO},
		{"PREPAID", SUB_PREPAID},
		{"PROMOTIONAL", SUB_PROMOTIONAL},
		{"TRIAL", SUB_TRIAL},
	};
	const char *word = json_in_text(json, "period_type");
	for (size_t i = 0; word && i < sizeof(periods) / sizeof(periods[0]); i++) {
		if (strcmp(periods[i].word, word) == 0)
			return periods[i].period;
	}
	return SUB_NORMAL;
}

/* A member that the event can't do without. */
static char *read_word(struct arena *arena, const json_t *json, const char *key, struct error *err)
{
	const char *word = json_in_text(json, key);
	if (!word)
		(void)error_set(err, "the event has no %s", key);
	else if (strlen(word) > WORD_MAX)
		(void)error_set(err, "the event's %s is longer than %d bytes", key, WORD_MAX);
	else
		return arena_dup(arena, word);
	return NULL;
}

static bool read_envelope(struct event *event, const json_t *json, struct error *err)
{
	event->id = read_word(&event->arena, json, "id", err);
	if (!event->id)
		return false;
	event->type = read_word(&event->arena, json, "type", err);
	if (!event->type)
		return false;
	if (!json_is_number(json_object_get(json, "event_timestamp_ms")))
		return error_set(err, "event_timestamp_ms is missing or not a number");
	event->at_ms = json_in_time_ms(json, "event_timestamp_ms");
	return true;
}

/* The newest kinds of event have it elsewhere, and transfers may have none. */
static char *read_environment(struct arena *arena, const json_t *json)
{
	char *environment = json_in_text_dup(arena, json, "environment");
	if (!environment)
		environment = json_in_text_dup(arena, json, "purchase_environment");
	for (char *c = environment; c && *c; c++)
		*c = (char)tolower((unsigned char)*c);
	return environment;
}

static char *read_entitlement(struct arena *arena, const json_t *json)
{
	const json_t *ids = json_object_get(json, "entitlement_ids");
	char *entitlement = json_in_id_dup(arena, json_array_get(ids, 0));
	return entitlement ? entitlement : json_in_text_dup(arena, json, "entitlement_id");
}

static char *read_transaction(struct arena *arena, const json_t *json, char *product)
{
	char *id = json_in_id_dup(arena, json_object_get(json, "original_transaction_id"));
	if (!id)
		id = json_in_id_dup(arena, json_object_get(json, "transaction_id"));
	return id ? id : product;
}

static bool read_is_free(const json_t *json)
{
	const json_t *price = json_object_get(json, "price");
	if (!json_is_number(price))
		price = json_object_get(json, "price_in_purchased_currency");
	double amount = json_number_value(price);
	return json_is_number(price) && !(amount < 0) && !(amount > 0);
}

static const char *reason_key(enum sub_kind kind)
{
	switch (kind) {
	case SUB_CANCELLATION: return "cancel_reason";
	case SUB_EXPIRATION: return "expiration_reason";
	default: return NULL;
	}
}

/* Where it belongs: whose state it changes and which workspace hears of it. */
static void read_place(const struct revenuecat_options *options, struct event *event,
	const json_t *json, struct sub_event *sub)
{
	sub->environment = read_environment(&event->arena, json);
	sub->is_sandbox = sub->environment && strcmp(sub->environment, "sandbox") == 0;
	sub->scope = event->source;
	sub->workspace = arena_dup(&event->arena, source_workspace(options));
	const char *sandbox_workspace = revenuecat_sandbox_workspace(options);
	if (sub->is_sandbox && sandbox_workspace) {
		/* Test purchases of a customer who also pays stay out of the real ones' state. */
		sub->scope = arena_printf(&event->arena, "%s/sandbox", event->source);
		sub->workspace = arena_dup(&event->arena, sandbox_workspace);
	}
}

static void read_purchase(const json_t *json, struct arena *arena, struct sub_event *sub)
{
	sub->period = read_period(json);
	sub->store = json_in_text_dup(arena, json, "store");
	sub->product = json_in_text_dup(arena, json, "product_id");
	sub->new_product = json_in_text_dup(arena, json, "new_product_id");
	sub->entitlement = read_entitlement(arena, json);
	sub->app_id = json_in_text_dup(arena, json, "app_id");
	sub->reason = json_in_text_dup(arena, json, reason_key(sub->kind));
	sub->transaction = read_transaction(arena, json, sub->product);

	sub->purchased_at_ms = json_in_time_ms(json, "purchased_at_ms");
	sub->expires_at_ms = json_in_time_ms(json, "expiration_at_ms");
	sub->grace_until_ms = json_in_time_ms(json, "grace_period_expiration_at_ms");
	sub->is_trial_conversion = json_in_is_true(json, "is_trial_conversion");
	sub->is_free = read_is_free(json);
}

/* A paywall event's type is whatever the customer called it, "TRANSFER" perhaps. */
static bool is_paywall_event(const json_t *json, const char *type)
{
	return json_in_is_given(json, "paywall_id") || json_in_is_given(json, "session_id") ||
		text_starts_with(type, "PAYWALL_");
}

static char *why_type_is_ignored(struct event *event, const struct type *type, bool is_paywall)
{
	if (is_paywall)
		return arena_dup(&event->arena, "paywall event");
	if (!type)
		return arena_printf(&event->arena, "unknown type %s", event->type);
	if (type->kind != SUB_OTHER)
		return NULL;
	if (strcmp(type->name, "TEST") == 0)
		return arena_dup(&event->arena, "a test event");
	return arena_printf(&event->arena, "%s carries nothing for Intercom", type->name);
}

/* An event of an anonymous customer is dropped whole, state and all: were it kept, the customer's
 * first event under a name would bring up what the operator said not to send. */
static const char *why_detail_is_ignored(
	const struct revenuecat_options *options, const struct sub_event *sub)
{
	if (sub->is_sandbox && revenuecat_ignores_sandbox(options))
		return "sandbox";
	if (sub->kind == SUB_TRANSFER)
		return sub->transferred_to_count == 0 ? "names nobody to transfer to" : NULL;
	if (!sub->customer)
		return "names no customer";
	return revenuecat_is_skipped(options, sub) ? "anonymous customer" : NULL;
}

static bool read_event(const struct revenuecat_options *options, const json_t *json,
	struct event *event, struct error *err)
{
	if (!read_envelope(event, json, err))
		return false;
	bool is_paywall = is_paywall_event(json, event->type);
	const struct type *type = is_paywall ? NULL : find_type(event->type);
	struct sub_event *sub = arena_alloc(&event->arena, sizeof(*sub));
	sub->kind = type ? type->kind : SUB_OTHER;
	read_place(options, event, json, sub);
	read_purchase(json, &event->arena, sub);
	revenuecat_read_people(options, json, &event->arena, sub);

	event->rank = type ? (int)type->rank : 0;
	event->customer = sub->customer;
	if (sub->kind == SUB_TRANSFER && sub->transferred_to_count > 0)
		event->customer = sub->transferred_to[0].customer;
	event->detail = sub;
	event->ignored = why_type_is_ignored(event, type, is_paywall);
	if (!event->ignored)
		event->ignored = arena_dup(&event->arena, why_detail_is_ignored(options, sub));
	return true;
}

static struct event *normalise(const struct conf *conf, const struct conf_source *section,
	const char *body, size_t body_len, struct error *err)
{
	(void)conf; /* the section says it all */
	json_t *root = json_in_load(body, body_len, err);
	if (!root)
		return NULL;
	struct event *event = NULL;
	const json_t *json = json_object_get(root, "event");
	if (!json_is_object(json)) {
		(void)error_set(err, "there is no event object");
		goto out;
	}
	event = event_create(section->name);
	if (!read_event(section->options, json, event, err)) {
		event_destroy(event);
		event = NULL;
	}
out:
	json_decref(root);
	return event;
}

/* ---- the source ---- */

/* {key, default, what `on` means}: by default those that RevenueCat's own Intercom integration
 * sends. */
static const struct source_name event_names[] = {
	{"initial_purchase", "rc_initial_purchase_event", "rc_initial_purchase_event"},
	{"trial_started", "rc_trial_started_event", "rc_trial_started_event"},
	{"trial_converted", "rc_trial_converted_event", "rc_trial_converted_event"},
	{"trial_cancelled", "rc_trial_cancelled_event", "rc_trial_cancelled_event"},
	{"renewal", "rc_renewal_event", "rc_renewal_event"},
	{"cancellation", "rc_cancellation_event", "rc_cancellation_event"},
	{"non_subscription_purchase", "rc_non_subscription_purchase_event",
		"rc_non_subscription_purchase_event"},
	{"expiration", "rc_expiration_event", "rc_expiration_event"},
	{"billing_issue", "rc_billing_issue_event", "rc_billing_issue_event"},
	{"product_change", "rc_product_change_event", "rc_product_change_event"},
	{"uncancellation", NULL, "rc_uncancellation_event"},
	{"subscription_paused", NULL, "rc_subscription_paused_event"},
	{"subscription_extended", NULL, "rc_subscription_extended_event"},
	{"transfer", NULL, "rc_transfer_event"},
	{"refund", NULL, "rc_refund_event"},
	{"refund_reversed", NULL, "rc_refund_reversed_event"},
	{"temporary_entitlement_grant", NULL, "rc_temporary_entitlement_grant_event"},
	{NULL, NULL, NULL},
};

static const struct source_name attributes[] = {
	{"latest_store", "latest_store", "latest_store"},
	{"latest_entitlement", "latest_entitlement", "latest_entitlement"},
	{"expires_at", "expires_at", "expires_at"},
	{"subscription_status", "subscription_status", "subscription_status"},
	{NULL, NULL, NULL},
};

const struct source source_revenuecat = {
	.name = "revenuecat",
	.options = revenuecat_option_table,
	.options_size = sizeof(struct revenuecat_options),
	.event_names = event_names,
	.attributes = attributes,
	.check = revenuecat_check,
	.path = source_path,
	.workspace = source_workspace,
	.allows_anyone = allows_anyone,
	.screen = screen,
	.verify = verify,
	.normalise = normalise,
	.plan = subscription_plan,
};
