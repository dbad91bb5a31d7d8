/* Aligned columns. */

#include "table_private.h"

#include "base/xalloc.h"
#include "cli_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define COLUMNS_MAX 16

void table_init(struct table *table, size_t columns)
{
	assert(columns > 0 && columns <= COLUMNS_MAX);
	*table = (struct table){.columns = columns};
}

void table_finish(struct table *table)
{
	for (size_t i = 0; i < table->count; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (struct table){0};
}

void table_add(struct table *table, const char *cell)
{
	if (table->count == table->capacity) {
		table->capacity = table->capacity ? 2 * table->capacity : 64;
		table->cells = xrealloc(table->cells, table->capacity * sizeof(*table->cells));
	}
	table->cells[table->count++] = cli_printable(xstrdup(cell ? cell : ""));
}

/* Characters, not bytes; wide ones count as one. */
static size_t width_of(const char *text)
{
	size_t width = 0;
	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}

void table_print(const struct table *table, int indent)
{
	size_t widths[COLUMNS_MAX] = {0};

	for (size_t i = 0; i < table->count; i++) {
		size_t width = width_of(table->cells[i]);
		if (width > widths[i % table->columns])
			widths[i % table->columns] = width;
	}
	for (size_t i = 0; i < table->count; i++) {
		size_t column = i % table->columns;
		size_t width = width_of(table->cells[i]);
		if (column == 0)
			(void)printf("%*s", indent, "");
		(void)fputs(table->cells[i], stdout);
		if (column + 1 == table->columns)
			(void)fputc('\n', stdout);
		else
			(void)printf("%*s", (int)(widths[column] - width) + 2, "");
	}
}
