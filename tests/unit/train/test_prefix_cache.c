// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/train/prefix_cache.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/base/half.h"
#include "engine/base/memfile.h"
#include "engine/base/rng.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    WIDTH = 6,
    ROWS_MAX = 5,
    N = 4, // entries
    F16_BYTES = 2 * WIDTH,
    HEAD = 64,
};

struct rig {
    int fd;
    struct prefix_cache_params params;
    uint8_t keys[N][PREFIX_KEY_BYTES];
    uint32_t rows[N];
    uint8_t data[N][ROWS_MAX * F16_BYTES];
};

// Every test runs with and without a key.
static const uint8_t *rig_key;

static struct prefix_cache *open_cache(struct rig *r)
{
    struct prefix_cache *c;
    struct error err = {0};

    if (prefix_cache_open(&c, &r->params, &err) < 0)
        fail_msg("%s", err.text);
    return c;
}

static void rig_init(struct rig *r)
{
    struct rng rng;

    memset(r, 0, sizeof *r);
    assert_int_equal(memfile_create(&r->fd, "prefix"), 0);
    r->params = (struct prefix_cache_params){
        .fd = r->fd,
        .bytes_max = 4096,
        .width = WIDTH,
        .values = PREFIX_VALUES_F16,
        .owner = {7},
        .key = rig_key,
    };
    rng_init(&rng, 3, 0);
    for (int i = 0; i < N; i++) {
        r->rows[i] = 1 + (uint32_t) i;
        for (int k = 0; k < PREFIX_KEY_BYTES; k++)
            r->keys[i][k] = (uint8_t) rng_below(&rng, 256);
        for (size_t k = 0; k < sizeof r->data[i]; k++)
            r->data[i][k] = (uint8_t) rng_below(&rng, 256);
    }
}

static void put_all(struct rig *r, struct prefix_cache *c)
{
    for (int i = 0; i < N; i++)
        prefix_cache_put(c, r->keys[i], r->rows[i], r->data[i]);
}

// How many are there; what is there must be what was put.
static int count_right(struct rig *r, struct prefix_cache *c)
{
    uint8_t got[ROWS_MAX * F16_BYTES];
    int n = 0;

    for (int i = 0; i < N; i++) {
        if (!prefix_cache_get(c, r->keys[i], r->rows[i], got))
            continue;
        assert_memory_equal(got, r->data[i], r->rows[i] * F16_BYTES);
        n++;
    }
    return n;
}

static void rig_fill(struct rig *r)
{
    rig_init(r);
    struct prefix_cache *c = open_cache(r);
    put_all(r, c);
    assert_int_equal(count_right(r, c), N);
    prefix_cache_close(c);
}

static size_t file_bytes(const struct rig *r)
{
    struct stat st;

    assert_int_equal(fstat(r->fd, &st), 0);
    return (size_t) st.st_size;
}

static void flip(const struct rig *r, off_t at)
{
    uint8_t b;

    assert_int_equal(pread(r->fd, &b, 1, at), 1);
    b ^= 0x10;
    assert_int_equal(pwrite(r->fd, &b, 1, at), 1);
}

static void what_was_put_is_there_when_it_is_opened_again(void **state)
{
    struct prefix_cache_stats stats;
    uint8_t none[PREFIX_KEY_BYTES] = {1};
    uint8_t got[ROWS_MAX * F16_BYTES];
    struct rig r;

    rig_fill(&r);
    struct prefix_cache *c = open_cache(&r);
    assert_int_equal(count_right(&r, c), N);
    assert_false(prefix_cache_get(c, none, 1, got));
    assert_false(prefix_cache_get(c, r.keys[0], 2, got));
    prefix_cache_stats(&stats, c);
    assert_int_equal(stats.entries, N);
    assert_int_equal(stats.hits, N);
    assert_int_equal(stats.misses, 2);
    assert_int_equal(stats.bytes, file_bytes(&r));
    assert_null(prefix_cache_notice(c));
    // Once more changes nothing.
    const size_t bytes = file_bytes(&r);
    put_all(&r, c);
    assert_int_equal(file_bytes(&r), bytes);
    prefix_cache_close(c);
    close(r.fd);
}

