// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

// Tiles of products that a table of times chooses: where they are offered, that
// the device times them itself, and that a table, and only one of this device,
// is followed.

#include "engine/base/error.h"
#include "engine/base/hash.h"
#include "engine/engine_inside.h"
#include "engine/exec/program.h"
#include "engine/exec/program_place.h"
#include "engine/plan/timetable.h"
#include "engine/train/tuner.h"
#include "engine/vulkan/vk_attention.h"
#include "engine/vulkan/vk_device.h"
#include "engine/vulkan/vk_kernels.h"
#include "engine/vulkan/vk_prepare.h"
#include "engine/vulkan/vk_product.h"
#include "tests/support/tinyfile.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { NVIDIA = 0x10de, AMD = 0x1002, ARM = 0x13b5 };

static struct device gpu(uint32_t vendor)
{
    return (struct device){
        .traits = {.type = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU,
                   .vendor = vendor,
                   .subgroup = 32,
                   .has_coopmat = true,
                   .coopmat_m = 16,
                   .coopmat_n = 16,
                   .coopmat_k = 16,
                   .shared_bytes = 48 << 10,
                   .max_workgroup = 1024,
                   .has_subgroup_sum = true},
    };
}

static struct operand matrix(enum region region, enum dtype type, int64_t rows,
                             int64_t cols, size_t values_before)
{
    return (struct operand){
        .region = (uint8_t) region,
        .dtype = (uint8_t) type,
        .rank = 2,
        .ne = {1, 1, rows, cols},
        .offset = values_before * sizeof(float),
    };
}

static struct instr product(int64_t m, int64_t n, int64_t k)
{
    return (struct instr){
        .op = OP_matmul,
        .n_in = 2,
        .n_out = 1,
        .attr = {.trans_b = true, .alpha = 1, .precision = PRECISION_BF16},
        .in = {matrix(REGION_ARENA, DTYPE_f32, m, k, 0),
               matrix(REGION_WEIGHT, DTYPE_f16, n, k, 0)},
        .out = {matrix(REGION_ARENA, DTYPE_f32, m, n, (size_t) m * k)},
    };
}

static uint32_t count_offers(const struct device *dev, struct instr in)
{
    struct instr usual = in;
    uint32_t n = 0;

    usual.kernel = 0;
    for (in.kernel = VK_PRODUCT_REG; in.kernel <= VK_PRODUCT_CM_256;
         in.kernel++) {
        if (!vulkan_backend.offers(dev, &in))
            continue;
        assert_true(vk_matmul_scratch(dev, &in) <=
                    vk_matmul_scratch(dev, &usual));
        n++;
    }
    return n;
}

static void tiles_are_offered_where_they_need_no_more_scratch(void **state)
{
    static const int64_t sides[] = {17, 64, 192, 512, 576, 1536, 4096, 11008};
    enum { N = sizeof(sides) / sizeof(sides[0]) };
    const struct device dev = gpu(NVIDIA);
    uint32_t most = 0;

    for (int i = 0; i < N * N * N; i++) {
        const uint32_t n =
            count_offers(&dev, product(sides[i % N], sides[i / N % N],
                                       sides[i / N / N]));
        most = n > most ? n : most;
    }
    assert_true(most >= (vk_shader_is_built(VK_SHADER_gemm_cm_f16) ? 3 : 1));
    // Those for which there are rules of their own.
    assert_int_equal(count_offers(&dev, product(8, 4096, 4096)), 0);
    assert_int_equal(count_offers(&dev, product(4096, 8, 4096)), 0);
    assert_int_equal(count_offers(&dev, product(4096, 4096, 8)), 0);
}

static void what_the_rules_do_is_not_offered_again(void **state)
{
    const struct device dev = gpu(NVIDIA);
    struct instr in = product(4096, 4096, 4096);

    if (!vk_shader_is_built(VK_SHADER_gemm_cm_f16))
        skip();
    in.kernel = VK_PRODUCT_CM_128; // as the rules have it
    assert_false(vulkan_backend.offers(&dev, &in));
    in.kernel = VK_PRODUCT_CM_256;
    assert_true(vulkan_backend.offers(&dev, &in));
    in.kernel = VK_PRODUCT_CM_64;
    assert_true(vulkan_backend.offers(&dev, &in));
    // Other operators have no tiles.
    in.op = OP_add;
    assert_false(vulkan_backend.offers(&dev, &in));
}

