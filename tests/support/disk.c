/*
 * See disk.h. Here: what is on the disk, what fails, what a power cut leaves.
 *
 * A file is two arrays, what a reader sees (`now`) and what is safe (`platter`), and the list of
 * changes that lead from one to the other. A sync plays the list onto the platter; a cut plays what
 * the seed picks of it, and what a reader sees starts anew from there.
 */

#include "disk_private.h"

#include "base/xalloc.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512

uint64_t disk_random(struct disk *disk)
{
	uint64_t z = disk->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* ---- bytes ---- */

static void bytes_reserve(struct disk_bytes *bytes, int64_t len)
{
	if (len <= bytes->capacity)
		return;
	bytes->capacity = len > 2 * bytes->capacity ? len : 2 * bytes->capacity;
	bytes->data = xrealloc(bytes->data, (size_t)bytes->capacity);
}

static void bytes_resize(struct disk_bytes *bytes, int64_t len)
{
	bytes_reserve(bytes, len);
	if (len > bytes->len)
		memset(bytes->data + bytes->len, 0, (size_t)(len - bytes->len));
	bytes->len = len;
}

static void bytes_put(struct disk_bytes *bytes, int64_t offset, const void *data, int64_t len)
{
	if (len == 0)
		return;
	if (offset > bytes->len)
		bytes_resize(bytes, offset);
	bytes_reserve(bytes, offset + len);
	memcpy(bytes->data + offset, data, (size_t)len);
	if (offset + len > bytes->len)
		bytes->len = offset + len;
}

static void bytes_copy(struct disk_bytes *to, const struct disk_bytes *from)
{
	bytes_resize(to, from->len);
	if (from->len > 0)
		memcpy(to->data, from->data, (size_t)from->len);
}

/* ---- changes ---- */

static struct disk_change *add_change(struct disk_file *file)
{
	if (file->change_count == file->change_capacity) {
		file->change_capacity = file->change_capacity == 0 ? 16 : 2 * file->change_capacity;
		file->changes =
			xrealloc(file->changes, file->change_capacity * sizeof(*file->changes));
	}
	return &file->changes[file->change_count++];
}

static void forget_changes(struct disk_file *file)
{
	file->change_count = 0;
	file->unsynced.len = 0;
}

void disk_write(struct disk_file *file, int64_t offset, const void *data, int64_t len)
{
	const int64_t data_at = file->unsynced.len;

	*add_change(file) = (struct disk_change){.offset = offset, .len = len, .data_at = data_at};
	bytes_put(&file->unsynced, data_at, data, len);
	bytes_put(&file->now, offset, data, len);
}

void disk_truncate(struct disk_file *file, int64_t len)
{
	*add_change(file) = (struct disk_change){.offset = len, .data_at = -1};
	bytes_resize(&file->now, len);
}

/* The part of a write from `at` on that lies in one sector. */
static int64_t in_sector(int64_t offset, int64_t len, int64_t at)
{
	const int64_t here = SECTOR - (offset + at) % SECTOR;

	return here < len - at ? here : len - at;
}

void disk_write_torn(
	struct disk *disk, struct disk_file *file, int64_t offset, const void *data, int64_t len)
{
	for (int64_t at = 0, part; at < len; at += part) {
		part = in_sector(offset, len, at);
		if (disk_random(disk) % 2 == 0)
			disk_write(file, offset + at, (const unsigned char *)data + at, part);
	}
}

static void play(struct disk_file *file, const struct disk_change *change)
{
	if (change->data_at < 0)
		bytes_resize(&file->platter, change->offset);
	else
		bytes_put(&file->platter, change->offset, file->unsynced.data + change->data_at,
			change->len);
}

static void play_torn(struct disk *disk, struct disk_file *file, const struct disk_change *change)
{
	for (int64_t at = 0, part; at < change->len; at += part) {
		part = in_sector(change->offset, change->len, at);
		if (disk_random(disk) % 2 == 0)
			bytes_put(&file->platter, change->offset + at,
				file->unsynced.data + change->data_at + at, part);
	}
}

/* One time in four each, everything or nothing arrived: with many writes that would never come up
 * by itself. */
static void play_some(struct disk *disk, struct disk_file *file)
{
	const uint64_t tendency = disk_random(disk) % 4;

	for (size_t i = 0; i < file->change_count; i++) {
		const struct disk_change *change = &file->changes[i];
		const uint64_t draw = disk_random(disk) % 3;

		if (tendency == 0 || (tendency > 1 && draw == 0))
			play(file, change);
		else if (tendency > 1 && draw == 1 && change->data_at >= 0)
			play_torn(disk, file, change);
	}
	forget_changes(file);
}

void disk_sync(struct disk_file *file)
{
	for (size_t i = 0; i < file->change_count; i++)
		play(file, &file->changes[i]);
	forget_changes(file);
}

void disk_sync_badly(struct disk *disk, struct disk_file *file)
{
	play_some(disk, file);
}

/* ---- files ---- */

struct disk_file *disk_find(struct disk *disk, const char *path)
{
	for (struct disk_file *file = disk->files; file != NULL; file = file->next)
		if (file->path != NULL && strcmp(file->path, path) == 0)
			return file;
	return NULL;
}

struct disk_file *disk_add(struct disk *disk, const char *path)
{
	struct disk_file *file = xcalloc(1, sizeof(*file));

	file->path = xstrdup_or_null(path);
	file->next = disk->files;
	disk->files = file;
	return file;
}

static void free_file(struct disk_file *file)
{
	free(file->path);
	free(file->now.data);
	free(file->platter.data);
	free(file->unsynced.data);
	free(file->changes);
	free(file);
}

void disk_unlink(struct disk *disk, struct disk_file *file)
{
	struct disk_file **link = &disk->files;

	free(file->path);
	file->path = NULL;
	if (file->open_count > 0)
		return;
	while (*link != file)
		link = &(*link)->next;
	*link = file->next;
	free_file(file);
}

void disk_shm_release(struct disk_shm *shm)
{
	if (--shm->references > 0)
		return;
	for (int i = 0; i < shm->region_count; i++)
		free(shm->regions[i]);
	free(shm->regions);
	free(shm);
}

/* ---- life ---- */

struct disk *disk_create(uint64_t seed)
{
	struct disk *disk = xcalloc(1, sizeof(*disk));

	disk->random = seed;
	disk->vfs = disk_vfs;
	disk->vfs.pAppData = disk;
	return disk;
}

void disk_destroy(struct disk *disk)
{
	if (disk == NULL)
		return;
	assert(disk->handles == NULL);
	disk_unmount(disk);
	while (disk->files != NULL) {
		struct disk_file *file = disk->files;

		disk->files = file->next;
		free_file(file);
	}
	free(disk);
}

void disk_mount(struct disk *disk)
{
	assert(disk->below == NULL);
	disk->below = sqlite3_vfs_find(NULL);
	(void)sqlite3_vfs_register(&disk->vfs, 1);
	/* SQLite seeds its random numbers once a process; from here on they are this disk's. */
	sqlite3_randomness(0, NULL);
}

void disk_unmount(struct disk *disk)
{
	if (disk->below == NULL)
		return;
	(void)sqlite3_vfs_unregister(&disk->vfs);
	(void)sqlite3_vfs_register(disk->below, 1);
	disk->below = NULL;
}

struct disk *disk_copy(const struct disk *disk, uint64_t seed)
{
	struct disk *copy = disk_create(seed);

	for (const struct disk_file *file = disk->files; file != NULL; file = file->next) {
		if (file->path == NULL)
			continue;
		struct disk_file *to = disk_add(copy, file->path);
		bytes_copy(&to->now, &file->now);
		bytes_copy(&to->platter, &file->now);
	}
	return copy;
}

/* ---- faults ---- */

void disk_fail_at(
	struct disk *disk, enum disk_operation operation, enum disk_fault fault, int64_t nth)
{
	disk->operations[operation].fail_at = nth > 0 ? disk->operations[operation].count + nth : 0;
	disk->operations[operation].fault = fault;
}

void disk_set_full(struct disk *disk, bool is_full)
{
	disk->is_full = is_full;
}

void disk_set_broken(struct disk *disk, bool is_broken)
{
	disk->is_broken = is_broken;
}

enum disk_outcome disk_begin(struct disk *disk, const struct disk_handle *handle,
	enum disk_operation operation, const char *name, const char *path)
{
	if (disk->is_off || (handle != NULL && handle->file == NULL))
		return DISK_DEAD;
	if (operation == DISK_WRITES && disk->watch != NULL)
		disk->watch(disk->watch_context, name, path);
	/* The watcher may have cut it. */
	if (disk->is_off)
		return DISK_DEAD;
	if (++disk->operations[operation].count == disk->operations[operation].fail_at) {
		switch (disk->operations[operation].fault) {
		case DISK_IO_ERROR: return DISK_FAILS;
		case DISK_FULL: return DISK_HAS_NO_ROOM;
		case DISK_TORN: return DISK_TEARS;
		case DISK_POWER: return DISK_STOPS;
		}
	}
	return operation == DISK_WRITES && disk->is_broken ? DISK_FAILS : DISK_GOOD;
}

/* ---- power ---- */

void disk_cut(struct disk *disk)
{
	disk->is_off = true;
	for (struct disk_handle *handle = disk->handles; handle != NULL; handle = handle->next) {
		if (handle->file == NULL)
			continue;
		/* Its shared memory stays readable until it is closed, but nobody else gets it. */
		handle->file->shm = NULL;
		handle->file->open_count--;
		handle->file = NULL;
		handle->lock = SQLITE_LOCK_NONE;
	}
}

bool disk_is_off(const struct disk *disk)
{
	return disk->is_off;
}

void disk_power_on(struct disk *disk)
{
	if (!disk->is_off)
		return;
	for (struct disk_file *file = disk->files, *next; file != NULL; file = next) {
		next = file->next;
		if (file->path == NULL) {
			disk_unlink(disk, file);
			continue;
		}
		play_some(disk, file);
		bytes_copy(&file->now, &file->platter);
	}
	disk->is_off = false;
}

/* ---- looking ---- */

int64_t disk_operations(const struct disk *disk, enum disk_operation operation)
{
	return disk->operations[operation].count;
}

int64_t disk_bytes(const struct disk *disk)
{
	int64_t sum = 0;

	for (const struct disk_file *file = disk->files; file != NULL; file = file->next)
		sum += file->now.len;
	return sum;
}

size_t disk_open_files(const struct disk *disk)
{
	size_t count = 0;

	for (const struct disk_handle *handle = disk->handles; handle != NULL;
		handle = handle->next)
		count++;
	return count;
}

void disk_watch(struct disk *disk,
	void (*each)(void *context, const char *operation, const char *path), void *context)
{
	disk->watch = each;
	disk->watch_context = context;
}
