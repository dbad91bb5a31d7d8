/*
 * The customers' lives, as webhooks: trials, purchases, renewals, failed charges, ends, refunds,
 * pauses, transfers, things bought once, of one subscription or several, by people with known and
 * anonymous ids. Then what a network makes of them: late, twice, out of order; and what isn't one.
 *
 * What each becomes is written down here as RevenueCat's and the relay's documentation have it, and
 * not asked of the relay.
 */

#include "simulation.h"

#include "base/buf.h"
#include "base/text.h"
#include "base/xalloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX ((size_t)8 * 1024)

/* One subscription, as its customer lives it. */
struct life {
	size_t customer;
	const char *store;
	const char *product;
	const char *entitlement;
	char transaction[24];
	const char *period;
	int64_t at_ms; /* of the last event */
	int64_t purchased_ms;
	int64_t expires_ms;
	int64_t grace_ms;
	enum { NEVER, RUNNING, OFF, FAILED, OVER } state;
	const char *reason;
	bool is_conversion;
	bool wavers; /* switches renewal off and on again, within seconds */
};

struct writer {
	struct world *world;
	struct rng dice;
	int64_t span_ms; /* the usual distance of two events */
	unsigned ids;
};

/* ---- names ---- */

const char *webhooks_event_name(const struct choices *choices, const char *key)
{
	static const char *const ALWAYS[] = {"initial_purchase", "trial_started", "trial_converted",
		"trial_cancelled", "cancellation", "non_subscription_purchase", "expiration",
		"billing_issue", NULL};
	static char name[64];
	bool is_on = choices->naming == NAMES_ALL;

	if (key == NULL)
		return NULL;
	for (size_t i = 0; ALWAYS[i] != NULL; i++)
		is_on |= strcmp(ALWAYS[i], key) == 0;
	if (choices->naming == NAMES_DEFAULT)
		is_on |= strcmp(key, "renewal") == 0 || strcmp(key, "product_change") == 0;
	(void)snprintf(name, sizeof(name), "rc_%s_event", key);
	return is_on ? name : NULL;
}

/* ---- people ---- */

static bool is_anonymous(const char *id)
{
	return text_starts_with(id, "$RCAnonymousID:");
}

const char *webhooks_contact_by_id(
	const struct choices *choices, const struct customer_sim *customer)
{
	if (choices->identify == BY_EMAIL || choices->identify == BY_ATTRIBUTE ||
		(choices->skips_anonymous && is_anonymous(customer->id)))
		return "";
	return customer->id;
}

static const char *email_at(const struct customer_sim *customer, int64_t at_ms)
{
	return customer->email[at_ms >= customer->email_ms];
}

/* The contact that an event of this time says the customer is. */
static const char *contact_at(
	const struct choices *choices, const struct customer_sim *customer, int64_t at_ms)
{
	switch (choices->identify) {
	case BY_APP_USER_ID: break;
	case BY_ORIGINAL_ID: return customer->original;
	case BY_KNOWN_ID:
		if (!is_anonymous(customer->id))
			break;
		if (!is_anonymous(customer->original))
			return customer->original;
		if (at_ms >= customer->known_ms && customer->known[0] != '\0')
			return customer->known;
		break;
	case BY_EMAIL:
	case BY_ATTRIBUTE: return email_at(customer, at_ms);
	}
	return customer->id;
}

static void know_contact(struct world *world, const char *identity, bool is_sandbox)
{
	for (size_t i = 0; i < world->contact_count; i++)
		if (strcmp(world->contacts[i].identity, identity) == 0)
			return;
	if (identity[0] == '\0')
		return;
	struct contact_sim *contact = &world->contacts[world->contact_count++];
	*contact = (struct contact_sim){
		.is_email = world->choices.identify == BY_EMAIL, .is_sandbox = is_sandbox};
	(void)snprintf(contact->identity, sizeof(contact->identity), "%s", identity);
}

static int64_t some_time(struct writer *writer)
{
	return START_WALL_MS - HOUR_MS +
		dice_below(&writer->dice, HOUR_MS + writer->world->choices.life_ms);
}

