/*
 * jansson's memory.
 *
 * Left alone, jansson returns NULL when there is none, and that can't be told apart: a webhook would
 * be "not JSON", an answer of Intercom empty, what is remembered of a customer unreadable. Worse,
 * its reader (2.14) doesn't look whether its text buffer could grow: a string loses bytes, or is read
 * beyond its end. So there is nothing to be had by staying alive. What it is given to read has a
 * limit (a webhook body_max, an answer 256 KiB), everything acknowledged is on disk, and whoever was
 * not answered comes back.
 */

#include "base/json_memory.h"

#include "base/xalloc.h"

#include <jansson.h>
#include <stdlib.h>

void json_memory_init(void)
{
	json_set_alloc_funcs(xmalloc, free);
}
