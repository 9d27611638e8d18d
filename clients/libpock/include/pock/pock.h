/*
 * SPDX-FileCopyrightText: the pockd authors
 * SPDX-License-Identifier: Apache-2.0
 *
 * libpock: talk to pockd, the background fine-tuning daemon
 *
 * A connection is an opaque `struct pock`. It has a file descriptor, and
 * nothing happens on it but inside of pock_dispatch(), so it fits into any
 * event loop: watch pock_fd() for pock_events(), wake up after pock_timeout()
 * at the latest, and call pock_dispatch(p, 0). Programs without a loop use the
 * blocking calls in the second half, or pock_dispatch(p, -1).
 *
 *     struct pock_error err;
 *     struct pock *p;
 *     if (pock_connect(&p, NULL, &err) < 0)
 *         return complain(err.text);
 *     struct pock_record r = {.stream = "notes", .text = "Bees are back."};
 *     if (pock_put(p, &r, 0, NULL, &err) < 0)
 *         complain(err.text);
 *     pock_destroy(p);
 *
 * Errors. Functions return 0 or a negative errno. -EREMOTEIO means that the
 * daemon answered with an error. A `struct pock_error *`, which may be NULL,
 * gets the error's stable code and name and one sentence for a person: what
 * failed: why: what to do. Results are untouched on failure. No function
 * prints, exits, or crashes when memory runs out.
 *
 * Ownership. `const T *` parameters are borrowed for the call. `T **out` is the
 * caller's to destroy with the function that is named for it, which accepts
 * NULL. Pointers that are got from a pock_value live as long as its reply.
 *
 * Strings are UTF-8 and end in NUL; a length that is given beside one is its
 * bytes without the NUL. Times are milliseconds since 1970-01-01 UTC, with 0
 * for "not given"; durations are milliseconds. Losses are nats per token.
 *
 * Threads. The library has no global state, starts no thread and touches no
 * signal: SIGPIPE never comes of it. A connection and what belongs to it may
 * be used by one thread at a time; different connections are independent.
 *
 * Connections that end. The library never connects again by itself. When the
 * daemon goes away, every open request ends with NOT_READY, and from then on
 * each function of this connection returns -ENOTCONN: destroy it and connect
 * again. What only reads may simply be asked again; so may pock_put() and
 * pock_put_many(), as a record's uid makes the daemon take it once: keep the
 * uids of records that you may have to send again. Anything else may have
 * happened or not: look before you repeat it.
 *
 * Versions. Functions and struct members are added at the end of their part,
 * never changed; fill structs with {0} or designated initialisers, as zero
 * always means the default.
 */

#ifndef POCK_POCK_H
#define POCK_POCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define POCK_API __attribute__((visibility("default")))
#else
#define POCK_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define POCK_VERSION_MAJOR 0
#define POCK_VERSION_MINOR 1
#define POCK_VERSION_PATCH 0

/* "0.1.0": of the library that runs, not of this header. */
POCK_API const char *pock_version(void);

/*
 * Errors
 *
 * Codes and names are those of pock-rpc(7) and never change their meaning.
 * What happens on this side is told in the same names: no daemon is NOT_READY,
 * a deadline is TIMEOUT, an answer that cannot be read is PARSE, a lack of
 * memory is INTERNAL.
 */
enum pock_code {
    POCK_ERROR_NONE = 0,
    POCK_ERROR_NOT_READY = 1,
    POCK_ERROR_VERSION = 2,
    POCK_ERROR_DENIED = 3,
    POCK_ERROR_NOT_CONSENTED = 4,
    POCK_ERROR_NOT_FOUND = 5,
    POCK_ERROR_EXISTS = 6,
    POCK_ERROR_CONFLICT = 7,
    POCK_ERROR_QUOTA = 8,
    POCK_ERROR_TOO_LARGE = 9,
    POCK_ERROR_BUSY = 10,
    POCK_ERROR_NO_MODEL = 11,
    POCK_ERROR_NO_ADAPTER = 12,
    POCK_ERROR_CONDITIONS = 13,
    POCK_ERROR_DISK_FULL = 14,
    POCK_ERROR_DB = 15,
    POCK_ERROR_DEVICE = 16,
    POCK_ERROR_TIMEOUT = 17,
    POCK_ERROR_SHUTTING_DOWN = 18,
    POCK_ERROR_ERASED = 19,
    POCK_ERROR_UNSUPPORTED = 20,
    POCK_ERROR_PARSE = -32700,
    POCK_ERROR_INVALID_REQUEST = -32600,
    POCK_ERROR_NO_METHOD = -32601,
    POCK_ERROR_BAD_PARAMS = -32602,
    POCK_ERROR_INTERNAL = -32603,
    POCK_ERROR_CANCELLED = -32800
};

