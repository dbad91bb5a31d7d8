/*
 * The INI file: its lines, through inih.
 *
 * inih tells sections, keys and comments apart. Left alone it also cuts a value at " ;", cuts names
 * and lines at limits, joins an indented line to the value before it, and counts lines only in a
 * return value that names one of them; which of these, and at which limits, depends on how the
 * system's library was built, and half a secret is worse than none. So it is fed through a reader
 * of our own that counts the lines and hands it only the part of each that it may judge: the head,
 * `key =`, without blanks before it. The value stays with the reader, and is the rest of the line
 * to the byte.
 *
 * A section's header is checked here, because inih says nothing of one that has no keys. What inih
 * made nothing of is noticed by the reader when it is asked for the next line.
 */

#include "base/buf.h"
#include "base/text.h"
#include "base/xalloc.h"
#include "conf/conf_private.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)1024 * 1024)
#define LINE_BYTES_MAX 8192
#define HEAD_BYTES_MAX 100 /* well under inih's 200 */
#define BLANKS " \t"
#define SEPARATORS "=:" /* inih's */
/* A section that no vocabulary has: what follows a header that isn't one belongs nowhere. */
#define NOWHERE "[?]"

struct ini_file {
	struct given *given;
	char *next; /* the rest of the text */
	const char *end;
	int line;
	const char *value;  /* of the line that inih has */
	bool is_unanswered; /* inih has a line that it must call back for */
};

static struct place here(const struct ini_file *file)
{
	return (struct place){.file = file->given->path, .line = file->line};
}

static void report_unanswered(struct ini_file *file)
{
	if (file->is_unanswered)
		/* Not shown: it may be half a secret. */
		conf_report_problem(file->given->report, here(file),
			"this is neither '[section]' nor 'key = value' nor a comment");
	file->is_unanswered = false;
}

/* Returns the next line without its end, NUL-terminated; NULL past the last. */
static char *line_cut(struct ini_file *file, size_t *ret_len)
{
	if (file->next == file->end)
		return NULL;
	char *line = file->next;
	char *newline = memchr(line, '\n', (size_t)(file->end - line));
	char *line_end = newline ? newline : line + (file->end - line);
	file->next = line_end + (newline ? 1 : 0);
	if (line_end > line && line_end[-1] == '\r')
		line_end--;
	*line_end = '\0';
	*ret_len = (size_t)(line_end - line);
	file->line++;
	return line;
}

static bool has_control_character(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return true;
	}
	return false;
}

/* "[name]", and a comment behind it if need be: no value can be meant there. */
static bool header_parse(char *line)
{
	char *close = strchr(line, ']');
	if (!close)
		return false;
	const char *rest = close + 1 + strspn(close + 1, BLANKS);
	if (*rest != '\0' && *rest != ';' && *rest != '#')
		return false;
	*close = '\0';
	return true;
}

static const char *section_head(struct ini_file *file, char *line, struct buf *head)
{
	if (!header_parse(line)) {
		conf_report_problem(file->given->report, here(file),
			"a section's header is '[name]', alone on its line");
		return NOWHERE;
	}
	const char *name = text_trim(line + 1);
	given_open_section(file->given, name, file->line);
	if (!given_section_get(file->given, name))
		return NOWHERE;
	buf_addf(head, "[%s]", name);
	return buf_text(head);
}

static const char *setting_head(struct ini_file *file, char *line, struct buf *head)
{
	file->is_unanswered = true;
	size_t key_len = strcspn(line, SEPARATORS);
	if (line[key_len] == '\0')
		return "?";
	file->value = text_trim(line + key_len + 1);
	/* A key cut short by the maximum is longer than any option's, and is refused as such. */
	buf_add(head, line, key_len < HEAD_BYTES_MAX ? key_len : HEAD_BYTES_MAX);
	buf_add_char(head, '=');
	return buf_text(head);
}

/* What of this line inih is to see. */
static const char *line_head(struct ini_file *file, char *line, size_t len, struct buf *head)
{
	char *start = line + strspn(line, BLANKS);
	if (*start == ';' || *start == '#')
		return "";
	if (len > LINE_BYTES_MAX) {
		conf_report_problem(file->given->report, here(file),
			"the line is longer than %d bytes; a long secret can stand in a file of "
			"its "
			"own (KEY_file)",
			LINE_BYTES_MAX);
		return "";
	}
	if (has_control_character(line, len)) {
		conf_report_problem(file->given->report, here(file),
			"the line holds a control character: is this a text file?");
		return "";
	}
	if (*start == '\0')
		return "";
	if (*start == '[')
		return section_head(file, start, head);
	return setting_head(file, start, head);
}

/* inih's fgets. */
static char *next_line(char *ret, int ret_size, void *stream)
{
	struct ini_file *file = stream;
	struct buf head;
	size_t len = 0;
	report_unanswered(file);
	char *line = line_cut(file, &len);
	if (!line)
		return NULL;
	buf_init(&head, HEAD_BYTES_MAX + sizeof("="));
	(void)snprintf(ret, (size_t)ret_size, "%s\n", line_head(file, line, len, &head)); /* fits */
	buf_finish(&head);
	return ret;
}

static int take_setting(void *user, const char *section, const char *key, const char *value)
{
	struct ini_file *file = user;
	(void)value; /* the reader has the whole of it */
	file->is_unanswered = false;
	given_add(file->given, section, key, file->value, file->line);
	return 1;
}

static bool report_unreadable(const struct given *given, const char *why)
{
	struct place place = {.file = given->path};
	conf_report_problem(given->report, place, "can't be read: %s", why);
	return false;
}

/* One byte more than the limit is read, to see that it was passed; one block, because growing would
 * leave copies of secrets behind. */
static bool text_load(struct given *given, char *text, size_t *ret_len)
{
	struct stat status;
	size_t len = 0;
	ssize_t got = 0;

	int fd = open(given->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return report_unreadable(given, strerror(errno));
	if (fstat(fd, &status) == 0)
		given->file_is_world_readable = S_ISREG(status.st_mode) && status.st_mode & S_IROTH;
	do {
		got = read(fd, text + len, FILE_BYTES_MAX + 1 - len);
		len += got > 0 ? (size_t)got : 0;
	} while (got > 0 && len <= FILE_BYTES_MAX);
	int failed_with = errno;
	(void)close(fd); /* only read from */
	if (got < 0)
		return report_unreadable(given, strerror(failed_with));
	if (len > FILE_BYTES_MAX)
		return report_unreadable(given, "it is larger than 1M");
	*ret_len = len;
	return true;
}

bool ini_file_read(struct given *given)
{
	static const char byte_order_mark[] = "\xef\xbb\xbf";
	char *text = xcalloc(1, FILE_BYTES_MAX + 2);
	size_t len = 0;
	bool is_ok = text_load(given, text, &len);
	if (is_ok) {
		struct ini_file file = {.given = given, .next = text, .end = text + len};
		if (text_starts_with(text, byte_order_mark))
			file.next += strlen(byte_order_mark);
		/* Its result names one line, and all of them were reported on the way. Below zero
		 * it has read nothing: a library that takes its buffer from the heap got none. */
		if (ini_parse_stream(next_line, &file, take_setting, &file) < 0)
			is_ok = report_unreadable(given, "out of memory");
		report_unanswered(&file);
	}
	explicit_bzero(text, len);
	free(text);
	return is_ok;
}
