/*
 * The disk as SQLite sees it: the methods of a VFS and of its files, error for error as Debian's
 * own (os_unix.c) gives them, locks and shared memory between the handles of one process.
 */

#include "disk_private.h"

#include "base/xalloc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the unix VFS says of a disk that it knows nothing of. */
#define SECTOR_SIZE 4096
/* 2023-02-25, in the milliseconds of the Julian calendar that SQLite counts in. */
#define NOW_JULIAN_MS INT64_C(212544000000000)

static struct disk_handle *handle_of(sqlite3_file *file)
{
	return (struct disk_handle *)file;
}

static struct disk *disk_of(sqlite3_vfs *vfs)
{
	return vfs->pAppData;
}

static enum disk_outcome begin(
	struct disk_handle *handle, enum disk_operation operation, const char *name)
{
	const struct disk_file *file = handle->file;

	return disk_begin(handle->disk, handle, operation, name,
		file != NULL && file->path != NULL ? file->path : "");
}

/* For what cannot be done by half: true when it fails. */
static bool fails(struct disk_handle *handle, enum disk_operation operation, const char *name)
{
	const enum disk_outcome outcome = begin(handle, operation, name);

	if (outcome == DISK_STOPS)
		disk_cut(handle->disk);
	return outcome != DISK_GOOD;
}

/* ---- reading and writing ---- */

static int disk_x_read(sqlite3_file *base, void *data, int len, sqlite3_int64 offset)
{
	struct disk_handle *handle = handle_of(base);

	if (fails(handle, DISK_READS, "read"))
		return SQLITE_IOERR_READ;
	const struct disk_bytes *now = &handle->file->now;
	const int64_t left = offset < now->len ? now->len - offset : 0;
	const size_t got = (size_t)(left < len ? left : len);

	if (got > 0)
		memcpy(data, now->data + offset, got);
	if (got == (size_t)len)
		return SQLITE_OK;
	memset((unsigned char *)data + got, 0, (size_t)len - got);
	return SQLITE_IOERR_SHORT_READ;
}

static int disk_x_write(sqlite3_file *base, const void *data, int len, sqlite3_int64 offset)
{
	struct disk_handle *handle = handle_of(base);
	const enum disk_outcome outcome = begin(handle, DISK_WRITES, "write");

	switch (outcome) {
	case DISK_GOOD: break;
	case DISK_HAS_NO_ROOM: return SQLITE_FULL;
	case DISK_TEARS:
		disk_write_torn(handle->disk, handle->file, offset, data, len);
		return SQLITE_IOERR_WRITE;
	case DISK_STOPS:
		disk_write(handle->file, offset, data, len);
		disk_cut(handle->disk);
		return SQLITE_IOERR_WRITE;
	case DISK_FAILS:
	case DISK_DEAD: return SQLITE_IOERR_WRITE;
	}
	if (handle->disk->is_full && offset + len > handle->file->now.len)
		return SQLITE_FULL;
	disk_write(handle->file, offset, data, len);
	return SQLITE_OK;
}

static int disk_x_truncate(sqlite3_file *base, sqlite3_int64 len)
{
	struct disk_handle *handle = handle_of(base);
	const enum disk_outcome outcome = begin(handle, DISK_WRITES, "truncate");

	if (outcome == DISK_GOOD || outcome == DISK_STOPS)
		disk_truncate(handle->file, len);
	if (outcome == DISK_STOPS)
		disk_cut(handle->disk);
	return outcome == DISK_GOOD ? SQLITE_OK : SQLITE_IOERR_TRUNCATE;
}

static int disk_x_sync(sqlite3_file *base, int flags)
{
	struct disk_handle *handle = handle_of(base);
	const enum disk_outcome outcome = begin(handle, DISK_WRITES, "sync");

	(void)flags;
	switch (outcome) {
	case DISK_GOOD: disk_sync(handle->file); return SQLITE_OK;
	case DISK_STOPS: disk_cut(handle->disk); break;
	case DISK_DEAD: break;
	case DISK_FAILS:
	case DISK_HAS_NO_ROOM:
	case DISK_TEARS: disk_sync_badly(handle->disk, handle->file); break;
	}
	return SQLITE_IOERR_FSYNC;
}

static int disk_x_file_size(sqlite3_file *base, sqlite3_int64 *ret_len)
{
	struct disk_handle *handle = handle_of(base);

	if (fails(handle, DISK_READS, "size"))
		return SQLITE_IOERR_FSTAT;
	*ret_len = handle->file->now.len;
	return SQLITE_OK;
}

