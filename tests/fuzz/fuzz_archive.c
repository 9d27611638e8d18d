// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

/*
 * Any bytes as an archive. One that is refused gets a sentence; members that
 * were taken lie within the file.
 */

#include "daemon/archive.h"
#include "engine/base/memfile.h"

#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct archive_reader r;
    struct error err = {0};
    int fd, rc;

    if (memfile_create(&fd, "archive") < 0)
        return 0;
    if (write(fd, data, size) != (ssize_t) size)
        abort();
    rc = archive_read_begin(&r, fd, &err);
    while (rc >= 0 && (rc = archive_read_step(&r, &err)) > 0)
        continue;
    if (rc < 0 && err.text[0] == '\0')
        abort();
    for (size_t i = 0; i < r.count; i++)
        if (rc == 0 && (r.members[i].offset > size ||
                        r.members[i].bytes > size - r.members[i].offset ||
                        !tar_name_is_valid(r.members[i].name)))
            abort();
    if (rc == 0)
        archive_read_sort(&r);
    archive_read_finish(&r);
    (void) close(fd);
    return 0;
}