/* Addresses come late, change, are an id as well; each id hears of that at a time of its own. */
static void make_email(struct writer *writer, size_t first, struct customer_sim *customer)
{
	const bool is_known = !dice_one_in(&writer->dice, 4);
	const bool changes = dice_one_in(&writer->dice, 3);

	customer->email_ms = some_time(writer);
	if (is_known)
		(void)snprintf(
			customer->email[0], sizeof(customer->email[0]), "u%zu@example.test", first);
	if (changes)
		(void)snprintf(customer->email[1], sizeof(customer->email[1]), "%s%zu@example.test",
			is_known ? "new" : "u", first);
	else
		memcpy(customer->email[1], customer->email[0], sizeof(customer->email[1]));
	if (dice_one_in(&writer->dice, 8))
		(void)snprintf(customer->id, sizeof(customer->id), "%s%zu@example.test",
			dice_one_in(&writer->dice, 2) ? "new" : "u", first);
}

static void make_id(struct writer *writer, size_t first, size_t i, bool is_anonymous_id)
{
	struct customer_sim *customer = &writer->world->customers[i];

	(void)snprintf(customer->id, sizeof(customer->id), "%s%zu",
		is_anonymous_id ? "$RCAnonymousID:" : "user/", i);
	make_email(writer, first, customer);
	/* Two of one person have one id at most. */
	for (size_t j = first; j < i; j++)
		if (strcmp(writer->world->customers[j].id, customer->id) == 0)
			(void)snprintf(customer->id, sizeof(customer->id), "user/%zu", i);
}

/* A person of one id, or of several: of before the login and after it, of two devices. */
static void make_person(struct writer *writer, size_t first, size_t count)
{
	struct world *world = writer->world;
	const bool is_sandbox = world->choices.has_sandbox && dice_one_in(&writer->dice, 3);
	const bool is_shared = !dice_one_in(&writer->dice, 3);
	const bool has_first = dice_one_in(&writer->dice, 4);
	const bool is_late = dice_one_in(&writer->dice, 2);
	const int64_t known_ms = is_late ? some_time(writer) : 0;
	char known[64] = "";

	for (size_t i = first; i < first + count; i++) {
		make_id(writer, first, i,
			dice_one_in(&writer->dice, count > 1 && i == first ? 1 : 3));
		if (known[0] == '\0' && !is_anonymous(world->customers[i].id))
			memcpy(known, world->customers[i].id, sizeof(known));
	}
	if (known[0] == '\0' && dice_one_in(&writer->dice, 2))
		(void)snprintf(known, sizeof(known), "known-%zu", first);
	for (size_t i = first; i < first + count; i++) {
		struct customer_sim *customer = &world->customers[i];

		customer->first = first;
		customer->count = count;
		customer->is_sandbox = is_sandbox;
		customer->known_ms = known_ms;
		memcpy(customer->known, known, sizeof(known));
		memcpy(customer->original, world->customers[is_shared ? first : i].id,
			sizeof(customer->original));
		if (has_first)
			(void)snprintf(
				customer->original, sizeof(customer->original), "first-%zu", first);
		know_contact(world, webhooks_contact_by_id(&world->choices, customer), is_sandbox);
	}
}

static void make_people(struct writer *writer)
{
	const size_t count = writer->world->choices.customers;

	for (size_t i = 0; i < count;) {
		size_t ids = (size_t)dice_between(&writer->dice, 1, PARTIES_MAX);

		if (ids > count - i)
			ids = count - i;
		make_person(writer, i, ids);
		i += ids;
	}
}

/* One of the person's ids, who may have changed to another meanwhile. */
static size_t some_id(struct writer *writer, size_t customer)
{
	const struct customer_sim *known = &writer->world->customers[customer];

	if (dice_one_in(&writer->dice, 2))
		return customer;
	return known->first + (size_t)dice_below(&writer->dice, (int64_t)known->count);
}

/* ---- bodies ---- */