struct pock_error {
    int code;         /* enum pock_code, or one of a newer daemon */
    char name[24];    /* "NOT_FOUND" */
    bool is_local;    /* found on this side, without an answer */
    int64_t retry_ms; /* try again after so long; 0: not said */
    char text[464];   /* one sentence */
};

/*
 * Values
 *
 * What the daemon answered: maps, lists, strings, bytes and numbers. Every
 * getter takes NULL and values of another kind, and then gives its fallback,
 * so look-ups can be chained. What each method answers is in pock-rpc(7).
 */
struct pock_value;

enum pock_kind {
    POCK_KIND_NIL,
    POCK_KIND_BOOL,
    POCK_KIND_INT,
    POCK_KIND_FLOAT,
    POCK_KIND_STR,
    POCK_KIND_BYTES,
    POCK_KIND_LIST,
    POCK_KIND_MAP
};

POCK_API enum pock_kind pock_kind(const struct pock_value *v);
/* Entries of a list or map, bytes of a string; otherwise 0. */
POCK_API size_t pock_count(const struct pock_value *v);
/* The i-th entry of a list or map, or NULL. */
POCK_API const struct pock_value *pock_at(const struct pock_value *v, size_t i);
/* The key of a map's i-th entry, or NULL. */
POCK_API const char *pock_key_at(const struct pock_value *v, size_t i);
/* The value behind a key of a map, or NULL. */
POCK_API const struct pock_value *pock_get(const struct pock_value *map,
                                           const char *key);

POCK_API bool pock_as_bool(const struct pock_value *v, bool fallback);
POCK_API int64_t pock_as_int(const struct pock_value *v, int64_t fallback);
/* Takes an integer too. */
POCK_API double pock_as_float(const struct pock_value *v, double fallback);
POCK_API const char *pock_as_str(const struct pock_value *v,
                                 const char *fallback);
/* Of a string or bytes; NULL and *bytes = 0 for anything else. */
POCK_API const void *pock_as_bytes(const struct pock_value *v, size_t *bytes);

POCK_API bool pock_get_bool(const struct pock_value *map, const char *key,
                            bool fallback);
POCK_API int64_t pock_get_int(const struct pock_value *map, const char *key,
                              int64_t fallback);
POCK_API double pock_get_float(const struct pock_value *map, const char *key,
                               double fallback);
POCK_API const char *pock_get_str(const struct pock_value *map, const char *key,
                                  const char *fallback);

/* An answer that its receiver owns. */
struct pock_reply;

POCK_API const struct pock_value *pock_result(const struct pock_reply *r);
POCK_API void pock_reply_destroy(struct pock_reply *r);

/*
 * Connection
 */
struct pock;

/*
 * Sees each message that goes out or comes in, decoded. `is_incoming` false:
 * it was queued. Do not call anything of this connection in it.
 */
typedef void (*pock_trace_fn)(void *user, bool is_incoming,
                              const struct pock_value *message, size_t bytes);

struct pock_options {
    const char *path;    /* NULL: see pock_connect() */
    const char *client;  /* "name/version" of the program; NULL: "libpock" */
    bool use_fd;         /* take over `fd`, a connected stream socket */
    int fd;              /* owned from here on, also when this fails */
    int timeout_ms;      /* for the greeting; 0: 5,000 */
    pock_trace_fn trace; /* may be NULL */
    void *trace_user;
    /* Who the program is. An app gives its id, as "org.example.Editor", and
     * perhaps what it will ask for, as "train generate" (NULL: all): it has
     * records of its own, and the owner is asked about it. In a sandbox the
     * sandbox's word counts instead. */
    const char *app;
    const char *wants;
    bool as_owner; /* one of the owner's own tools */
};

