// SPDX-FileCopyrightText: the pockd authors
// SPDX-License-Identifier: Apache-2.0

#include "daemon/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/fdio.h"

#define NAME "identity.key"

static int make(uint8_t seed[SIGN_KEY_BYTES], const char *dir,
                struct error *err)
{
    if (getentropy(seed, SIGN_KEY_BYTES) < 0)
        return error_set(err, -errno, "the system has no random numbers");
    int fd = fdio_seal("identity", seed, SIGN_KEY_BYTES);
    if (fd < 0)
        return error_set(err, fd, "cannot make the key of this pockd");
    int rc = fdio_save(dir, NAME, fd, SIGN_KEY_BYTES, err);
    (void) close(fd);
    return rc;
}

static int read_seed(uint8_t seed[SIGN_KEY_BYTES], int fd, const char *path,
                     struct error *err)
{
    uint8_t more;
    struct stat st;

    if (read(fd, seed, SIGN_KEY_BYTES) != SIGN_KEY_BYTES ||
        read(fd, &more, 1) != 0)
        return error_set(err, -EUCLEAN,
                         "%s is damaged: move it away, and pockd makes a new "
                         "key at its next start; what the old one signed is "
                         "then somebody else's",
                         path);
    if (fstat(fd, &st) == 0 && (st.st_mode & 077) && fchmod(fd, 0600) < 0)
        return error_set(err, -errno, "others can read %s", path);
    return 0;
}

int identity_load(struct sign_key *out, const char *state_dir,
                  struct error *err)
{
    uint8_t seed[SIGN_KEY_BYTES];
    char path[1100];
    int rc;

    (void) snprintf(path, sizeof(path), "%s/" NAME, state_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        return error_set(err, -errno, "cannot read %s: %s", path,
                         strerror(errno));
    if (fd < 0) {
        rc = make(seed, state_dir, err);
    } else {
        rc = read_seed(seed, fd, path, err);
        (void) close(fd);
    }
    if (rc == 0)
        sign_key_init(out, seed);
    explicit_bzero(seed, sizeof(seed));
    return rc;
}
