// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/engine.h"

#include "engine/backend.h"
#include "engine/base/buildid.h"
#include "engine/base/clock.h"
#include "engine/base/error.h"
#include "engine/base/str.h"
#include "engine/device.h"
#include "engine/engine_inside.h"
#include "engine/formats/gguf.h"
#include "engine/models/scheme_text.h"
#include "engine/plan/timetables.h"
#include "engine/tokenizer/chat.h"
#include "engine/train/adapter.h"
#include "engine/train/adapter_merge.h"
#include "engine/train/base_model.h"
#include "engine/train/contribution.h"
#include "engine/train/dataset.h"
#include "engine/train/evaluator.h"
#include "engine/train/generator.h"
#include "engine/train/runner.h"
#include "engine/train/scheme_search.h"
#include "engine/train/trainer.h"
#include "engine/train/tuner.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CONFIG_BYTES_MAX = 1 << 20, // adapter_config.json
    MESSAGES_MAX = 4096,
    EVAL_LENGTH_MAX = 1024, // longest window of an evaluation
    EVAL_PLACES = 1024,     // in one program
    TOKENS_DEFAULT = 4096,  // made, when nobody says how many
};

/*
 * Device.
 */

struct engine {
    struct device_opened device;
};

int engine_create(struct engine **out, const struct engine_params *params,
                  struct error *err)
{
    const struct device_params dev = {
        .threads = params->threads,
        .tier = params->tier,
        .stop = params->stop,
        .manners = params->manners,
        .slice_us = params->slice_us,
        .has_cache = params->has_cache,
        .cache_fd = params->cache_fd,
    };
    const char *name = params->device ? params->device : "cpu";
    struct engine *e = calloc(1, sizeof *e);

    if (!e)
        return error_set(err, -ENOMEM, "engine: out of memory");
    int rc = device_open(&e->device, name, &dev, err);
    if (rc < 0) {
        free(e);
        return rc;
    }
    *out = e;
    return 0;
}

void engine_destroy(struct engine *e)
{
    if (!e)
        return;
    device_close(&e->device);
    free(e);
}

const char *engine_describe(const struct engine *e)
{
    return e->device.backend->describe(e->device.dev);
}

const char *engine_why(const struct engine *e)
{
    return e->device.why;
}

bool engine_was_refused(const struct engine *e)
{
    return e->device.is_refused;
}

const char *engine_notice(const struct engine *e)
{
    const struct backend *b = e->device.backend;

    return b->notice ? b->notice(e->device.dev) : "";
}

bool engine_is_cpu(const struct engine *e)
{
    return e->device.backend == &cpu_backend;
}

uint64_t engine_peak_bytes(const struct engine *e)
{
    const struct backend *b = e->device.backend;

    return b->peak_bytes ? b->peak_bytes(e->device.dev) : 0;
}

/*
 * Model.
 */

int engine_model_open(struct engine_model **out, struct engine *e, int fd,
                      struct error *err)
{
    struct engine_model *m = calloc(1, sizeof *m);
    int rc;

    if (!m)
        return error_set(err, -ENOMEM, "model: out of memory");
    rc = base_model_open(&m->base, e->device.backend, e->device.dev, fd, err);
    if (rc < 0)
        goto error;
    if ((rc = runner_create(&m->runner, m->base)) < 0) {
        rc = error_set(err, rc, "model: out of memory");
        goto error;
    }
    *out = m;
    return 0;

error:
    engine_model_close(m);
    return rc;
}

void engine_model_close(struct engine_model *m)
{
    if (!m)
        return;
    runner_destroy(m->runner);
    base_model_close(m->base);
    free(m);
}

static void count_type(struct engine_model_info *info,
                       const struct gguf_tensor *t)
{
    const char *name = t->is_known ? dtype_infos[t->dtype].name : "other";
    uint32_t i = 0;
    uint64_t values = 1;

    for (uint32_t d = 0; d < t->n_dims; d++)
        values *= (uint64_t) t->ne[d];
    info->n_params += values;
    while (i < info->n_types && strcmp(info->types[i].name, name) != 0)
        i++;
    if (i == ENGINE_TYPES_MAX)
        return;
    if (i == info->n_types) {
        info->n_types++;
        (void) snprintf(info->types[i].name, sizeof info->types[i].name, "%s",
                        name);
    }
    info->types[i].n_tensors++;
    info->types[i].bytes += t->bytes;
}

