// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Engine
 *
 * The only header that a worker needs: a device, a model on it, adapters, and
 * what can be done with them: train, evaluate, score, generate. It does no I/O
 * but on file descriptors that it is given, starts no thread but the device's,
 * and keeps no global state. All calls come from one thread; only the stop flag
 * may be raised from elsewhere.
 *
 * Long calls return -EINTR soon after the stop flag was raised (a few
 * milliseconds), and leave everything usable: lower the flag and call again.
 */

#include "engine/base/hash.h"
#include "engine/train/adapter_arith.h"
#include "engine/train/prefix.h"
#include "engine/train/recipe.h"
#include "engine/train/record.h"
#include "engine/train/trainplan.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct adapter; // engine/train/adapter.h
struct engine;
struct engine_model;
struct engine_train;
struct error;

/*
 * Device
 */

struct engine_params {
    uint32_t threads;          // 0: as many as the process may use
    const char *device;        // as engine/base/devname.h has it; NULL: "cpu"
    const char *tier;          // instruction set of the CPU; NULL: the best
    const atomic_bool *stop;   // borrowed until engine_destroy(); NULL: never
    const atomic_int *manners; // enum manners, as `stop`; NULL: nobody uses it
    uint32_t slice_us;         // a GPU's longest submission; 0: it chooses
    // Where a GPU's driver keeps what it compiled; borrowed until destroy.
    bool has_cache;
    int cache_fd;
};

int engine_create(struct engine **out, const struct engine_params *params,
                  struct error *err);
void engine_destroy(struct engine *e);
const char *engine_describe(const struct engine *e); // "cpu avx2, 2 threads"
// Why it is this device, where "auto" was asked for: a sentence, or "".
const char *engine_why(const struct engine *e);
// "auto" found a GPU that could be used, but for what engine_why() says.
bool engine_was_refused(const struct engine *e);
// Something else that its owner should know of the device, or "".
const char *engine_notice(const struct engine *e);
bool engine_is_cpu(const struct engine *e);
// Of the device's own memory, in use at most so far, in bytes; 0: the host's.
uint64_t engine_peak_bytes(const struct engine *e);

/*
 * Model
 */

enum {
    ENGINE_HASH_BYTES = 32,
    ENGINE_TYPES_MAX = 8,
};

// Maps a GGUF file read-only. The descriptor is borrowed for the call. The
// model borrows `e` until engine_model_close().
int engine_model_open(struct engine_model **out, struct engine *e, int fd,
                      struct error *err);
void engine_model_close(struct engine_model *m);

struct engine_model_info {
    uint8_t hash[ENGINE_HASH_BYTES]; // SHA-256 of the file: its identity
    char name[64];                   // what the file calls itself, or ""
    uint64_t file_bytes;
    uint64_t n_params;
    struct model_config config; // sizes
    struct {
        char name[8]; // "q8_0"
        uint32_t n_tensors;
        uint64_t bytes;
    } types[ENGINE_TYPES_MAX];
    uint32_t n_types;
    bool has_chat; // it knows how to mark who speaks
};

// How conversations are written, in place of what the file says: the name of a
// format, as "chatml", or "none"; "" leaves it.
int engine_model_set_chat(struct engine_model *m, const char *format,
                          struct error *err);

// Can it hold conversations? -ENOTSUP and a sentence that says why not.
int engine_model_check_chat(struct engine_model *m, struct error *err);
const char *engine_model_chat(const struct engine_model *m); // its name

// A record as the model sees it: each token, whether it counts, and its bytes.
struct engine_shown {
    const char *text; // borrowed from the model
    size_t bytes;
    bool counts;
    bool is_special;
};
// malloc'ed. `loss_on` is the recipe's: whose words count.
int engine_show(struct engine_shown **out, size_t *count,
                struct engine_model *m, const struct record *r,
                uint32_t loss_on, struct error *err);

// Reads the whole file the first time, for the hash. engine_model_hash() does
// it before, and says how far it is.
int engine_model_hash(struct engine_model *m, hash_progress_fn progress,
                      void *user, struct error *err);
int engine_model_describe(struct engine_model_info *out, struct engine_model *m,
                          struct error *err);

// The ids of a text, malloc'ed; special tokens are read as plain text.
int engine_tokenize(int32_t **ids, size_t *n_ids, const struct engine_model *m,
                    const char *text, size_t bytes, struct error *err);

