// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "clients/pockctl/ctl.h"
#include "clients/pockctl/proof.h"
#include "ipc/rpc_leaf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { TEXT_BYTES_MAX = 256 << 10 };

/*
 * adapter show --lineage
 */

static const struct pock_value *version_of(const struct pock_value *versions,
                                           int64_t number)
{
    for (size_t i = 0; i < pock_count(versions); i++)
        if (pock_get_int(pock_at(versions, i), "version", 0) == number)
            return pock_at(versions, i);
    return NULL;
}

static bool is_below(const struct pock_value *versions, int64_t number,
                     int64_t ancestor)
{
    // A parent's number is always the smaller one, so this ends.
    while (number > ancestor)
        number = pock_get_int(version_of(versions, number), "parent", 0);
    return number == ancestor;
}

static int depth_of(const struct pock_value *versions, int64_t number)
{
    int depth = 0;

    while ((number = pock_get_int(version_of(versions, number), "parent", 0)) >
           0)
        depth++;
    return depth;
}

// One line of the tree; "*" is the version that was asked for.
static void print_version(struct ctl *c, const char *adapter,
                          const struct pock_value *versions,
                          const struct pock_value *v, int64_t wanted)
{
    const int64_t number = pock_get_int(v, "version", 0);
    char time[OUT_TIME_BYTES];

    printf("%*s%s%s:%" PRId64 "  %s, %s, %" PRId64 " records, %s\n",
           2 * depth_of(versions, number), "", number == wanted ? "* " : "  ",
           adapter, number, pock_get_str(v, "origin", "?"),
           pock_get_str(v, "state", "?"), pock_get_int(v, "records", 0),
           ctl_time(c, time, pock_get_int(v, "created", 0)));
}

// Children below their parents, as deep as they go.
// NOLINTNEXTLINE(misc-no-recursion)
static void print_tree(struct ctl *c, const char *adapter,
                       const struct pock_value *versions, int64_t parent,
                       int64_t wanted)
{
    for (size_t i = 0; i < pock_count(versions); i++) {
        const struct pock_value *v = pock_at(versions, i);
        const int64_t number = pock_get_int(v, "version", 0);
        if (pock_get_int(v, "parent", 0) != parent)
            continue;
        if (!is_below(versions, wanted, number) &&
            !is_below(versions, number, wanted))
            continue; // no relative of the one that was asked for
        print_version(c, adapter, versions, v, wanted);
        print_tree(c, adapter, versions, number, wanted);
    }
}

static int print_months(struct ctl *c, const struct pock_value *months)
{
    static const struct out_column columns[] = {
        {"APP", false, true},    {"STREAM", false, true},
        {"MONTH", false, false}, {"RECORDS", true, false},
        {"SIZE", true, false},
    };
    char size[OUT_TIME_BYTES];
    struct out_table *t;

    if (out_table_create(&t, columns, 5) < 0)
        return ctl_no_memory(c);
    for (size_t i = 0; i < pock_count(months); i++) {
        const struct pock_value *m = pock_at(months, i);
        out_table_text(t, pock_get_str(m, "app", "?"));
        out_table_text(t, pock_get_str(m, "stream", "?"));
        out_table_text(t, pock_get_str(m, "month", "?"));
        out_table_cell(t, "%" PRId64, pock_get_int(m, "records", 0));
        out_bytes_format(size, pock_get_int(m, "bytes", 0));
        out_table_text(t, size);
    }
    return ctl_table(c, t);
}