/* Of one moment, what is about a purchase comes after it. */
static int rank_of(const char *type)
{
	static const struct {
		const char *type;
		int rank;
	} RANKS[] = {{"PRODUCT_CHANGE", 1}, {"SUBSCRIPTION_EXTENDED", 1}, {"UNCANCELLATION", 1},
		{"REFUND_REVERSED", 1}, {"BILLING_ISSUE", 2}, {"CANCELLATION", 3},
		{"SUBSCRIPTION_PAUSED", 3}, {"EXPIRATION", 4}, {"TRANSFER", 5}};

	for (size_t i = 0; i < sizeof(RANKS) / sizeof(*RANKS); i++)
		if (strcmp(RANKS[i].type, type) == 0)
			return RANKS[i].rank;
	return 0;
}

static struct hook *add_hook(
	struct writer *writer, size_t customer, const char *type, int64_t at_ms)
{
	struct world *world = writer->world;
	struct hook *hook = &world->hooks[world->hook_count++];

	*hook = (struct hook){.customer = customer,
		.type = type,
		.rank = rank_of(type),
		.at_ms = at_ms,
		.sends = 1};
	(void)snprintf(hook->id, sizeof(hook->id), "E-%04x-%u",
		(unsigned)dice_below(&writer->dice, 65536), ++writer->ids);
	return hook;
}

static void add_text(struct buf *body, const char *key, const char *text)
{
	if (text != NULL && text[0] != '\0')
		buf_addf(body, ",\"%s\":\"%s\"", key, text);
}

static void add_time(struct buf *body, const char *key, int64_t at_ms)
{
	if (at_ms > 0)
		buf_addf(body, ",\"%s\":%lld", key, (long long)at_ms);
}

static void begin_body(struct buf *body, const struct hook *hook)
{
	buf_init(body, BODY_MAX);
	buf_addf(body,
		"{\"api_version\":\"1.0\",\"event\":{\"id\":\"%s\",\"type\":\"%s\","
		"\"event_timestamp_ms\":%lld",
		hook->id, hook->type, (long long)hook->at_ms);
}

static void end_body(struct buf *body, struct hook *hook)
{
	buf_add_text(body, "}}");
	hook->body_len = body->len;
	hook->body = buf_detach(body);
}

static void add_aliases(
	struct buf *body, const struct world *world, const struct customer_sim *customer)
{
	for (size_t i = 0; i < customer->count; i++)
		buf_addf(body, ",\"%s\"", world->customers[customer->first + i].id);
	if (customer->known[0] != '\0')
		buf_addf(body, ",\"%s\"", customer->known);
}

static void add_people(struct buf *body, const struct world *world, const struct hook *hook)
{
	const struct customer_sim *customer = &world->customers[hook->customer];
	const char *email = email_at(customer, hook->at_ms);

	add_text(body, "app_user_id", customer->id);
	add_text(body, "original_app_user_id", customer->original);
	buf_addf(body, ",\"aliases\":[\"%s\"", customer->id);
	if (hook->at_ms >= customer->known_ms)
		add_aliases(body, world, customer);
	buf_add_text(body, "]");
	if (email[0] != '\0')
		buf_addf(body,
			",\"subscriber_attributes\":{\"$email\":{\"value\":\"%s\"},"
			"\"crm\":{\"value\":\"%s\"}}",
			email, email);
	add_text(body, "environment", customer->is_sandbox ? "SANDBOX" : "PRODUCTION");
}

/* What the webhook says of who the customer is. */
static void note_contact(struct world *world, struct hook *hook)
{
	const struct choices *choices = &world->choices;
	const struct customer_sim *customer = &world->customers[hook->customer];
	const char *identity = contact_at(choices, customer, hook->at_ms);
	const bool is_skipped =
		choices->skips_anonymous && choices->identify != BY_EMAIL && is_anonymous(identity);

	(void)snprintf(hook->says, sizeof(hook->says), "%s", identity);
	hook->sort = is_skipped ? HOOK_IGNORED : HOOK_RELAYED;
	if (!is_skipped)
		know_contact(world, identity, customer->is_sandbox);
}

