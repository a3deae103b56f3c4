/* SPDX-License-Identifier: MIT */
/* weft/io.h - the I/O part of the public interface; programs include <weft.h> */
#ifndef WEFT_IO_H
#define WEFT_IO_H

#include <sys/socket.h>
#include <sys/types.h>

#include "weft/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Plain descriptors from anywhere; their O_NONBLOCK is neither relied on nor changed. Two waiters on one descriptor and one
 * direction are both served. No call raises SIGPIPE. -EBADF: not open, or closed by weft_close during the wait. Partly done
 * work is answered as the count, the error comes at the next call. */

/* [W] Wait until poll(2) would return; events and the result as there. A regular file is ready at once. */
WEFT_API int weft_fd_wait(int fd, unsigned events, int64_t deadline);

WEFT_API ssize_t weft_read(int fd, void *buf, size_t n, int64_t deadline);          /* [W] sockets, pipes, ttys, files */
WEFT_API ssize_t weft_write(int fd, const void *buf, size_t n, int64_t deadline);   /* [W] */

/* [W] All n bytes: 0; else the error, at once, with *done exact (done may be NULL). End of file before that: -ENODATA. */
WEFT_API int weft_read_full(int fd, void *buf, size_t n, size_t *done, int64_t deadline);
WEFT_API int weft_write_full(int fd, const void *buf, size_t n, size_t *done, int64_t deadline);

/* [W] The new descriptor, close-on-exec. Out of descriptors it waits (without spinning) for one until the deadline, then
 * answers -EMFILE or -ENFILE; the listener stays good. */
WEFT_API int weft_accept(int fd, struct sockaddr *addr, socklen_t *len, int64_t deadline);
WEFT_API int weft_connect(int fd, const struct sockaddr *addr, socklen_t len, int64_t deadline);     /* [W] */

#define WEFT_REUSEPORT 1u

/* A listening socket, close-on-exec, at "tcp:127.0.0.1:8080", "tcp:[::1]:0" or "unix:/path". backlog 0 or less: the system's
 * most. A left-over Unix socket file that nobody listens on is replaced. -EINVAL: not such an address; else as bind(2). */
WEFT_API int weft_listen(const char *address, int backlog, unsigned flags);

/* Open a file on the blocking pool, close-on-exec. [W] */
WEFT_API int weft_open(const char *path, int flags, mode_t mode, int64_t deadline);

WEFT_API int weft_close(int fd);                /* waiters on it get -EBADF; the number is safe to reuse at once */

/* [W] Run fn(arg) on a thread of the blocking pool. Not begun it is withdrawn by cancellation or deadline; begun it is waited
 * for and answers 0 with its result, late or not. Outside a fiber it runs at once, in the calling thread. -ENOMEM,
 * -EAGAIN (no thread could be started), -ESHUTDOWN. */
WEFT_API int weft_blocking(weft_fn fn, void *arg, int64_t *result, int64_t deadline);

#ifdef __cplusplus
}
#endif

#endif