/* ---- file locks ---- */

/* The strongest lock on the file that another handle has. */
static int others_lock(const struct disk_handle *handle)
{
	int strongest = SQLITE_LOCK_NONE;

	for (const struct disk_handle *other = handle->disk->handles; other != NULL;
		other = other->next)
		if (other != handle && other->file == handle->file && other->lock > strongest)
			strongest = other->lock;
	return strongest;
}

static int disk_x_lock(sqlite3_file *base, int lock)
{
	struct disk_handle *handle = handle_of(base);

	if (handle->file == NULL)
		return SQLITE_IOERR_LOCK;
	if (lock <= handle->lock)
		return SQLITE_OK;
	const int others = others_lock(handle);
	if (others >= (lock == SQLITE_LOCK_SHARED ? SQLITE_LOCK_PENDING : SQLITE_LOCK_RESERVED))
		return SQLITE_BUSY;
	if (lock == SQLITE_LOCK_EXCLUSIVE && others > SQLITE_LOCK_NONE) {
		handle->lock = SQLITE_LOCK_PENDING; /* no new readers come in */
		return SQLITE_BUSY;
	}
	handle->lock = lock;
	return SQLITE_OK;
}

static int disk_x_unlock(sqlite3_file *base, int lock)
{
	struct disk_handle *handle = handle_of(base);

	if (handle->lock > lock)
		handle->lock = lock;
	return SQLITE_OK;
}

static int disk_x_check_reserved(sqlite3_file *base, int *ret_is_reserved)
{
	struct disk_handle *handle = handle_of(base);

	if (handle->file == NULL)
		return SQLITE_IOERR_CHECKRESERVEDLOCK;
	*ret_is_reserved =
		handle->lock >= SQLITE_LOCK_RESERVED || others_lock(handle) >= SQLITE_LOCK_RESERVED;
	return SQLITE_OK;
}

/* ---- shared memory ---- */

static void map_shm(struct disk_handle *handle)
{
	if (handle->shm != NULL)
		return;
	if (handle->file->shm == NULL)
		handle->file->shm = xcalloc(1, sizeof(*handle->file->shm));
	handle->shm = handle->file->shm;
	handle->shm->references++;
}

/* On a real disk it is a file, which must grow. */
static int extend_shm(struct disk_handle *handle, int size)
{
	struct disk_shm *shm = handle->shm;

	if (fails(handle, DISK_WRITES, "extend -shm") || handle->disk->is_full)
		return SQLITE_IOERR_SHMSIZE;
	shm->regions =
		xrealloc(shm->regions, (size_t)(shm->region_count + 1) * sizeof(*shm->regions));
	shm->regions[shm->region_count++] = xcalloc(1, (size_t)size);
	return SQLITE_OK;
}

static int disk_x_shm_map(
	sqlite3_file *base, int region, int size, int may_extend, void volatile **ret)
{
	struct disk_handle *handle = handle_of(base);

	*ret = NULL;
	if (handle->file == NULL)
		return SQLITE_IOERR_SHMMAP;
	map_shm(handle);
	while (region >= handle->shm->region_count) {
		if (!may_extend)
			return SQLITE_OK;
		const int code = extend_shm(handle, size);
		if (code != SQLITE_OK)
			return code;
	}
	*ret = handle->shm->regions[region];
	return SQLITE_OK;
}

static bool has_shared(const struct disk_handle *handle, int slot)
{
	return (handle->shm_shared & (1U << slot)) != 0;
}

static void unlock_shm(struct disk_handle *handle, int slot)
{
	struct disk_shm *shm = handle->shm;

	if (shm->exclusive[slot] == handle)
		shm->exclusive[slot] = NULL;
	if (has_shared(handle, slot))
		shm->shared[slot]--;
	handle->shm_shared &= ~(1U << slot);
}

static bool may_lock_shm(const struct disk_handle *handle, int slot, bool is_shared)
{
	const struct disk_shm *shm = handle->shm;

	if (shm->exclusive[slot] != NULL && shm->exclusive[slot] != handle)
		return false;
	return is_shared || shm->shared[slot] == (has_shared(handle, slot) ? 1 : 0);
}

static void lock_shm(struct disk_handle *handle, int slot, bool is_shared)
{
	if (!is_shared) {
		handle->shm->exclusive[slot] = handle;
	} else if (!has_shared(handle, slot)) {
		handle->shm->shared[slot]++;
		handle->shm_shared |= 1U << slot;
	}
}

