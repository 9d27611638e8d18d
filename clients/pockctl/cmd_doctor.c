// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/doctor.h"
#include "clients/pockctl/out_json.h"
#include "engine/base/clock.h"
#include "engine/base/cpuinfo.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <unistd.h>

static const char *const level_names[] = {
    [LEVEL_OK] = "ok",
    [LEVEL_NOTE] = "note",
    [LEVEL_WARN] = "warn",
    [LEVEL_FAIL] = "fail",
};

static const double TUNE_SECONDS = 20; // what pockd takes by default

void doctor_unknown(struct finding *f)
{
    f->level = LEVEL_NOTE;
    SEEN(f, "unknown: the daemon did not say");
}

void check_socket(const struct patient *p, struct finding *f)
{
    if (!p->info) {
        f->level = LEVEL_FAIL;
        SEEN(f, "%s", p->no_daemon.text); // which says what to do
        return;
    }
    SEEN(f, "pid %" PRId64 ", %s mode, on %s", pock_get_int(p->info, "pid", 0),
         pock_get_str(p->info, "mode", "?"), pock_path(p->ctl->pock));
}

void check_version(const struct patient *p, struct finding *f)
{
    const char *version = pock_get_str(p->info, "version", "");

    SEEN(f, "pockctl %s, libpock %s, pockd %s", POCK_VERSION, pock_version(),
         *version ? version : "unknown");
    if (*version && (strcmp(version, POCK_VERSION) != 0 ||
                     strcmp(pock_version(), POCK_VERSION) != 0)) {
        f->level = LEVEL_WARN;
        FIX(f,
            "restart pockd after an update: `systemctl restart 'pockd@*.service'`");
    }
}

void check_problems(const struct patient *p, struct finding *f)
{
    const struct pock_value *problems = pock_get(p->status, "problems");

    if (!p->status) {
        doctor_unknown(f);
    } else if (pock_count(problems) == 0) {
        SEEN(f, "%s: %s", pock_get_str(p->status, "state", "?"),
             pock_get_str(p->status, "line", ""));
    } else {
        f->level = LEVEL_FAIL;
        SEEN(f, "%s", pock_as_str(pock_at(problems, 0), "?"));
        if (pock_count(problems) > 1)
            FIX(f, "and %zu more: see `pockctl status`",
                pock_count(problems) - 1);
    }
}

void check_apps(const struct patient *p, struct finding *f)
{
    int64_t pending = pock_get_int(p->status, "apps_pending", 0);

    if (!p->status) {
        doctor_unknown(f);
    } else if (pock_get_bool(p->status, "off", false)) {
        f->level = LEVEL_NOTE;
        SEEN(f, "switched off: nothing is taken in, and nothing trains");
        FIX(f, "`pockctl on` opens it again");
    } else if (pending > 0) {
        f->level = LEVEL_NOTE;
        SEEN(f, "%" PRId64 " wait%s for an answer", pending,
             pending == 1 ? "s" : "");
        FIX(f, "`pockctl apps` shows, `pockctl grant` and `pockctl revoke` "
               "answer");
    } else {
        SEEN(f, "none waits for an answer");
    }
}

void check_store(const struct patient *p, struct finding *f)
{
    char size[OUT_TIME_BYTES];

    if (!p->info || !p->status) {
        doctor_unknown(f);
        return;
    }
    out_bytes_format(size, pock_get_int(p->status, "store_bytes", 0));
    if (p->check && !pock_get_bool(p->check, "ok", false)) {
        f->level = LEVEL_FAIL;
        SEEN(f, "%s", pock_get_str(p->check, "text", "it is damaged"));
        FIX(f, "`pockctl data export` what can be read, then restart pockd: it "
               "moves a damaged store aside");
        return;
    }
    SEEN(f, "%s, schema %" PRId64 ", %" PRId64 " records, %s",
         pock_get_str(p->info, "state_dir", "?"),
         pock_get_int(p->info, "schema", 0),
         pock_get_int(p->status, "records", 0), size);
    const size_t n = strlen(f->seen);
    if (p->check)
        snprintf(f->seen + n, sizeof(f->seen) - n,
                 "; read and found sound in %" PRId64 " ms",
                 pock_get_int(p->check, "ms", 0));
}

