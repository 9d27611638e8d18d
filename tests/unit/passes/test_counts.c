// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * What the compiler makes of the demo model, counted: one update for each
 * tensor that learns, no backward node below the lowest of them, and exactly
 * the nodes that each pass is known to leave. A change here is a change of
 * every program; `pock-compile MODEL --scheme S --summary` prints the tables.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/error.h"
#include "engine/exec/program.h"
#include "engine/formats/gguf.h"
#include "engine/models/scheme_text.h"

#define BASE_MODEL "clients/demo/pock-16m-q8_0.gguf"

// clang-format off
static const struct {
    const char *scheme;
    uint32_t n_params;
    const char *table;
} rows[] = {
    {"lora-all", 112,
     "operator          model  canon    cse   fuse  delta    dce  remat    run\n"
     "embed                 1      1      1      1      1      1      1      1\n"
     "rmsnorm              17     17     17     17     17     17     17     17\n"
     "rmsnorm_dx           16     16     16     16     16     16     16     16\n"
     "matmul              442    442    442    442    442    442    442    442\n"
     "rope                 32     32     32     32     32     32     32     32\n"
     "attention             8      8      8      8      8      8      8      8\n"
     "attention_back        8      8      8      8      8      8      8      8\n"
     "swiglu                8      8      8      8      8      8      8      8\n"
     "swiglu_back           8      8      8      8      8      8      8      8\n"
     "add                 106    106    106     15     15     15     15     15\n"
     "xent                  1      1      1      1      1      1      1      1\n"
     "adamw               112    112    112    112    112    112    112    112\n"},
    {"pockengine:4", 28,
     "operator          model  canon    cse   fuse  delta    dce  remat    run\n"
     "embed                 1      1      1      1      1      1      1      1\n"
     "rmsnorm              17     17     17     17     17     17     17     17\n"
     "rmsnorm_dx            8      8      8      8      8      8      8      8\n"
     "rmsnorm_dw            8      8      8      8      8      8      8      8\n"
     "matmul              144    144    144    144     64     64     64     64\n"
     "matmul_delta          0      0      0      0     40     40     40     40\n"
     "rope                 24     24     24     24     24     24     24     24\n"
     "attention             8      8      8      8      8      8      8      8\n"
     "attention_back        4      4      4      4      4      4      4      4\n"
     "swiglu                8      8      8      8      8      8      8      8\n"
     "swiglu_back           4      4      4      4      4      4      4      4\n"
     "add                  63     63     63     15     15     15     15     15\n"
     "xent                  1      1      1      1      1      1      1      1\n"
     "adamw                28     28     28     28     28     28     28     28\n"},
    {"dora:2", 42,
     "operator          model  canon    cse   fuse  delta    dce  remat    run\n"
     "embed                 1      1      1      1      1      1      1      1\n"
     "rmsnorm              17     17     17     17     17     17     17     17\n"
     "rmsnorm_dx            4      4      4      4      4      4      4      4\n"
     "matmul              148    148    148    148    148    148    148    148\n"
     "rope                 20     20     20     20     20     20     20     20\n"
     "attention             8      8      8      8      8      8      8      8\n"
     "attention_back        2      2      2      2      2      2      2      2\n"
     "swiglu                8      8      8      8      8      8      8      8\n"
     "swiglu_back           2      2      2      2      2      2      2      2\n"
     "add                  62     62     62     35     35     21     21     21\n"
     "scale_columns        56     56     56     56     56     56     56     56\n"
     "dot_columns          28     28     28     28     28     14     14     14\n"
     "row_ratio            14     14     14     14     14     14     14     14\n"
     "xent                  1      1      1      1      1      1      1      1\n"
     "adamw                42     42     42     42     42     42     42     42\n"},
};
// clang-format on

static struct gguf *file;
static struct model_config config;
static struct device *dev;

static int open_model(void **state)
{
    const struct device_params params = {.threads = 1};
    struct error err = {0};

    if (gguf_load(&file, BASE_MODEL, &err) < 0 ||
        model_config_read(&config, file, &err) < 0 ||
        cpu_backend.open(&dev, &params, &err) < 0) {
        print_error("%s\n", err.text);
        return -1;
    }
    return 0;
}

static int close_model(void **state)
{
    cpu_backend.close(dev);
    gguf_destroy(file);
    return 0;
}

static struct program *compile(struct scheme *scheme, const char *text)
{
    const struct scheme_defaults defaults = {8, 16};
    const struct program_params params = {.kind = PROGRAM_TRAIN,
                                          .batch = 2,
                                          .length = 64,
                                          .scheme = scheme};
    struct error err = {0};
    struct program *p = NULL;

    if (scheme_parse(scheme, text, strlen(text), &defaults, &config, &err) <
            0 ||
        program_compile(&p, &config, &params, &cpu_backend, dev, &err) < 0)
        fail_msg("%s: %s", text, err.text);
    return p;
}

static void each_pass_leaves_what_it_should(void **state)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct scheme scheme;
        struct program *p = compile(&scheme, rows[i].scheme);
        char *text;
        assert_int_equal(program_print(&text, p), 0);
        char *table = strstr(text, "operator ");
        assert_non_null(table);
        *strstr(table, "weights:") = '\0';
        assert_string_equal(table, rows[i].table);
        free(text);
        program_destroy(p);
    }
}

static void one_update_for_each_tensor_that_learns(void **state)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct scheme scheme;
        uint32_t updates = 0;
        struct program *p = compile(&scheme, rows[i].scheme);
        for (uint32_t k = 0; k < program_instr_count(p); k++)
            updates += program_instr(p, k)->op == OP_adamw;
        assert_int_equal(updates, rows[i].n_params);
        assert_int_equal(updates, scheme_params(NULL, 0, &config, &scheme));
        program_destroy(p);
    }
}

// There is no pass that folds constants, for there are none to fold: every
// node reads something that is not a weight of the file.
static void no_node_reads_weights_alone(void **state)
{
    static const char *const schemes[] = {"lora-all", "full", "dora", "norms",
                                          "window:2-5"};
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        struct scheme scheme;
        struct program *p = compile(&scheme, schemes[i]);
        for (uint32_t k = 0; k < program_instr_count(p); k++) {
            const struct instr *in = program_instr(p, k);
            bool varies = false;
            for (int j = 0; j < in->n_in; j++)
                varies |= in->in[j].region != REGION_WEIGHT;
            if (!varies)
                fail_msg("%s: %s could be folded", schemes[i],
                         op_infos[in->op].name);
        }
        program_destroy(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_pass_leaves_what_it_should),
        cmocka_unit_test(one_update_for_each_tensor_that_learns),
        cmocka_unit_test(no_node_reads_weights_alone),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
