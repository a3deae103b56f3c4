/* SPDX-License-Identifier: MIT */
/* cpus - see cpus.h */
#include "runtime/cpus.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first line of root + path + "/" + name; false if there is none. */
static int line_of(const char *root, const char *path, const char *name, char *text, int size)
{
    char file[4600];
    FILE *f;
    int good;
    snprintf(file, sizeof file, "%s%s/%s", root, path, name);
    f = fopen(file, "re");
    if (!f)
        return 0;
    good = fgets(text, size, f) != NULL;
    fclose(f);
    return good;
}

/* The quota in whole CPUs, rounded up; 0: none. */
static unsigned quota_at(const char *path, int version)
{
    char text[128], period_text[64];
    long long quota = -1, period = 0;
    if (version == 2) {
        if (!line_of("/sys/fs/cgroup", path, "cpu.max", text, sizeof text) || sscanf(text, "%lld %lld", &quota, &period) != 2)
            return 0;
    } else {
        if (!line_of("/sys/fs/cgroup/cpu", path, "cpu.cfs_quota_us", text, sizeof text) ||
            !line_of("/sys/fs/cgroup/cpu", path, "cpu.cfs_period_us", period_text, sizeof period_text))
            return 0;
        quota = atoll(text);
        period = atoll(period_text);
    }
    return quota > 0 && period > 0 ? (unsigned)((quota + period - 1) / period) : 0;
}

/* Of the cgroup at path and of all above it. */
static unsigned quota(char *path, int version, unsigned least)
{
    for (;;) {
        unsigned n = quota_at(path, version);
        char *slash = strrchr(path, '/');
        if (n && n < least)
            least = n;
        if (!slash)
            return least;
        *slash = '\0';
    }
}

/* Does the list of controllers, of the form cpu,cpuacct, hold cpu? */
static int has_cpu(const char *list)
{
    for (const char *p = list; p; p = strchr(p, ','), p = p ? p + 1 : NULL)
        if (!strncmp(p, "cpu", 3) && (p[3] == ',' || p[3] == ':'))
            return 1;
    return 0;
}

unsigned cpus_usable(unsigned most)
{
    cpu_set_t set;
    char text[4400];
    unsigned n = 1;
    FILE *f;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = (unsigned)CPU_COUNT(&set);
    f = fopen("/proc/self/cgroup", "re");
    while (f && fgets(text, sizeof text, f)) {  /* ID:controllers:path */
        char *controllers = strchr(text, ':'), *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        path[strcspn(path, "\n")] = '\0';
        if (controllers + 1 == path)
            n = quota(path + 1, 2, n);
        else if (has_cpu(controllers + 1))
            n = quota(path + 1, 1, n);
    }
    if (f)
        fclose(f);
    return n < 1 ? 1 : n > most ? most : n;
}