/*
 * Connect and greet. The socket is `path`, or $POCKD_SOCKET, or the first of
 * /run/pockd/UID/pockd.sock (the system's daemon for this user) and
 * $XDG_RUNTIME_DIR/pockd/pockd.sock (in a session without that directory:
 * pockd/run/pockd.sock in $XDG_DATA_HOME, or in ~/.local/share) that a daemon
 * listens on. Waits at most 5 s for the daemon's greeting.
 */
POCK_API int pock_connect(struct pock **out, const char *path,
                          struct pock_error *err);
POCK_API int pock_connect_with(struct pock **out,
                               const struct pock_options *options,
                               struct pock_error *err);
/* Open requests end with CANCELLED. Not from within a callback. */
POCK_API void pock_destroy(struct pock *p);

/* What the daemon said to the greeting: see hello in pock-rpc(7). */
POCK_API const struct pock_value *pock_hello(const struct pock *p);
/* The socket's path; NULL for a connection made of a descriptor. */
POCK_API const char *pock_path(const struct pock *p);

/* To watch, never to read, write or close. */
POCK_API int pock_fd(const struct pock *p);
/* The events of poll(2) to watch for now: POLLIN, perhaps with POLLOUT. */
POCK_API short pock_events(const struct pock *p);
/* Milliseconds until pock_dispatch() has a deadline to see to; -1: none. */
POCK_API int pock_timeout(const struct pock *p);

/*
 * Send what waits, read what came, call callbacks. Waits up to timeout_ms for
 * something to do: 0 not at all, -1 for ever. Returns how many messages came
 * in, -EINTR when a signal handler ran, -ENOTCONN when the connection has
 * ended, -EPROTO when the daemon sent what cannot be read (it has ended then),
 * -ENOMEM, -EDEADLK from within a callback.
 */
POCK_API int pock_dispatch(struct pock *p, int timeout_ms);

/*
 * Requests
 *
 * A request is created, filled and sent. Setting values cannot fail visibly:
 * the first failure is kept and reported by pock_send(). In a map every value
 * needs its key; in a list `key` is NULL.
 */
struct pock_request;

POCK_API int pock_request_create(struct pock_request **out, struct pock *p,
                                 const char *method);
POCK_API void pock_request_destroy(struct pock_request *r);

POCK_API void pock_set_nil(struct pock_request *r, const char *key);
POCK_API void pock_set_bool(struct pock_request *r, const char *key, bool v);
POCK_API void pock_set_int(struct pock_request *r, const char *key, int64_t v);
POCK_API void pock_set_float(struct pock_request *r, const char *key, double v);
/* NULL: the key is left out. */
POCK_API void pock_set_str(struct pock_request *r, const char *key,
                           const char *text);
POCK_API void pock_set_text(struct pock_request *r, const char *key,
                            const char *text, size_t bytes);
POCK_API void pock_set_bytes(struct pock_request *r, const char *key,
                             const void *data, size_t bytes);
POCK_API void pock_open_map(struct pock_request *r, const char *key);
POCK_API void pock_open_list(struct pock_request *r, const char *key);
/* Ends the innermost map or list. */
POCK_API void pock_close(struct pock_request *r);

/* A part of a streamed answer: {id, seq, kind, ...}. Borrowed for the call. */
typedef void (*pock_item_fn)(void *user, const struct pock_value *item);
/*
 * The end of a request, called exactly once for each that was sent: with its
 * result (a map) and `err` NULL, or with the error and, as `result`, what the
 * error tells a program (a map, as {gates} for CONDITIONS) or NULL. Both are
 * borrowed for the call; pock_take_reply() keeps the result.
 */
typedef void (*pock_reply_fn)(void *user, const struct pock_value *result,
                              const struct pock_error *err);

struct pock_send_options {
    pock_item_fn on_item;   /* not NULL: a streamed answer is asked for */
    pock_reply_fn on_reply; /* NULL: nobody cares */
    void *user;
    int timeout_ms; /* 0: none. The daemon gives up then, and so do we */
    bool has_fd;    /* a descriptor goes along */
    int fd;         /* duplicated; the caller keeps its own */
};