static int print_lineage(struct ctl *c, const struct pock_value *show,
                         const struct pock_value *v)
{
    const struct pock_value *adapter = pock_get(show, "adapter");
    const struct pock_value *parts = pock_get(v, "merged_from");
    const char *root = pock_get_str(v, "root", NULL);
    int status;

    print_tree(c, pock_get_str(adapter, "name", "?"),
               pock_get(adapter, "versions"), 0, pock_get_int(v, "version", 0));
    for (size_t i = 0; i < pock_count(parts); i++)
        printf("%s%s:%" PRId64 " x %g\n",
               i == 0 ? "merged from  " : "             ",
               pock_get_str(pock_at(parts, i), "adapter", "?"),
               pock_get_int(pock_at(parts, i), "version", 0),
               pock_get_float(pock_at(parts, i), "weight", 0));
    putchar('\n');
    if ((status = print_months(c, pock_get(v, "months"))) != CTL_OK)
        return status;
    printf("\nrecords  %" PRId64 "%s\n", pock_get_int(v, "records", 0),
           pock_get_bool(v, "complete", false)
               ? ""
               : ", and what was learned before it was imported");
    if (root)
        printf("root     %s\n", root);
    if (!pock_get(v, "manifest"))
        ctl_remark(c, "it was made before there were manifests");
    return CTL_OK;
}

static void set_version(struct pock_request *r, const struct ctl_adapter *ref)
{
    pock_set_str(r, "adapter", ref->name);
    if (ref->version > 0)
        pock_set_int(r, "version", ref->version);
}

static int ask_lineage(struct ctl *c, const struct ctl_adapter *ref,
                       struct pock_reply **out)
{
    struct pock_request *r;
    int status = ctl_request(c, &r, "adapter.lineage");

    if (status != CTL_OK)
        return status;
    set_version(r, ref);
    return ctl_send(c, r, NULL, out);
}

