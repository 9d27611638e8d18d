// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/greeting.h"

#include "ipc/encoder.h"
#include "storage/store_app.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum who {
    WHO_PLAIN,    // outside of everything
    WHO_SCOPE,    // in the scope of org.example.Editor
    WHO_FLATPAK,  // attested
    WHO_IN_SCOPE, // in a flatpak's scope, not attested
    WHO_SNAP,
};

static struct peer peer_of(enum who who)
{
    struct peer p = {.uid = 1000,
                     .pid = 7,
                     .strength = PEER_STRENGTH_UID,
                     .comm = "my editor"};

    if (who == WHO_SCOPE || who == WHO_IN_SCOPE) {
        p.app = (struct appid){APPID_SCOPE, "scope:org.example.Editor",
                               who == WHO_IN_SCOPE};
        p.strength = PEER_STRENGTH_SCOPE;
    } else if (who == WHO_FLATPAK) {
        p.app =
            (struct appid){APPID_FLATPAK, "flatpak:org.example.Editor", false};
        p.strength = PEER_STRENGTH_SANDBOXED;
    } else if (who == WHO_SNAP) {
        p.app = (struct appid){APPID_SNAP, "snap:editor", false};
        p.strength = PEER_STRENGTH_SCOPE;
    }
    p.is_sandboxed = who >= WHO_FLATPAK;
    return p;
}

// Reads hello with these keys; NULL leaves one out.
static int read_hello(struct greeting *g, enum who who, bool may_own, bool asks,
                      const char *role, const char *hint, const char *wants,
                      enum rpc_error *code)
{
    struct peer p = peer_of(who);
    struct encoder e;
    struct codec_doc doc;
    struct error err = {0};

    encoder_init(&e, 0);
    encoder_open_map(&e);
    if (role)
        encoder_put_cstr(&e, "role", role);
    if (hint)
        encoder_put_cstr(&e, "app_hint", hint);
    if (wants) {
        encoder_put_array(&e, "wants");
        encoder_cstr(&e, wants);
        encoder_close(&e);
    }
    encoder_close(&e);
    assert_int_equal(encoder_finish(&e), 0);
    assert_int_equal(codec_decode(&doc, e.data, e.bytes, &frame_limits_full,
                                  &err),
                     0);
    int rc = greeting_read(g, &p, may_own, asks, &doc.root, code, &err);
    if (rc < 0)
        assert_true(strlen(err.text) > 0);
    codec_finish(&doc);
    encoder_destroy(&e);
    return rc;
}

static const struct {
    enum who who;
    bool may_own;
    bool asks;
    const char *role;
    const char *hint;
    const char *result; // owner, a name, or an error; + : needs no grant
} cases[] = {
    // The owner's programs, where none is asked about.
    {WHO_PLAIN, true, false, NULL, NULL, "owner"},
    {WHO_SCOPE, true, false, NULL, NULL, "owner"},
    {WHO_PLAIN, true, false, "owner", "x", "owner"},
    {WHO_PLAIN, true, false, NULL, "x.y", "host:x.y+"},
    {WHO_PLAIN, true, false, "app", NULL, "host:myeditor+"},
    {WHO_SCOPE, true, false, "app", NULL, "scope:org.example.Editor+"},
    // Where each is.
    {WHO_PLAIN, true, true, "owner", NULL, "owner"},
    {WHO_PLAIN, true, true, NULL, NULL, "host:myeditor"},
    {WHO_PLAIN, true, true, NULL, "x.y", "host:x.y"},
    {WHO_SCOPE, true, true, NULL, NULL, "scope:org.example.Editor"},
    {WHO_SCOPE, true, true, NULL, "org.example.Editor",
     "scope:org.example.Editor"},
    {WHO_SCOPE, true, true, NULL, "other", "host:other"},
    // A sandbox is never the owner's tool, and its name is the sandbox's.
    {WHO_FLATPAK, true, false, NULL, NULL, "flatpak:org.example.Editor"},
    {WHO_FLATPAK, true, false, "app", "org.example.Bank",
     "flatpak:org.example.Editor"},
    {WHO_FLATPAK, true, true, NULL, NULL, "flatpak:org.example.Editor"},
    {WHO_FLATPAK, true, false, "owner", NULL, "DENIED"},
    {WHO_IN_SCOPE, true, false, NULL, NULL, "scope:org.example.Editor"},
    {WHO_IN_SCOPE, true, false, "owner", NULL, "DENIED"},
    {WHO_SNAP, true, false, NULL, "x", "snap:editor"},
    {WHO_SNAP, true, true, "owner", NULL, "DENIED"},
    // Nor is another user.
    {WHO_PLAIN, false, false, NULL, NULL, "host:myeditor"},
    {WHO_PLAIN, false, false, "owner", NULL, "DENIED"},
    {WHO_PLAIN, true, true, "root", NULL, "BAD_PARAMS"},
    {WHO_PLAIN, true, true, NULL, "...", "BAD_PARAMS"},
};

