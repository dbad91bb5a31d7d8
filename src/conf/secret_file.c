/*
 * A secret from a file of its own: systemd's credentials, Docker's secrets, or a file beside the
 * INI.
 *
 * The whole file is the secret, but for one newline at its end that editors and `echo` put there. A
 * control character within would break the header that the secret is sent in or compared with, and
 * is refused: it is a file of several lines, or not the file that was meant.
 */

#include "base/buf.h"
#include "base/error.h"
#include "base/secret.h"
#include "base/xalloc.h"
#include "conf/conf_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_BYTES_MAX ((size_t)64 * 1024)

static int open_within(const char *directory, size_t directory_len, const char *path)
{
	struct buf whole;
	buf_init(&whole, PATH_MAX);
	buf_add(&whole, directory, directory_len);
	buf_add_char(&whole, '/');
	buf_add_text(&whole, path);
	int fd = -1;
	if (whole.overflowed)
		errno = ENAMETOOLONG;
	else
		fd = open(buf_text(&whole), O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int failed_with = errno; /* free may set it */
	buf_finish(&whole);
	errno = failed_with;
	return fd;
}

/* Sets errno. A credential that is there and can't be read is not passed over for another file. */
static int open_secret(const struct given *given, const char *path)
{
	const char *credentials = given->credentials_directory;
	if (path[0] == '/')
		return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (credentials && credentials[0] == '/') {
		int fd = open_within(credentials, strlen(credentials), path);
		if (fd >= 0 || errno != ENOENT)
			return fd;
	}
	const char *slash = given->path ? strrchr(given->path, '/') : NULL;
	if (!slash)
		return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	return open_within(given->path, (size_t)(slash - given->path), path);
}

static bool is_one_line(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

static size_t len_without_newline(const char *text, size_t len)
{
	if (len > 0 && text[len - 1] == '\n')
		len--;
	if (len > 0 && text[len - 1] == '\r')
		len--;
	return len;
}

static bool read_all(int fd, char *text, size_t *ret_len, struct error *err)
{
	size_t len = 0;
	ssize_t got = 0;
	do {
		got = read(fd, text + len, SECRET_BYTES_MAX + 1 - len);
		len += got > 0 ? (size_t)got : 0;
	} while (got > 0 && len <= SECRET_BYTES_MAX);
	*ret_len = len;
	if (got < 0)
		return error_set(err, "can't be read: %s", strerror(errno));
	if (len > SECRET_BYTES_MAX)
		return error_set(err, "is larger than 64k, too large for a secret");
	return true;
}

bool secret_file_read(const struct given *given, const char *path, struct secret *ret_secret,
	bool *ret_is_world_readable, struct error *err)
{
	char *text = xcalloc(1, SECRET_BYTES_MAX + 1);
	struct stat status;
	size_t len = 0;
	size_t read_len = 0;
	bool is_ok = false;

	int fd = open_secret(given, path);
	if (fd < 0) {
		error_set(err, "can't be opened: %s", strerror(errno));
		goto out;
	}
	if (!read_all(fd, text, &read_len, err))
		goto out;
	len = len_without_newline(text, read_len);
	if (len == 0) {
		error_set(err, "is empty");
		goto out;
	}
	if (!is_one_line(text, len)) {
		error_set(err,
			"holds more than one line, or no text; the secret alone should be in it");
		goto out;
	}
	secret_finish(ret_secret);
	secret_init(ret_secret, text, len);
	*ret_is_world_readable =
		fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_mode & S_IROTH;
	is_ok = true;
out:
	if (fd >= 0)
		(void)close(fd); /* only read from */
	explicit_bzero(text, read_len);
	free(text);
	return is_ok;
}
