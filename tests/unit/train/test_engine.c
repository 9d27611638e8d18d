// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/engine.h"

#include "engine/base/error.h"
#include "engine/base/utf8.h"
#include "tests/support/test_device.h"
#include "tests/support/tinyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define TEXT(s)                             \
    {                                       \
        .data = (s), .bytes = sizeof(s) - 1 \
    }

static atomic_bool stop;
static struct engine *engine;
static struct engine_model *model;

static void ok(int rc, const struct error *err)
{
    if (rc < 0)
        fail_msg("%s", err->text);
}

static int set_up(void **state)
{
    const struct engine_params params = {.threads = 2,
                                         .device = test_device_name(),
                                         .stop = &stop};
    const int fd = tinyfile_create(1);
    struct error err;

    ok(engine_create(&engine, &params, &err), &err);
    ok(engine_model_open(&model, engine, fd, &err), &err);
    close(fd);
    return 0;
}

static int tear_down(void **state)
{
    engine_model_close(model);
    engine_destroy(engine);
    return 0;
}

static const struct record_message chat[] = {
    {.role = TEXT("user"), .content = TEXT("How are the bees?")},
    {.role = TEXT("assistant"), .content = TEXT("Loud.")},
};

// An adapter that changes what the model says, by a recipe of its own.
static struct adapter *train_as(const char *text, uint64_t steps)
{
    static const struct record records[] = {
        {.id = 1, .kind = RECORD_TEXT, .text = TEXT("the bees the bees")},
        {.id = 2,
         .kind = RECORD_PAIR,
         .prompt = TEXT("bees?"),
         .completion = TEXT("the bees the bees")},
        {.id = 3, .kind = RECORD_CHAT, .messages = chat, .n_messages = 2},
    };
    struct recipe recipe;
    struct engine_train *t;
    struct adapter *a;
    struct error err;

    recipe_init(&recipe);
    // Rounding would make it say something else here than elsewhere.
    ok(recipe_parse(&recipe, "lr=0.02 warmup=1 epochs=50 rank=4 precision=f32",
                    &err),
       &err);
    ok(recipe_parse(&recipe, text, &err), &err);
    const struct engine_train_params params = {
        .recipe = &recipe,
        .records = records,
        .n_records = 3,
    };
    ok(engine_train_create(&t, model, &params, &err), &err);
    ok(engine_train_run(t, steps, NULL, NULL, &err), &err);
    ok(engine_train_best(&a, t, &err), &err);
    engine_train_destroy(t);
    return a;
}

static struct adapter *train(uint64_t steps)
{
    return train_as("", steps);
}

struct sink {
    char text[2048];
    size_t bytes;
    int calls;
    int cancel_at;
};

static int take(void *user, const char *text, size_t bytes)
{
    struct sink *s = user;

    assert_true(utf8_is_valid(text, bytes));
    assert_true(s->bytes + bytes < sizeof s->text);
    memcpy(s->text + s->bytes, text, bytes);
    s->bytes += bytes;
    return ++s->calls == s->cancel_at;
}

static struct engine_gen_result generate(struct sink *sink,
                                         const struct engine_gen_params *params)
{
    struct engine_gen_params p = *params;
    struct engine_gen_result r;
    struct error err;

    p.on_text = take;
    p.user = sink;
    memset(sink->text, 0, sizeof sink->text);
    sink->bytes = 0;
    ok(engine_generate(&r, model, &p, &err), &err);
    return r;
}

static void the_model_is_described(void **state)
{
    struct engine_model_info info;
    struct error err;

    ok(engine_model_describe(&info, model, &err), &err);
    assert_string_equal(info.name, "tiny");
    assert_string_equal(info.config.arch, "llama");
    assert_int_equal(info.config.n_vocab, TINYFILE_VOCAB);
    assert_int_equal(info.n_types, 1);
    assert_string_equal(info.types[0].name, "f32");
    assert_int_equal(info.types[0].bytes, info.n_params * 4);
    assert_true(info.has_chat);
    assert_true(strlen(engine_describe(engine)) > 0);
}

static void a_truncated_model_is_refused(void **state)
{
    const int fd = tinyfile_create(1);
    struct engine_model *m;
    struct error err = {0};

    assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) / 2), 0);
    assert_true(engine_model_open(&m, engine, fd, &err) < 0);
    assert_true(strlen(err.text) > 0);
    close(fd);
}

