// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * What an adapter that was learned without gradients can be rebuilt from: the
 * recipe and the numbers of each step. With the model, it is rebuilt and
 * compared; with a third name, written again from the journal alone.
 *
 * usage: pock-journal ADAPTER.gguf [MODEL.gguf [REBUILT.gguf]]
 */

#include "engine/base/error.h"
#include "engine/formats/gguf.h"
#include "engine/train/adapter.h"
#include "engine/train/base_model.h"
#include "engine/train/journal.h"
#include "engine/train/recipe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print(const struct journal *j, const struct recipe *r)
{
    char text[RECIPE_TEXT_BYTES];

    if (recipe_print(text, sizeof text, r) > 0)
        (void) printf("recipe: %s\n", text);
    (void) printf("%llu steps of %u queries, %zu bytes each\n"
                  "  step  rate         eps          g\n",
                  (unsigned long long) j->steps, j->queries,
                  journal_record_bytes(j->queries));
    for (uint64_t i = 0; i < j->steps; i++) {
        const struct journal_step s = journal_step(j, i);
        (void) printf("%6llu  %-11.6g  %-11.6g", (unsigned long long) i + 1,
                      (double) s.rate, (double) s.eps);
        for (uint32_t q = 0; q < j->queries; q++)
            (void) printf("  %.6g", (double) s.g[q]);
        (void) printf("\n");
    }
}

static int read_journal(struct journal *j, struct recipe *r, const char *path,
                        struct error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct gguf *g;
    const char *text;
    int rc;

    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened", path);
    rc = gguf_load_fd(&g, fd, err);
    close(fd);
    if (rc < 0)
        return rc;
    if (!gguf_has(g, "pockd.journal"))
        rc = error_set(err, -ENODATA,
                       "%s has no journal: it was learned by gradient", path);
    else if ((rc = gguf_get_str(&text, g, "pockd.journal", err)) == 0)
        rc = journal_parse(j, r, text, err);
    gguf_destroy(g);
    return rc;
}

static int save(const struct adapter *a, const char *path, struct error *err)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    int rc;

    if (fd < 0)
        return error_set(err, -errno, "%s cannot be written", path);
    rc = adapter_save_gguf_fd(a, "rebuilt adapter", fd, err);
    if (close(fd) < 0 && rc == 0)
        rc = error_set(err, -errno, "%s cannot be written", path);
    return rc;
}

static int rebuild(const struct journal *j, const struct recipe *r,
                   const char *path, const char *to, struct error *err)
{
    const struct device_params params = {0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct device *dev = NULL;
    struct base_model *base = NULL;
    struct adapter *a = NULL;
    int rc;

    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened", path);
    if ((rc = cpu_backend.open(&dev, &params, err)) == 0 &&
        (rc = base_model_open(&base, &cpu_backend, dev, fd, err)) == 0 &&
        (rc = journal_replay(&a, base, j, r, NULL, err)) == 0) {
        (void) printf("rebuilt to the same bytes: %zu values\n",
                      adapter_floats(a));
        if (to)
            rc = save(a, to, err);
    }
    close(fd);
    adapter_destroy(a);
    base_model_close(base);
    if (dev)
        cpu_backend.close(dev);
    return rc;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    struct journal j;
    struct recipe r;
    int rc;

    if (argc < 2 || argc > 4) {
        (void) fprintf(stderr, "usage: pock-journal ADAPTER.gguf [MODEL.gguf "
                               "[REBUILT.gguf]]\n");
        return 2;
    }
    rc = read_journal(&j, &r, argv[1], &err);
    if (rc == 0) {
        print(&j, &r);
        if (argc > 2)
            rc = rebuild(&j, &r, argv[2], argc > 3 ? argv[3] : NULL, &err);
        journal_finish(&j);
    }
    if (rc < 0)
        (void) fprintf(stderr, "pock-journal: %s\n", err.text);
    return rc < 0;
}
