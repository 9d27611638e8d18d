// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/base/appid.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define SLICE "0::/user.slice/user-1000.slice/user@1000.service/app.slice/"

static const struct {
    const char *text;
    int rc;
    const char *name;
    bool is_flatpak_scope;
} cgroups[] = {
    {"0::/\n", 0, "", false},
    {"0::/user.slice/user-1000.slice/session-2.scope\n", 0, "", false},
    {SLICE "app-gnome-org.gnome.Nautilus-1234.scope\n", 0,
     "scope:org.gnome.Nautilus", false},
    {SLICE "app-firefox-77.scope\n", 0, "scope:firefox", false},
    {SLICE "app-org.gnome.Calendar@abc.service\n", 0,
     "scope:org.gnome.Calendar", false},
    {SLICE "app-gnome-org.gnome.Maps@autostart.service", 0,
     "scope:org.gnome.Maps", false},
    {SLICE "app-kde-my\\x2deditor-9.scope\n", 0, "scope:my-editor", false},
    {SLICE "app-flatpak-org.example.Notes-4711.scope\n", 0,
     "scope:org.example.Notes", true},
    {SLICE "snap.editor.editor-1b2c.scope\n", 0, "snap:editor", false},
    {SLICE "snap.editor.daemon.service\n", 0, "snap:editor", false},
    // What lies below is the app's own to make.
    {SLICE "app-gnome-a-1.scope/app-gnome-b-2.scope\n", 0, "scope:a", false},
    // A sandbox counts, wherever it is said.
    {SLICE "app-gnome-a-1.scope/app-flatpak-b-2.scope\n", 0, "scope:b", true},
    {"9:name=systemd:/app.slice/snap.x.y.scope\n4:memory:/z\n0::/\n", 0,
     "snap:x", false},
    {"4:memory:/app-gnome-a-1.scope\n0::/\n", 0, "", false},
    // No app's unit, and no sandbox's.
    {SLICE "app-gnome-a.slice\n", 0, "", false},
    {SLICE "app-.scope\n", 0, "", false},
    {SLICE "app-x.scope\n", 0, "", false},
    {SLICE "app-a-b-c-d-e-1.scope\n", 0, "", false},
    {SLICE "app-gnome-\\x2f-1.scope\n", 0, "", false},
    {SLICE "app-gnome-\\q-1.scope\n", 0, "", false},
    // A sandbox whose name cannot be told.
    {SLICE "app-flatpak-org.example.Notes-4711.slice\n", -EINVAL, "", false},
    {SLICE "app-flatpak-.scope\n", -EINVAL, "", false},
    {SLICE "app-flatpak-a\\x20b-1.scope\n", -EINVAL, "", false},
    {SLICE "snap.scope\n", -EINVAL, "", false},
    {SLICE "snap.x.scope\n", -EINVAL, "", false},
    {SLICE "snap..y.scope\n", -EINVAL, "", false},
    {SLICE "snap.x.y\n", -EINVAL, "", false},
    // No such text.
    {"", -EINVAL, "", false},
    {"0:/\n", -EINVAL, "", false},
    {"::/\n", -EINVAL, "", false},
    {"\n", -EINVAL, "", false},
};

static void reads_the_app_of_a_cgroup(void **state)
{
    for (size_t i = 0; i < sizeof(cgroups) / sizeof(cgroups[0]); i++) {
        struct appid a = {.name = ""};
        int rc =
            appid_from_cgroup(&a, cgroups[i].text, strlen(cgroups[i].text));
        if (rc != cgroups[i].rc || strcmp(a.name, cgroups[i].name) != 0 ||
            a.is_flatpak_scope != cgroups[i].is_flatpak_scope)
            fail_msg("%s: %d %s", cgroups[i].text, rc, a.name);
    }
}