static void tokens_are_those_of_the_vocabulary(void **state)
{
    int32_t *ids;
    size_t n;
    struct error err;

    ok(engine_tokenize(&ids, &n, model, "the", 3, &err), &err);
    assert_int_equal(n, 2); // "th" is a merge
    assert_int_equal(ids[0], TINYFILE_VOCAB - 1);
    assert_int_equal(ids[1], 4 + 'e');
    free(ids);
}

static void long_texts_are_scored_whole(void **state)
{
    enum { N = 500 };
    static char text[N + 1];
    struct record r = {.id = 1, .kind = RECORD_TEXT, .text = {text, N}};
    struct engine_loss loss;
    struct error err;

    memset(text, 'a', N);
    ok(engine_score(&loss, model, NULL, &r, &err), &err);
    assert_int_equal(loss.n_tokens, N + 1); // and the end of the document
    assert_int_equal(loss.n_records, 1);
    // A random model knows little more than the size of the vocabulary.
    assert_true(fabs(engine_loss_mean(&loss) - log(TINYFILE_VOCAB)) < 2);
}

static void losses_add_up_by_kind(void **state)
{
    const struct record records[] = {
        {.id = 1, .kind = RECORD_TEXT, .text = TEXT("one")},
        {.id = 2,
         .kind = RECORD_PAIR,
         .prompt = TEXT("two"),
         .completion = TEXT("three")},
        {.id = 3, .kind = RECORD_CHAT, .messages = chat, .n_messages = 2},
    };
    struct engine_loss each[3];
    struct engine_eval eval;
    struct error err;

    ok(engine_evaluate(&eval, each, model, NULL, records, 3, ENGINE_SUBSET_ALL,
                       &err),
       &err);
    assert_int_equal(each[0].n_tokens, 3 + 1);
    assert_int_equal(each[1].n_tokens, 4 + 1); // "th" is one token
    assert_int_equal(each[2].n_tokens, 5 + 1);
    assert_int_equal(eval.total.n_tokens, 15);
    assert_int_equal(eval.total.n_records, 3);
    for (int i = 0; i < 3; i++) {
        assert_true(eval.kinds[i].nats == each[i].nats);
        struct engine_loss one;
        ok(engine_score(&one, model, NULL, &records[i], &err), &err);
        // Alone the record lies in another place of another row.
        assert_true(fabs(one.nats - each[i].nats) < 1e-4 * one.nats);
    }
}

static void an_adapter_learns_and_survives_files(void **state)
{
    struct adapter *a = train(0);
    struct adapter *back, *peft;
    const struct record r = {.id = 1,
                             .kind = RECORD_TEXT,
                             .text = TEXT("the bees the bees")};
    struct engine_loss before, after, loaded;
    struct error err;
    const int gguf = memfd_create("a", 0);
    const int config = memfd_create("c", 0);
    const int tensors = memfd_create("t", 0);

    ok(engine_score(&before, model, NULL, &r, &err), &err);
    ok(engine_score(&after, model, a, &r, &err), &err);
    assert_true(after.nats < before.nats / 2);
    ok(engine_adapter_save(a, model, gguf, &err), &err);
    assert_int_equal(lseek(gguf, 0, SEEK_SET), 0);
    ok(engine_adapter_load(&back, model, gguf, &err), &err);
    ok(engine_score(&loaded, model, back, &r, &err), &err);
    assert_true(loaded.nats == after.nats);
    ok(engine_adapter_save_peft(a, model, config, tensors, &err), &err);
    assert_int_equal(lseek(config, 0, SEEK_SET), 0);
    assert_int_equal(lseek(tensors, 0, SEEK_SET), 0);
    ok(engine_adapter_load_peft(&peft, model, config, tensors, &err), &err);
    ok(engine_score(&loaded, model, peft, &r, &err), &err);
    assert_true(loaded.nats == after.nats);
    engine_adapter_destroy(a);
    engine_adapter_destroy(back);
    engine_adapter_destroy(peft);
    close(gguf);
    close(config);
    close(tensors);
}

static void the_same_seed_gives_the_same_text(void **state)
{
    const struct engine_gen_params params = {
        .prompt = TEXT("the bees"),
        .temperature = 1,
        .top_k = 50,
        .seed = 4,
        .max_tokens = 30,
    };
    struct engine_gen_params other = params;
    struct sink a = {0}, b = {0}, c = {0};

    generate(&a, &params);
    generate(&b, &params);
    assert_string_equal(a.text, b.text);
    other.seed = 5;
    generate(&c, &other);
    assert_string_not_equal(a.text, c.text);
}