static void knows_the_owner_from_an_app(void **state)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct greeting g;
        enum rpc_error code;
        char result[80];
        int rc = read_hello(&g, cases[i].who, cases[i].may_own, cases[i].asks,
                            cases[i].role, cases[i].hint, NULL, &code);
        if (rc < 0)
            (void) snprintf(result, sizeof(result), "%s",
                            code == RPC_ERROR_DENIED ? "DENIED" : "BAD_PARAMS");
        else
            (void) snprintf(result, sizeof(result), "%s%s",
                            g.is_owner ? "owner" : g.app.name,
                            !g.is_owner && g.is_trusted ? "+" : "");
        if (strcmp(result, cases[i].result) != 0)
            fail_msg("case %zu: %s, but should be %s", i, result,
                     cases[i].result);
    }
}

static void a_name_keeps_the_strength_of_its_source(void **state)
{
    static const struct {
        enum who who;
        const char *hint;
        enum peer_strength strength;
    } strengths[] = {
        {WHO_PLAIN, "x", PEER_STRENGTH_UID},
        {WHO_SCOPE, NULL, PEER_STRENGTH_SCOPE},
        {WHO_SCOPE, "other", PEER_STRENGTH_UID},
        {WHO_FLATPAK, NULL, PEER_STRENGTH_SANDBOXED},
        {WHO_IN_SCOPE, NULL, PEER_STRENGTH_SCOPE},
        {WHO_SNAP, NULL, PEER_STRENGTH_SCOPE},
    };

    for (size_t i = 0; i < sizeof(strengths) / sizeof(strengths[0]); i++) {
        struct greeting g;
        enum rpc_error code;
        assert_int_equal(read_hello(&g, strengths[i].who, true, true, "app",
                                    strengths[i].hint, NULL, &code),
                         0);
        assert_int_equal(g.strength, strengths[i].strength);
    }
}

static void an_app_says_what_it_wants(void **state)
{
    struct greeting g;
    enum rpc_error code;

    assert_int_equal(read_hello(&g, WHO_PLAIN, true, true, "app", "x", NULL,
                                &code),
                     0);
    assert_int_equal(g.wants, STORE_PURPOSE_ALL);
    assert_int_equal(read_hello(&g, WHO_PLAIN, true, true, "app", "x", "score",
                                &code),
                     0);
    assert_int_equal(g.wants, STORE_PURPOSE_SCORE);
    assert_int_equal(read_hello(&g, WHO_PLAIN, true, true, "app", "x", "all",
                                &code),
                     -EINVAL);
    assert_int_equal(code, RPC_ERROR_BAD_PARAMS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(knows_the_owner_from_an_app),
        cmocka_unit_test(a_name_keeps_the_strength_of_its_source),
        cmocka_unit_test(an_app_says_what_it_wants),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