static void write_life(struct writer *writer, struct life *life, const char *type, const char *key)
{
	struct hook *hook = add_hook(writer, some_id(writer, life->customer), type, life->at_ms);
	const bool is_end = strcmp(type, "EXPIRATION") == 0;
	struct buf body;

	begin_body(&body, hook);
	add_people(&body, writer->world, hook);
	add_text(&body, "store", life->store);
	add_text(&body, "product_id", life->product);
	buf_addf(&body, ",\"entitlement_ids\":[\"%s\"]", life->entitlement);
	add_text(&body, "period_type", life->period);
	add_time(&body, "purchased_at_ms", life->purchased_ms);
	add_time(&body, "expiration_at_ms", life->expires_ms);
	add_time(&body, "grace_period_expiration_at_ms", life->grace_ms);
	add_text(&body, is_end ? "expiration_reason" : "cancel_reason", life->reason);
	add_text(&body, "original_transaction_id", life->transaction);
	add_text(&body, "app_id", "app1");
	if (life->is_conversion)
		buf_add_text(&body, ",\"is_trial_conversion\":true");
	end_body(&body, hook);

	int64_t base_ms = hook->at_ms;
	if (strcmp(type, "INITIAL_PURCHASE") == 0 || strcmp(type, "RENEWAL") == 0 ||
		strcmp(type, "NON_RENEWING_PURCHASE") == 0)
		base_ms = life->purchased_ms;
	else if (is_end)
		base_ms = life->expires_ms;
	hook->base_s = (base_ms < hook->at_ms ? base_ms : hook->at_ms) / 1000;
	hook->key = key;
	note_contact(writer->world, hook);
	life->grace_ms = 0;
	life->reason = NULL;
	life->is_conversion = false;
}

/* ---- lives ---- */

static bool is_trial(const struct life *life)
{
	return strcmp(life->period, "TRIAL") == 0;
}

static void step(struct writer *writer, struct life *life)
{
	const bool is_tight = writer->world->choices.has[TROUBLE_TIGHT];

	if (life->wavers && life->state != NEVER && !dice_one_in(&writer->dice, 5)) {
		life->at_ms += 1 + dice_span(&writer->dice, 20 * SECOND_MS);
		return;
	}
	if (is_tight && dice_one_in(&writer->dice, 3))
		return; /* the same millisecond */
	life->at_ms += is_tight && dice_one_in(&writer->dice, 2)
		? dice_below(&writer->dice, 1500)
		: 1 + dice_span(&writer->dice, 2 * writer->span_ms);
}

static void begin_period(struct writer *writer, struct life *life)
{
	life->purchased_ms = life->at_ms - dice_below(&writer->dice, 3000);
	life->expires_ms = life->at_ms + 1 + dice_span(&writer->dice, 4 * writer->span_ms);
	life->state = RUNNING;
}

static void live_new(struct writer *writer, struct life *life)
{
	static const char *const PERIODS[] = {"TRIAL", "NORMAL", "NORMAL", "INTRO", "ODD"};

	life->period = PERIODS[dice_below(&writer->dice, 5)];
	begin_period(writer, life);
	write_life(writer, life, "INITIAL_PURCHASE",
		is_trial(life) ? "trial_started" : "initial_purchase");
}

static void live_renewal(struct writer *writer, struct life *life)
{
	life->is_conversion = is_trial(life);
	life->period = "NORMAL";
	begin_period(writer, life);
	write_life(writer, life, "RENEWAL", life->is_conversion ? "trial_converted" : "renewal");
}

static void live_cancellation(struct writer *writer, struct life *life, const char *reason)
{
	const bool is_refund = strcmp(reason, "CUSTOMER_SUPPORT") == 0;
	const bool refund_is_on = writer->world->choices.naming == NAMES_ALL;

	life->reason = reason;
	write_life(writer, life, "CANCELLATION",
		is_refund && refund_is_on ? "refund"
			: is_trial(life)  ? "trial_cancelled"
					  : "cancellation");
	life->state = OFF;
}