static void matrices_are_for_devices_whose_subgroups_are_known(void **state)
{
    const struct device nvidia = gpu(NVIDIA), amd = gpu(AMD);
    struct backend_kernel k[BACKEND_KERNELS_MAX];
    const uint32_t n = vulkan_backend.kernels(k, &nvidia, OP_matmul);
    uint32_t n_by_shape = 0;

    assert_string_equal(k[n - 1].name, "vulkan");
    for (uint32_t i = 0; i < n; i++)
        n_by_shape += k[i].is_by_shape;
    assert_int_equal(n_by_shape, 6);
    assert_int_equal(vulkan_backend.kernels(k, &amd, OP_matmul), n - 3);
    assert_int_equal(vulkan_backend.kernels(k, &nvidia, OP_add), 1);
}

// Not by a table of times either: what spills is not among what is timed.
static void tiles_of_many_sums_are_not_for_few_registers(void **state)
{
    struct device mali = gpu(ARM);
    struct backend_kernel k[BACKEND_KERNELS_MAX];
    struct instr in = product(512, 1536, 576);

    mali.traits.type = VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
    mali.traits.has_coopmat = false;
    assert_int_equal(vulkan_backend.kernels(k, &mali, OP_matmul), 4);
    in.kernel = VK_PRODUCT_LDS_64;
    assert_true(vulkan_backend.offers(&mali, &in));
    mali.traits.has_few_registers = true;
    assert_int_equal(vulkan_backend.kernels(k, &mali, OP_matmul), 2);
    assert_string_equal(k[0].name, "reg");
    for (; in.kernel <= VK_PRODUCT_LDS_128; in.kernel++)
        assert_false(vulkan_backend.offers(&mali, &in));
}

static struct instr attention(uint32_t length, uint32_t dim)
{
    const uint32_t heads = 4;
    const struct operand x =
        matrix(REGION_ARENA, DTYPE_f32, 4 * length, (int64_t) heads * dim, 0);

    return (struct instr){
        .op = OP_attention,
        .n_in = 4,
        .n_out = 2,
        .attr = {.n_heads = heads,
                 .n_kv_heads = heads,
                 .head_dim = dim,
                 .length = length,
                 .precision = PRECISION_BF16},
        .in = {x, x, x},
        .out = {x},
    };
}

static bool is_offered(const struct device *dev, struct instr in,
                       uint8_t kernel)
{
    in.kernel = kernel;
    return vulkan_backend.offers(dev, &in);
}

static void tiles_of_attention_are_offered_where_they_are_others(void **state)
{
    const struct device nvidia = gpu(NVIDIA), amd = gpu(AMD);
    const struct instr few = attention(128, 64), many = attention(1024, 64);
    struct instr capped = many;

    if (!vk_shader_is_built(VK_SHADER_attention_cm_f16))
        skip();
    capped.attr.cap = 30;
    assert_true(is_offered(&nvidia, few, VK_ATTENTION_PLAIN));
    assert_true(is_offered(&nvidia, few, VK_ATTENTION_32));
    assert_false(is_offered(&nvidia, few, VK_ATTENTION_64)); // by the rules
    assert_false(is_offered(&nvidia, many, VK_ATTENTION_32));
    assert_true(is_offered(&nvidia, many, VK_ATTENTION_64));
    for (uint8_t k = VK_ATTENTION_PLAIN; k <= VK_ATTENTION_64; k++) {
        assert_false(is_offered(&amd, many, k));
        assert_false(is_offered(&nvidia, capped, k)); // matrices do not
        assert_false(is_offered(&nvidia, product(512, 512, 512), k));
    }
}

/*
 * On lavapipe
 */

static struct device *open_device(void)
{
    const struct device_params params = {.tier = "cpu"};
    struct device *dev = NULL;
    struct error err;

    if (vulkan_backend.open(&dev, &params, &err) == 0)
        return dev;
    print_message("# skipped: %s\n", err.text);
    return NULL;
}

enum { SIDE = 48, ARENA = 3 * SIDE * SIDE * 4 + (1 << 16) };