static const struct {
    const char *text;
    const char *name; // NULL: refused
} infos[] = {
    {"[Application]\nname=org.example.Notes\nruntime=x\n",
     "flatpak:org.example.Notes"},
    {"[Instance]\nname=other\n[Application]\n name = a.b \n", "flatpak:a.b"},
    {"[Application]\r\nname=a.b\r\n", "flatpak:a.b"},
    {"[Application]\nname=a\n[Context]\nname=b", "flatpak:a"},
    {"[Application]\nname=a\nname=b\n", NULL},
    {"[Application]\nname=a\n[Application]\nname=b\n", NULL},
    {"[Application]\nname=\n", NULL},
    {"[Application]\nname=../x\n", NULL},
    {"[Application]\nname=a b\n", NULL},
    {"[Application]\nruntime=x\n", NULL},
    {"[Runtime]\nname=org.example.Platform\n", NULL},
    {"name=a\n", NULL},
    {"", NULL},
};

static void reads_the_app_of_a_flatpak(void **state)
{
    for (size_t i = 0; i < sizeof(infos) / sizeof(infos[0]); i++) {
        struct appid a = {.name = ""};
        int rc =
            appid_from_flatpak_info(&a, infos[i].text, strlen(infos[i].text));
        if (rc != (infos[i].name ? 0 : -EINVAL) ||
            strcmp(a.name, infos[i].name ? infos[i].name : "") != 0)
            fail_msg("%s: %d %s", infos[i].text, rc, a.name);
    }
}

static void refuses_zero_bytes_and_long_texts(void **state)
{
    static char text[APPID_FILE_BYTES_MAX + 2];
    struct appid a;

    memset(text, '\n', sizeof(text));
    memcpy(text, "0::/", 4);
    assert_int_equal(appid_from_cgroup(&a, "0::/\0", 5), -EINVAL);
    assert_int_equal(appid_from_flatpak_info(&a, "[Application]\nname=a\0", 21),
                     -EINVAL);
    assert_int_equal(appid_from_cgroup(&a, text, sizeof(text)), -EINVAL);
    assert_int_equal(appid_from_flatpak_info(&a, text, sizeof(text)), -EINVAL);
}

static void names_have_a_room_and_a_kind(void **state)
{
    struct appid a;
    char id[80];

    memset(id, 'x', sizeof(id));
    assert_int_equal(appid_set(&a, APPID_FLATPAK, id, 56), 0);
    assert_int_equal(strlen(a.name), 64);
    assert_int_equal(appid_kind_of(a.name), APPID_FLATPAK);
    assert_int_equal(appid_set(&a, APPID_FLATPAK, id, 57), -EINVAL);
    assert_int_equal(appid_set(&a, APPID_SCOPE, "-x", 2), -EINVAL);
    assert_int_equal(appid_set(&a, APPID_SCOPE, "x:y", 3), -EINVAL);
    assert_int_equal(appid_kind_of("host:a"), APPID_HOST);
    assert_int_equal(appid_kind_of("snap:a"), APPID_SNAP);
    assert_int_equal(appid_kind_of("scope:a.b-c"), APPID_SCOPE);
    assert_int_equal(appid_kind_of("host"), APPID_NONE);
    assert_int_equal(appid_kind_of("host:"), APPID_NONE);
    assert_int_equal(appid_kind_of("flatpak:a b"), APPID_NONE);
    assert_int_equal(appid_kind_of("other:a"), APPID_NONE);
    assert_int_equal(appid_kind_of(""), APPID_NONE);
}

static void what_a_program_says_of_itself_is_made_a_name(void **state)
{
    struct appid a;
    char long_name[200];

    assert_int_equal(appid_set_host(&a, "org.example.Editor", 18), 0);
    assert_string_equal(a.name, "host:org.example.Editor");
    assert_int_equal(appid_set_host(&a, "../my <b>editor", 15), 0);
    assert_string_equal(a.name, "host:mybeditor");
    assert_int_equal(appid_set_host(&a, "...", 3), -EINVAL);
    assert_int_equal(appid_set_host(&a, "", 0), -EINVAL);
    memset(long_name, 'y', sizeof(long_name));
    assert_int_equal(appid_set_host(&a, long_name, sizeof(long_name)), 0);
    assert_int_equal(strlen(a.name), 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_the_app_of_a_cgroup),
        cmocka_unit_test(reads_the_app_of_a_flatpak),
        cmocka_unit_test(refuses_zero_bytes_and_long_texts),
        cmocka_unit_test(names_have_a_room_and_a_kind),
        cmocka_unit_test(what_a_program_says_of_itself_is_made_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