/*
 * Takes `r`, also on failure. *id names the request for pock_cancel(); it may
 * be NULL. -EAGAIN: as many requests are open as the daemon takes, or more
 * than 4 MiB wait to be sent: dispatch first. -E2BIG: larger than a frame.
 * -EINVAL: text that is no UTF-8, or a map or list that is not closed.
 */
POCK_API int pock_send(struct pock_request *r,
                       const struct pock_send_options *options, uint32_t *id);

/*
 * Ask the daemon to end a request. Its on_reply still comes, with CANCELLED,
 * or with the result when that was faster. An unknown id does nothing.
 */
POCK_API int pock_cancel(struct pock *p, uint32_t id);
/* Requests that wait for their answer. */
POCK_API size_t pock_open_requests(const struct pock *p);

/* Inside on_reply: keep the result that it was given. NULL elsewhere. */
POCK_API struct pock_reply *pock_take_reply(struct pock *p);
/* The oldest descriptor that the daemon sent, the caller's to close; or -1. */
POCK_API int pock_take_fd(struct pock *p);

/*
 * Blocking calls
 *
 * They dispatch until their answer is there; callbacks of other requests run
 * meanwhile. timeout_ms 0: for as long as it takes. Signal handlers do not end
 * them: use pock_send() and pock_cancel() for what a user may interrupt.
 * `out` may be NULL when only success matters; results are as in pock-rpc(7).
 */

/* Send and wait. Takes `r`. */
POCK_API int pock_call(struct pock_request *r, int timeout_ms,
                       struct pock_reply **out, struct pock_error *err);

POCK_API int pock_ping(struct pock *p, struct pock_error *err);
POCK_API int pock_server_info(struct pock *p, struct pock_reply **out,
                              struct pock_error *err);
POCK_API int pock_status(struct pock *p, struct pock_reply **out,
                         struct pock_error *err);
POCK_API int pock_why(struct pock *p, struct pock_reply **out,
                      struct pock_error *err);

/* Models. `path` must be absolute: a GGUF file, the first part of a split one,
 * or a directory with config.json, tokenizer.json and safetensors. The files
 * are opened here and handed over, so the daemon need not be able to reach them
 * by name; it keeps a copy of what it cannot, and makes several files into
 * one. `name` may be NULL. */
POCK_API int pock_model_add(struct pock *p, const char *path, const char *name,
                            struct pock_reply **out, struct pock_error *err);
/* The same in parts: what lies at a path is opened here, and handed over before
 * a request model.add or model.convert with `files`. */
struct pock_model_files;
POCK_API int pock_model_files_open(struct pock_model_files **out,
                                   const char *path, struct pock_error *err);
POCK_API size_t pock_model_files_count(const struct pock_model_files *f);
POCK_API const char *pock_model_files_name(const struct pock_model_files *f,
                                           size_t i);
POCK_API int pock_model_files_fd(const struct pock_model_files *f, size_t i);
POCK_API int pock_model_files_send(struct pock *p,
                                   const struct pock_model_files *f,
                                   struct pock_error *err);
POCK_API void pock_model_files_close(struct pock_model_files *f);
POCK_API int pock_model_list(struct pock *p, struct pock_reply **out,
                             struct pock_error *err);
POCK_API int pock_model_show(struct pock *p, const char *name,
                             struct pock_reply **out, struct pock_error *err);
POCK_API int pock_model_remove(struct pock *p, const char *name,
                               struct pock_error *err);

/* Records */
enum { POCK_UID_BYTES = 16 };

struct pock_message {
    const char *role; /* "system", "user" or "assistant" */
    const char *content;
};

/*
 * Exactly one of text, completion (with or without prompt) and messages. All
 * texts of a record together: 256 KiB at most.
 */
struct pock_record {
    const char *stream;          /* [a-z0-9._-]{1,64} */
    int64_t time_ms;             /* when it was written; 0: now */
    uint8_t uid[POCK_UID_BYTES]; /* all zero: a random one */
    const char *text;
    size_t text_bytes; /* 0: up to the NUL; so for all lengths here */
    const char *prompt;
    size_t prompt_bytes;
    const char *completion; /* what is learned of a pair */
    size_t completion_bytes;
    int feedback; /* of a completion that was shown: see below; 0: none */
    const struct pock_message *messages;
    size_t message_count;
    int is_secret; /* not 0: never stored; the daemon only counts it */
};

