// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "engine/formats/gguf_set.h"

#include "engine/base/error.h"
#include "engine/base/fault.h"
#include "engine/formats/gguf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct gguf_set {
    const struct gguf *parts[GGUF_SET_PARTS_MAX]; // in their order
    uint32_t n_parts;
    const struct gguf_tensor **tensors;
    uint32_t n_tensors;
};

// What a file says of the set; a file that says nothing is a whole one.
struct part {
    uint32_t no, count, tensors;
};

static int read_part(struct part *out, const struct gguf *g, uint32_t file,
                     struct error *err)
{
    struct part p = {.count = 1};
    int rc;

    if (!gguf_has(g, "split.count")) {
        *out = p;
        return 0;
    }
    if ((rc = gguf_get_u32(&p.count, g, "split.count", err)) < 0 ||
        (rc = gguf_get_u32(&p.no, g, "split.no", err)) < 0 ||
        (gguf_has(g, "split.tensors.count") &&
         (rc = gguf_get_u32(&p.tensors, g, "split.tensors.count", err)) < 0))
        return error_prefix(err, rc == -ENOENT ? -EINVAL : rc,
                            "file %u of the set", file + 1);
    if (p.count == 0 || p.count > GGUF_SET_PARTS_MAX || p.no >= p.count)
        return error_set(err, -EINVAL,
                         "file %u of the set says that it is part %u of %u, "
                         "which cannot be: 1 to %d parts are supported",
                         file + 1, p.no + 1, p.count, GGUF_SET_PARTS_MAX);
    *out = p;
    return 0;
}

// Puts every file at the place that it names.
static int order_parts(struct gguf_set *s, uint32_t *n_tensors,
                       struct gguf *const *files, uint32_t n_files,
                       struct error *err)
{
    struct part first = {0}, p = {0};

    for (uint32_t i = 0; i < n_files; i++) {
        int rc = read_part(&p, files[i], i, err);
        if (rc < 0)
            return rc;
        if (i == 0)
            first = p;
        if (p.count != first.count || p.tensors != first.tensors)
            return error_set(err, -EINVAL,
                             "the files are not of one model: one says %u "
                             "parts and %u tensors, another %u and %u",
                             first.count, first.tensors, p.count, p.tensors);
        if (s->parts[p.no])
            return error_set(err, -EINVAL, "part %u of %u is there twice",
                             p.no + 1, p.count);
        s->parts[p.no] = files[i];
    }
    for (uint32_t i = 0; i < first.count; i++)
        if (!s->parts[i])
            return error_set(err, -ENOENT,
                             "part %u of %u is missing: put all parts of the "
                             "model into one directory",
                             i + 1, first.count);
    s->n_parts = first.count;
    *n_tensors = first.tensors;
    return 0;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp((*(const struct gguf_tensor *const *) a)->name,
                  (*(const struct gguf_tensor *const *) b)->name);
}

static int check_names(const struct gguf_set *s, struct error *err)
{
    const struct gguf_tensor **sorted =
        fault_calloc(s->n_tensors + 1, sizeof(*sorted));
    int rc = 0;

    if (!sorted)
        return error_set(err, -ENOMEM, "not enough memory to read the files");
    memcpy(sorted, s->tensors, s->n_tensors * sizeof(*sorted));
    qsort(sorted, s->n_tensors, sizeof(*sorted), name_compare);
    for (uint32_t i = 1; i < s->n_tensors && rc == 0; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            rc = error_set(err, -EINVAL, "tensor %s is in two parts",
                           sorted[i]->name);
    free(sorted);
    return rc;
}

static int join_tensors(struct gguf_set *s, uint32_t claimed, struct error *err)
{
    uint32_t n = 0; // at most 512 files of 2^16 each

    for (uint32_t i = 0; i < s->n_parts; i++)
        n += gguf_n_tensors(s->parts[i]);
    if (s->n_parts > 1 && claimed != n)
        return error_set(err, -EINVAL,
                         "the parts have %u tensors, but say that there are "
                         "%u: a file is damaged, or of another model",
                         n, claimed);
    s->tensors = fault_calloc(n + 1, sizeof(*s->tensors));
    if (!s->tensors)
        return error_set(err, -ENOMEM, "not enough memory to read the files");
    for (uint32_t i = 0; i < s->n_parts; i++)
        for (uint32_t k = 0; k < gguf_n_tensors(s->parts[i]); k++)
            s->tensors[s->n_tensors++] = gguf_tensor_at(s->parts[i], k);
    return check_names(s, err);
}

int gguf_set_create(struct gguf_set **out, struct gguf *const *files,
                    uint32_t n_files, struct error *err)
{
    struct gguf_set *s;
    uint32_t claimed = 0;
    int rc;

    if (n_files == 0 || n_files > GGUF_SET_PARTS_MAX)
        return error_set(err, -EINVAL, "%u files are no model: 1 to %d are",
                         n_files, GGUF_SET_PARTS_MAX);
    if (!(s = fault_calloc(1, sizeof(*s))))
        return error_set(err, -ENOMEM, "not enough memory to read the files");
    if ((rc = order_parts(s, &claimed, files, n_files, err)) < 0 ||
        (rc = join_tensors(s, claimed, err)) < 0) {
        gguf_set_destroy(s);
        return rc;
    }
    *out = s;
    return 0;
}

void gguf_set_destroy(struct gguf_set *s)
{
    if (!s)
        return;
    free(s->tensors);
    free(s);
}

const struct gguf *gguf_set_first(const struct gguf_set *s)
{
    return s->parts[0];
}

uint32_t gguf_set_n_tensors(const struct gguf_set *s)
{
    return s->n_tensors;
}

const struct gguf_tensor *gguf_set_tensor_at(const struct gguf_set *s,
                                             uint32_t i)
{
    return s->tensors[i];
}
