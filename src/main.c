/* subrelay: everything is behind a verb, see admin/cli.h. */

#include "admin/cli.h"
#include "base/json_memory.h"

int main(int argc, char **argv)
{
	json_memory_init();
	return cli_main(argc, argv);
}