static int disk_x_shm_lock(sqlite3_file *base, int first, int count, int flags)
{
	struct disk_handle *handle = handle_of(base);
	const bool is_shared = (flags & SQLITE_SHM_SHARED) != 0;

	if (handle->file == NULL || handle->shm == NULL)
		return SQLITE_IOERR_SHMLOCK;
	for (int slot = first; slot < first + count; slot++)
		if ((flags & SQLITE_SHM_LOCK) != 0 && !may_lock_shm(handle, slot, is_shared))
			return SQLITE_BUSY;
	for (int slot = first; slot < first + count; slot++) {
		if ((flags & SQLITE_SHM_LOCK) != 0)
			lock_shm(handle, slot, is_shared);
		else
			unlock_shm(handle, slot);
	}
	return SQLITE_OK;
}

static void disk_x_shm_barrier(sqlite3_file *base)
{
	(void)base;
}

static int disk_x_shm_unmap(sqlite3_file *base, int is_deleted)
{
	struct disk_handle *handle = handle_of(base);
	struct disk_shm *shm = handle->shm;

	(void)is_deleted; /* the first to map it again clears it anyway */
	if (shm == NULL)
		return SQLITE_OK;
	for (int slot = 0; slot < SQLITE_SHM_NLOCK; slot++)
		unlock_shm(handle, slot);
	if (handle->file != NULL && shm->references == 1)
		handle->file->shm = NULL;
	handle->shm = NULL;
	disk_shm_release(shm);
	return SQLITE_OK;
}

/* ---- the rest of a file ---- */

static int disk_x_file_control(sqlite3_file *base, int operation, void *argument)
{
	struct disk_handle *handle = handle_of(base);

	switch (operation) {
	case SQLITE_FCNTL_LOCKSTATE: *(int *)argument = handle->lock; return SQLITE_OK;
	case SQLITE_FCNTL_LAST_ERRNO: *(int *)argument = EIO; return SQLITE_OK;
	case SQLITE_FCNTL_SIZE_HINT:
	case SQLITE_FCNTL_CHUNK_SIZE: return SQLITE_OK;
	case SQLITE_FCNTL_PERSIST_WAL:
		if (*(int *)argument < 0)
			*(int *)argument = 0;
		return SQLITE_OK;
	case SQLITE_FCNTL_POWERSAFE_OVERWRITE:
		if (*(int *)argument < 0)
			*(int *)argument = 1;
		return SQLITE_OK;
	case SQLITE_FCNTL_HAS_MOVED:
		*(int *)argument = handle->file == NULL || handle->file->path == NULL;
		return SQLITE_OK;
	case SQLITE_FCNTL_VFSNAME:
		*(char **)argument = sqlite3_mprintf("%s", disk_vfs.zName);
		return SQLITE_OK;
	default: return SQLITE_NOTFOUND;
	}
}

static int disk_x_sector_size(sqlite3_file *base)
{
	(void)base;
	return SECTOR_SIZE;
}

