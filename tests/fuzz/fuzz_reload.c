// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any text as the address of a hook, and as its command. What is taken is of
 * this machine, and an absolute path.
 */

#include "daemon/reload.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char room[512], *args[RELOAD_ARGS_MAX];
    struct reload_target t;
    struct error err = {0};
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    if (reload_parse_url(&t, text, &err) == 0) {
        if (strncmp(text, "unix:/", 6) == 0 ? t.path[0] != '/'
                                            : t.path[0] || t.port == 0)
            abort();
    } else if (err.text[0] == '\0') {
        abort();
    }
    if (reload_parse_command(args, room, sizeof(room), text, &err) == 0) {
        int n = 0;
        while (args[n])
            n++;
        if (n < 1 || n > RELOAD_ARGS_MAX - 3 || args[0][0] != '/')
            abort();
    }
    free(text);
    return 0;
}
