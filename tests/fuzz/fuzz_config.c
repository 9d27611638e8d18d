// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any bytes as pockd.conf, and each of its lines as an argument. What is
 * refused is refused with a sentence; what is taken is within the bounds that
 * the tables name.
 */

#include "daemon/config.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void check_taken(const struct config *c)
{
    for (size_t i = 0; i < policy_row_count; i++) {
        const struct policy_row *row = &policy_rows[i];
        const double value = policy_get(&c->policy, row);
        if (row->kind == POLICY_KIND_TEXT)
            check(strlen(policy_get_text(&c->policy, row)) < POLICY_TEXT_BYTES);
        else
            check(value >= row->min && value <= row->max);
    }
    check(c->threads >= 0 && c->threads <= 256);
    check(c->connections_max >= 1 && c->connections_max <= 1024);
    check(c->hello_ms >= 10 && c->drain_ms <= 600000);
    check(memchr(c->socket, 0, sizeof(c->socket)) != NULL);
}

static void try_arguments(char *text)
{
    const char *argv[6] = {"pockd"};
    struct error err = {0};
    struct config c;
    int argc = 1;

    for (char *at = text; *at && argc < 6; argc++) {
        argv[argc] = at;
        at += strcspn(at, "\n");
        if (*at)
            *at++ = '\0';
    }
    check(config_init(&c, &err) == 0);
    if (config_parse_argv(&c, argc, argv, &err) < 0)
        check(err.text[0] != '\0');
    else
        check_taken(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct config c;

    // The environment is not what is tested here.
    check(config_init(&c, &err) == 0);
    if (config_parse_text(&c, "pockd.conf", (const char *) data, size, &err) <
        0)
        check(strncmp(err.text, "pockd.conf line ", 16) == 0);
    else
        check_taken(&c);
    char *text = malloc(size + 1);
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    try_arguments(text);
    free(text);
    return 0;
}
