// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * What every command of pockctl works with
 *
 * Commands return exit statuses. A function here that can fail has already
 * said so on standard error when it returns another status than 0; the command
 * passes the status on. Data goes to standard output, everything else to
 * standard error.
 */

#include "clients/pockctl/cmdline.h"
#include "clients/pockctl/out_table.h"
#include "clients/pockctl/out_time.h"
#include "clients/pockctl/term.h"

#include <pock/pock.h>

// What exit statuses mean; pockctl(1) has the table. Errors of the daemon map
// to theirs in ipc/errors.def.
enum ctl_status {
    CTL_OK = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2,
    CTL_NOT_RUNNING = 3,
    CTL_NOT_FOUND = 5,
    CTL_BLOCKED = 10,
    CTL_DEGRADED = 11,
    CTL_UNHEALTHY = 12,
    CTL_INTERRUPTED = 130,
};

struct ctl {
    struct cmdline line;
    struct term out;
    struct term err;
    struct pock *pock; // NULL until ctl_connect()
    bool json;
    bool quiet;
    bool utc;
    bool header;
    int timeout_ms; // for each request; 0: none
};

// The start: global options. The end: closes the connection, and turns a
// failure to write standard output into status 1.
int ctl_init(struct ctl *c, const struct cmdline *line);
int ctl_finish(struct ctl *c, int status);

// "pockctl: " and the sentence; returns `status`.
int ctl_fail(const struct ctl *c, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int ctl_fail_errno(const struct ctl *c, int rc, const char *what);
int ctl_fail_pock(const struct ctl *c, const struct pock_error *err);
int ctl_no_memory(const struct ctl *c);
// A remark on standard error, unless --quiet.
void ctl_remark(const struct ctl *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

// Connects once. With `quietly` a missing daemon is only told by the status.
int ctl_connect(struct ctl *c);
int ctl_try_connect(struct ctl *c, struct pock_error *err);

// A request to c->pock, connecting if need be.
int ctl_request(struct ctl *c, struct pock_request **r, const char *method);

struct ctl_call {
    pock_item_fn on_item; // NULL: not streamed
    void *user;
    bool has_fd;
    int fd;
    // Called with the error's data (gates, for example) before it is told;
    // true: it has told everything, and the error is not printed.
    bool (*on_error)(struct ctl *c, const struct pock_error *err,
                     const struct pock_value *data);
};

// Send `r`, which is taken, and wait. Ctrl-C cancels the request and gives 130;
// a second one does not wait for the answer. `how` may be NULL. The reply is
// the caller's; untouched unless 0 is returned.
int ctl_send(struct ctl *c, struct pock_request *r, const struct ctl_call *how,
             struct pock_reply **out);
// A request without parameters, or with one string when `key` is not NULL.
int ctl_ask(struct ctl *c, const char *method, const char *key,
            const char *value, struct pock_reply **out);
// Wait until at most `count` requests are open: for pipelines. 130 on Ctrl-C,
// 3 when the connection ended.
int ctl_wait_open(struct ctl *c, size_t count);

// Print and destroy a table.
int ctl_table(struct ctl *c, struct out_table *t);
int ctl_json(struct ctl *c, const struct pock_value *map);
// A time in the manner that was asked for; "-" for 0.
const char *ctl_time(const struct ctl *c, char buffer[OUT_TIME_BYTES],
                     int64_t ms);

// A cell: how long ago, for people; when, for programs.
void ctl_since(const struct ctl *c, struct out_table *t, int64_t ms);
// A program of pockd's: installed, beside this one, or in `dir` of the build.
bool ctl_find_program(char *path, size_t bytes, const char *name,
                      const char *dir);

// "?" on the terminal; false without an answer, and with a reason when there is
// nobody to ask. --yes answers.
int ctl_confirm(struct ctl *c, const char *question);

// The bounds that --since and --until name: 0 or the status 2. Zero where not
// given; *before is the first millisecond past --until.
int ctl_bounds(struct ctl *c, int64_t *after, int64_t *before);
int ctl_int_flag(struct ctl *c, enum flag flag, int64_t min, int64_t max,
                 int64_t *out);
int ctl_float_flag(struct ctl *c, enum flag flag, double min, double max,
                   double *out);

// "2", "default:2", "default", "active" (and "none" where it may be): name and
// version, 0 for the active one.
struct ctl_adapter {
    char name[72];
    int64_t version;
};
int ctl_adapter_ref(struct ctl *c, const char *text, struct ctl_adapter *out);

#define COMMAND(function, ...) int cmd_##function(struct ctl *c);
#include "clients/pockctl/commands.def"
#undef COMMAND

// What --recipe, --method and --queries say, as the parameter `recipe`:
// "rank=16,lr=0.002": integers and floats as such, lists with "+" between.
int ctl_set_recipe(struct ctl *c, struct pock_request *r);

// `pockctl data show --mask`.
int ctl_mask(struct ctl *c);

// `pockctl adapter show --lineage`, `pockctl data show RECORD --used-by`.
int ctl_lineage(struct ctl *c);
int ctl_used_by(struct ctl *c, int64_t id);
// The version's signed manifest, into PATH.manifest.json, without its .gguf.
int ctl_write_manifest(struct ctl *c, const struct ctl_adapter *ref,
                       const char *path);
// `pockctl adapter show --journal`.
int ctl_journal(struct ctl *c);

// `pockctl` alone: a page that fits on a screen.
int ctl_overview(struct ctl *c);

// `pockctl plan --search`.
int ctl_search(struct ctl *c);

// 15.7 M, 1.1 G: what people call the size of a model.
void ctl_model_count(char out[OUT_TIME_BYTES], int64_t n);
// Its chat format, or how to name one.
void ctl_tell_chat(struct ctl *c, const struct pock_value *model);
// "q8_0 16.1 MiB in 57 tensors, f32 27 KiB in 17", of a list of weight_type.
void ctl_model_types(struct str *out, const struct pock_value *types);

// A map as two columns: its keys, and its values as people read them; times
// and sizes are known by their keys.
int ctl_show(struct ctl *c, const struct pock_value *map);

// A file that the daemon writes: a part file beside `path` that gets its name
// when all went well, or ("-") a copy to standard output at the end.
struct ctl_output {
    const char *path;
    char *partial;
    int fd;
};
int ctl_output_open(struct ctl *c, const char *path, struct ctl_output *o);
int ctl_output_close(struct ctl *c, struct ctl_output *o, int status);

// All of a file as one string, without a limit broken.
int ctl_read_all(struct ctl *c, FILE *f, const char *name, size_t limit,
                 struct str *out);
// What --adapter names: *name NULL for the default. `ref` holds the string.
int ctl_adapter_flag(struct ctl *c, struct ctl_adapter *ref, const char **name,
                     int64_t *version);
