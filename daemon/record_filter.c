// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/record_filter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fault.h"

// Whose records: an app's own, or those that the owner names.
static int init_app(struct record_filter *f, const struct request *r,
                    struct error *err)
{
    int rc;

    if (!request_is_owner(r)) {
        snprintf(f->app, sizeof(f->app), "%s", request_app(r));
        f->filter.app = f->app;
        return 0;
    }
    rc = codec_get_cstr(request_params(r), "app", f->app, sizeof(f->app), err);
    if (rc == 0) {
        f->filter.app = f->app;
        f->is_all = false;
    }
    return rc == -ENOENT ? 0 : rc;
}

static int init_ids(struct record_filter *f, const msgpack_object *ids,
                    struct error *err)
{
    uint32_t count = codec_count(ids);

    if (!ids)
        return 0;
    f->ids = fault_calloc(count ? count : 1, sizeof(*f->ids));
    if (!f->ids)
        return error_set(err, -ENOMEM, "out of memory");
    for (uint32_t i = 0; i < count; i++)
        if (!codec_as_int(codec_at(ids, i), &f->ids[i])) {
            record_filter_finish(f);
            return error_set(err, -EINVAL, "ids[%u] is no integer", i);
        }
    f->filter.ids = f->ids;
    f->filter.n_ids = count;
    f->is_all = false;
    return 0;
}

int record_filter_init(struct record_filter *f, const struct request *r,
                       struct error *err)
{
    const msgpack_object *params = request_params(r);
    struct codec_bytes stream = codec_str(params, "stream");
    int rc;

    memset(f, 0, sizeof(*f));
    f->is_all = true;
    if ((rc = init_app(f, r, err)) < 0)
        return rc;
    if (stream.data) {
        if (stream.bytes >= sizeof(f->stream))
            return error_set(err, -EINVAL, "the stream's name is too long");
        memcpy(f->stream, stream.data, stream.bytes);
        f->streams[0] = f->stream;
        f->filter.streams = f->streams;
        f->filter.n_streams = 1;
        f->is_all = false;
    }
    f->filter.has_after = codec_find(params, "after") != NULL;
    f->filter.after_ms = codec_int(params, "after", 0);
    f->filter.has_before = codec_find(params, "before") != NULL;
    f->filter.before_ms = codec_int(params, "before", 0);
    if (f->filter.has_after || f->filter.has_before)
        f->is_all = false;
    return init_ids(f, codec_find(params, "ids"), err);
}

void record_filter_finish(struct record_filter *f)
{
    free(f->ids);
    f->ids = NULL;
}

void record_stream_encode(struct encoder *e, const struct store_stream *st)
{
    encoder_open_map(e);
    encoder_put_cstr(e, "name", st->name);
    encoder_put_cstr(e, "app", st->app);
    encoder_put_int(e, "records", st->records);
    encoder_put_int(e, "bytes", st->bytes);
    if (st->records > 0) {
        encoder_put_int(e, "first", st->first_ms);
        encoder_put_int(e, "last", st->last_ms);
    }
    encoder_close(e);
}
