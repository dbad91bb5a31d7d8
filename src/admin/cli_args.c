/*
 * A verb's arguments and its words to the operator. getopt_long does the reading, by a table that
 * is made of the verb's own.
 */

#include "base/text.h"
#include "cli_private.h"

#include <assert.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FLAGS_MAX 12
#define FIRST_CODE 256 /* what getopt_long returns for row 0; beyond any letter */

__attribute__((format(printf, 2, 0))) static void say(
	const struct cli_command *command, const char *format, va_list arguments)
{
	(void)fprintf(stderr, "subrelay %s: ", command->name);
	(void)vfprintf(stderr, format, arguments);
	(void)fputc('\n', stderr);
}

int cli_misused(const struct cli_command *command, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	say(command, format, arguments);
	va_end(arguments);
	(void)fprintf(stderr, "usage: subrelay %s\ntry: subrelay %s --help\n", command->usage,
		command->name);
	return CLI_USAGE;
}

int cli_failed(const struct cli_command *command, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	say(command, format, arguments);
	va_end(arguments);
	return CLI_FAILED;
}

void cli_note(const struct cli_command *command, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	say(command, format, arguments);
	va_end(arguments);
}

void cli_help(const struct cli_command *command)
{
	(void)printf("usage: subrelay %s\n\n%s\n", command->usage, command->help);
}

/* The verb's rows and --help as getopt_long wants them. */
struct reading {
	struct option rows[FLAGS_MAX + 2];
	char letters[2 * FLAGS_MAX + 4];
	size_t count; /* of the verb's own */
};

static void reading_init(struct reading *reading, const struct cli_flag *flags)
{
	*reading = (struct reading){.letters = ":"}; /* ':' tells a missing argument apart */
	char *letter = reading->letters + 1;
	for (; flags[reading->count].name; reading->count++) {
		const struct cli_flag *flag = &flags[reading->count];
		assert(reading->count < FLAGS_MAX);
		reading->rows[reading->count] = (struct option){
			.name = flag->name,
			.has_arg = flag->value ? required_argument : no_argument,
			.val = FIRST_CODE + (int)reading->count,
		};
		if (flag->letter) {
			*letter++ = flag->letter;
			if (flag->value)
				*letter++ = ':';
		}
	}
	reading->rows[reading->count] = (struct option){.name = "help", .val = 'h'};
	*letter = 'h';
}

static const struct cli_flag *flag_of(
	const struct reading *reading, const struct cli_flag *flags, int code)
{
	if (code >= FIRST_CODE)
		return &flags[code - FIRST_CODE];
	for (size_t i = 0; i < reading->count; i++) {
		if (flags[i].letter == code)
			return &flags[i];
	}
	return NULL;
}

/* The word that getopt_long stumbled over. */
static int say_wrong_flag(
	const struct cli_command *command, const struct reading *reading, char **argv, int code)
{
	const char *word = argv[optind - 1];
	if (code == ':')
		return cli_misused(command, "%s needs an argument", word);
	if (optopt >= FIRST_CODE && (size_t)(optopt - FIRST_CODE) < reading->count)
		return cli_misused(
			command, "--%s takes no argument", reading->rows[optopt - FIRST_CODE].name);
	if (optopt > 0 && optopt < FIRST_CODE && strncmp(word, "--", 2) != 0)
		return cli_misused(command, "there is no option -%c", optopt);
	return cli_misused(command, "there is no option %s", word);
}

bool cli_parse(const struct cli_command *command, int argc, char **argv,
	const struct cli_flag *flags, int operands_max, char ***ret_operands, int *ret_exit)
{
	struct reading reading;
	int code;

	reading_init(&reading, flags);
	opterr = 0; /* we say it ourselves */
	optind = 0; /* from the start, whoever read before */
	while ((code = getopt_long(argc, argv, reading.letters, reading.rows, NULL)) != -1) {
		if (code == 'h') {
			cli_help(command);
			*ret_exit = CLI_DONE;
			return false;
		}
		const struct cli_flag *flag = flag_of(&reading, flags, code);
		if (!flag) {
			*ret_exit = say_wrong_flag(command, &reading, argv, code);
			return false;
		}
		if (flag->value)
			*flag->value = optarg;
		else
			*flag->is_set = true;
	}
	if (argc - optind > operands_max) {
		*ret_exit = cli_misused(
			command, "'%s' is one argument too many", argv[optind + operands_max]);
		return false;
	}
	*ret_operands = argv + optind;
	return true;
}

bool cli_number(const struct cli_command *command, const char *name, const char *text,
	int64_t maximum, int64_t *ret_number)
{
	int64_t number;
	if (!text_to_int64(text, &number) || number < 1 || number > maximum) {
		(void)cli_misused(command, "%s must be a number from 1 to %lld, not '%s'", name,
			(long long)maximum, text);
		return false;
	}
	*ret_number = number;
	return true;
}

char *cli_printable(char *text)
{
	size_t len = strlen(text);
	for (size_t at = 0; at < len;) {
		size_t character = text_utf8_len(text + at, len - at);
		unsigned char byte = (unsigned char)text[at];
		/* C1 controls (U+0080 … U+009F) steer some terminals as well. */
		bool is_control = byte < 0x20 || byte == 0x7f ||
			(byte == 0xc2 && character == 2 && (unsigned char)text[at + 1] < 0xa0);
		for (size_t i = 0;
			(is_control || character == 0) && i < (character ? character : 1); i++)
			text[at + i] = '?';
		at += character ? character : 1;
	}
	return text;
}
