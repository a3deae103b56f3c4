/* SPDX-License-Identifier: MIT */
/* echo - a TCP echo server: `echo tcp:127.0.0.1:7777`, a fiber per connection, silent ones are closed after a minute */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <weft.h>

static int64_t serve(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char buf[4096];
    ssize_t n;
    while ((n = weft_read(fd, buf, sizeof(buf), weft_after(60 * WEFT_SEC))) > 0)
        if (weft_write_full(fd, buf, (size_t)n, NULL, weft_after(10 * WEFT_SEC)) < 0)
            break;
    return weft_close(fd);
}

static int64_t accept_all(void *address)
{
    int listener = weft_listen(address, 0, 0), fd;
    if (listener < 0)
        return fprintf(stderr, "echo: %s: %s\n", (char *)address, strerror(-listener)), 1;
    while ((fd = weft_accept(listener, NULL, NULL, WEFT_FOREVER)) > 0 || fd == -ECONNABORTED)
        if (fd > 0 && weft_spawn_attr(serve, (void *)(intptr_t)fd, &(struct weft_attr){.flags = WEFT_DETACHED}) < 0)
            weft_close(fd);
    return fprintf(stderr, "echo: accept: %s\n", strerror(-fd)), 1;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return fprintf(stderr, "usage: echo ADDRESS, for example echo tcp:127.0.0.1:7777\n"), 2;
    int64_t result = weft_run(accept_all, argv[1], NULL);
    if (result < 0)
        fprintf(stderr, "echo: %s\n", strerror((int)-result));
    return result ? (int)result & 255 : 0;
}
