// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Writing an archive (database thread)
 *
 * In steps of some milliseconds, between which others have their turn, so that
 * an archive is no picture of one moment: what came after a kind was written is
 * not in it. What is erased while it is written may be.
 */

#include "daemon/archive.h"
#include "storage/store.h"

struct archive_export;

// Writes into `fd`, which is borrowed.
int archive_export_create(struct archive_export **out, int fd,
                          const struct sign_key *key, struct error *err);
void archive_export_destroy(struct archive_export *x);
// 1: there is more; 0: it is complete.
int archive_export_step(struct archive_export *x, struct store *s,
                        struct error *err);
const struct archive_writer *archive_export_writer(
    const struct archive_export *x);
