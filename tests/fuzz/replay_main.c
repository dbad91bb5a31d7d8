/*
 * A fuzz target as a plain test: runs it over its seeds and over what fuzzing has found, without
 * libFuzzer, and prints TAP. Started in the source tree; or over the files it is given.
 *
 * What must stay true: a target without any input fails, so that a folder that was moved is seen.
 */

#include "fuzz.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_MAX_LEN 1024
#define INPUT_MAX ((size_t)1024 * 1024)

/* Says which one it is when the target aborts. */
static void run_file(const char *path, size_t *count)
{
	uint8_t *data = malloc(INPUT_MAX);
	FILE *file = fopen(path, "re");
	FUZZ_CHECK(data && file);
	size_t size = fread(data, 1, INPUT_MAX, file);
	(void)fclose(file); /* only read from */
	/* A block of just this size, so that a sanitizer sees what is read behind it. */
	uint8_t *input = malloc(size ? size : 1);
	FUZZ_CHECK(input);
	memcpy(input, data, size);
	free(data);
	(void)fprintf(stderr, "%s\n", path);
	(void)LLVMFuzzerTestOneInput(input, size);
	free(input);
	(*count)++;
}

static void run_folder(const char *folder, size_t *count)
{
	struct dirent **entries = NULL;
	int entry_count = scandir(folder, &entries, NULL, alphasort);

	for (int i = 0; i < entry_count; i++) {
		char path[PATH_MAX_LEN];
		struct stat status;
		int len = snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
		bool is_hidden = entries[i]->d_name[0] == '.';
		free(entries[i]);
		if (is_hidden || len >= (int)sizeof(path) || stat(path, &status) != 0)
			continue;
		if (S_ISDIR(status.st_mode))
			run_folder(path, count);
		else
			run_file(path, count);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	static const char *const folders[] = {
		"tests/fuzz/corpus", "tests/fuzz/found", "tests/golden"};
	const char *name = strstr(argv[0], "test_");
	size_t count = 0;

	FUZZ_CHECK(name);
	for (int i = 1; i < argc; i++)
		run_file(argv[i], &count);
	if (argc > 1)
		return 0;
	for (const char *next; (next = strstr(name + 1, "test_"));)
		name = next;
	name += strlen("test_");
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		char path[PATH_MAX_LEN];
		(void)snprintf(path, sizeof(path), "%s/%s", folders[i], name);
		run_folder(path, &count);
	}
	(void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	(void)printf("%sok 1 - %zu inputs of %s\n1..1\n", count ? "" : "not ", count, name);
	return count ? 0 : 1;
}