// What a token stands for, borrowed from the model; NULL: there is none.
const char *engine_token_piece(const struct engine_model *m, int32_t id,
                               size_t *bytes);

/*
 * Adapters
 */

// A GGUF LoRA, or the two files of a PEFT directory. Checked against the model.
int engine_adapter_load(struct adapter **out, const struct engine_model *m,
                        int fd, struct error *err);
int engine_adapter_load_peft(struct adapter **out, const struct engine_model *m,
                             int config_fd, int tensors_fd, struct error *err);
// Write at the descriptor's position; do not sync or close.
int engine_adapter_save(const struct adapter *a, const struct engine_model *m,
                        int fd, struct error *err);
int engine_adapter_save_peft(const struct adapter *a,
                             const struct engine_model *m, int config_fd,
                             int tensors_fd, struct error *err);
// Is it a plain LoRA, which engine_adapter_save() writes as llama.cpp loads it?
// -ENOTSUP and a sentence that says which formats would do.
int engine_adapter_check_lora(const struct adapter *a, struct error *err);
// What it gives away of any one record it was learned from, at most (see
// engine/train/privacy.h): false where nothing is promised.
bool engine_adapter_privacy(double *epsilon, double *delta,
                            const struct adapter *a);
// The model with the adapter in it, as a file of its own; `type` of the weights
// that change: see engine/train/adapter_merge.h.
int engine_adapter_merge(const struct adapter *a, const struct engine_model *m,
                         const char *type, int fd, struct error *err);
// The weighted sum of plain LoRAs; see engine/train/adapter_arith.h.
int engine_adapter_sum(struct adapter **out, double *left_out,
                       const struct adapter_part *parts, uint32_t n_parts,
                       const struct engine_model *m, uint32_t rank,
                       struct error *err);
// malloc'ed, of *n_linears linears of each block.
int engine_adapter_compare(struct adapter_difference **out, uint32_t *n_blocks,
                           uint32_t *n_linears, const struct adapter *a,
                           const struct adapter *b,
                           const struct engine_model *m, struct error *err);
// What Ollama has to know of the model's conversations; see
// chat_print_ollama().
int engine_model_ollama(char *out, size_t size, const struct engine_model *m);
// The best plain LoRA of this rank, and how much of the adapter it leaves out:
// 0 to 1.
int engine_adapter_to_lora(struct adapter **out, double *relative_error,
                           const struct adapter *a,
                           const struct engine_model *m, uint32_t rank,
                           struct error *err);
void engine_adapter_destroy(struct adapter *a); // accepts NULL

struct engine_adapter_info {
    uint32_t rank; // highest; 0: it has no low-rank tensors
    float alpha;
    uint32_t targets;  // enum lora_target: linears that learn in some block
    uint32_t n_blocks; // in which something learns
    uint64_t n_params; // numbers
};
void engine_adapter_describe(struct engine_adapter_info *out,
                             const struct adapter *a);

/*
 * Losses
 */

struct engine_loss {
    double nats;       // sum over the tokens that count
    uint64_t n_tokens; // that count
    uint32_t n_records;
};
// Nats per token; 0 when there are none. exp() of it is the perplexity.
double engine_loss_mean(const struct engine_loss *l);

enum engine_subset {
    ENGINE_SUBSET_ALL,
    ENGINE_SUBSET_TRAINED,
    ENGINE_SUBSET_HELD_OUT, // record_is_held_out()
};

struct engine_eval {
    struct engine_loss total;
    struct engine_loss kinds[RECORD_KINDS];
};

// Loss of the records of a subset, with an adapter or (NULL) without. `each`
// may be NULL, else has n_records places; those outside the subset are zero.
// No record is shortened: longer ones are read in overlapping windows.
int engine_evaluate(struct engine_eval *out, struct engine_loss *each,
                    struct engine_model *m, const struct adapter *a,
                    const struct record *records, size_t n_records,
                    enum engine_subset subset, struct error *err);

// One record: how surprising it is to the model.
int engine_score(struct engine_loss *out, struct engine_model *m,
                 const struct adapter *a, const struct record *r,
                 struct error *err);

/*
 * Times of kernels on this device, by which programs are placed: which kernel
 * and how many threads each instruction takes. Without any, programs take the
 * best kernel and all threads.
 */

