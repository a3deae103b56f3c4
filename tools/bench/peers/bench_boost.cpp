// SPDX-License-Identifier: MIT
//
// The Boost.Fiber peer of tools/bench/bench.c: the same work, as its documentation teaches it.
//
// One worker: round_robin and pooled stacks. More: work_stealing, which measured faster than shared_work (BOOST_SHARED_WORK=1
// selects that one), and fixedsize_stack, since the pool is not thread-safe; malloc is told to keep what is freed, without
// which each spawn costs 1 us more. Stacks of 64 KiB, as weft's.
#include <boost/fiber/all.hpp>

#include <malloc.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace fibers = boost::fibers;

static constexpr long batch = 1000;
static constexpr std::size_t stack_size = 64 * 1024;
static long workers = 1;

template <typename F> static fibers::fiber spawn(F &&f)
{
    // at most 1024 stacks a chunk: the pool doubles its chunks, and the kernel refuses one larger than the memory
    static fibers::pooled_fixedsize_stack pooled(stack_size, 32, 1024);
    if (workers == 1)
        return fibers::fiber(std::allocator_arg, pooled, std::forward<F>(f));
    return fibers::fiber(std::allocator_arg, fibers::fixedsize_stack(stack_size), std::forward<F>(f));
}

static void spawn_join(long n)
{
    std::vector<fibers::fiber> all;
    all.reserve(n);
    for (long i = 0; i < n; i++)
        all.push_back(spawn([] {}));
    for (auto &f : all)
        f.join();
}

static long spawn_batch(long n)
{
    for (long i = 0; i < n / batch; i++)
        spawn_join(batch);
    return n / batch * batch;
}

static long spawn_all(long n)
{
    spawn_join(n);
    return n;
}

static long yield(long count, long n)
{
    std::vector<fibers::fiber> all;
    for (long i = 0; i < count; i++)
        all.push_back(spawn([=] {
            for (long j = 0; j < n / count; j++)
                boost::this_fiber::yield();
        }));
    for (auto &f : all)
        f.join();
    return n / count * count;
}

// An operation is one value passed on: half a round trip.
static long pingpong(long n)
{
    fibers::unbuffered_channel<long> ping, pong;
    fibers::fiber echo = spawn([&] {
        for (long v : ping)
            pong.push(v);
        pong.close();
    });
    fibers::fiber player = spawn([&] {
        for (long i = 0; i < n / 2; i++) {
            ping.push(i);
            pong.value_pop();
        }
        ping.close();
    });
    player.join();
    echo.join();
    return n / 2 * 2;
}

static long fib_spawn(long n)
{
    if (n < 2)
        return n;
    long a;
    fibers::fiber f = spawn([&a, n] { a = fib_spawn(n - 1); });
    long b = fib_spawn(n - 2);
    f.join();
    return a + b;
}

// fib(20), n times over. An operation is one call: 21,891 a tree, half of them fibers.
static long fib(long n)
{
    for (long i = 0; i < n; i++)
        if (fib_spawn(20) != 6765) {
            std::fprintf(stderr, "fib: wrong result\n");
            std::exit(1);
        }
    return n * 21891;
}

static double rss()
{
    long pages, resident;
    std::FILE *f = std::fopen("/proc/self/statm", "r");
    if (!f || std::fscanf(f, "%ld %ld", &pages, &resident) != 2) {
        std::perror("/proc/self/statm");
        std::exit(1);
    }
    std::fclose(f);
    return double(resident) * sysconf(_SC_PAGESIZE);
}

// Bytes of RSS for each of n fibers that wait.
static double memory(long n, std::function<void()> wait)
{
    double before = rss();
    std::atomic<long> started{0};
    for (long i = 0; i < n; i++)
        spawn([&] {
            started++;
            wait();
        }).detach();
    while (started < n)
        boost::this_fiber::yield();
    boost::this_fiber::sleep_for(std::chrono::milliseconds(100));
    return (rss() - before) / double(n);
}

static void use_algorithm()
{
    if (workers == 1)
        fibers::use_scheduling_algorithm<fibers::algo::round_robin>();
    else if (std::getenv("BOOST_SHARED_WORK"))
        fibers::use_scheduling_algorithm<fibers::algo::shared_work>();
    else
        fibers::use_scheduling_algorithm<fibers::algo::work_stealing>(workers);
}

int main(int argc, char **argv)
{
    long n = 100000;
    for (int i = 2; i + 1 < argc; i += 2) {
        if (!std::strcmp(argv[i], "--workers"))
            workers = std::atol(argv[i + 1]);
        else if (!std::strcmp(argv[i], "--n"))
            n = std::atol(argv[i + 1]);
    }
    fibers::mutex m;
    fibers::condition_variable never;
    const std::map<std::string, std::function<long()>> timed = {
        {"spawn_batch", [&] { return spawn_batch(n); }},
        {"spawn_all", [&] { return spawn_all(n); }},
        {"yield_2", [&] { return yield(2, n); }},
        {"yield_100", [&] { return yield(100, n); }},
        {"yield_1000", [&] { return yield(1000, n); }},
        {"yield_10000", [&] { return yield(10000, n); }},
        {"pingpong", [&] { return pingpong(n); }},
        {"fib", [&] { return fib(n); }},
    };
    const std::map<std::string, std::function<double()>> sized = {
        {"mem_parked", [&] {
            return memory(n, [&] {
                std::unique_lock<fibers::mutex> lock(m);
                never.wait(lock);
            });
        }},
        {"mem_sleep", [&] { return memory(n, [] { boost::this_fiber::sleep_for(std::chrono::hours(1)); }); }},
    };
    if (workers > 1) {
        mallopt(M_TRIM_THRESHOLD, 1 << 30);
        mallopt(M_TOP_PAD, 64 << 20);
    }
    const std::string name = argc > 1 ? argv[1] : "";
    auto t = timed.find(name);
    auto s = sized.find(name);
    if ((t == timed.end() && s == sized.end()) || workers < 1) {
        std::fprintf(stderr, "usage: bench_boost NAME --workers N --n N\n");
        return 2;
    }

    // The other threads lend themselves to the scheduler until the end; their main fibers wait, as in the manual's example.
    std::mutex end_lock;
    fibers::condition_variable_any end;
    bool ended = false;
    std::vector<std::thread> threads;
    for (long i = 1; i < workers; i++)
        threads.emplace_back([&] {
            use_algorithm();
            std::unique_lock<std::mutex> lock(end_lock);
            end.wait(lock, [&] { return ended; });
        });
    use_algorithm();

    if (t != timed.end()) {
        auto start = std::chrono::steady_clock::now();
        long ops = t->second();
        std::chrono::duration<double, std::nano> ns = std::chrono::steady_clock::now() - start;
        std::printf("name=%s workers=%ld n=%ld value=%.1f unit=ns\n", name.c_str(), workers, n, ns.count() / double(ops));
    } else {
        std::printf("name=%s workers=%ld n=%ld value=%.0f unit=bytes\n", name.c_str(), workers, n, s->second());
    }
    std::fflush(stdout);
    if (s != sized.end())
        _exit(0);               // the fibers that wait, wait for ever
    {
        std::lock_guard<std::mutex> lock(end_lock);
        ended = true;
    }
    end.notify_all();
    for (auto &thread : threads)
        thread.join();
    return 0;
}