// What `pockctl import` of another pockd is told to trust.
void check_identity(const struct patient *p, struct finding *f)
{
    if (!p->info)
        doctor_unknown(f);
    else
        SEEN(f, "Ed25519 %s", pock_get_str(p->info, "key", "?"));
}

// Where pockd looks too. Beside the daemon it cannot be seen from here: other
// processes may not look at that one.
static bool find_worker(char *path, size_t bytes)
{
    const char *named = getenv("POCKD_WORKER");

    if (named && *named) {
        snprintf(path, bytes, "%s", named);
        if (access(path, X_OK) == 0)
            return true;
    }
    return ctl_find_program(path, bytes, "pock-worker", "daemon/worker");
}

void check_worker(const struct patient *p, struct finding *f)
{
    char path[512];
    char version[128] = "";

    (void) p;
    if (find_worker(path, sizeof(path))) {
        const char *argv[] = {path, "--version", NULL};
        const int rc = doctor_capture(version, sizeof(version), argv);
        version[strcspn(version, "\n")] = '\0';
        SEEN(f, "%s, %s", path, rc == 0 ? version : "which does not run");
        if (rc == 0 && strcmp(version, "pock-worker " POCK_VERSION) == 0)
            return;
        f->level = rc == 0 ? LEVEL_WARN : LEVEL_FAIL;
        FIX(f,
            "install pockctl " POCK_VERSION " and pock-worker together, then "
            "restart pockd");
        return;
    }
    f->level = LEVEL_WARN;
    SEEN(f, "there is no %s", path);
    FIX(f, "install it, unless pockd was told of another; without it nothing "
           "trains or answers");
}

