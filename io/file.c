/* SPDX-License-Identifier: MIT */
/*
 * file - what the kernel only does by blocking: opening
 *
 * On the blocking pool: a path may lie on a slow disk or a far server. A FIFO that nobody has open holds a thread of it, as open(2)
 * does; O_NONBLOCK avoids that.
 */
#include <fcntl.h>

#include "io/sys.h"
#include "weft/io.h"

struct opening { const char *path; int flags; mode_t mode; };

static int64_t open_now(void *arg)
{
    struct opening *o = arg;
    return sys_open(o->path, o->flags | O_CLOEXEC, o->mode);
}

int weft_open(const char *path, int flags, mode_t mode, int64_t deadline)
{
    struct opening o = { path, flags, mode };
    int64_t fd;
    int r = weft_blocking(open_now, &o, &fd, deadline);
    return r < 0 ? r : (int)fd;
}
