/* RevenueCat's webhook bodies; seeds: its golden cases. See webhook.h. */

#include "webhook.h"

WEBHOOK_TARGET("revenuecat", "SUBRELAY_REVENUECAT_SANDBOX=send", NULL)
