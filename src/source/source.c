/* The list of sources: another one is another line. */

#include "source/source.h"

#include "source/revenuecat.h"

#include <string.h>

static const struct source *const sources[] = {
	&source_revenuecat,
	NULL,
};

const struct source *const *source_all(void)
{
	return sources;
}

const struct source *source_find(const char *name)
{
	for (const struct source *const *source = sources; *source; source++) {
		if (strcmp((*source)->name, name) == 0)
			return *source;
	}
	return NULL;
}
