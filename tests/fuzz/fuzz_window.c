// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Texts that the scheduler reads: windows of the policy, and suspects of the
 * store. What is accepted must be what it says.
 */

#include "daemon/bisect.h"
#include "daemon/window.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_windows(const char *text)
{
    struct windows w;
    struct error err = {0};

    if (windows_parse(&w, text, &err) < 0) {
        if (!err.text[0])
            abort();
        return;
    }
    if (w.count < 1 || w.count > WINDOW_MAX)
        abort();
    for (int day = 0; day < 7; day++)
        for (int minute = 0; minute < WINDOW_DAY_MIN; minute += 37) {
            int wait = windows_opens_in(&w, day, minute);
            int at = minute + wait;
            // Each opens within a week, and not a minute earlier than said.
            if (wait < 0 || wait > 7 * WINDOW_DAY_MIN ||
                !windows_is_open(&w, (day + at / WINDOW_DAY_MIN) % 7,
                                 at % WINDOW_DAY_MIN))
                abort();
        }
}

static void check_suspects(const char *text)
{
    static char out[BISECT_TEXT_BYTES];
    struct bisect a;
    struct bisect b;

    if (!bisect_parse(&a, text))
        return;
    bisect_print(out, sizeof(out), &a);
    if (!bisect_parse(&b, out) || b.count != a.count || b.tried != a.tried ||
        b.deaths != a.deaths ||
        memcmp(a.ids, b.ids, (size_t) a.count * sizeof(a.ids[0])) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    char *text = malloc(bytes + 1);

    if (!text)
        return 0;
    memcpy(text, data, bytes);
    text[bytes] = '\0';
    check_windows(text);
    check_suspects(text);
    free(text);
    return 0;
}
