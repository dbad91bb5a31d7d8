/* subrelay: everything is behind a verb, see admin/cli.h. */

#include "admin/cli.h"

int main(int argc, char **argv)
{
	return cli_main(argc, argv);
}