int engine_model_hash(struct engine_model *m, hash_progress_fn progress,
                      void *user, struct error *err)
{
    return base_model_hash_told(m->base, progress, user, err);
}

int engine_model_describe(struct engine_model_info *out, struct engine_model *m,
                          struct error *err)
{
    struct base_model *base = m->base;
    struct engine_model_info info = {.config = base->config};
    const char *name;
    size_t bytes;
    int rc = base_model_hash(m->base, err);

    if (rc < 0)
        return rc;
    memcpy(info.hash, base->hash, sizeof info.hash);
    if (gguf_get_str(&name, base->file, "general.name", NULL) == 0)
        (void) snprintf(info.name, sizeof info.name, "%s", name);
    (void) gguf_mapping(base->file, &bytes);
    info.file_bytes = bytes;
    for (uint32_t i = 0; i < gguf_n_tensors(base->file); i++)
        count_type(&info, gguf_tensor_at(base->file, i));
    info.has_chat = engine_model_check_chat(m, NULL) == 0;
    *out = info;
    return 0;
}

int engine_tokenize(int32_t **ids, size_t *n_ids, const struct engine_model *m,
                    const char *text, size_t bytes, struct error *err)
{
    struct token_list list = {.limit = (size_t) 1 << 28};
    int rc = tokenizer_encode(m->base->tokenizer, &list, text, bytes, 0);

    if (rc < 0) {
        token_list_free(&list);
        return error_set(err, rc, "tokens: %s", strerror(-rc));
    }
    *ids = list.ids;
    *n_ids = list.count;
    list.ids = NULL;
    token_list_free(&list);
    return 0;
}

const char *engine_token_piece(const struct engine_model *m, int32_t id,
                               size_t *bytes)
{
    return tokenizer_piece(m->base->tokenizer, id, bytes);
}

/*
 * Adapters.
 */

int engine_adapter_load(struct adapter **out, const struct engine_model *m,
                        int fd, struct error *err)
{
    int rc = base_model_hash(m->base, err);

    if (rc < 0)
        return rc;
    return adapter_load_gguf_fd(out, &m->base->config, m->base->sha256, fd,
                                err);
}

static int read_config(char **out, size_t *bytes, int fd, struct error *err)
{
    char *text = malloc(CONFIG_BYTES_MAX);
    size_t n = 0;
    int rc = 0;

    if (!text)
        return error_set(err, -ENOMEM, "adapter: out of memory");
    while (rc == 0) {
        const ssize_t got =
            pread(fd, text + n, CONFIG_BYTES_MAX - n, (off_t) n);
        if (got == 0)
            break;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            rc = error_set(err, -errno,
                           "adapter: adapter_config.json cannot be read: %s",
                           strerror(errno));
        else
            n += (size_t) got;
        if (n == CONFIG_BYTES_MAX)
            rc = error_set(err, -EFBIG,
                           "adapter: adapter_config.json is larger than 1 MiB");
    }
    if (rc < 0) {
        free(text);
        return rc;
    }
    *out = text;
    *bytes = n;
    return 0;
}

int engine_adapter_load_peft(struct adapter **out, const struct engine_model *m,
                             int config_fd, int tensors_fd, struct error *err)
{
    char *config = NULL;
    size_t bytes = 0;
    int rc = base_model_hash(m->base, err);

    if (rc < 0 || (rc = read_config(&config, &bytes, config_fd, err)) < 0)
        return rc;
    rc = adapter_load_peft_fd(out, &m->base->config, m->base->sha256, config,
                              bytes, tensors_fd, err);
    free(config);
    return rc;
}

static const char *base_name(const struct engine_model *m)
{
    const char *name;

    if (gguf_get_str(&name, m->base->file, "general.name", NULL) < 0)
        name = m->base->config.arch;
    return name;
}

