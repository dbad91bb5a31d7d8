/* The list of sources: another one is another line. */

#include "source/source.h"

#include "source/revenuecat.h"

static const struct source *const sources[] = {
	&source_revenuecat,
	NULL,
};

const struct source *const *source_all(void)
{
	return sources;
}