static void live_billing_issue(struct writer *writer, struct life *life)
{
	const int64_t grace_ms = dice_one_in(&writer->dice, 2)
		? life->at_ms + 1 + dice_span(&writer->dice, 2 * writer->span_ms)
		: 0;

	life->grace_ms = grace_ms;
	write_life(writer, life, "BILLING_ISSUE", "billing_issue");
	if (dice_one_in(&writer->dice, 2)) {
		life->at_ms += dice_below(&writer->dice, 5);
		life->grace_ms = grace_ms;
		live_cancellation(writer, life, "BILLING_ERROR");
	}
	life->state = FAILED;
}

static void live_end(struct writer *writer, struct life *life, const char *reason)
{
	if (life->expires_ms > life->at_ms)
		life->expires_ms = life->at_ms;
	life->reason = reason;
	write_life(writer, life, "EXPIRATION", "expiration");
	life->state = OVER;
}

/* The next event of a subscription that runs. */
static void live_on(struct writer *writer, struct life *life)
{
	switch (life->wavers ? 3 : dice_below(&writer->dice, 10)) {
	case 0:
	case 1:
	case 2: live_renewal(writer, life); break;
	case 3:
	case 4: live_cancellation(writer, life, "UNSUBSCRIBE"); break;
	case 5: live_billing_issue(writer, life); break;
	case 6: live_cancellation(writer, life, "CUSTOMER_SUPPORT"); break;
	case 7: write_life(writer, life, "PRODUCT_CHANGE", "product_change"); break;
	case 8: write_life(writer, life, "SUBSCRIPTION_PAUSED", "subscription_paused"); break;
	default:
		life->expires_ms += writer->span_ms;
		write_life(writer, life, "SUBSCRIPTION_EXTENDED", "subscription_extended");
		break;
	}
}

static void live_again(struct writer *writer, struct life *life, const char *type, const char *key)
{
	write_life(writer, life, type, key);
	life->state = RUNNING;
}

static void live(struct writer *writer, struct life *life)
{
	step(writer, life);
	switch (life->state) {
	case NEVER: live_new(writer, life); break;
	case RUNNING: live_on(writer, life); break;
	case OFF:
		if (life->wavers || dice_one_in(&writer->dice, 3))
			live_again(writer, life, "UNCANCELLATION", "uncancellation");
		else if (dice_one_in(&writer->dice, 5))
			live_again(writer, life, "REFUND_REVERSED", "refund_reversed");
		else
			live_end(writer, life, "UNSUBSCRIBE");
		break;
	case FAILED:
		if (dice_one_in(&writer->dice, 2))
			live_renewal(writer, life);
		else
			live_end(writer, life,
				dice_one_in(&writer->dice, 4) ? "SUBSCRIPTION_PAUSED"
							      : "BILLING_ERROR");
		break;
	case OVER:
		if (dice_one_in(&writer->dice, 3))
			live_new(writer, life);
		else
			live_renewal(writer, life);
		break;
	}
}

static void make_life(struct writer *writer, struct life *life, unsigned number)
{
	static const char *const STORES[] = {"APP_STORE", "PLAY_STORE", "STRIPE", "PROMOTIONAL"};
	static const char *const PRODUCTS[] = {"monthly", "yearly", "pro.weekly"};
	static const char *const ENTITLEMENTS[] = {"pro", "gold"};
	const struct world *world = writer->world;

	*life = (struct life){
		.customer = (size_t)dice_below(&writer->dice, (int64_t)world->choices.customers),
		.store = STORES[dice_below(&writer->dice, 4)],
		.product = PRODUCTS[dice_below(&writer->dice, 3)],
		.entitlement = ENTITLEMENTS[dice_below(&writer->dice, 2)],
		.period = "NORMAL",
		.at_ms = START_WALL_MS - HOUR_MS +
			dice_below(&writer->dice, HOUR_MS + world->choices.life_ms),
	};
	life->wavers = dice_one_in(&writer->dice, 4);
	(void)snprintf(life->transaction, sizeof(life->transaction), "T%u", number);
}

