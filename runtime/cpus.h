/* SPDX-License-Identifier: MIT */
/*
 * cpus - how many CPUs this process may really use
 *
 * The smaller of the affinity mask and the CPU quota of its cgroup and of each cgroup above it, rounded up; at least 1. Read once
 * per start. Both hierarchies are understood (v2: cpu.max; v1: cpu.cfs_quota_us over cpu.cfs_period_us).
 */
#ifndef RUNTIME_CPUS_H
#define RUNTIME_CPUS_H

unsigned cpus_usable(unsigned most);

#endif