static void the_index_grows(void **state)
{
    enum { MANY = 1000 };
    uint8_t key[PREFIX_KEY_BYTES] = {0};
    uint8_t data[F16_BYTES] = {0};
    struct rig r;

    rig_init(&r);
    r.params.bytes_max = 1 << 20;
    struct prefix_cache *c = open_cache(&r);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < MANY; i++) {
            // Keys that begin alike want the same slot.
            key[9] = (uint8_t) i;
            key[10] = (uint8_t) (i >> 8);
            data[0] = (uint8_t) (i * 7);
            if (round == 0)
                prefix_cache_put(c, key, 1, data);
            else
                assert_true(prefix_cache_get(c, key, 1, data) &&
                            data[0] == (uint8_t) (i * 7));
        }
    prefix_cache_close(c);
    close(r.fd);
}

static void a_torn_end_is_cut_off(void **state)
{
    struct rig r;

    rig_fill(&r);
    const size_t whole = file_bytes(&r);
    const size_t last = HEAD + r.rows[N - 1] * F16_BYTES;
    uint8_t *copy = malloc(whole);
    assert_int_equal(pread(r.fd, copy, whole, 0), whole);
    for (size_t bytes = whole - last; bytes < whole; bytes++) {
        assert_int_equal(ftruncate(r.fd, (off_t) bytes), 0);
        struct prefix_cache *c = open_cache(&r);
        assert_int_equal(count_right(&r, c), N - 1);
        assert_int_equal(file_bytes(&r), whole - last);
        put_all(&r, c);
        assert_int_equal(count_right(&r, c), N);
        prefix_cache_close(c);
        assert_int_equal(pwrite(r.fd, copy, whole, 0), whole);
    }
    free(copy);
    close(r.fd);
}

static void no_flipped_byte_is_believed(void **state)
{
    struct rig r;

    rig_fill(&r);
    const off_t whole = (off_t) file_bytes(&r);
    for (off_t at = 0; at < whole; at++) {
        flip(&r, at);
        struct prefix_cache *c = open_cache(&r);
        assert_true(count_right(&r, c) < N);
        // Said once, whatever else happens.
        const char *text = prefix_cache_notice(c);
        if (text)
            assert_non_null(strstr(text, "computed again"));
        assert_null(prefix_cache_notice(c));
        // And it is all there again.
        put_all(&r, c);
        assert_int_equal(count_right(&r, c), N);
        prefix_cache_close(c);
        c = open_cache(&r);
        assert_int_equal(count_right(&r, c), N);
        prefix_cache_close(c);
        close(r.fd);
        rig_fill(&r);
    }
    close(r.fd);
}

static void damage_is_said(void **state)
{
    static const off_t places[] = {0, 20, HEAD + 1, HEAD + 40, HEAD + 70};
    struct rig r;

    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        rig_fill(&r);
        flip(&r, places[i]);
        struct prefix_cache *c = open_cache(&r);
        (void) count_right(&r, c);
        // A key that changed is a key that nobody asks for.
        if (places[i] != HEAD + 40)
            assert_non_null(prefix_cache_notice(c));
        prefix_cache_close(c);
        close(r.fd);
    }
}

static void another_owner_finds_it_stale(void **state)
{
    struct rig r;

    for (int change = 0; change < 3; change++) {
        rig_fill(&r);
        if (change == 0)
            r.params.owner[0]++;
        else if (change == 1)
            r.params.width++;
        else
            r.params.values = PREFIX_VALUES_INT8;
        struct prefix_cache *c = open_cache(&r);
        assert_non_null(strstr(prefix_cache_notice(c), "another model"));
        assert_null(prefix_cache_notice(c));
        assert_int_equal(count_right(&r, c), 0);
        assert_int_equal(file_bytes(&r), HEAD);
        prefix_cache_close(c);
        close(r.fd);
    }
}

