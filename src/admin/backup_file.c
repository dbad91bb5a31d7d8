/*
 * A file that appears when it is whole.
 */

#include "backup_file_private.h"

#include "base/error.h"
#include "base/xalloc.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool say_taken(const struct backup_file *file, struct error *err)
{
	return error_set(err, "%s is there already (--force replaces it)", file->path);
}

bool backup_file_init(
	struct backup_file *file, const char *path, bool may_replace, struct error *err)
{
	const size_t size = strlen(path) + sizeof(".part");
	struct stat status;

	*file = (struct backup_file){.path = path, .fd = -1, .may_replace = may_replace};
	if (lstat(path, &status) == 0) {
		if (!may_replace)
			return say_taken(file, err);
		if (!S_ISREG(status.st_mode))
			return error_set(err, "%s is not a file", path);
	}
	char *part_path = xmalloc(size);
	(void)snprintf(part_path, size, "%s.part", path);
	/* What an earlier one left; if it is something else, opening tells. */
	(void)unlink(part_path);
	file->fd = open(part_path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file->fd < 0) {
		(void)error_set(err, "%s: %s", part_path, strerror(errno));
		free(part_path);
		return false;
	}
	file->part_path = part_path; /* ours to remove, from here on */
	return true;
}

bool backup_file_write(
	struct backup_file *file, int64_t offset, const char *data, size_t len, struct error *err)
{
	while (len > 0) {
		const ssize_t put = pwrite(file->fd, data, len, (off_t)offset);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return error_set(
				err, "%s: %s", file->part_path, strerror(put < 0 ? errno : ENOSPC));
		data += put;
		len -= (size_t)put;
		offset += put;
	}
	return true;
}

bool backup_file_sync(struct backup_file *file, struct error *err)
{
	return fsync(file->fd) == 0 || error_set(err, "%s: %s", file->part_path, strerror(errno));
}

/* Not over one that came meanwhile. */
static bool give_name(const struct backup_file *file, struct error *err)
{
	if (file->may_replace)
		return rename(file->part_path, file->path) == 0 ||
			error_set(err, "%s: %s", file->path, strerror(errno));
	if (renameat2(AT_FDCWD, file->part_path, AT_FDCWD, file->path, RENAME_NOREPLACE) == 0)
		return true;
	if (errno == EEXIST)
		return say_taken(file, err);
	/* A file system that can't do it in one; then at least looked. */
	if (errno != EINVAL && errno != ENOSYS)
		return error_set(err, "%s: %s", file->path, strerror(errno));
	if (access(file->path, F_OK) == 0)
		return say_taken(file, err);
	return rename(file->part_path, file->path) == 0 ||
		error_set(err, "%s: %s", file->path, strerror(errno));
}

bool backup_file_keep(struct backup_file *file, struct error *err)
{
	if (!give_name(file, err))
		return false;
	free(file->part_path);
	file->part_path = NULL;

	char *copy = xstrdup(file->path);
	const int folder = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const bool is_synced = folder >= 0 && fsync(folder) == 0;
	const int number = errno;

	if (folder >= 0)
		(void)close(folder); /* it was only synced */
	free(copy);
	/* Some file systems can't sync a folder, and need it not. */
	return is_synced || number == EINVAL ||
		error_set(err, "the folder of %s: %s", file->path, strerror(number));
}

void backup_file_finish(struct backup_file *file)
{
	if (file->part_path) {
		(void)unlink(file->part_path); /* it is incomplete */
		(void)close(file->fd);
	} else if (file->path && file->fd >= 0) {
		(void)close(file->fd); /* it was synced */
	}
	free(file->part_path);
	*file = (struct backup_file){.fd = -1};
}
