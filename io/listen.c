/* SPDX-License-Identifier: MIT */
/*
 * listen - listening sockets from an address in one word
 *
 * Grammar    tcp:A.B.C.D:PORT   tcp:[V6]:PORT   tcp:[V6%INTERFACE]:PORT   unix:PATH; numbers only, so that nothing has to be asked.
 * Socket     close-on-exec, and non-blocking, so that accept(2) on it never blocks (net.c).
 * Unix       a file that is left over from a server that is gone refuses connections: it is removed and bind(2) tried once more.
 *            Whether it is left over is found out by connecting, which a server that lives sees as a client that says nothing.
 * Waiting    nothing here waits, so errno is read where it falls and put back at the end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "weft/io.h"

#define KIND (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)

struct address {
    union { struct sockaddr any; struct sockaddr_in v4; struct sockaddr_in6 v6; struct sockaddr_un un; };
    socklen_t len;
};

/* ---- reading ------------------------------------------------------------------------------------------------------------- */

static bool read_port(const char *s, in_port_t *port)
{
    unsigned n = 0;
    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || (n = 10 * n + (unsigned)(*s - '0')) > 65535)
            return false;
    }
    *port = htons((uint16_t)n);
    return true;
}

static bool read_v6(char *host, struct sockaddr_in6 *to)
{
    char *interface = strchr(host, '%');
    if (interface) {
        *interface++ = 0;
        to->sin6_scope_id = if_nametoindex(interface);
        if (!to->sin6_scope_id)
            return false;
    }
    to->sin6_family = AF_INET6;
    return inet_pton(AF_INET6, host, &to->sin6_addr) == 1;
}

static bool read_tcp(const char *s, struct address *to)
{
    char host[INET6_ADDRSTRLEN + IF_NAMESIZE + 3];
    const char *colon = strrchr(s, ':');
    size_t n = colon ? (size_t)(colon - s) : 0;
    if (n < 1 || n >= sizeof host)
        return false;
    memcpy(host, s, n);
    host[n] = 0;
    if (host[0] == '[') {
        if (host[n - 1] != ']')
            return false;
        host[n - 1] = 0;
        to->len = sizeof to->v6;
        return read_v6(host + 1, &to->v6) && read_port(colon + 1, &to->v6.sin6_port);
    }
    to->len = sizeof to->v4;
    to->v4.sin_family = AF_INET;
    return inet_pton(AF_INET, host, &to->v4.sin_addr) == 1 && read_port(colon + 1, &to->v4.sin_port);
}

static bool read_unix(const char *path, struct address *to)
{
    size_t n = strlen(path);
    if (n == 0 || n >= sizeof to->un.sun_path)
        return false;
    to->un.sun_family = AF_UNIX;
    memcpy(to->un.sun_path, path, n + 1);
    to->len = sizeof to->un;
    return true;
}

static bool read_address(const char *s, struct address *to)
{
    memset(to, 0, sizeof *to);
    if (strncmp(s, "tcp:", 4) == 0)
        return read_tcp(s + 4, to);
    return strncmp(s, "unix:", 5) == 0 && read_unix(s + 5, to);
}

/* ---- binding ------------------------------------------------------------------------------------------------------------- */

static bool left_over(const struct address *at)
{
    struct stat s;
    int fd, r;
    if (at->any.sa_family != AF_UNIX || lstat(at->un.sun_path, &s) < 0 || !S_ISSOCK(s.st_mode))
        return false;
    fd = socket(AF_UNIX, KIND, 0);
    if (fd < 0)
        return false;
    r = connect(fd, &at->any, at->len) < 0 ? errno : 0;
    close(fd);
    return r == ECONNREFUSED;
}

static int bind_to(int fd, const struct address *at)
{
    if (bind(fd, &at->any, at->len) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return -errno;
    if (!left_over(at))
        return -EADDRINUSE;
    if (unlink(at->un.sun_path) < 0 || bind(fd, &at->any, at->len) < 0)
        return -errno;
    return 0;
}

static int set_up(int fd, const struct address *at, int backlog, unsigned flags)
{
    int one = 1, r;
    if (at->any.sa_family != AF_UNIX && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0)
        return -errno;
    if (flags & WEFT_REUSEPORT && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0)
        return -errno;
    r = bind_to(fd, at);
    if (r < 0)
        return r;
    return listen(fd, backlog > 0 ? backlog : INT_MAX) < 0 ? -errno : 0;        /* the kernel lowers it to its most */
}

static int open_listener(const char *address, int backlog, unsigned flags)
{
    struct address at;
    int fd, r;
    if (!address || flags & ~WEFT_REUSEPORT || !read_address(address, &at))
        return -EINVAL;
    if (flags & WEFT_REUSEPORT && at.any.sa_family == AF_UNIX)
        return -EINVAL;
    fd = socket(at.any.sa_family, KIND, 0);
    if (fd < 0)
        return -errno;
    r = set_up(fd, &at, backlog, flags);
    if (r < 0)
        close(fd);
    return r < 0 ? r : fd;
}

int weft_listen(const char *address, int backlog, unsigned flags)
{
    int before = errno, r = open_listener(address, backlog, flags);
    errno = before;
    return r;
}