int ctl_lineage(struct ctl *c)
{
    struct pock_reply *lineage, *show;
    struct ctl_adapter ref;
    struct pock_request *r;
    int status;

    if ((status = ctl_adapter_ref(c, c->line.args[0], &ref)) != CTL_OK ||
        (status = ask_lineage(c, &ref, &lineage)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(lineage);
    if (c->json) {
        status = ctl_json(c, v);
    } else if (c->quiet) {
        printf("%s\n", pock_get_str(v, "root", "-"));
    } else if ((status = ctl_request(c, &r, "adapter.show")) == CTL_OK) {
        // The whole adapter, for the tree.
        pock_set_str(r, "adapter", ref.name);
        if ((status = ctl_send(c, r, NULL, &show)) == CTL_OK) {
            status = print_lineage(c, pock_result(show), v);
            pock_reply_destroy(show);
        }
    }
    pock_reply_destroy(lineage);
    return status;
}

/*
 * adapter export --manifest
 */

static int print_manifest(struct ctl *c, const struct pock_value *v,
                          const char *path)
{
    const char *manifest = pock_get_str(v, "manifest", NULL);
    struct str j = {0};
    char to[4096];

    if (!manifest)
        return ctl_fail(c, CTL_FAILED,
                        "this version was made before there were manifests");
    size_t n = strlen(path);
    if (n > 5 && strcmp(path + n - 5, ".gguf") == 0)
        n -= 5;
    (void) snprintf(to, sizeof(to), "%.*s.manifest.json", (int) n, path);
    str_puts(&j, "{\"manifest\":");
    str_json(&j, manifest, strlen(manifest));
    str_printf(&j, ",\"signature\":\"%s\"}\n",
               pock_get_str(v, "signature", ""));
    FILE *f = str_finish(&j) == 0 ? fopen(to, "we") : NULL;
    if (f)
        fputs(j.data, f);
    str_free(&j);
    if (!f || fclose(f) != 0)
        return ctl_fail_errno(c, -errno, to);
    ctl_remark(c, "its manifest: %s", to);
    return CTL_OK;
}

int ctl_write_manifest(struct ctl *c, const struct ctl_adapter *ref,
                       const char *path)
{
    struct pock_reply *reply;
    int status;

    if (strcmp(path, "-") == 0)
        return ctl_fail(c, CTL_USAGE,
                        "--manifest needs a file to lie beside: give --output "
                        "FILE");
    if ((status = ask_lineage(c, ref, &reply)) != CTL_OK)
        return status;
    status = print_manifest(c, pock_result(reply), path);
    pock_reply_destroy(reply);
    return status;
}

/*
 * data show --used-by
 */

int ctl_used_by(struct ctl *c, int64_t id)
{
    struct pock_request *r;
    struct pock_reply *reply;
    int status;

    if ((status = ctl_request(c, &r, "data.used_by")) != CTL_OK)
        return status;
    pock_set_int(r, "id", id);
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *used = pock_get(pock_result(reply), "used_by");
    if (c->json)
        status = ctl_json(c, pock_result(reply));
    for (size_t i = 0; !c->json && i < pock_count(used); i++) {
        const struct pock_value *u = pock_at(used, i);
        printf("%s:%" PRId64 "%s\n", pock_get_str(u, "adapter", "?"),
               pock_get_int(u, "version", 0),
               !c->quiet && pock_get_bool(u, "active", false) ? "  active"
                                                              : "");
    }
    if (!c->json && pock_count(used) == 0)
        ctl_remark(c, "no version learned from it");
    pock_reply_destroy(reply);
    return status;
}

/*
 * adapter prove
 */

// The text of --text, without the line feed that editors put at its end.
static int read_text(struct ctl *c, struct str *out)
{
    const char *path = c->line.values[FLAG_TEXT];
    const bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "re");
    int status;

    if (!f)
        return ctl_fail_errno(c, -errno, path);
    status = ctl_read_all(c, f, is_stdin ? "standard input" : path,
                          TEXT_BYTES_MAX, out);
    if (!is_stdin)
        (void) fclose(f);
    if (status != CTL_OK)
        return status;
    if (out->bytes > 0 && out->data[out->bytes - 1] == '\n')
        out->data[--out->bytes] = '\0';
    if (out->bytes == 0)
        return ctl_fail(c, CTL_USAGE, "%s is empty", path);
    return CTL_OK;
}

static int set_claim(struct ctl *c, struct pock_request *r)
{
    struct str text = {0};
    int64_t id = 0;
    int status;

    if (c->line.values[FLAG_WITHOUT]) {
        status = ctl_int_flag(c, FLAG_WITHOUT, 1, INT64_MAX, &id);
        if (status == CTL_OK)
            pock_set_int(r, "record", id);
        return status;
    }
    status = read_text(c, &text);
    if (status == CTL_OK)
        pock_set_text(r, "text", text.data, text.bytes);
    str_free(&text);
    return status;
}

static int write_proof(struct ctl *c, const struct pock_value *v)
{
    const char *path = c->line.values[FLAG_OUTPUT];
    const char *text = pock_get_str(v, "proof", "");

    if (!path || strcmp(path, "-") == 0) {
        fputs(text, stdout);
        return CTL_OK;
    }
    FILE *f = fopen(path, "we");
    if (!f)
        return ctl_fail_errno(c, -errno, path);
    fputs(text, f);
    return fclose(f) == 0 ? CTL_OK : ctl_fail_errno(c, -errno, path);
}

int cmd_adapter_prove(struct ctl *c)
{
    const bool is_text = c->line.values[FLAG_TEXT] != NULL;
    struct pock_reply *reply;
    struct ctl_adapter ref;
    struct pock_request *r;
    int status;

    if (is_text == (c->line.values[FLAG_WITHOUT] != NULL))
        return ctl_fail(c, CTL_USAGE,
                        "without what? give --without RECORD or --text FILE, "
                        "one of them");
    if ((status = ctl_adapter_ref(c, c->line.args[0], &ref)) != CTL_OK ||
        (status = ctl_request(c, &r, "adapter.prove")) != CTL_OK)
        return status;
    set_version(r, &ref);
    if ((status = set_claim(c, r)) != CTL_OK) {
        pock_request_destroy(r);
        return status;
    }
    if ((status = ctl_send(c, r, NULL, &reply)) != CTL_OK)
        return status;
    const struct pock_value *v = pock_result(reply);
    const bool learned = pock_get_bool(v, "learned", false);
    status = c->json ? ctl_json(c, v) : write_proof(c, v);
    if (status == CTL_OK) {
        ctl_remark(c, "%s %s %s", ref.name,
                   learned ? "did learn" : "did not learn",
                   is_text ? "exactly this text" : "this record");
        status = learned ? CTL_BLOCKED : CTL_OK;
    }
    pock_reply_destroy(reply);
    return status;
}

/*
 * verify
 */

static int check_text(struct ctl *c, const struct proof *p)
{
    uint8_t key[HASH_BYTES];
    struct str text = {0};
    int status = CTL_OK;

    if (!c->line.values[FLAG_TEXT])
        return CTL_OK;
    if (!p->is_text)
        return ctl_fail(c, CTL_USAGE,
                        "this proof is of a whole record: --text goes with "
                        "proofs that were made of a text");
    if ((status = read_text(c, &text)) == CTL_OK) {
        rpc_leaf_text(key, text.data, text.bytes);
        if (memcmp(key, p->key, sizeof(key)) != 0)
            status =
                ctl_fail(c, CTL_FAILED, "this proof is of another text than %s",
                         c->line.values[FLAG_TEXT]);
    }
    str_free(&text);
    return status;
}

static int tell_proof(struct ctl *c, const struct proof *p)
{
    char key[HASH_HEX], signer[HASH_HEX], time[OUT_TIME_BYTES];

    hash_to_hex(key, p->key);
    hash_to_hex(signer, p->signer);
    if (c->json)
        printf("{\"schema\":1,\"learned\":%s,\"of\":\"%s\",\"key\":\"%s\","
               "\"version\":%" PRId64 ",\"sha256\":\"%s\",\"signer\":\"%s\"}\n",
               p->is_learned ? "true" : "false", p->is_text ? "text" : "record",
               key, p->version, p->sha256, signer);
    else if (!c->quiet)
        printf("%s:%" PRId64 " of %s, which learned %" PRId64
               " records, %s %s of key %s\nadapter  SHA-256 %s\nsigned   by "
               "%s\n",
               p->adapter, p->version, ctl_time(c, time, p->created_ms),
               p->records, p->is_learned ? "learned the" : "did not learn the",
               p->is_text ? "text" : "record", key, p->sha256, signer);
    if (!c->json && p->is_text && !c->line.values[FLAG_TEXT])
        ctl_remark(c, "--text FILE checks that the key is of that text");
    return CTL_OK;
}

int cmd_verify(struct ctl *c)
{
    const char *trust = c->line.values[FLAG_TRUST];
    uint8_t key[SIGN_KEY_BYTES];
    struct str text = {0};
    struct error err = {0};
    struct proof p;
    int status;

    if (trust && hash_from_hex(key, trust) < 0)
        return ctl_fail(c, CTL_USAGE, "--trust must be 64 hex digits");
    FILE *f = fopen(c->line.args[0], "re");
    if (!f)
        return ctl_fail_errno(c, -errno, c->line.args[0]);
    status = ctl_read_all(c, f, c->line.args[0], PROOF_BYTES_MAX, &text);
    (void) fclose(f);
    if (status == CTL_OK &&
        proof_check(&p, text.data ? text.data : "", text.bytes, &err) < 0)
        status = ctl_fail(c, CTL_FAILED, "%s: %s", c->line.args[0], err.text);
    str_free(&text);
    if (status != CTL_OK)
        return status;
    if (trust && memcmp(key, p.signer, sizeof(key)) != 0)
        return ctl_fail(c, CTL_FAILED, "it was signed by another key");
    if ((status = check_text(c, &p)) != CTL_OK)
        return status;
    return tell_proof(c, &p);
}