/* ---- what is no subscription ---- */

static void write_coins(struct writer *writer, struct life *life)
{
	struct life coins = *life;
	const bool is_promo = strcmp(life->store, "PROMOTIONAL") == 0;

	step(writer, life);
	coins.at_ms = life->at_ms;
	coins.purchased_ms = coins.at_ms;
	coins.expires_ms = is_promo ? coins.at_ms + writer->span_ms : 0;
	coins.period = is_promo ? "PROMOTIONAL" : "NORMAL";
	(void)snprintf(coins.transaction, sizeof(coins.transaction), "C%u", writer->ids);
	write_life(writer, &coins, "NON_RENEWING_PURCHASE", "non_subscription_purchase");
}

/* RevenueCat names all ids of a person, or one. */
static size_t choose_parties(struct writer *writer, size_t customer, bool is_all, size_t *ret)
{
	const struct customer_sim *known = &writer->world->customers[customer];

	if (!is_all) {
		ret[0] = customer;
		return 1;
	}
	for (size_t i = 0; i < known->count; i++)
		ret[i] = known->first + i;
	return known->count;
}

static void add_parties(struct buf *body, const struct world *world, const char *key,
	const size_t *parties, size_t count)
{
	buf_addf(body, ",\"%s\":[", key);
	for (size_t i = 0; i < count; i++)
		buf_addf(body, "%s\"%s\"", i > 0 ? "," : "", world->customers[parties[i]].id);
	buf_add_text(body, "]");
}

static void write_transfer(struct writer *writer, size_t from, size_t to, int64_t at_ms)
{
	struct world *world = writer->world;
	struct hook *hook = add_hook(writer, to, "TRANSFER", at_ms);
	const bool is_same = world->customers[from].first == world->customers[to].first;
	struct buf body;

	hook->from_count =
		choose_parties(writer, from, dice_one_in(&writer->dice, 2) && !is_same, hook->from);
	hook->to_count =
		choose_parties(writer, to, dice_one_in(&writer->dice, 2) && !is_same, hook->to);
	begin_body(&body, hook);
	add_text(&body, "store", "APP_STORE");
	add_text(&body, "environment", world->customers[to].is_sandbox ? "SANDBOX" : "PRODUCTION");
	add_parties(&body, world, "transferred_from", hook->from, hook->from_count);
	add_parties(&body, world, "transferred_to", hook->to, hook->to_count);
	end_body(&body, hook);
	hook->is_transfer = true;
	hook->key = "transfer";
	hook->base_s = at_ms / 1000;
	hook->sort = HOOK_RELAYED;
}

static void write_noise(struct writer *writer, size_t customer, int64_t at_ms)
{
	static const char *const TYPES[] = {
		"TEST", "SOMETHING_NEW", "INVOICE_ISSUANCE", "SUBSCRIBER_ALIAS"};
	struct hook *hook = add_hook(writer, customer, TYPES[dice_below(&writer->dice, 4)], at_ms);
	struct buf body;

	begin_body(&body, hook);
	add_people(&body, writer->world, hook);
	end_body(&body, hook);
	hook->sort = HOOK_IGNORED;
}

static void write_malformed(struct writer *writer, size_t customer, int64_t at_ms)
{
	static const char *const BODIES[] = {"", "{", "[]", "{\"event\":{}}", "nonsense \xff\xfe",
		"{\"event\":{\"id\":\"x\",\"type\":\"RENEWAL\"}}",
		"{\"event\":{\"id\":7,\"type\":null,\"event_timestamp_ms\":1}}"};
	struct hook *hook = add_hook(writer, customer, "nothing", at_ms);

	hook->body = xstrdup(BODIES[dice_below(&writer->dice, 7)]);
	hook->body_len = strlen(hook->body);
	hook->sort = HOOK_MALFORMED;
}

