/*
 * What a seed is about: which kinds of trouble, how much of everything, which configuration.
 *
 * Each kind is there in one seed of three or so, whatever the others do. One seed in eight is
 * peaceful: there the calls are counted, and nothing may happen that needn't.
 */

#include "simulation.h"

#include <stdio.h>
#include <string.h>

static const char *const NAMES[TROUBLE_KINDS] = {
	[TROUBLE_KILL] = "kill",
	[TROUBLE_POWER] = "power",
	[TROUBLE_STOP] = "stop",
	[TROUBLE_CLOCK] = "clock",
	[TROUBLE_DISK_FULL] = "disk-full",
	[TROUBLE_DISK_BROKEN] = "disk-broken",
	[TROUBLE_DISK_ONCE] = "disk-once",
	[TROUBLE_RELOAD] = "reload",
	[TROUBLE_CALLS] = "calls",
	[TROUBLE_OUTAGE] = "outage",
	[TROUBLE_TOKEN] = "token",
	[TROUBLE_SCOPE] = "scope",
	[TROUBLE_REFUSED] = "refused",
	[TROUBLE_FAILING] = "failing",
	[TROUBLE_RATE] = "rate",
	[TROUBLE_FOREIGN] = "foreign",
	[TROUBLE_BLIND] = "blind",
	[TROUBLE_PEOPLE] = "people",
	[TROUBLE_ATTRIBUTES] = "attributes",
	[TROUBLE_LATE] = "late",
	[TROUBLE_TWICE] = "twice",
	[TROUBLE_STRANGERS] = "strangers",
	[TROUBLE_RETRY] = "retry",
	[TROUBLE_TIGHT] = "tight",
};

const char *trouble_name(enum trouble_kind kind)
{
	return NAMES[kind];
}

int64_t dice_span(struct rng *rng, int64_t max_ms)
{
	int64_t limit = 1;

	while (limit < max_ms && !dice_one_in(rng, 8))
		limit *= 4;
	return dice_below(rng, (limit < max_ms ? limit : max_ms) + 1);
}

static int64_t one_of(struct rng *rng, const int64_t *values, size_t count)
{
	return values[dice_below(rng, (int64_t)count)];
}

#define ONE_OF(rng, ...)                              \
	one_of((rng), (const int64_t[]){__VA_ARGS__}, \
		sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t))

static void choose_conf(struct choices *c, struct rng *rng)
{
	c->connections = (int)ONE_OF(rng, 1, 2, 4, 8, 32);
	c->retry_base_ms = ONE_OF(rng, 500, 5000, 5000, 20000);
	c->retry_cap_ms = ONE_OF(rng, 30000, 300000, 900000);
	c->give_up_ms = ONE_OF(rng, 3 * DAY_MS, 3 * DAY_MS, 2 * HOUR_MS, 10 * MINUTE_MS);
	c->fixed_rate = ONE_OF(rng, 0, 0, 0, 5, 50, 400);
	c->keep_delivered_ms = ONE_OF(rng, 30 * DAY_MS, 30 * DAY_MS, 30 * DAY_MS, 2 * HOUR_MS);
	c->identify = (enum identify)ONE_OF(rng, BY_APP_USER_ID, BY_APP_USER_ID, BY_ORIGINAL_ID,
		BY_KNOWN_ID, BY_KNOWN_ID, BY_EMAIL, BY_EMAIL, BY_ATTRIBUTE);
	c->naming = (enum naming)ONE_OF(rng, NAMES_DEFAULT, NAMES_ALL, NAMES_FEW);
	c->skips_anonymous = dice_one_in(rng, 3);
	c->skips_archived = dice_one_in(rng, 3);
	c->skips_unmatched = dice_one_in(rng, 6);
	c->creates_attributes = !dice_one_in(rng, 4);
	c->is_signed = dice_one_in(rng, 3);
	/* What was skipped can't be told from what was delivered when its row is gone. */
	if (c->skips_archived || c->skips_unmatched)
		c->keep_delivered_ms = 30 * DAY_MS;
	c->has_sandbox = dice_one_in(rng, 2);
	c->has_transfers = dice_one_in(rng, 3);
}