// A product, the same again with other tiles, and their sum in place.
static uint32_t make(struct instr *p)
{
    const size_t n = SIDE * SIDE;
    const struct operand a = matrix(REGION_ARENA, DTYPE_f32, SIDE, SIDE, 0);
    const struct operand y = matrix(REGION_ARENA, DTYPE_f32, SIDE, SIDE, n);
    const struct operand z = matrix(REGION_ARENA, DTYPE_f32, SIDE, SIDE, 2 * n);

    p[0] = (struct instr){
        .op = OP_matmul,
        .n_in = 2,
        .n_out = 1,
        .attr = {.alpha = 1},
        .in = {a, a},
        .out = {y},
        .scratch = matrix(REGION_ARENA, DTYPE_f32, 1, 1 << 14, 3 * n),
    };
    p[1] = p[0];
    p[1].kernel = VK_PRODUCT_LDS_64;
    p[1].out[0] = z;
    p[2] = (struct instr){.op = OP_add,
                          .n_in = 2,
                          .n_out = 1,
                          .in = {y, z},
                          .out = {z}};
    return 3;
}

static void run(struct device *dev, unsigned char *result, uint64_t *ns)
{
    float values[SIDE * SIDE];
    struct instr p[3];
    struct bindings b = {0};
    const uint32_t n = make(p);

    for (int i = 0; i < SIDE * SIDE; i++)
        values[i] = (float) (i % 13 - 6) / 8;
    assert_int_equal(vulkan_backend.buffer_create(&b.arena, dev, ARENA), 0);
    assert_int_equal(vulkan_backend.buffer_write(b.arena, 0, values,
                                                 sizeof(values)),
                     0);
    assert_int_equal(ns ? vulkan_backend.time(dev, p, n, &b, ns)
                        : vulkan_backend.run(dev, p, n, &b),
                     n);
    assert_int_equal(vulkan_backend.buffer_read(b.arena, 0, result,
                                                3 * sizeof(values)),
                     0);
    vulkan_backend.buffer_destroy(b.arena);
}

static void the_device_times_each_instruction_itself(void **state)
{
    static unsigned char plain[ARENA], timed[ARENA];
    uint64_t ns[3] = {0};
    struct device *dev = open_device();

    if (!dev)
        skip();
    run(dev, plain, NULL);
    run(dev, timed, ns);
    assert_memory_equal(plain, timed, 3 * SIDE * SIDE * sizeof(float));
    for (int i = 0; i < 3; i++)
        assert_in_range(ns[i], 1, 60000000000);
    // In slices as well.
    dev->slice_ns = 1;
    run(dev, timed, ns);
    assert_memory_equal(plain, timed, 3 * SIDE * SIDE * sizeof(float));
    assert_int_equal(vulkan_backend.time(dev, NULL, 0, NULL, NULL), 0);
    dev->timestamp_bits = 0;
    assert_int_equal(vulkan_backend.time(dev, NULL, 0, NULL, NULL), -ENOTSUP);
    vulkan_backend.close(dev);
}

struct rig {
    struct engine *engine;
    struct engine_model *model;
    struct recipe recipe;
    struct scheme scheme;
};

static bool rig_init(struct rig *r)
{
    const struct engine_params params = {.device = "vulkan:cpu"};
    struct error err;
    const int rc = engine_create(&r->engine, &params, &err);

    if (rc < 0) {
        print_message("# skipped: %s\n", err.text);
        return false;
    }
    const int fd = tinyfile_create(1);
    assert_int_equal(engine_model_open(&r->model, r->engine, fd, &err), 0);
    close(fd);
    recipe_init(&r->recipe);
    assert_int_equal(recipe_parse(&r->recipe, "rank=4 length=32 batch=2", &err),
                     0);
    assert_int_equal(recipe_scheme(&r->scheme, &r->recipe,
                                   &r->model->base->config, &err),
                     0);
    return true;
}

static void rig_finish(struct rig *r)
{
    engine_model_close(r->model);
    engine_destroy(r->engine);
}

static struct program *compile(const struct rig *r, uint32_t length,
                               const struct timetable *times)
{
    const struct base_model *b = r->model->base;
    const struct program_params params = {
        .kind = PROGRAM_TRAIN,
        .batch = 2,
        .length = length,
        .scheme = &r->scheme,
        .precision = PRECISION_BF16,
        .times = times,
    };
    struct program *p;
    struct error err;

    if (program_compile(&p, &b->config, &params, b->backend, b->dev, &err) < 0)
        fail_msg("%s", err.text);
    return p;
}

// A table by which that kernel is the fastest for all that a program has.
static struct timetable *prefer(const struct rig *r, const char *kernel)
{
    struct program *p = compile(r, 32, NULL);
    struct timetable *t;
    struct error err;