// Tables of one or several devices. -EBADMSG and -ESTALE with a sentence when
// they are damaged, or that of this device is of another build or driver;
// -ENODATA when they know nothing of this device or model. Then as before.
int engine_times_use(struct engine_model *m, const void *data, size_t bytes,
                     struct error *err);
// malloc'ed bytes of what is in use. -ENOENT when nothing is.
int engine_times_save(void **out, size_t *bytes, const struct engine_model *m);
// The same, and behind it what `others`, tables of before, have of other
// devices.
int engine_times_put(void **out, size_t *bytes, const struct engine_model *m,
                     const void *others, size_t others_bytes);

struct engine_times_info {
    char device[128]; // on which they were measured
    uint32_t threads;
    uint32_t n_shapes;
    uint64_t when; // the newest, in seconds since 1970
    double wake_us;
    char kernels[160]; // "avx2 120, c 27": which are the fastest how often
};
void engine_times_describe(struct engine_times_info *out,
                           const struct engine_model *m); // zero: none

struct engine_tune_params {
    const struct recipe *recipe; // of the training programs
    double seconds;              // about as long; 0: 20
    uint64_t when;               // now
    bool is_forced;              // also when the machine is busy
    // A table to go on with; one that cannot be used is made anew.
    const void *table;
    size_t table_bytes;
};

struct engine_tuned {
    uint32_t n_shapes, n_timed, n_left;
    double seconds;
    double others;    // share of the processors that others had
    char notice[256]; // why the table was made anew, or ""
};

// Measures, and uses what was measured. -EAGAIN with a sentence when the
// machine was busy; then nothing has changed.
int engine_tune(struct engine_tuned *out, struct engine_model *m,
                const struct engine_tune_params *params, struct error *err);

/*
 * Training
 */

struct engine_train_params {
    const struct recipe *recipe;
    const struct record *records; // borrowed for the call
    size_t n_records;
    const struct adapter *start; // go on from it; copied. NULL: a new one.
    // What engine_train_checkpoint() gave for the same model, recipe, records
    // and start: the run goes on there. Refused with a sentence when damaged
    // (-EBADMSG) or of something else (-ESTALE).
    const void *checkpoint;
    size_t checkpoint_bytes;
    // Where hidden states of blocks that do not learn may be kept from one
    // epoch, and one run, to the next. The descriptor is borrowed until
    // destroy. NULL: nowhere; the result is the same bytes.
    const struct prefix_file *prefix;
    // The checkpoint may be of another device, whose steps were cut otherwise.
    bool is_moved;
    // Told of the records of each step before it; copied. NULL: nobody looks.
    const struct dataset_watch *watch;
};

// Tokenises, splits, packs, compiles, allocates. Borrows `m` until destroy.
// From then on the words that the recipe's loss_on names count in `m`, also for
// engine_evaluate().
// From a checkpoint the run goes on with the times that it began with, and so
// with the same kernels and bytes, whatever was measured since; `m` has them,
// too. -EMEDIUMTYPE when `start` has other tensors or another scale than the
// recipe.
int engine_train_create(struct engine_train **out, struct engine_model *m,
                        const struct engine_train_params *params,
                        struct error *err);
void engine_train_destroy(struct engine_train *t);

// Something that the owner should know, such as a cache that was damaged: one
// sentence, once; then NULL.
const char *engine_train_notice(struct engine_train *t);

struct engine_train_info {
    uint32_t n_trained, n_held_out; // records
    uint64_t tokens_trained;        // that count, in an epoch
    uint64_t tokens_held_out;
    uint64_t steps_total; // if it does not stop earlier
    uint64_t steps_epoch;
    uint32_t micro_rows, row_length; // largest program
    size_t arena_bytes;              // activations
    size_t state_bytes;              // adapter, optimizer, best adapter
};
void engine_train_describe(struct engine_train_info *out,
                           const struct engine_train *t);

// What a run with this recipe needs, before there are records: compiles, but
// allocates no memory for tensors. Counts and tokens are zero.
int engine_train_plan(struct engine_train_info *out, struct engine_model *m,
                      const struct recipe *r, struct error *err);

/*
 * Which linears should learn, found within some memory and time from gradients
 * on the records themselves; see engine/train/scheme_search.h.
 */

