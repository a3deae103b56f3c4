/* SPDX-License-Identifier: MIT */
/* barrier - see barrier.h */
#include "sched/barrier.h"

#if defined(WEFT_MODEL) || defined(WEFT_SHAKE) || defined(WEFT_TSAN) || defined(__SANITIZE_THREAD__)

void barrier_init(void) { }

#else

#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

bool barrier_symmetric;

static void probe(void)
{
    barrier_symmetric = syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0;
}

void barrier_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, probe);
}

void barrier_heavy(void)
{
    fence_full();
    if (!barrier_symmetric)
        (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    fence_full();
}

#endif