    assert_int_equal(tuner_table(&t, r->model->base, &err), 0);
    for (uint32_t i = 0; i < program_instr_count(p); i++) {
        uint64_t ns[TIMETABLE_TARGETS_MAX];
        struct timetable_shape shape;
        program_shape(&shape, p, i);
        for (uint32_t k = 0; k < timetable_targets(t); k++)
            ns[k] = strcmp(timetable_target(t, k)->kernel, kernel) == 0
                        ? 1000
                        : 500000 + 100000 * k;
        assert_int_equal(timetable_put(t, &shape, ns, 1), 0);
    }
    program_destroy(p);
    return t;
}

static uint32_t count_tiles(const struct program *p, uint8_t kernel)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < program_instr_count(p); i++) {
        const struct instr *in = program_instr(p, i);
        n += in->kernel == kernel;
        // What a table chooses has to fit what the plan left.
        if (in->kernel == kernel)
            assert_int_equal(in->op, OP_matmul);
    }
    return n;
}

static void a_table_chooses_tiles_at_the_shapes_that_were_timed(void **state)
{
    struct rig r;

    if (!rig_init(&r))
        skip();
    struct timetable *t = prefer(&r, "lds64");
    struct program *timed = compile(&r, 32, t);
    struct program *other = compile(&r, 24, t);
    struct program *plain = compile(&r, 32, NULL);
    assert_true(count_tiles(timed, VK_PRODUCT_LDS_64) > 10);
    assert_int_equal(count_tiles(other, VK_PRODUCT_LDS_64), 0);
    assert_int_equal(count_tiles(plain, VK_PRODUCT_LDS_64), 0);
    assert_int_equal(program_arena_bytes(timed), program_arena_bytes(plain));
    program_destroy(timed);
    program_destroy(other);
    program_destroy(plain);
    timetable_destroy(t);
    rig_finish(&r);
}

static void a_table_of_another_driver_is_not_used(void **state)
{
    enum { DEVICE_AT = 40 };
    struct error err;
    unsigned char *data;
    size_t bytes;
    struct rig r;
    char *driver;

    if (!rig_init(&r))
        skip();
    struct base_model *base = r.model->base;
    uint8_t shape[HASH_BYTES];
    struct timetable *t = prefer(&r, "lds64");
    base_model_shape(shape, base);
    timetable_put_model(t, shape, 1);
    assert_int_equal(timetable_encode((void **) &data, &bytes, t), 0);
    assert_int_equal(engine_times_use(r.model, data, bytes, &err), 0);
    base_model_set_times(base, NULL);

    driver = strstr((char *) data + DEVICE_AT, ", driver ");
    assert_non_null(driver);
    driver[9] = driver[9] == '9' ? '8' : '9';
    hash_bytes(data + bytes - HASH_BYTES, data, bytes - HASH_BYTES);
    assert_true(engine_times_use(r.model, data, bytes, &err) < 0);
    assert_non_null(strstr(err.text, "another device"));
    assert_null(base->times);
    free(data);
    timetable_destroy(t);
    rig_finish(&r);
}

// Within the time that it has; what was timed was timed by the device.
static void a_device_is_tuned(void **state)
{
    struct engine_times_info info;
    struct engine_tuned tuned;
    struct error err;
    struct rig r;

    if (!rig_init(&r))
        skip();
    const struct engine_tune_params params = {
        .recipe = &r.recipe,
        .seconds = 100, // it is done long before, but where others work
        .when = 5,
    };
    // Not forced: it does not count processors, which a device does not use.
    if (engine_tune(&tuned, r.model, &params, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(tuned.n_timed > 0);
    assert_int_equal(tuned.n_timed + tuned.n_left, tuned.n_shapes);
    engine_times_describe(&info, r.model);
    assert_int_equal(info.n_shapes, tuned.n_timed);
    assert_non_null(strstr(info.device, "vulkan "));
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_are_offered_where_they_need_no_more_scratch),
        cmocka_unit_test(what_the_rules_do_is_not_offered_again),
        cmocka_unit_test(matrices_are_for_devices_whose_subgroups_are_known),
        cmocka_unit_test(tiles_of_many_sums_are_not_for_few_registers),
        cmocka_unit_test(tiles_of_attention_are_offered_where_they_are_others),
        cmocka_unit_test(the_device_times_each_instruction_itself),
        cmocka_unit_test(a_table_chooses_tiles_at_the_shapes_that_were_timed),
        cmocka_unit_test(a_table_of_another_driver_is_not_used),
        cmocka_unit_test(a_device_is_tuned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