// What is computed once for an adapter is computed again for another one.
static void adapters_with_magnitudes_take_turns(void **state)
{
    struct adapter *a[] = {train_as("scheme=dora seed=1 lr=0.1", 12),
                           train_as("scheme=dora seed=2 lr=0.1", 30)};
    struct engine_gen_params params = {
        .prompt = TEXT("the rain"),
        .temperature = 1,
        .seed = 9,
        .max_tokens = 40,
    };
    static struct sink alone[2], sink;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(tear_down(NULL) | set_up(NULL), 0);
        params.adapter = a[i];
        generate(&alone[i], &params);
    }
    assert_string_not_equal(alone[0].text, alone[1].text);
    for (int i = 0; i < 4; i++) {
        params.adapter = a[i % 2];
        generate(&sink, &params);
        assert_string_equal(sink.text, alone[i % 2].text);
    }
    engine_adapter_destroy(a[0]);
    engine_adapter_destroy(a[1]);
}

// Whatever chunks a prompt is read in, the caches hold the same.
static void a_prompt_may_have_any_length(void **state)
{
    static const char text[] = "the bees were loud and the rain was louder, "
                               "so nobody slept at all that night";
    struct engine_gen_params params = {.max_tokens = 8};
    struct sink first = {0}, sink = {0};
    struct adapter *a = train(20);
    int compared = 0;

    params.adapter = a;
    for (uint32_t n = 1; n < sizeof text - 1; n += 3) {
        params.prompt = (struct record_text){text, n};
        params.max_tokens = 8;
        generate(&first, &params);
        // The continuation, as part of a longer prompt, goes on alike.
        if (first.bytes < 8 || strchr(first.text, '\xef'))
            continue;
        char longer[128];
        memcpy(longer, text, n);
        memcpy(longer + n, first.text, 4);
        params.prompt = (struct record_text){longer, n + 4};
        params.max_tokens = 4;
        generate(&sink, &params);
        assert_memory_equal(sink.text, first.text + 4, 4);
        compared++;
    }
    assert_true(compared > 10);
    engine_adapter_destroy(a);
}

static void generation_ends_for_a_reason(void **state)
{
    static char full[TINYFILE_CONTEXT + 1];
    struct engine_gen_params params = {.prompt = TEXT("bees"), .max_tokens = 7};
    struct engine_gen_result r;
    struct sink sink = {0};
    struct error err = {0};
    const char *stops[1] = {""};
    char stop_text[2] = {0};
    struct adapter *a = train(20);

    params.adapter = a;
    r = generate(&sink, &params);
    assert_int_equal(r.tokens, 7);
    assert_int_equal(r.end, ENGINE_GEN_LENGTH);
    assert_int_equal(r.prompt_tokens, 1 + 4);

    // No more than the context holds.
    params.max_tokens = 0;
    r = generate(&sink, &params);
    if (r.end == ENGINE_GEN_LENGTH)
        assert_int_equal(r.prompt_tokens + r.tokens, TINYFILE_CONTEXT);

    // A stop string that is sure to come: a letter of the answer.
    params.max_tokens = 7;
    generate(&sink, &params);
    stop_text[0] = sink.text[1];
    assert_in_range(stop_text[0], ' ', '~');
    stops[0] = stop_text;
    params.stops = stops;
    params.n_stops = 1;
    r = generate(&sink, &params);
    assert_int_equal(r.end, ENGINE_GEN_STOP);
    assert_in_range(sink.bytes, 0, 1);
    params.n_stops = 0;

    sink.calls = 0;
    sink.cancel_at = 1;
    r = generate(&sink, &params);
    assert_int_equal(r.end, ENGINE_GEN_CANCELLED);

    memset(full, 'a', sizeof full - 1);
    params.prompt = (struct record_text){full, TINYFILE_CONTEXT};
    assert_int_equal(engine_generate(&r, model, &params, &err), -E2BIG);
    assert_non_null(strstr(err.text, "prompt has"));
    engine_adapter_destroy(a);
}