static void choose_world(struct choices *c, struct rng *rng)
{
	c->customers = (size_t)dice_between(rng, 1, dice_one_in(rng, 3) ? 3 : CUSTOMERS_MAX);
	c->hooks = (size_t)dice_between(rng, 5, dice_one_in(rng, 4) ? 60 : 30);
	c->life_ms = ONE_OF(rng, MINUTE_MS, 20 * MINUTE_MS, 2 * HOUR_MS, 6 * HOUR_MS);
	c->latency_ms = ONE_OF(rng, 1, 20, 200, 3000);
	c->commit_ms = ONE_OF(rng, 0, 1, 20, 500);
	c->refill_ms = ONE_OF(rng, 0, 0, 1, 20);
	c->fault_per_mille = (unsigned)ONE_OF(rng, 20, 100, 300, 600);
	c->limit = c->has[TROUBLE_RATE] ? ONE_OF(rng, 3, 10, 40) : ONE_OF(rng, 0, 1666, 1666);
	/* Something must be there that can be taken away. */
	if (c->has[TROUBLE_FOREIGN] && c->limit == 0)
		c->limit = 60;
	/* A small allowance hurts where there is much to send. */
	if (c->has[TROUBLE_RATE] && dice_one_in(rng, 2)) {
		c->hooks = HOOKS_MAX - 6;
		c->life_ms = MINUTE_MS;
		c->connections = 32;
	}
	c->quiet_ms = c->life_ms + ONE_OF(rng, MINUTE_MS, 30 * MINUTE_MS, 3 * HOUR_MS);
}

void choices_make(struct choices *ret, uint64_t seed)
{
	struct rng rng;
	struct choices c = {.seed = seed};

	rng_seed(&rng, seed * UINT64_C(0x9e3779b97f4a7c15) + 1);
	const bool is_peaceful = dice_one_in(&rng, 8);
	const int64_t odds = dice_between(&rng, 2, 8);
	for (int i = 0; i < TROUBLE_KINDS; i++)
		c.has[i] = dice_one_in(&rng, odds) && !is_peaceful;
	choose_conf(&c, &rng);
	choose_world(&c, &rng);
	if (is_peaceful)
		c.skips_unmatched = false;
	*ret = c;
}

bool choices_are_peaceful(const struct choices *c)
{
	/* What comes in may be late, twice, malformed: that costs no call. */
	for (int i = 0; i < TROUBLE_LATE; i++)
		if (c->has[i] && i != TROUBLE_RATE && i != TROUBLE_CLOCK)
			return false;
	/* With a limit of its own it doesn't wait for the first answer to learn Intercom's. */
	return !c->skips_unmatched && !(c->has[TROUBLE_RATE] && c->fixed_rate > 0);
}

void choices_print(const struct choices *c)
{
	static const char *const IDENTIFY[] = {
		"app_user_id", "original_app_user_id", "known_id", "email", "attribute"};

	printf("seed %llu:", (unsigned long long)c->seed);
	for (int i = 0; i < TROUBLE_KINDS; i++)
		if (c->has[i])
			printf(" %s", NAMES[i]);
	printf("\n%zu ids, %zu webhooks in %lld s, quiet after %lld s; connections %d, retry "
	       "%lld"
	       "..%lld ms, give up %lld s, rate %lld, keep %lld s, identify %s, names "
	       "%d%s%s%s%s%s%s%s\n"
	       "limit %lld, latency %lld ms, commit %lld ms, refill %lld ms, faults %u/1000\n",
		c->customers, c->hooks, (long long)c->life_ms / 1000, (long long)c->quiet_ms / 1000,
		c->connections, (long long)c->retry_base_ms, (long long)c->retry_cap_ms,
		(long long)c->give_up_ms / 1000, (long long)c->fixed_rate,
		(long long)c->keep_delivered_ms / 1000, IDENTIFY[c->identify], (int)c->naming,
		c->skips_anonymous ? ", anonymous skipped" : "",
		c->skips_archived ? ", archived skipped" : "",
		c->skips_unmatched ? ", unmatched skipped" : "",
		c->creates_attributes ? "" : ", attributes not created",
		c->is_signed ? ", signed" : "", c->has_sandbox ? ", sandbox" : "",
		c->has_transfers ? ", transfers" : "", (long long)c->limit,
		(long long)c->latency_ms, (long long)c->commit_ms, (long long)c->refill_ms,
		c->fault_per_mille);
}
