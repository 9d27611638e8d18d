// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#pragma once

/*
 * Filters of records
 *
 * The parameters ids, stream, after and before of the data methods as a filter
 * of the store, and what else those methods share.
 */

#include "daemon/request.h"
#include "storage/store_record.h"

struct pockd;

struct record_filter {
    struct store_filter filter;
    bool is_all; // of what the client may see: no filter was given
    // All that follow are private.
    char app[STORE_NAME_SIZE];
    char stream[STORE_NAME_SIZE];
    const char *streams[1];
    int64_t *ids;
};

// Of the request's parameters. An app's requests see its own records only,
// whatever they ask for; the owner's may name an app. Borrows nothing.
int record_filter_init(struct record_filter *f, const struct request *r,
                       struct error *err);
void record_filter_finish(struct record_filter *f);

void record_stream_encode(struct encoder *e, const struct store_stream *st);
// data.export: JSON lines into the request's descriptor.
void record_export(struct pockd *p, struct request *r);
// A record as such a line. Negative: it is damaged, or out of memory.
struct str;
int record_export_json(struct str *s, const struct store_record *row);
