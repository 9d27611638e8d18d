// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/autodiff/autodiff.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/ir/irparse.h"
#include "engine/ir/irprint.h"
#include "engine/ir/verify.h"

// Parses, differentiates "loss" with respect to the named values, and prints
// the gradients' nodes.
static int derive(char **out, const char *text, const char *const *names,
                  uint32_t n, struct error *err)
{
    struct str s = {0};
    struct arena *a;
    struct graph *g;
    value_id wrt[4];
    value_id grads[4];

    assert_int_equal(arena_create(&a, 16u << 20), 0);
    if (irparse_graph(&g, text, strlen(text), a, err) < 0)
        fail_msg("%s", err->text);
    for (uint32_t i = 0; i < n; i++)
        wrt[i] = graph_find(g, names[i]);
    int rc = autodiff(grads, g, graph_find(g, "loss"), wrt, n, err);
    if (rc == 0) {
        assert_int_equal(verify_graph(g, NULL, err), 0);
        for (node_id i = 0; i < g->n_nodes; i++)
            if (g->nodes[i].is_backward)
                irprint_node(&s, g, i);
        for (uint32_t i = 0; i < n; i++) {
            str_printf(&s, "%s: ", names[i]);
            irprint_value(&s, g, grads[i]);
            str_putc(&s, '\n');
        }
        assert_int_equal(str_finish(&s), 0);
        *out = s.data;
    }
    arena_destroy(a);
    return rc;
}

static void expect(const char *text, const char *const *names, uint32_t n,
                   const char *want)
{
    struct error err = {0};
    char *got = NULL;
    if (derive(&got, text, names, n, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(got, want);
    free(got);
}

#define HEAD                 \
    "input @t i32[4]\n"      \
    "input @wt f32[4]\n"     \
    "weight @v q8_0[9,32]\n" \
    "state @p f32[4,32]\n"   \
    "state @q f32[32,32]\n"

static void sums_the_gradients_of_all_readers(void **state)
{
    const char *const p = "p";
    // x + f(x), where f(x) = 2 x
    expect(HEAD "%5 f32[4,32] = scale @p {alpha=2}\n"
                "%6 f32[4,32] = add @p, %5\n"
                "%7 f32[1], %8 f32[4], %9 f32[4,32] = xent %6, @v, @t, @wt\n"
                "output @loss %7\n",
           &p, 1,
           "%10 f32[4,32] = scale %9 {alpha=2} backward\n"
           "%11 f32[4,32] = add %9, %10 backward\n"
           "p: %11\n");
    expect(HEAD "%6 f32[4,32] = add @p, @p\n"
                "%7 f32[1], %8 f32[4], %9 f32[4,32] = xent %6, @v, @t, @wt\n"
                "output @loss %7\n",
           &p, 1,
           "%9 f32[4,32] = add %8, %8 backward\n"
           "p: %9\n");
}

// Nothing is derived for the input p when only q learns.
static void derives_only_what_is_needed(void **state)
{
    const char *const both[] = {"p", "q"};
    const char text[] =
        HEAD "%5 f32[4,32] = matmul @p, @q {alpha=3, trans_b=1}\n"
             "%6 f32[1], %7 f32[4], %8 f32[4,32] = xent %5, @v, @t, @wt\n"
             "output @loss %6\n";

    expect(text, both + 1, 1,
           "%9 f32[32,32] = matmul %8, @p {alpha=3, trans_a=1} backward\n"
           "q: %9\n");
    expect(text, both, 1,
           "%9 f32[4,32] = matmul %8, @q {alpha=3} backward\n"
           "p: %9\n");
    // The product that reads q stands before the gradient of q.
    expect(text, both, 2,
           "%9 f32[4,32] = matmul %8, @q {alpha=3} backward\n"
           "%10 f32[32,32] = matmul %8, @p {alpha=3, trans_a=1} backward\n"
           "p: %9\n"
           "q: %10\n");
}

static void refuse(const char *text, const char *name, int rc,
                   const char *sentence)
{
    struct error err = {0};
    char *got = NULL;
    assert_int_equal(derive(&got, text, &name, 1, &err), rc);
    assert_string_equal(err.text, sentence);
}

static void refuses_what_it_cannot_derive(void **state)
{
    const char text[] =
        HEAD "%5 f32[4,32] = scale @p {alpha=2}\n"
             "%6 f32[1], %7 f32[4], %8 f32[4,32] = xent %5, @v, @t, @wt\n"
             "output @loss %6\n";
    refuse(text, "q", -EINVAL, "the loss does not depend on q");
    refuse(text, "v", -ENOTSUP, "xent has no gradient for that input");
    refuse(text, "wt", -ENOTSUP, "xent has no gradient for that input");
    refuse(HEAD "%5 f32[4,32] = rows @p, @t\n"
                "%6 f32[1], %7 f32[4], %8 f32[4,32] = xent %5, @v, @t, @wt\n"
                "output @loss %6\n",
           "p", -ENOTSUP, "rows has no gradient");
    // The loss must be a cross entropy.
    refuse(HEAD "%5 f32[4,32] = scale @p {alpha=2}\n"
                "output @loss %5\n",
           "p", -ENOTSUP, "scale has no gradient as a loss");
    // Through the gradient that xent gives, no gradient is defined.
    refuse(HEAD "%5 f32[1], %6 f32[4], %7 f32[4,32] = xent @p, @v, @t, @wt\n"
                "%8 f32[4,32] = add %7, @p\n"
                "%9 f32[1], %10 f32[4], %11 f32[4,32] = xent %8, @v, @t, @wt\n"
                "output @loss %9\n",
           "p", -ENOTSUP, "xent has no gradient unless it is the loss");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_the_gradients_of_all_readers),
        cmocka_unit_test(derives_only_what_is_needed),
        cmocka_unit_test(refuses_what_it_cannot_derive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