static void bad_wishes_are_refused(void **state)
{
    static const struct record_message robot = {.role = TEXT("robot"),
                                                .content = TEXT("hello")};
    struct engine_gen_params params = {.prompt = TEXT("x")};
    struct engine_gen_result r;
    struct error err = {0};

    params.temperature = -1;
    assert_int_equal(engine_generate(&r, model, &params, &err), -EINVAL);
    params.temperature = NAN;
    assert_int_equal(engine_generate(&r, model, &params, &err), -EINVAL);
    params.temperature = 1;
    params.top_p = 1.5F;
    assert_int_equal(engine_generate(&r, model, &params, &err), -EINVAL);
    params.top_p = 0;
    params.messages = &robot;
    params.n_messages = 1;
    assert_int_equal(engine_generate(&r, model, &params, &err), -EINVAL);
    assert_non_null(strstr(err.text, "robot"));
}

static void a_raised_flag_stops_everything_and_breaks_nothing(void **state)
{
    const struct record r = {.id = 1,
                             .kind = RECORD_TEXT,
                             .text = TEXT("the bees")};
    struct engine_gen_params params = {.prompt = TEXT("the"), .max_tokens = 5};
    struct engine_gen_result result;
    struct engine_loss before, after;
    struct error err;

    ok(engine_score(&before, model, NULL, &r, &err), &err);
    atomic_store(&stop, true);
    assert_int_equal(engine_score(&after, model, NULL, &r, &err), -EINTR);
    assert_int_equal(engine_generate(&result, model, &params, &err), -EINTR);
    atomic_store(&stop, false);
    ok(engine_score(&after, model, NULL, &r, &err), &err);
    assert_true(before.nats == after.nats);
}

static void a_plan_costs_no_memory_and_says_what_would(void **state)
{
    struct engine_train_info info;
    struct recipe recipe;
    struct error err = {0};

    recipe_init(&recipe);
    ok(engine_train_plan(&info, model, &recipe, &err), &err);
    assert_int_equal(info.row_length, TINYFILE_CONTEXT);
    assert_true(info.micro_rows >= 1 && info.micro_rows <= recipe.batch);
    assert_true(info.arena_bytes > 0);
    assert_true(info.arena_bytes <= (size_t) recipe.memory_mib << 20);
    recipe.last_blocks = 3;
    assert_int_equal(engine_train_plan(&info, model, &recipe, &err), -EINVAL);
    assert_non_null(strstr(err.text, "blocks"));
}

static void a_scheme_is_found_for_the_records(void **state)
{
    static const struct record records[] = {
        {.id = 1, .kind = RECORD_TEXT, .text = TEXT("the bees the bees")},
        {.id = 2, .kind = RECORD_TEXT, .text = TEXT("tea in the rain")},
    };
    struct recipe recipe;
    struct engine_found all;
    struct engine_found some;
    struct error err;

    recipe_init(&recipe);
    struct engine_search_params params = {
        .recipe = &recipe,
        .records = records,
        .n_records = 2,
    };
    ok(engine_search(&all, model, &params, &err), &err);
    assert_non_null(strstr(all.scheme, "\"rank\":32"));
    assert_true(all.gain > 0.999 && all.seconds > 0);
    params.memory_bytes = (all.arena_bytes + all.state_bytes) / 2;
    ok(engine_search(&some, model, &params, &err), &err);
    assert_true(some.arena_bytes + some.state_bytes <= params.memory_bytes);
    assert_true(some.floats < all.floats);
    params.memory_bytes = 1;
    assert_int_equal(engine_search(&some, model, &params, &err), -ENOSPC);
    free(all.scheme);
    free(some.scheme);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_model_is_described),
        cmocka_unit_test(a_truncated_model_is_refused),
        cmocka_unit_test(tokens_are_those_of_the_vocabulary),
        cmocka_unit_test(long_texts_are_scored_whole),
        cmocka_unit_test(losses_add_up_by_kind),
        cmocka_unit_test(an_adapter_learns_and_survives_files),
        cmocka_unit_test(the_same_seed_gives_the_same_text),
        cmocka_unit_test(adapters_with_magnitudes_take_turns),
        cmocka_unit_test(a_prompt_may_have_any_length),
        cmocka_unit_test(generation_ends_for_a_reason),
        cmocka_unit_test(bad_wishes_are_refused),
        cmocka_unit_test(a_raised_flag_stops_everything_and_breaks_nothing),
        cmocka_unit_test(a_plan_costs_no_memory_and_says_what_would),
        cmocka_unit_test(a_scheme_is_found_for_the_records),
    };
    test_device_begin();
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
