#ifndef SUBRELAY_SOURCE_SIGNATURE_H
#define SUBRELAY_SOURCE_SIGNATURE_H

/*
 * The signature scheme `t=<unix seconds>,v1=<hex>[,v1=<hex> …]` over "<t>.<raw body>" with
 * HMAC-SHA256, as RevenueCat (X-RevenueCat-Webhook-Signature, docs "webhooks", 2026) and Stripe
 * (Stripe-Signature, docs.stripe.com/webhooks) use it. Pure.
 *
 * Any v1 may match (a rotated secret sends several); other schemes (v0) are skipped. `t` is signed
 * as it is written. Elements are split at ',' and at their first '='; blanks are not trimmed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;
struct secret;

/*
 * True when one v1 matches under one of the secrets and |now - t| <= tolerance_s (a tolerance of 0
 * doesn't look at the time). Every comparison takes constant time.
 */
bool signature_verify(const char *header, const char *body, size_t body_len,
	const struct secret *secrets, size_t secret_count, int64_t now_ms, int64_t tolerance_s,
	struct error *err);

#endif