// The Seccomp and NoNewPrivs lines of a process's status.
static int status_number(int64_t pid, const char *key)
{
    char path[64];
    char line[256];
    int value = -1;

    snprintf(path, sizeof(path), "/proc/%" PRId64 "/status", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return -1;
    while (value < 0 && fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
            value = (int) strtol(line + strlen(key) + 1, NULL, 10);
    fclose(f);
    return value;
}

void check_sandbox(const struct patient *p, struct finding *f)
{
    int64_t pid = pock_get_int(p->info, "pid", 0);
    int seccomp = pid > 0 ? status_number(pid, "Seccomp") : -1;
    int no_new = pid > 0 ? status_number(pid, "NoNewPrivs") : -1;

    if (seccomp < 0) {
        doctor_unknown(f);
        return;
    }
    SEEN(f, "system call filter %s, no new privileges %s",
         seccomp == 2 ? "on" : "off", no_new == 1 ? "on" : "off");
    if (seccomp == 2 && no_new == 1)
        return;
    f->level = LEVEL_WARN;
    FIX(f,
        "run it as the system's service, whose unit has the sandbox: `sudo "
        "systemctl enable --now pockd@%ld.socket`",
        (long) geteuid());
}

void check_key(const struct patient *p, struct finding *f)
{
    const char *file = pock_get_str(p->key, "file", NULL);

    if (!p->key) {
        doctor_unknown(f);
        return;
    }
    if (!file) {
        SEEN(f, "records and adapters are sealed; the key is %s",
             strcmp(pock_get_str(p->key, "source", ""), "secret-service") == 0
                 ? "in the Secret Service of the session"
                 : "a credential of systemd");
        return;
    }
    SEEN(f, "records and adapters are sealed; the key is %s%s", file,
         pock_get_bool(p->key, "beside", false) ? ", beside what it seals"
                                                : "");
    f->level = LEVEL_NOTE;
    const bool is_user = strcmp(pock_get_str(p->info, "mode", ""), "user") == 0;
    FIX(f,
        "whoever copies the whole disk has both: %sbind the key to this "
        "machine (systemd-creds encrypt, LoadCredential=pockd.key), or keep "
        "the disk encrypted (LUKS, fscrypt)",
        is_user ? "put the key into the keyring of the session (`pockctl key "
                  "rotate --to secret-service`), "
                : "");
}

void check_cpu(const struct patient *p, struct finding *f)
{
    static const struct {
        unsigned flag;
        const char *name;
    } tiers[] = {
        {CPUINFO_AVX512BF16, "AVX-512 with bf16"},
        {CPUINFO_AVX512, "AVX-512"},
        {CPUINFO_AVX2, "AVX2"},
        {CPUINFO_NEONBF16, "NEON with bf16"},
        {CPUINFO_NEONDOT, "NEON with products of bytes"},
        {CPUINFO_NEON, "NEON"},
    };
    const unsigned flags = cpuinfo_detect();
    const char *tier = "plain C";

    for (size_t i = 0; i < sizeof(tiers) / sizeof(tiers[0]); i++)
        if (flags & tiers[i].flag) {
            tier = tiers[i].name;
            break;
        }
    SEEN(f, "%s, %u threads", tier, cpuinfo_usable());
    if (p->status) {
        size_t n = strlen(f->seen);
        snprintf(f->seen + n, sizeof(f->seen) - n,
                 "; a worker uses %" PRId64 " on %s",
                 pock_get_int(p->status, "threads", 0),
                 pock_get_str(p->status, "device", "?"));
    }
    if (!(flags & (CPUINFO_AVX2 | CPUINFO_AVX512 | CPUINFO_NEON))) {
        f->level = LEVEL_WARN;
        FIX(f, "no vector unit that is known: training works and is slow");
    }
}

static void add_device(struct finding *f, const struct pock_value *d)
{
    const char *name = pock_get_str(d, "name", "?");
    const char *text = pock_get_str(d, "text", "?");
    const char *fault = pock_get_str(d, "fault", "");
    const bool is_player =
        pock_get_bool(d, "is_cpu", false) && strcmp(name, "cpu") != 0;
    const size_t n = strlen(f->seen);
    char rates[80] = "";

    if (pock_get(d, "gflops"))
        snprintf(rates, sizeof(rates), " (%.3g GFLOP/s, %.3g GB/s)",
                 pock_get_float(d, "gflops", 0),
                 pock_get_float(d, "gbytes_s", 0));
    if (*fault)
        snprintf(f->seen + n, sizeof(f->seen) - n, "%s%s: %.200s",
                 n ? "; " : "", name, fault);
    else
        snprintf(f->seen + n, sizeof(f->seen) - n, "%s%s%s%.120s%s%s",
                 n ? "; " : "", strcmp(name, "cpu") == 0 ? "" : name,
                 strcmp(name, "cpu") == 0 ? "" : ", ", text, rates,
                 is_player ? ", a CPU that plays a GPU, used when asked for"
                           : "");
}

void check_devices(const struct patient *p, struct finding *f)
{
    const struct pock_value *list = pock_get(p->devices, "devices");
    const char *none = pock_get_str(p->devices, "none", "");
    const char *why = pock_get_str(p->devices, "why", "");

    if (!p->devices) {
        doctor_unknown(f);
        return;
    }
    for (size_t i = 0; i < pock_count(list); i++) {
        add_device(f, pock_at(list, i));
        if (!pock_get_bool(pock_at(list, i), "usable", true))
            f->level = LEVEL_NOTE;
    }
    const size_t n = strlen(f->seen);
    snprintf(f->seen + n, sizeof(f->seen) - n, "%s%s; used: %s%s%s",
             *none ? "; " : "", none, pock_get_str(p->devices, "chosen", "?"),
             *why ? ", since " : "", why);
    if (f->level == LEVEL_NOTE)
        FIX(f, "`pockctl policy set device=NAME` chooses another; a GPU that "
               "computes wrongly may need a newer driver");
}

void check_times(const struct patient *p, struct finding *f)
{
    static const char tune[] = "`pockctl doctor --tune` times them; until then "
                               "the best kernel and all threads are taken";
    char age[OUT_TIME_BYTES];

    if (!p->times) {
        doctor_unknown(f);
        if (p->models && pock_count(p->models) == 0)
            SEEN(f, "none: there is no base model whose kernels to time");
        return;
    }
    if (!pock_get_bool(p->times, "used", false)) {
        f->level = LEVEL_NOTE;
        SEEN(f, "none in use: %s", pock_get_str(p->times, "text", "?"));
        FIX(f, "%s", tune);
        return;
    }
    out_duration_format(age,
                        clock_unix_ms() - pock_get_int(p->times, "time", 0));
    SEEN(f,
         "%" PRId64 " shapes timed %s ago on %s, up to %" PRId64
         " thread(s); the fastest: %s",
         pock_get_int(p->times, "shapes", 0), age,
         pock_get_str(p->times, "device", "?"),
         pock_get_int(p->times, "threads", 0),
         pock_get_str(p->times, "kernels", "?"));
}

static int64_t available_memory(void)
{
    char line[256];
    int64_t kib = -1;
    FILE *f = fopen("/proc/meminfo", "re");

    while (f && kib < 0 && fgets(line, sizeof(line), f))
        if (strncmp(line, "MemAvailable:", 13) == 0)
            kib = strtoll(line + 13, NULL, 10);
    if (f)
        fclose(f);
    return kib < 0 ? -1 : kib * 1024;
}

void check_memory(const struct patient *p, struct finding *f)
{
    char text[OUT_TIME_BYTES];
    int64_t bytes = available_memory();

    (void) p;
    if (bytes < 0) {
        doctor_unknown(f);
        return;
    }
    out_bytes_format(text, bytes);
    SEEN(f, "%s available", text);
    if (bytes < INT64_C(300) << 20) {
        f->level = LEVEL_WARN;
        FIX(f, "training waits until there is more: close something");
    }
}

void check_disk(const struct patient *p, struct finding *f)
{
    char text[OUT_TIME_BYTES];
    int64_t bytes = pock_get_int(p->status, "free_bytes", -1);

    if (bytes < 0) {
        doctor_unknown(f);
        return;
    }
    out_bytes_format(text, bytes);
    SEEN(f, "%s free where the store lies", text);
    if (bytes < INT64_C(64) << 20) {
        f->level = LEVEL_FAIL;
        FIX(f, "make room: records cannot be taken in soon");
    } else if (bytes < INT64_C(1) << 30) {
        f->level = LEVEL_WARN;
        FIX(f, "training waits for 1 GiB of room");
    }
}

void check_model(const struct patient *p, struct finding *f)
{
    size_t count = pock_count(p->models);

    if (!p->models) {
        doctor_unknown(f);
        return;
    }
    if (count == 0) {
        f->level = LEVEL_WARN;
        SEEN(f, "none: nothing can be trained or asked");
        FIX(f, "add one: `pockctl model add FILE.gguf`");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const struct pock_value *m = pock_at(p->models, i);
        const char *state = pock_get_str(m, "state", "?");
        if (strcmp(state, "ready") == 0)
            continue;
        f->level = LEVEL_FAIL;
        SEEN(f, "%s is %s: %s", pock_get_str(m, "name", "?"), state,
             pock_get_str(m, "path", "?"));
        FIX(f, "put the file back, or `pockctl model rm` and add it again");
        return;
    }
    SEEN(f, "%zu, all as they were added", count);
}

void check_gates(const struct patient *p, struct finding *f)
{
    const struct pock_value *gates = pock_get(p->why, "gates");
    struct str known = {.limit = 240};
    struct str missing = {.limit = 240};

    if (!p->why) {
        doctor_unknown(f);
        return;
    }
    for (size_t i = 0; i < pock_count(gates); i++) {
        const struct pock_value *g = pock_at(gates, i);
        bool none = strcmp(pock_get_str(g, "source", "none"), "none") == 0;
        struct str *s = none ? &missing : &known;
        str_printf(s, "%s%s", s->bytes ? " " : "",
                   pock_get_str(g, "gate", "?"));
    }
    SEEN(f, "known here: %s", known.data ? known.data : "none");
    if (missing.bytes > 0) {
        f->level = LEVEL_NOTE;
        FIX(f, "not known on this machine: %s", missing.data);
    }
    str_free(&known);
    str_free(&missing);
}

void check_clock(const struct patient *p, struct finding *f)
{
    char text[OUT_TIME_BYTES];
    int64_t now = clock_unix_ms();

    struct timex t = {0};
    const bool is_set = adjtimex(&t) >= 0 && !(t.status & STA_UNSYNC);
    SEEN(f, "%s%s", ctl_time(p->ctl, text, now),
         is_set ? ", kept by the network's time" : ", kept by nobody");
    if (!is_set) {
        f->level = LEVEL_NOTE;
        FIX(f, "a clock that drifts shifts windows and ages of records: "
               "systemd-timesyncd or chrony keeps it");
    }
    // 2025-01-01: before this program was written.
    if (now < INT64_C(1735689600000)) {
        f->level = LEVEL_FAIL;
        FIX(f, "set the clock: records without a date would get a wrong one");
    }
}

static const struct {
    const char *title;
    void (*run)(const struct patient *p, struct finding *f);
} checks[] = {
#define CHECK(function, title) {title, check_##function},
#include "clients/pockctl/doctor.def"
#undef CHECK
};

enum { CHECK_COUNT = sizeof(checks) / sizeof(checks[0]) };

static int print_json(struct ctl *c, const struct finding *findings, bool ok)
{
    struct str s = {0};

    str_printf(&s, "{\"schema\":%d,\"ok\":%s,\"checks\":[", OUT_JSON_SCHEMA,
               ok ? "true" : "false");
    for (size_t i = 0; i < CHECK_COUNT; i++) {
        const struct finding *f = &findings[i];
        str_printf(&s, "%s{\"check\":\"%s\",\"level\":\"%s\",\"seen\":",
                   i ? "," : "", checks[i].title, level_names[f->level]);
        str_json(&s, f->seen, strlen(f->seen));
        str_puts(&s, ",\"fix\":");
        str_json(&s, f->fix, strlen(f->fix));
        str_putc(&s, '}');
    }
    str_puts(&s, "]}\n");
    int rc = str_finish(&s);
    if (rc == 0)
        (void) fwrite(s.data, 1, s.bytes, stdout);
    str_free(&s);
    return rc < 0 ? ctl_no_memory(c) : CTL_OK;
}

static int print_findings(struct ctl *c, const struct finding *findings)
{
    static const struct out_column columns[] = {{"LEVEL", false, false},
                                                {"CHECK", false, false},
                                                {"SEEN", false, OUT_WRAPS}};
    static const enum term_style styles[] = {
        [LEVEL_OK] = TERM_GOOD,
        [LEVEL_NOTE] = TERM_PLAIN,
        [LEVEL_WARN] = TERM_WARN,
        [LEVEL_FAIL] = TERM_BAD,
    };
    struct out_table *t;

    if (out_table_create(&t, columns, 3) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < CHECK_COUNT; i++) {
        const struct finding *f = &findings[i];
        out_table_text(t, level_names[f->level]);
        out_table_style(t, styles[f->level]);
        out_table_text(t, checks[i].title);
        out_table_text(t, f->seen);
        if (!f->fix[0])
            continue;
        out_table_text(t, "");
        out_table_text(t, "");
        out_table_cell(t, "-> %s", f->fix);
    }
    return ctl_table(c, t);
}

static void ask(struct patient *p, struct pock_reply **replies)
{
    struct pock_error err;

    if (ctl_try_connect(p->ctl, &p->no_daemon) < 0)
        return;
    struct pock *pock = p->ctl->pock;
    if (pock_server_info(pock, &replies[0], &p->no_daemon) == 0)
        p->info = pock_result(replies[0]);
    if (pock_status(pock, &replies[1], &err) == 0)
        p->status = pock_result(replies[1]);
    if (pock_why(pock, &replies[2], &err) == 0)
        p->why = pock_result(replies[2]);
    if (pock_model_list(pock, &replies[3], &err) == 0)
        p->models = pock_get(pock_result(replies[3]), "models");
    struct pock_request *r;
    if (p->info && pock_request_create(&r, pock, "store.check") == 0 &&
        pock_call(r, 120000, &replies[6], &err) == 0)
        p->check = pock_result(replies[6]);
}

/*
 * --tune
 */

static int tune_model(struct ctl *c, const char *model, double seconds)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int status = ctl_request(c, &r, "tune.run");

    if (status != CTL_OK)
        return status;
    pock_set_str(r, "model", model);
    if (seconds > 0)
        pock_set_float(r, "seconds", seconds);
    if (c->line.given[FLAG_FORCE])
        pock_set_bool(r, "force", true);
    ctl_remark(c,
               "timing kernels with %s: leave the machine alone for some %g s",
               model, seconds > 0 ? seconds : TUNE_SECONDS);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    const char *text = pock_get_str(v, "text", "");
    if (*text)
        ctl_remark(c, "%s", text);
    ctl_remark(c,
               "%s: %" PRId64 " of %" PRId64 " shapes timed in %.1f s, "
               "%" PRId64 " were known",
               model, pock_get_int(v, "timed", 0), pock_get_int(v, "wanted", 0),
               pock_get_float(v, "seconds", 0),
               pock_get_int(v, "wanted", 0) - pock_get_int(v, "timed", 0) -
                   pock_get_int(v, "left", 0));
    if (pock_get_int(v, "left", 0) > 0)
        ctl_remark(c,
                   "%" PRId64 " are left for want of time: run it again, or "
                   "with a longer --time",
                   pock_get_int(v, "left", 0));
    pock_reply_destroy(reply);
    return CTL_OK;
}

static int tune(struct ctl *c)
{
    const char *model = c->line.values[FLAG_MODEL];
    const char *time = c->line.values[FLAG_TIME];
    struct pock_reply *reply;
    struct error err;
    int64_t ms = 0;
    int status;

    if (time && out_duration_parse(&ms, "--time", time, &err) < 0)
        return ctl_fail(c, CTL_USAGE, "%s", err.text);
    if (time && (ms < 1000 || ms > 600000))
        return ctl_fail(c, CTL_USAGE, "--time must be from 1s to 10m");
    const double seconds = (double) ms * 1e-3;
    if (model)
        return tune_model(c, model, seconds);
    if ((status = ctl_ask(c, "model.list", NULL, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *models = pock_get(pock_result(reply), "models");
    if (pock_count(models) == 0)
        status = ctl_fail(c, CTL_FAILED,
                          "there is no base model whose shapes could be timed: "
                          "add one with `pockctl model add FILE.gguf`");
    for (size_t i = 0; i < pock_count(models) && status == CTL_OK; i++)
        status = tune_model(c, pock_get_str(pock_at(models, i), "name", ""),
                            seconds);
    pock_reply_destroy(reply);
    return status;
}

// Only where there is a model, whose shapes they would be.
static void ask_times(struct patient *p, struct pock_reply **reply)
{
    struct pock_error err;
    struct pock_request *r;

    if (pock_count(p->models) == 0 ||
        pock_request_create(&r, p->ctl->pock, "tune.show") < 0)
        return;
    pock_set_str(r, "model", p->ctl->line.values[FLAG_MODEL]);
    if (pock_call(r, 60000, reply, &err) == 0)
        p->times = pock_result(*reply);
}

static void ask_key(struct patient *p, struct pock_reply **reply)
{
    struct pock_error err;
    struct pock_request *r;

    if (!p->info || pock_request_create(&r, p->ctl->pock, "key.show") < 0)
        return;
    if (pock_call(r, 60000, reply, &err) == 0)
        p->key = pock_result(*reply);
}

// Opening drivers and measuring takes seconds.
static void ask_devices(struct patient *p, struct pock_reply **reply)
{
    struct pock_error err;
    struct pock_request *r;

    if (!p->info || pock_request_create(&r, p->ctl->pock, "device.list") < 0)
        return;
    if (p->ctl->err.is_tty && !p->ctl->json)
        ctl_remark(p->ctl, "looking at the devices, for some seconds...");
    if (pock_call(r, 60000, reply, &err) == 0)
        p->devices = pock_result(*reply);
}

int cmd_doctor(struct ctl *c)
{
    struct finding findings[CHECK_COUNT] = {0};
    struct patient p = {.ctl = c};
    struct pock_reply *replies[8] = {0};
    bool ok = true;
    int status = CTL_OK;

    if (c->line.given[FLAG_TUNE] && (status = tune(c)) != CTL_OK)
        return status;
    if (!c->line.given[FLAG_TUNE] &&
        (c->line.given[FLAG_TIME] || c->line.given[FLAG_FORCE]))
        return ctl_fail(c, CTL_USAGE, "--time and --force belong to --tune");
    ask(&p, replies);
    ask_times(&p, &replies[4]);
    ask_devices(&p, &replies[5]);
    ask_key(&p, &replies[7]);
    for (size_t i = 0; i < CHECK_COUNT; i++) {
        checks[i].run(&p, &findings[i]);
        ok = ok && findings[i].level != LEVEL_FAIL;
        if (c->quiet && findings[i].level == LEVEL_FAIL)
            printf("%s\n", checks[i].title);
    }
    if (c->json)
        status = print_json(c, findings, ok);
    else if (!c->quiet)
        status = print_findings(c, findings);
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
        pock_reply_destroy(replies[i]);
    if (status != CTL_OK)
        return status;
    return ok ? CTL_OK : CTL_UNHEALTHY;
}