enum pock_feedback {
    POCK_ACCEPTED = 1, /* the user took it */
    POCK_REJECTED = 2
};

enum pock_put_flags {
    POCK_PUT_CREATE_STREAM = 1 /* make a stream that does not exist yet */
};

struct pock_put_result {
    int64_t id;      /* of the first record; 0: it was not stored */
    size_t added;    /* how many the daemon did not have */
    size_t dropped;  /* how many are not stored: secret, or by its policy */
    size_t redacted; /* card numbers, keys and the like that were masked */
};

/* A new random uid: 0 or a negative errno. */
POCK_API int pock_uid_make(uint8_t uid[POCK_UID_BYTES]);
/* The request for data.put_many, for programs that send it themselves. At most
 * 1024 records and 1 MiB. */
POCK_API int pock_put_request(struct pock_request **out, struct pock *p,
                              const struct pock_record *records, size_t count,
                              unsigned flags);
/* Returns when the records are on disk. All are taken, or none. */
POCK_API int pock_put(struct pock *p, const struct pock_record *record,
                      unsigned flags, struct pock_put_result *out,
                      struct pock_error *err);
POCK_API int pock_put_many(struct pock *p, const struct pock_record *records,
                           size_t count, unsigned flags,
                           struct pock_put_result *out, struct pock_error *err);

/* Which records; all zero: all of them. */
struct pock_filter {
    const char *stream;
    int64_t after_ms;   /* written at this time or later */
    int64_t before_ms;  /* written before this time */
    const int64_t *ids; /* at most 1024 */
    size_t id_count;
};

/* The filter's keys into a request. */
POCK_API void pock_set_filter(struct pock_request *r,
                              const struct pock_filter *filter);
/* A page: `cursor` 0 is the first one, the result's "next" the one after. */
POCK_API int pock_data_list(struct pock *p, const struct pock_filter *filter,
                            int64_t cursor, int limit, struct pock_reply **out,
                            struct pock_error *err);
POCK_API int pock_data_get(struct pock *p, const int64_t *ids, size_t count,
                           struct pock_reply **out, struct pock_error *err);
POCK_API int pock_data_count(struct pock *p, const struct pock_filter *filter,
                             struct pock_reply **out, struct pock_error *err);
/* Writes JSON lines into `fd`. */
POCK_API int pock_data_export(struct pock *p, const struct pock_filter *filter,
                              int fd, struct pock_reply **out,
                              struct pock_error *err);
/* A filter that is all zero erases everything only with `all`. */
POCK_API int pock_data_erase(struct pock *p, const struct pock_filter *filter,
                             bool all, bool dry_run, struct pock_reply **out,
                             struct pock_error *err);

/* Training */
struct pock_train_params {
    const char *adapter; /* NULL: "default" */
    const char *model;   /* NULL: the adapter's, else the default model */
    const char *stream;  /* NULL: all streams */
    int64_t before_ms;   /* only records written before; 0: all */
    bool now;            /* do not wait for idleness, window and budget */
};

POCK_API int pock_train_start(struct pock *p,
                              const struct pock_train_params *params,
                              struct pock_reply **out, struct pock_error *err);
/* job 0: all that are not finished. */
POCK_API int pock_train_status(struct pock *p, int64_t job,
                               struct pock_reply **out, struct pock_error *err);
/* job 0: the one that runs or is next. */
POCK_API int pock_train_cancel(struct pock *p, int64_t job,
                               struct pock_reply **out, struct pock_error *err);
/* job 0: all training. */
POCK_API int pock_train_pause(struct pock *p, int64_t job,
                              struct pock_reply **out, struct pock_error *err);
POCK_API int pock_train_resume(struct pock *p, int64_t job,
                               struct pock_reply **out, struct pock_error *err);
POCK_API int pock_train_history(struct pock *p, int limit,
                                struct pock_reply **out,
                                struct pock_error *err);