static void write_other(struct writer *writer, struct life *life)
{
	const struct choices *choices = &writer->world->choices;
	const size_t other = (size_t)dice_below(&writer->dice, (int64_t)choices->customers);
	const bool is_same_side = writer->world->customers[other].is_sandbox ==
		writer->world->customers[life->customer].is_sandbox;

	if (choices->has[TROUBLE_STRANGERS] && dice_one_in(&writer->dice, 3))
		write_malformed(writer, life->customer, life->at_ms);
	else if (choices->has_transfers && is_same_side && other != life->customer &&
		!dice_one_in(&writer->dice, 3)) {
		step(writer, life);
		write_transfer(writer, life->customer, other, life->at_ms);
	} else if (dice_one_in(&writer->dice, 2))
		write_coins(writer, life);
	else
		write_noise(writer, life->customer, life->at_ms);
}

/* ---- on their way ---- */

/* Whether it is relayed for sure: it becomes an event of somebody, whatever came before. */
static bool is_sure(const struct world *world, const struct hook *hook)
{
	const struct choices *choices = &world->choices;
	bool is_told = hook->says[0] != '\0';

	for (size_t i = 0; i < hook->to_count; i++)
		is_told |=
			webhooks_contact_by_id(choices, &world->customers[hook->to[i]])[0] != '\0';
	return hook->sort == HOOK_IGNORED ||
		(hook->sort == HOOK_RELAYED && is_told &&
			webhooks_event_name(choices, hook->key) != NULL);
}

static void plan_sending(struct writer *writer, struct hook *hook)
{
	const struct choices *choices = &writer->world->choices;
	int64_t delay_ms = dice_below(&writer->dice, 2000);

	if (choices->has[TROUBLE_LATE] && dice_one_in(&writer->dice, 3))
		delay_ms = dice_below(&writer->dice, choices->life_ms);
	hook->send_at_ms = hook->at_ms - START_WALL_MS + delay_ms;
	if (hook->send_at_ms < 0)
		hook->send_at_ms = dice_below(&writer->dice, 1000);
	if (hook->send_at_ms > choices->life_ms + MINUTE_MS)
		hook->send_at_ms = choices->life_ms + dice_below(&writer->dice, MINUTE_MS);
	/* An event isn't told before it happened, and all are told before the quiet. */
	if (hook->at_ms > START_WALL_MS + hook->send_at_ms)
		hook->send_at_ms = hook->at_ms - START_WALL_MS;
	if (choices->has[TROUBLE_TWICE] && dice_one_in(&writer->dice, 3))
		hook->sends += 1 + (unsigned)dice_below(&writer->dice, 3);
	if (choices->has[TROUBLE_STRANGERS] && hook->sort != HOOK_MALFORMED &&
		dice_one_in(&writer->dice, 10))
		hook->sort = HOOK_STRANGER;
}

void webhooks_make(struct world *world)
{
	const struct choices *choices = &world->choices;
	struct writer writer = {.world = world, .span_ms = choices->life_ms / 6};
	struct life lives[CUSTOMERS_MAX * 2];
	const size_t life_count = 1 + choices->customers + choices->customers / 2;

	rng_seed(&writer.dice, choices->seed ^ UINT64_C(0x5ebb00c5));
	make_people(&writer);
	for (size_t i = 0; i < life_count; i++)
		make_life(&writer, &lives[i], (unsigned)i);
	while (world->hook_count < choices->hooks && world->hook_count < HOOKS_MAX - 2) {
		struct life *life = &lives[dice_below(&writer.dice, (int64_t)life_count)];

		if (dice_one_in(&writer.dice, 6))
			write_other(&writer, life);
		else
			live(&writer, life);
		/* Who has come to the end of the span is born again, in another subscription. */
		if (life->at_ms > START_WALL_MS + choices->life_ms)
			make_life(&writer, life, 100 + (unsigned)world->hook_count);
	}
	for (size_t i = 0; i < world->hook_count; i++) {
		world->hooks[i].is_sure = is_sure(world, &world->hooks[i]);
		plan_sending(&writer, &world->hooks[i]);
	}
}

void webhooks_finish(struct world *world)
{
	for (size_t i = 0; i < world->hook_count; i++)
		free(world->hooks[i].body);
}