static int disk_x_device_characteristics(sqlite3_file *base)
{
	(void)base;
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int disk_x_close(sqlite3_file *base)
{
	struct disk_handle *handle = handle_of(base);
	struct disk_handle **link = &handle->disk->handles;
	struct disk_file *file = handle->file;

	(void)disk_x_shm_unmap(base, 0);
	while (*link != handle)
		link = &(*link)->next;
	*link = handle->next;
	if (file != NULL) {
		file->open_count--;
		if (file->path == NULL || handle->is_dropped_at_close)
			disk_unlink(handle->disk, file);
	}
	return SQLITE_OK;
}

static const sqlite3_io_methods METHODS = {
	.iVersion = 2,
	.xClose = disk_x_close,
	.xRead = disk_x_read,
	.xWrite = disk_x_write,
	.xTruncate = disk_x_truncate,
	.xSync = disk_x_sync,
	.xFileSize = disk_x_file_size,
	.xLock = disk_x_lock,
	.xUnlock = disk_x_unlock,
	.xCheckReservedLock = disk_x_check_reserved,
	.xFileControl = disk_x_file_control,
	.xSectorSize = disk_x_sector_size,
	.xDeviceCharacteristics = disk_x_device_characteristics,
	.xShmMap = disk_x_shm_map,
	.xShmLock = disk_x_shm_lock,
	.xShmBarrier = disk_x_shm_barrier,
	.xShmUnmap = disk_x_shm_unmap,
};

/* ---- folders ---- */

/* As in `fails`, of the whole disk. */
static bool fails_at(
	struct disk *disk, enum disk_operation operation, const char *name, const char *path)
{
	const enum disk_outcome outcome = disk_begin(disk, NULL, operation, name, path);

	if (outcome == DISK_STOPS)
		disk_cut(disk);
	return outcome != DISK_GOOD;
}

static int disk_x_open(
	sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *ret_flags)
{
	struct disk *disk = disk_of(vfs);
	struct disk_handle *handle = handle_of(base);

	*handle = (struct disk_handle){0}; /* no methods: SQLite won't close what isn't open */
	if (fails_at(disk, DISK_READS, "open", path != NULL ? path : ""))
		return SQLITE_CANTOPEN;
	struct disk_file *file = path != NULL ? disk_find(disk, path) : NULL;
	if (file == NULL && (flags & SQLITE_OPEN_CREATE) == 0)
		return SQLITE_CANTOPEN;
	if (file == NULL)
		file = disk_add(disk, path);
	*handle = (struct disk_handle){.base.pMethods = &METHODS,
		.disk = disk,
		.file = file,
		.is_dropped_at_close = (flags & SQLITE_OPEN_DELETEONCLOSE) != 0,
		.next = disk->handles};
	disk->handles = handle;
	file->open_count++;
	if (ret_flags != NULL)
		*ret_flags = flags;
	return SQLITE_OK;
}

static int disk_x_delete(sqlite3_vfs *vfs, const char *path, int is_folder_synced)
{
	struct disk *disk = disk_of(vfs);
	const enum disk_outcome outcome = disk_begin(disk, NULL, DISK_WRITES, "delete", path);
	struct disk_file *file = disk_find(disk, path);

	(void)is_folder_synced; /* it always is */
	/* A cut in the middle of it comes before or after. */
	const bool is_done =
		outcome == DISK_GOOD || (outcome == DISK_STOPS && disk_random(disk) % 2 == 0);
	if (is_done && file != NULL)
		disk_unlink(disk, file);
	if (outcome == DISK_STOPS)
		disk_cut(disk);
	if (outcome != DISK_GOOD)
		return SQLITE_IOERR_DELETE;
	return file != NULL ? SQLITE_OK : SQLITE_IOERR_DELETE_NOENT;
}

static int disk_x_access(sqlite3_vfs *vfs, const char *path, int flags, int *ret_is_so)
{
	struct disk *disk = disk_of(vfs);

	if (fails_at(disk, DISK_READS, "access", path))
		return SQLITE_IOERR_ACCESS;
	const struct disk_file *file = disk_find(disk, path);
	/* An empty file is none, says os_unix.c. */
	*ret_is_so = file != NULL && (flags != SQLITE_ACCESS_EXISTS || file->now.len > 0);
	return SQLITE_OK;
}

static int disk_x_full_pathname(sqlite3_vfs *vfs, const char *path, int size, char *ret)
{
	(void)vfs;
	return snprintf(ret, (size_t)size, "%s", path) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int disk_x_randomness(sqlite3_vfs *vfs, int len, char *ret)
{
	for (int i = 0; i < len; i++)
		ret[i] = (char)(disk_random(disk_of(vfs)) & 0xff);
	return len;
}

static int disk_x_sleep(sqlite3_vfs *vfs, int us)
{
	(void)vfs;
	return us;
}

static int disk_x_current_time_ms(sqlite3_vfs *vfs, sqlite3_int64 *ret_ms)
{
	(void)vfs;
	*ret_ms = NOW_JULIAN_MS;
	return SQLITE_OK;
}

static int disk_x_current_time(sqlite3_vfs *vfs, double *ret_days)
{
	(void)vfs;
	*ret_days = (double)NOW_JULIAN_MS / 86400000.0;
	return SQLITE_OK;
}

static int disk_x_last_error(sqlite3_vfs *vfs, int size, char *ret)
{
	(void)vfs;
	(void)size;
	(void)ret;
	return EIO;
}

const sqlite3_vfs disk_vfs = {
	.iVersion = 2,
	.szOsFile = (int)sizeof(struct disk_handle),
	.mxPathname = 512,
	.zName = "subrelay-disk",
	.xOpen = disk_x_open,
	.xDelete = disk_x_delete,
	.xAccess = disk_x_access,
	.xFullPathname = disk_x_full_pathname,
	.xRandomness = disk_x_randomness,
	.xSleep = disk_x_sleep,
	.xCurrentTime = disk_x_current_time,
	.xGetLastError = disk_x_last_error,
	.xCurrentTimeInt64 = disk_x_current_time_ms,
};