/* No training until pock_inhibit_release() or the end of the connection. */
POCK_API int pock_inhibit_acquire(struct pock *p, const char *who,
                                  const char *why, int64_t *token,
                                  struct pock_error *err);
POCK_API int pock_inhibit_release(struct pock *p, int64_t token,
                                  struct pock_error *err);

/* Adapters. `version` 0 is the active one. */
POCK_API int pock_adapter_list(struct pock *p, struct pock_reply **out,
                               struct pock_error *err);
POCK_API int pock_adapter_show(struct pock *p, const char *adapter,
                               int64_t version, struct pock_reply **out,
                               struct pock_error *err);
POCK_API int pock_adapter_activate(struct pock *p, const char *adapter,
                                   int64_t version, bool force,
                                   struct pock_reply **out,
                                   struct pock_error *err);
/* To the version that was active before. */
POCK_API int pock_adapter_rollback(struct pock *p, const char *adapter,
                                   struct pock_reply **out,
                                   struct pock_error *err);
/* `format`: "gguf", "peft-weights" or "peft-config"; NULL: "gguf". Written
 * into `fd` at its position. */
POCK_API int pock_adapter_export(struct pock *p, const char *adapter,
                                 int64_t version, const char *format, int fd,
                                 struct pock_reply **out,
                                 struct pock_error *err);
/* `config` is the text of adapter_config.json for "peft-weights", else NULL. */
POCK_API int pock_adapter_import(struct pock *p, const char *adapter,
                                 const char *format, const char *config, int fd,
                                 struct pock_reply **out,
                                 struct pock_error *err);
/* version 0: the adapter with all its versions. */
POCK_API int pock_adapter_delete(struct pock *p, const char *adapter,
                                 int64_t version, struct pock_reply **out,
                                 struct pock_error *err);

/* Queries */
struct pock_gen_params {
    const char *prompt;                  /* a text to go on with, or */
    const struct pock_message *messages; /* a chat to answer */
    size_t message_count;
    const char *adapter; /* NULL: "default" if it is active; "none": no one */
    int64_t version;     /* 0: the active one */
    const char *model;   /* NULL: the adapter's, else the default model */
    int max_tokens;      /* 0: 256 */
    bool has_temperature;
    double temperature; /* 0: always the likeliest token */
    bool has_top_k;
    int top_k;    /* 0: all */
    double top_p; /* 0: the default, 0.95 */
    bool has_seed;
    int64_t seed;
};

/* The request for gen.start, for programs that send it themselves. */
POCK_API int pock_gen_request(struct pock_request **out, struct pock *p,
                              const struct pock_gen_params *params);

/* A piece of text, whole UTF-8 characters, not terminated. */
typedef void (*pock_text_fn)(void *user, const char *text, size_t bytes);

/* on_text NULL: the text is in the result. */
POCK_API int pock_generate(struct pock *p, const struct pock_gen_params *params,
                           pock_text_fn on_text, void *user,
                           struct pock_reply **out, struct pock_error *err);

struct pock_score_params {
    const char *const *texts;   /* every token counts, or */
    const char *const *prompts; /* with completions: those count, or */
    const char *const *completions;
    size_t count;
    bool heldout;        /* the stored records that are kept aside */
    const char *adapter; /* as in pock_gen_params */
    int64_t version;
    const char *model;
};

POCK_API int pock_score(struct pock *p, const struct pock_score_params *params,
                        struct pock_reply **out, struct pock_error *err);

/* Policy */
struct pock_setting {
    const char *key;
    enum pock_kind kind; /* NIL (back to the default), BOOL, INT, FLOAT, STR */
    bool boolean;
    int64_t integer;
    double number;
    const char *text;
};

/* keys NULL: all of them. */
POCK_API int pock_policy_get(struct pock *p, const char *const *keys,
                             size_t count, struct pock_reply **out,
                             struct pock_error *err);
POCK_API int pock_policy_set(struct pock *p,
                             const struct pock_setting *settings, size_t count,
                             struct pock_reply **out, struct pock_error *err);

/* Stored events with a larger id. To watch: "events.watch" with on_item. */
POCK_API int pock_event_list(struct pock *p, int64_t after, int limit,
                             struct pock_reply **out, struct pock_error *err);

#ifdef __cplusplus
}
#endif

#endif
