// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "storage/store_model.h"

#include "fixture.h"

#include <errno.h>

#include "storage/store_job.h"

static char names[256];

static int on_model(const struct store_model *m, void *user)
{
    size_t n = strlen(names);

    (void) snprintf(names + n, sizeof(names) - n, "%s%s ", m->name,
                    m->is_default ? "*" : "");
    return 0;
}

static void assert_models(const char *expected)
{
    names[0] = '\0';
    OK(store_model_each(store, on_model, NULL, &err));
    assert_string_equal(names, expected);
}

static void keeps_every_field(void **state)
{
    struct store_model m = {.bytes = INT64_C(5) << 32,
                            .state = STORE_MODEL_READY,
                            .added_ms = NOW,
                            .params = 15700000,
                            .context = 1024,
                            .vocab = 8192,
                            .layers = 6,
                            .width = 384};
    struct store_model out;
    int64_t id;

    strcpy(m.name, "pock-16m");
    strcpy(m.path, "/models/pock-16m.gguf");
    strcpy(m.arch, "llama");
    strcpy(m.quant, "Q8_0");
    strcpy(m.license, "CC-BY-SA-4.0");
    memset(m.sha256, 0xab, sizeof(m.sha256));
    OK(store_model_add(store, &m, &id, &err));
    OK(store_model_get_hash(store, m.sha256, &out, &err));
    m.id = id;
    m.is_default = true;
    assert_memory_equal(&m, &out, sizeof(m));
    OK(store_model_set_state(store, id, STORE_MODEL_CHANGED, &err));
    OK(store_model_set_path(store, id, "/elsewhere", &err));
    OK(store_model_get_id(store, id, &out, &err));
    assert_int_equal(out.state, STORE_MODEL_CHANGED);
    assert_string_equal(out.path, "/elsewhere");
    assert_string_equal(store_model_state_name(out.state), "changed");
    assert_int_equal(store_model_set_state(store, 99, STORE_MODEL_READY, &err),
                     -ENOENT);
}

static void one_model_is_the_default(void **state)
{
    struct store_model m;

    assert_int_equal(store_model_get_default(store, &m, &err), -ENOENT);
    assert_says("pockctl model add");
    (void) add_model("b");
    (void) add_model("a");
    assert_models("a b* ");
    OK(store_model_set_default(store, "a", &err));
    assert_models("a* b ");
    assert_int_equal(store_model_set_default(store, "c", &err), -ENOENT);
    assert_models("a* b ");
    OK(store_model_remove(store, "a", &err));
    assert_models("b* ");
    assert_int_equal(store_model_get(store, "a", &m, &err), -ENOENT);
}

static void names_and_hashes_are_unique(void **state)
{
    struct store_model m;
    int64_t id;

    (void) add_model("a");
    OK(store_model_get(store, "a", &m, &err));
    strcpy(m.name, "b");
    assert_int_equal(store_model_add(store, &m, &id, &err), -EEXIST);
    m.sha256[0]++;
    strcpy(m.name, "a");
    assert_int_equal(store_model_add(store, &m, &id, &err), -EEXIST);
    m.name[0] = '\0';
    assert_int_equal(store_model_add(store, &m, &id, &err), -EINVAL);
}

static void a_model_in_use_stays(void **state)
{
    int64_t adapter;

    OK(store_adapter_add(store, "x", add_model("a"), NOW, &adapter, &err));
    assert_int_equal(store_model_remove(store, "a", &err), -EBUSY);
    assert_says("has adapters or jobs");
    OK(store_adapter_delete(store, adapter, &err));
    OK(store_model_remove(store, "a", &err));
    assert_int_equal(store_model_remove(store, "a", &err), -ENOENT);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(keeps_every_field),
        TEST(one_model_is_the_default),
        TEST(names_and_hashes_are_unique),
        TEST(a_model_in_use_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