int engine_adapter_save(const struct adapter *a, const struct engine_model *m,
                        int fd, struct error *err)
{
    char name[96];

    (void) snprintf(name, sizeof name, "%.64s adapter", base_name(m));
    return adapter_save_gguf_fd(a, name, fd, err);
}

bool engine_adapter_privacy(double *epsilon, double *delta,
                            const struct adapter *a)
{
    *epsilon = a->privacy.epsilon;
    *delta = a->privacy.delta;
    return a->privacy.epsilon > 0;
}

static int write_all(int fd, const char *data, size_t bytes)
{
    while (bytes > 0) {
        const ssize_t n = write(fd, data, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        bytes -= (size_t) n;
    }
    return 0;
}

int engine_adapter_save_peft(const struct adapter *a,
                             const struct engine_model *m, int config_fd,
                             int tensors_fd, struct error *err)
{
    struct str config = {0};
    int rc;

    adapter_peft_config(a, base_name(m), &config);
    rc = str_finish(&config);
    if (rc == 0)
        rc = write_all(config_fd, config.data, config.bytes);
    str_free(&config);
    if (rc < 0)
        return error_set(err, rc,
                         "adapter: adapter_config.json cannot be written: %s",
                         strerror(-rc));
    return adapter_save_peft_fd(a, &m->base->config, tensors_fd, err);
}

int engine_adapter_check_lora(const struct adapter *a, struct error *err)
{
    return adapter_check_lora(a, "GGUF", err);
}

int engine_adapter_merge(const struct adapter *a, const struct engine_model *m,
                         const char *type, int fd, struct error *err)
{
    return adapter_merge_fd(a, &m->base->config, m->base->file, type, fd, err);
}

int engine_adapter_to_lora(struct adapter **out, double *relative_error,
                           const struct adapter *a,
                           const struct engine_model *m, uint32_t rank,
                           struct error *err)
{
    return adapter_to_lora(out, relative_error, a, &m->base->config,
                           m->base->file, rank, err);
}

void engine_adapter_destroy(struct adapter *a)
{
    adapter_destroy(a);
}

void engine_adapter_describe(struct engine_adapter_info *out,
                             const struct adapter *a)
{
    uint32_t last = UINT32_MAX;

    *out = (struct engine_adapter_info){
        .alpha = a->scheme.alpha,
        .n_params = adapter_floats(a),
    };
    for (uint32_t i = 0; i < a->n_params; i++) {
        const struct param *p = &a->params[i];
        const uint32_t rank = (uint32_t) p->ne[0];
        if (p->linear < MODEL_LINEARS)
            out->targets |= 1u << p->linear;
        if (p->kind == PARAM_LORA_A && rank > out->rank)
            out->rank = rank;
        out->n_blocks += p->block != last;
        last = p->block;
    }
}

/*
 * Losses.
 */

double engine_loss_mean(const struct engine_loss *l)
{
    return l->n_tokens ? l->nats / (double) l->n_tokens : 0;
}

static void add_loss(struct engine_loss *l, const struct evaluator_sum *sum)
{
    l->nats += sum->nats;
    l->n_tokens += sum->n_targets;
    l->n_records += sum->n_targets > 0;
}

static void collect(struct engine_eval *out, struct engine_loss *each,
                    const struct evaluator_sum *sums,
                    const struct record *records, size_t n_records)
{
    *out = (struct engine_eval){0};
    for (size_t i = 0; i < n_records; i++) {
        add_loss(&out->total, &sums[i]);
        add_loss(&out->kinds[records[i].kind], &sums[i]);
        if (each) {
            each[i] = (struct engine_loss){0};
            add_loss(&each[i], &sums[i]);
        }
    }
}

_Static_assert((int) ENGINE_SUBSET_TRAINED == (int) DATASET_TRAINED &&
                   (int) ENGINE_SUBSET_HELD_OUT == (int) DATASET_HELD_OUT,
               "one is cast to the other");

int engine_evaluate(struct engine_eval *out, struct engine_loss *each,
                    struct engine_model *m, const struct adapter *a,
                    const struct record *records, size_t n_records,
                    enum engine_subset subset, struct error *err)
{
    const uint32_t context = m->base->config.context;
    const uint32_t length =
        context < EVAL_LENGTH_MAX ? context : EVAL_LENGTH_MAX;
    const struct dataset_params data = {
        .records = records,
        .n_records = n_records,
        .subset = (enum dataset_subset) subset,
        .length = length,
        // Every token but a text's first has half a window to go by.
        .overlap = length / 2,
    };
    struct evaluator_sum *sums = calloc(n_records + 1, sizeof *sums);
    struct dataset *d = NULL;
    int rc = -ENOMEM;

    if (!sums) {
        error_set(err, rc, "evaluation: out of memory");
        goto out;
    }
    if ((rc = dataset_create(&d, &m->base->chat, &data, err)) < 0 ||
        (rc = runner_use_adapter(m->runner, a, err)) < 0)
        goto out;
    const struct evaluator_params params = {
        .cache = runner_programs(m->runner),
        .scheme = runner_scheme(m->runner),
        .length = length,
        .rows = length < EVAL_PLACES ? EVAL_PLACES / length : 1,
    };
    if ((rc = evaluator_run(sums, d, &params, err)) < 0)
        goto out;
    collect(out, each, sums, records, n_records);

out:
    dataset_destroy(d);
    free(sums);
    return rc;
}

int engine_score(struct engine_loss *out, struct engine_model *m,
                 const struct adapter *a, const struct record *r,
                 struct error *err)
{
    struct engine_eval eval;
    int rc = engine_evaluate(&eval, NULL, m, a, r, 1, ENGINE_SUBSET_ALL, err);

    if (rc < 0)
        return rc;
    *out = eval.total;
    return 0;
}

/*
 * Times.
 */

// As a table for this device and build.
static int read_times(struct timetable **out, const struct base_model *base,
                      const void *data, size_t bytes, struct error *err)
{
    const struct backend *b = base->backend;
    char build[TIMETABLE_BUILD];

    buildid_get(build, sizeof build);
    return timetables_find(out, data, bytes, b->identify(base->dev), build,
                           b->threads(base->dev), err);
}

int engine_times_use(struct engine_model *m, const void *data, size_t bytes,
                     struct error *err)
{
    uint8_t shape[HASH_BYTES];
    struct timetable *t;
    int rc = read_times(&t, m->base, data, bytes, err);

    if (rc < 0)
        return rc;
    base_model_shape(shape, m->base);
    if (!timetable_has_model(t, shape)) {
        timetable_destroy(t);
        return error_set(err, -ENODATA,
                         "kernel times were not measured with this model yet: "
                         "`pockctl doctor --tune` does it");
    }
    base_model_set_times(m->base, t);
    return 0;
}

int engine_times_save(void **out, size_t *bytes, const struct engine_model *m)
{
    return engine_times_put(out, bytes, m, NULL, 0);
}

int engine_times_put(void **out, size_t *bytes, const struct engine_model *m,
                     const void *others, size_t others_bytes)
{
    return m->base->times ? timetables_put(out, bytes, m->base->times, others,
                                           others_bytes)
                          : -ENOENT;
}

void engine_times_describe(struct engine_times_info *out,
                           const struct engine_model *m)
{
    const struct timetable *t = m->base->times;

    *out = (struct engine_times_info){0};
    if (!t)
        return;
    (void) snprintf(out->device, sizeof out->device, "%s", timetable_device(t));
    out->threads = timetable_threads(t);
    out->n_shapes = timetable_rows(t);
    out->when = timetable_when(t);
    out->wake_us = (double) timetable_wake_ns(t) * 1e-3;
    timetable_winners(out->kernels, sizeof out->kernels, t);
}

int engine_tune(struct engine_tuned *out, struct engine_model *m,
                const struct engine_tune_params *params, struct error *err)
{
    const struct tuner_params p = {
        .recipe = params->recipe,
        .seconds = params->seconds,
        .when = params->when,
        .is_forced = params->is_forced,
    };
    struct engine_tuned tuned = {0};
    struct tuner_result result = {0};
    struct timetable *t = NULL;
    struct error why;
    int rc = recipe_check(params->recipe, &m->base->config, err);

    if (rc < 0)
        return rc;
    if (params->table && (rc = read_times(&t, m->base, params->table,
                                          params->table_bytes, &why)) < 0) {
        if (rc == -ENOMEM)
            return error_set(err, rc, "%s", why.text);
        if (rc != -ENODATA)
            (void) snprintf(tuned.notice, sizeof tuned.notice, "%.250s",
                            why.text);
    }
    if (!t && (rc = tuner_table(&t, m->base, err)) < 0)
        return rc;
    if ((rc = tuner_run(&result, t, m->base, &p, err)) < 0) {
        timetable_destroy(t);
        return rc;
    }
    base_model_set_times(m->base, t);
    tuned.n_shapes = result.n_shapes;
    tuned.n_timed = result.n_timed;
    tuned.n_left = result.n_left;
    tuned.seconds = result.seconds;
    tuned.others = result.others;
    *out = tuned;
    return 0;
}

/*
 * Training.
 */

struct engine_train {
    struct trainer *trainer;
    engine_progress_fn *on_progress;
    void *user;
};

static int make_trainer(struct engine_train *t, struct engine_model *m,
                        const struct engine_train_params *params,
                        struct error *err)
{
    const struct trainer_params p = {
        .recipe = params->recipe,
        .records = params->records,
        .n_records = params->n_records,
        .start = params->start,
        .prefix = params->prefix,
        .is_moved = params->is_moved,
        .watch = params->watch,
    };
    struct timetable *times;
    int rc;

    if (!params->checkpoint)
        return trainer_create(&t->trainer, m->base, &p, err);
    rc = trainer_times(&times, m->base, params->checkpoint,
                       params->checkpoint_bytes, err);
    if (rc < 0)
        return rc;
    struct timetable *before = base_model_swap_times(m->base, times);
    rc = trainer_create(&t->trainer, m->base, &p, err);
    if (rc == 0)
        rc = trainer_restore(t->trainer, params->checkpoint,
                             params->checkpoint_bytes, err);
    // A run that starts over takes the newest.
    if (rc < 0)
        before = base_model_swap_times(m->base, before);
    timetable_destroy(before);
    return rc;
}

int engine_train_create(struct engine_train **out, struct engine_model *m,
                        const struct engine_train_params *params,
                        struct error *err)
{
    struct engine_train *t = calloc(1, sizeof *t);

    if (!t)
        return error_set(err, -ENOMEM, "training: out of memory");
    m->base->chat.loss_on = (enum chat_loss) params->recipe->loss_on;
    int rc = make_trainer(t, m, params, err);
    if (rc < 0) {
        engine_train_destroy(t);
        return rc;
    }
    *out = t;
    return 0;
}

void engine_train_destroy(struct engine_train *t)
{
    if (!t)
        return;
    trainer_destroy(t->trainer);
    free(t);
}

const char *engine_train_notice(struct engine_train *t)
{
    return trainer_notice(t->trainer);
}

static void to_info(struct engine_train_info *out, const struct trainer_info *i)
{
    *out = (struct engine_train_info){
        .n_trained = i->n_trained,
        .n_held_out = i->n_held_out,
        .tokens_trained = i->targets_trained,
        .tokens_held_out = i->targets_held_out,
        .steps_total = i->steps_total,
        .steps_epoch = i->steps_epoch,
        .micro_rows = i->micro_rows,
        .row_length = i->length,
        .arena_bytes = i->arena_bytes,
        .state_bytes = i->state_bytes,
    };
}

void engine_train_describe(struct engine_train_info *out,
                           const struct engine_train *t)
{
    struct trainer_info info;

    trainer_describe(&info, t->trainer);
    to_info(out, &info);
}

int engine_train_plan(struct engine_train_info *out, struct engine_model *m,
                      const struct recipe *r, struct error *err)
{
    struct trainer_info info;
    int rc = trainer_plan(&info, m->base, r, err);

    if (rc == 0)
        to_info(out, &info);
    return rc;
}

static int search(struct scheme_found *f, struct engine_model *m,
                  const struct engine_search_params *params, struct error *err)
{
    const struct recipe *r = params->recipe;
    const uint32_t context = m->base->config.context;
    const struct dataset_params data = {
        .records = params->records,
        .n_records = params->n_records,
        .subset = DATASET_TRAINED,
        .length = r->length < context ? r->length : context,
    };
    struct contribution_params measure = {
        .length = data.length,
        .n_samples = params->n_samples ? params->n_samples : 32,
        .seed = r->seed,
        .precision = (enum precision) r->precision,
    };
    struct contribution *c = NULL;
    struct dataset *d = NULL;

    m->base->chat.loss_on = (enum chat_loss) r->loss_on;
    int rc = dataset_create(&d, &m->base->chat, &data, err);

    measure.data = d;
    if (rc == 0)
        rc = contribution_measure(&c, m->base, &measure, err);
    if (rc == 0) {
        const struct scheme_search_params limits = {
            .contribution = c,
            .alpha = r->alpha,
            .rows = 1,
            .length = data.length,
            .precision = (enum precision) r->precision,
            .tokens = d->n_tokens * r->epochs,
            .memory_bytes =
                params->memory_bytes ? params->memory_bytes : UINT64_MAX,
            .seconds = params->seconds,
        };
        rc = scheme_search(f, m->base, &limits, err);
    }
    free(c);
    dataset_destroy(d);
    return rc;
}

int engine_search(struct engine_found *out, struct engine_model *m,
                  const struct engine_search_params *params, struct error *err)
{
    const uint64_t begin = clock_monotonic_ns();
    struct scheme_found f;
    struct str text = {0};
    int rc = recipe_check(params->recipe, &m->base->config, err);

    if (rc < 0 || (rc = search(&f, m, params, err)) < 0)
        return rc;
    scheme_print(&text, &f.scheme, &m->base->config);
    if (!text.data || text.rc < 0) {
        str_free(&text);
        return error_set(err, -ENOMEM, "scheme search: out of memory");
    }
    *out = (struct engine_found){
        .scheme = text.data,
        .floats = scheme_floats(&f.scheme, &m->base->config),
        .gain = f.gain,
        .arena_bytes = f.arena_bytes,
        .state_bytes = f.state_bytes,
        .n_recomputed = f.n_recomputed,
        .seconds = f.seconds,
        .search_seconds = (double) (clock_monotonic_ns() - begin) * 1e-9,
    };
    return 0;
}

int engine_plan(struct trainplan *out, char **drawing, struct engine_model *m,
                const struct recipe *r, struct error *err)
{
    return trainplan_make(out, drawing, m->base, r, err);
}

_Static_assert((int) ENGINE_TRAIN_COMPLETE == (int) TRAINER_COMPLETE &&
                   (int) ENGINE_TRAIN_CONVERGED == (int) TRAINER_CONVERGED &&
                   (int) ENGINE_TRAIN_DIVERGED == (int) TRAINER_DIVERGED,
               "one is cast to the other");

static void to_progress(struct engine_progress *out,
                        const struct trainer_progress *p)
{
    *out = (struct engine_progress){
        .step = p->step,
        .steps_total = p->steps_total,
        .epoch = p->epoch,
        .rate = p->rate,
        .loss = p->loss,
        .tokens_per_s = p->tokens_per_s,
        .has_held_out = p->has_held_out,
        .held_out_loss = p->held_out_loss,
        .best_loss = p->best_loss,
        .start_loss = p->start_loss,
        .best_step = p->best_step,
        .end = (enum engine_train_end) p->end,
    };
}

static void on_news(void *user, const struct trainer_progress *p)
{
    const struct engine_train *t = user;
    struct engine_progress progress;

    to_progress(&progress, p);
    t->on_progress(t->user, &progress);
}

int engine_train_run(struct engine_train *t, uint64_t steps_max,
                     engine_progress_fn *on_progress, void *user,
                     struct error *err)
{
    t->on_progress = on_progress;
    t->user = user;
    return trainer_run(t->trainer, steps_max, on_progress ? on_news : NULL, t,
                       err);
}

void engine_train_progress(struct engine_progress *out,
                           const struct engine_train *t)
{
    struct trainer_progress p;

    trainer_progress(&p, t->trainer);
    to_progress(out, &p);
}

int engine_train_checkpoint(void **out, size_t *bytes,
                            const struct engine_train *t, struct error *err)
{
    return trainer_save(out, bytes, t->trainer, err);
}

int engine_train_best(struct adapter **out, const struct engine_train *t,
                      struct error *err)
{
    return trainer_best(out, t->trainer, err);
}

/*
 * Generation.
 */

const char *engine_gen_end_name(enum engine_gen_end end)
{
    switch (end) {
    case ENGINE_GEN_STOP:
        return "stop";
    case ENGINE_GEN_LENGTH:
        return "length";
    case ENGINE_GEN_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

static int render_messages(struct token_list *list,
                           const struct engine_model *m,
                           const struct engine_gen_params *p, struct error *err)
{
    struct chat_message *messages;
    int rc = 0;

    if (p->n_messages > MESSAGES_MAX)
        return error_set(err, -E2BIG,
                         "generation: %u messages, but %d are the most",
                         p->n_messages, MESSAGES_MAX);
    messages = calloc(p->n_messages, sizeof *messages);
    if (!messages)
        return error_set(err, -ENOMEM, "generation: out of memory");
    for (uint32_t i = 0; i < p->n_messages && rc == 0; i++) {
        const struct record_text *role = &p->messages[i].role;
        char name[16] = "";
        if (role->bytes < sizeof name)
            memcpy(name, role->data, role->bytes);
        if (chat_role_parse(&messages[i].role, name) < 0)
            rc = error_set(err, -EINVAL,
                           "generation: message %u has the role \"%s\", but it "
                           "must be system, user or assistant",
                           i + 1, name);
        messages[i].text = p->messages[i].content.data;
        messages[i].bytes = p->messages[i].content.bytes;
    }
    if (rc == 0)
        rc = chat_render_prompt(list, &m->base->chat, messages, p->n_messages,
                                err);
    free(messages);
    return rc;
}

_Static_assert((int) ENGINE_GEN_LENGTH == (int) GENERATOR_LENGTH &&
                   (int) ENGINE_GEN_CANCELLED == (int) GENERATOR_CANCELLED,
               "one is cast to the other");

static int check_gen(const struct engine_gen_params *p, struct error *err)
{
    if (!(p->temperature >= 0 && p->temperature <= 100))
        return error_set(err, -EINVAL,
                         "generation: temperature is %g, but must be 0 to 100",
                         (double) p->temperature);
    if (!(p->top_p >= 0 && p->top_p <= 1))
        return error_set(err, -EINVAL,
                         "generation: top_p is %g, but must be 0 to 1",
                         (double) p->top_p);
    return 0;
}

int engine_generate(struct engine_gen_result *out, struct engine_model *m,
                    const struct engine_gen_params *p, struct error *err)
{
    struct token_list list = {0};
    struct generator_result result;
    int rc = check_gen(p, err);

    if (rc < 0)
        return rc;
    if (p->n_messages > 0)
        rc = render_messages(&list, m, p, err);
    else
        rc = chat_render_start(&list, &m->base->chat, p->prompt.data,
                               p->prompt.bytes, err);
    if (rc < 0 || (rc = runner_use_adapter(m->runner, p->adapter, err)) < 0)
        goto out;
    const struct generator_params params = {
        .prompt = list.ids,
        .n_prompt = list.count,
        .sampler = {.temperature = p->temperature,
                    .top_k = p->top_k,
                    .top_p = p->top_p,
                    .seed = p->seed},
        .max_tokens = p->max_tokens ? p->max_tokens : TOKENS_DEFAULT,
        .stops = p->stops,
        .n_stops = p->n_stops,
        .on_text = p->on_text,
        .user = p->user,
    };
    if ((rc = generator_run(&result, m->runner, &params, err)) < 0)
        goto out;
    *out = (struct engine_gen_result){
        .end = (enum engine_gen_end) result.end,
        .prompt_tokens = (uint32_t) list.count,
        .tokens = result.n_tokens,
        .prompt_ns = result.prompt_ns,
        .token_ns = result.token_ns,
    };

out:
    token_list_free(&list);
    return rc;
}
