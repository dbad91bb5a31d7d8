#ifndef SUBRELAY_ADMIN_BACKUP_FILE_PRIVATE_H
#define SUBRELAY_ADMIN_BACKUP_FILE_PRIVATE_H

/*
 * A file that is there when it is whole, and not before: it is written as FILE.part (mode 0600),
 * and gets its name when all of it is on disk.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

struct backup_file {
	const char *path;
	char *part_path;
	int fd;
	bool may_replace;
};

/* False: `path` is there already and may not be replaced, or FILE.part can't be made. A FILE.part
 * that an earlier try left is replaced. */
bool backup_file_init(
	struct backup_file *file, const char *path, bool may_replace, struct error *err);
bool backup_file_write(
	struct backup_file *file, int64_t offset, const char *data, size_t len, struct error *err);
/* All is written: to disk with it. Still FILE.part. */
bool backup_file_sync(struct backup_file *file, struct error *err);
/* Gives it its name. */
bool backup_file_keep(struct backup_file *file, struct error *err);
/* Takes FILE.part away, unless it was kept. Takes what init refused, and zeroes. */
void backup_file_finish(struct backup_file *file);

#endif
