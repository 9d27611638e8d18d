// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/cpu/cpu_kernels.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void fills_every_slot_on_any_machine(void **state)
{
    const unsigned sets[] = {
        0,
        CPUINFO_AVX2,
        CPUINFO_AVX2 | CPUINFO_AVX512,
        CPUINFO_AVX2 | CPUINFO_AVX512 | CPUINFO_AVX512BF16,
        CPUINFO_NEON,
        CPUINFO_NEON | CPUINFO_NEONDOT,
        CPUINFO_NEON | CPUINFO_NEONDOT | CPUINFO_NEONBF16,
    };

    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        struct cpu_kernels k = {0};
        cpu_kernels_init(&k, sets[i]);
#define OP(name, ...) assert_non_null(k.name);
#include "engine/ir/ops.def"
#undef OP
    }
}

static void takes_the_plain_kernels_without_flags(void **state)
{
    struct cpu_kernels k = {0};

    cpu_kernels_init(&k, 0);
    assert_ptr_equal(k.matmul, matmul_c);
    assert_ptr_equal(k.xent, xent_c);
    assert_string_equal(cpu_tier_name(0), "c");
}

static void knows_its_tiers(void **state)
{
    char list[64];
    unsigned flags = 1;

    assert_int_equal(cpu_tier_flags(&flags, "c"), 0);
    assert_int_equal(flags, 0);
    assert_int_equal(cpu_tier_flags(&flags, "mmx"), -ENOENT);
    cpu_tier_list(list, sizeof(list), 0);
    assert_string_equal(list, "c");
    cpu_tier_list(list, sizeof(list), ~0u);
    assert_int_equal(strncmp(list, "c, ", 3), 0);
    // Too little room cuts the list and nothing else.
    cpu_tier_list(list, 3, ~0u);
    assert_string_equal(list, "c,");
}

// Whatever looks at `precision` has a kernel that makes use of it, or training
// in bf16 does part of its products in f32. matmul_kept becomes a matmul.
static void rounds_wherever_it_may(void **state)
{
#if defined(CPU_HAVE_AVX512BF16) || defined(CPU_HAVE_NEONBF16)
    struct cpu_kernels f32, bf16;

    cpu_kernels_init(&f32, ~(unsigned) (CPUINFO_AVX512BF16 | CPUINFO_NEONBF16));
    cpu_kernels_init(&bf16, ~0u);
#define OP(name, in_min, in_max, n_out, shape, vjp, flags)      \
    if ((OP_PRODUCTS & (flags)) && OP_##name != OP_matmul_kept) \
        assert_true(f32.name != bf16.name);
#include "engine/ir/ops.def"
#undef OP
#else
    skip();
#endif
}

static void cuts_a_product_by_its_shape_alone(void **state)
{
    const struct cpu_matmul_plan large =
        cpu_matmul_plan(1024, 4096, 4096, false, true, DTYPE_q8_0);

    assert_int_equal(large.path, CPU_MATMUL_TILES);
    // Never the whole of both sides: a phone has no room for a second copy.
    assert_true(large.a_floats + large.b_floats <= 3u << 20);
    assert_int_equal(cpu_matmul_plan(1, 8192, 384, false, true, DTYPE_q8_0)
                         .path,
                     CPU_MATMUL_GEMV);
    assert_int_equal(cpu_matmul_plan(1024, 8, 384, false, true, DTYPE_f32).path,
                     CPU_MATMUL_DOTS);
    assert_int_equal(cpu_matmul_plan(8, 384, 1024, true, false, DTYPE_f32).path,
                     CPU_MATMUL_OUTER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fills_every_slot_on_any_machine),
        cmocka_unit_test(takes_the_plain_kernels_without_flags),
        cmocka_unit_test(knows_its_tiers),
        cmocka_unit_test(rounds_wherever_it_may),
        cmocka_unit_test(cuts_a_product_by_its_shape_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