static void it_grows_to_no_more_than_allowed(void **state)
{
    struct prefix_cache_stats stats;
    struct rig r;

    rig_init(&r);
    r.params.bytes_max = HEAD + 2 * HEAD + 3 * F16_BYTES;
    struct prefix_cache *c = open_cache(&r);
    put_all(&r, c);
    assert_int_equal(count_right(&r, c), 2);
    assert_int_equal(file_bytes(&r), r.params.bytes_max);
    prefix_cache_stats(&stats, c);
    assert_true(stats.is_full);
    prefix_cache_close(c);
    // Less is allowed from now on.
    r.params.bytes_max--;
    c = open_cache(&r);
    assert_int_equal(count_right(&r, c), 1);
    assert_true(file_bytes(&r) <= r.params.bytes_max);
    assert_null(prefix_cache_notice(c));
    prefix_cache_close(c);
    close(r.fd);
}

static void what_is_no_file_is_refused(void **state)
{
    struct prefix_cache *c;
    struct error err = {0};
    struct rig r;
    int ends[2];

    rig_init(&r);
    assert_int_equal(pipe(ends), 0);
    r.params.fd = ends[0];
    assert_int_equal(prefix_cache_open(&c, &r.params, &err), -EINVAL);
    assert_non_null(strstr(err.text, "prefix cache cannot be used"));
    close(ends[0]);
    close(ends[1]);
    close(r.fd);
}

// A scenario in which the n-th call fails, for every n.
static void nothing_that_fails_gives_wrong_states(void **state)
{
    static const enum fault_kind kinds[] = {FAULT_ALLOC, FAULT_READ,
                                            FAULT_WRITE};

    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        bool has_fired = true;
        for (unsigned long n = 1; has_fired; n++) {
            struct prefix_cache *c;
            struct error err = {0};
            struct rig r;

            rig_fill(&r);
            flip(&r, HEAD + 70);
            fault_arm(kinds[k], n);
            int rc = prefix_cache_open(&c, &r.params, &err);
            if (rc == 0) {
                (void) count_right(&r, c);
                put_all(&r, c);
                (void) count_right(&r, c);
                prefix_cache_close(c);
            }
            has_fired = fault_fired(kinds[k]);
            fault_arm(kinds[k], 0);
            // Whoever comes next has a file that works.
            c = open_cache(&r);
            (void) count_right(&r, c);
            put_all(&r, c);
            assert_int_equal(count_right(&r, c), N);
            prefix_cache_close(c);
            close(r.fd);
        }
    }
}

/*
 * Values
 */

static void decode(float *y, enum prefix_values v, const void *data, size_t n)
{
    uint16_t halves[2 * WIDTH];

    prefix_values_halves(halves, v, data, n, WIDTH);
    for (size_t i = 0; i < n * WIDTH; i++)
        y[i] = half_to_f32(halves[i]);
}