struct engine_search_params {
    const struct recipe *recipe; // alpha, length, epochs, seed
    const struct record *records;
    size_t n_records;
    uint64_t memory_bytes; // arena and adapter state; 0: no limit
    double seconds;        // of the whole training; 0: no limit
    uint32_t n_samples;    // backward passes; 0: 32
};

struct engine_found {
    char *scheme;    // JSON for the recipe's "scheme"; free() it
    uint64_t floats; // that learn
    double gain;     // of what all linears with high ranks would gain
    uint64_t arena_bytes, state_bytes; // with one row in a micro-batch
    uint32_t n_recomputed;             // instructions that run twice
    double seconds;                    // predicted, of the whole training
    double search_seconds;             // what finding it took
};

// -ENOSPC when nothing fits, with a sentence that says what would.
int engine_search(struct engine_found *out, struct engine_model *m,
                  const struct engine_search_params *params, struct error *err);

// The same at length, for people. `drawing` may be NULL, else gets the arena
// over time as SVG; free() it.
int engine_plan(struct trainplan *out, char **drawing, struct engine_model *m,
                const struct recipe *r, struct error *err);

enum engine_train_end {
    ENGINE_TRAIN_GOING,
    ENGINE_TRAIN_COMPLETE,  // all epochs
    ENGINE_TRAIN_CONVERGED, // held-out loss no longer improves
    ENGINE_TRAIN_DIVERGED,  // loss is not a number; the best so far is kept
};

struct engine_progress {
    uint64_t step; // steps done
    uint64_t steps_total;
    double epoch; // epochs done
    float rate;   // learning rate of this step
    double loss;  // of this step, nats per token
    double tokens_per_s;
    bool has_held_out;    // this step was followed by an evaluation
    double held_out_loss; // newest evaluation; NAN before the first
    double best_loss;     // best held-out loss; NAN without held-out records
    double start_loss;    // held-out loss before the first step
    uint64_t best_step;
    enum engine_train_end end;
};
typedef void engine_progress_fn(void *user, const struct engine_progress *p);

// Run until the end, or `steps_max` more steps (0: no limit). Returns 1 when
// there is more to do, 0 at the end, -EINTR when stopped. A step that was cut
// off is done again next time, with the same result. on_progress (may be NULL)
// is called after each step and may take a checkpoint.
int engine_train_run(struct engine_train *t, uint64_t steps_max,
                     engine_progress_fn *on_progress, void *user,
                     struct error *err);
void engine_train_progress(struct engine_progress *out,
                           const struct engine_train *t);

// All that is needed to go on with the same bytes, malloc'ed.
int engine_train_checkpoint(void **out, size_t *bytes,
                            const struct engine_train *t, struct error *err);
// The adapter with the lowest held-out loss so far, or the newest one when
// nothing is held out. Caller destroys it with engine_adapter_destroy().
int engine_train_best(struct adapter **out, const struct engine_train *t,
                      struct error *err);

/*
 * Generation
 */

enum engine_gen_end {
    ENGINE_GEN_STOP,      // the model ended, or a stop string came up
    ENGINE_GEN_LENGTH,    // max_tokens, or the context is full
    ENGINE_GEN_CANCELLED, // the callback said so
};
const char *engine_gen_end_name(enum engine_gen_end end); // "stop", ...

struct engine_gen_params {
    struct record_text prompt;             // a text to go on with, or
    const struct record_message *messages; // a chat to answer
    uint32_t n_messages;
    const struct adapter *adapter; // NULL: the base model
    float temperature;             // 0: always the most likely token
    uint32_t top_k;                // 0: all
    float top_p;                   // 0 or 1: all
    uint64_t seed;
    uint32_t max_tokens;      // 0: as many as fit, but not over 4096
    const char *const *stops; // the text ends before the first of these
    uint32_t n_stops;
    // Gets whole UTF-8 characters; other than 0 cancels. May be NULL.
    int (*on_text)(void *user, const char *text, size_t bytes);
    void *user;
};

struct engine_gen_result {
    enum engine_gen_end end;
    uint32_t prompt_tokens;
    uint32_t tokens; // made
    uint64_t prompt_ns;
    uint64_t token_ns; // all of them
};

// -E2BIG when the prompt does not fit the context. The same parameters give
// the same text. Key-value caches stay for the next call.
int engine_generate(struct engine_gen_result *out, struct engine_model *m,
                    const struct engine_gen_params *params, struct error *err);