static void values_come_back_as_near_as_promised(void **state)
{
    const float x[2 * WIDTH] = {0,     1,  -1,    0.333F,  -65504.0F, 1e-5F,
                                1e30F, -3, 1e-9F, 42.125F, 7,         -1e30F};
    uint8_t f16[2 * F16_BYTES], int8[2 * (4 + WIDTH)];
    float y[2 * WIDTH];

    prefix_values_encode(f16, PREFIX_VALUES_F16, x, 2, WIDTH);
    decode(y, PREFIX_VALUES_F16, f16, 2);
    for (int i = 0; i < 2 * WIDTH; i++) {
        const float want = fmaxf(-65504.0F, fminf(65504.0F, x[i]));
        assert_true(fabsf(y[i] - want) <= fabsf(want) / 2048 + 3e-8F);
    }
    prefix_values_encode(int8, PREFIX_VALUES_INT8, x, 2, WIDTH);
    decode(y, PREFIX_VALUES_INT8, int8, 2);
    for (int i = 0; i < WIDTH; i++)
        assert_true(fabsf(y[i] - x[i]) <= 65504.0F / 253);
    // Beyond halves it saturates, and what is small beside that is nothing.
    assert_true(y[WIDTH] == 65504.0F && y[2 * WIDTH - 1] == -65504.0F);
    assert_true(y[WIDTH + 1] == 0);
    assert_true(prefix_values_row_bytes(PREFIX_VALUES_INT8, 896) <
                0.51 *
                    (double) prefix_values_row_bytes(PREFIX_VALUES_F16, 896));
}

static void what_is_no_number_stays_none(void **state)
{
    static const enum prefix_values kinds[] = {PREFIX_VALUES_F16,
                                               PREFIX_VALUES_INT8};
    uint8_t data[F16_BYTES];
    float y[WIDTH];

    for (int k = 0; k < 2; k++) {
        for (int bad = 0; bad < 2; bad++) {
            float x[WIDTH] = {1, 2, 3};
            x[1] = bad ? (float) INFINITY : (float) NAN;
            prefix_values_encode(data, kinds[k], x, 1, WIDTH);
            decode(y, kinds[k], data, 1);
            assert_false(isfinite(y[1]));
        }
    }
    const float zeros[WIDTH] = {0};
    prefix_values_encode(data, PREFIX_VALUES_INT8, zeros, 1, WIDTH);
    decode(y, PREFIX_VALUES_INT8, data, 1);
    assert_memory_equal(y, zeros, sizeof y);
}

static bool holds(const struct rig *r, const void *data, size_t bytes)
{
    static uint8_t file[8192];
    const ssize_t n = pread(r->fd, file, sizeof file, 0);

    assert_true(n > 0);
    return memmem(file, (size_t) n, data, bytes) != NULL;
}

static void with_a_key_nothing_is_in_the_clear(void **state)
{
    static const uint8_t other[32] = {9};
    struct rig r;

    rig_fill(&r);
    for (int i = 0; i < N; i++) {
        const bool is_clear = rig_key == NULL;
        assert_int_equal(holds(&r, r.keys[i], 16), is_clear);
        assert_int_equal(holds(&r, r.data[i], F16_BYTES), is_clear);
    }
    // Another key finds it stale, not damaged.
    r.params.key = other;
    struct prefix_cache *c = open_cache(&r);
    assert_int_equal(count_right(&r, c), 0);
    assert_non_null(prefix_cache_notice(c));
    put_all(&r, c);
    assert_int_equal(count_right(&r, c), N);
    prefix_cache_close(c);
    close(r.fd);
}

static int without_key(void **state)
{
    rig_key = NULL;
    return 0;
}

static int with_key(void **state)
{
    static const uint8_t key[32] = {1, 2, 3};

    rig_key = key;
    return 0;
}

// Everything holds with and without.
#define TWICE(test)                                     \
    {#test, test, without_key, NULL, NULL},             \
    {                                                   \
#test "_with_a_key", test, with_key, NULL, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        TWICE(what_was_put_is_there_when_it_is_opened_again),
        TWICE(the_index_grows),
        TWICE(a_torn_end_is_cut_off),
        TWICE(no_flipped_byte_is_believed),
        TWICE(damage_is_said),
        TWICE(another_owner_finds_it_stale),
        TWICE(it_grows_to_no_more_than_allowed),
        TWICE(what_is_no_file_is_refused),
        TWICE(nothing_that_fails_gives_wrong_states),
        TWICE(with_a_key_nothing_is_in_the_clear),
        TWICE(values_come_back_as_near_as_promised),
        TWICE(what_is_no_number_stays_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
