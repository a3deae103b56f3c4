// SPDX-License-Identifier: MIT

// The Go peer of tools/bench/bench.c: the same work, as a Go programmer writes it.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

const batch = 1000

func noop(wg *sync.WaitGroup) { wg.Done() }

func spawn(n int) {
	var wg sync.WaitGroup
	wg.Add(n)
	for i := 0; i < n; i++ {
		go noop(&wg)
	}
	wg.Wait()
}

func spawnBatch(n int) int {
	for i := 0; i < n/batch; i++ {
		spawn(batch)
	}
	return n / batch * batch
}

func spawnAll(n int) int {
	spawn(n)
	return n
}

func yield(fibers int) func(int) int {
	return func(n int) int {
		var wg sync.WaitGroup
		wg.Add(fibers)
		for i := 0; i < fibers; i++ {
			go func() {
				for j := 0; j < n/fibers; j++ {
					runtime.Gosched()
				}
				wg.Done()
			}()
		}
		wg.Wait()
		return n / fibers * fibers
	}
}

// An operation is one value passed on: half a round trip.
func pingpong(n int) int {
	ping, pong := make(chan int), make(chan int)
	go func() {
		for v := range ping {
			pong <- v
		}
		close(pong)
	}()
	for i := 0; i < n/2; i++ {
		ping <- i
		<-pong
	}
	close(ping)
	return n / 2 * 2
}

func fibSpawn(n int) int {
	if n < 2 {
		return n
	}
	var a int
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		a = fibSpawn(n - 1)
		wg.Done()
	}()
	b := fibSpawn(n - 2)
	wg.Wait()
	return a + b
}

// fib(20), n times over. An operation is one call: 21,891 a tree, half of them goroutines.
func fib(n int) int {
	for i := 0; i < n; i++ {
		if fibSpawn(20) != 6765 {
			fmt.Fprintln(os.Stderr, "fib: wrong result")
			os.Exit(1)
		}
	}
	return n * 21891
}

func rss() int {
	var pages, resident int
	f, err := os.Open("/proc/self/statm")
	if err == nil {
		defer f.Close()
		_, err = fmt.Fscan(f, &pages, &resident)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return resident * os.Getpagesize()
}

// Bytes of RSS for each of n goroutines that wait.
func memory(wait func()) func(int) float64 {
	return func(n int) float64 {
		before := rss()
		var started sync.WaitGroup
		started.Add(n)
		for i := 0; i < n; i++ {
			go func() {
				started.Done()
				wait()
			}()
		}
		started.Wait()
		time.Sleep(100 * time.Millisecond)
		return float64(rss()-before) / float64(n)
	}
}

func main() {
	never := make(chan int)
	timed := map[string]func(int) int{
		"spawn_batch": spawnBatch,
		"spawn_all":   spawnAll,
		"yield_2":     yield(2),
		"yield_100":   yield(100),
		"yield_1000":  yield(1000),
		"yield_10000": yield(10000),
		"pingpong":    pingpong,
		"fib":         fib,
	}
	sized := map[string]func(int) float64{
		"mem_parked": memory(func() { <-never }),
		"mem_sleep":  memory(func() { time.Sleep(time.Hour) }),
	}

	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: bench_go NAME --workers N --n N")
		os.Exit(2)
	}
	name := os.Args[1]
	flags := flag.NewFlagSet(name, flag.ExitOnError)
	workers := flags.Int("workers", 1, "")
	n := flags.Int("n", 100000, "")
	flags.Parse(os.Args[2:])
	runtime.GOMAXPROCS(*workers)

	if f := timed[name]; f != nil {
		start := time.Now()
		ops := f(*n)
		ns := float64(time.Since(start).Nanoseconds()) / float64(ops)
		fmt.Printf("name=%s workers=%d n=%d value=%.1f unit=ns\n", name, *workers, *n, ns)
	} else if f := sized[name]; f != nil {
		fmt.Printf("name=%s workers=%d n=%d value=%.0f unit=bytes\n", name, *workers, *n, f(*n))
	} else {
		fmt.Fprintf(os.Stderr, "bench_go: no benchmark %s\n", name)
		os.Exit(2)
	}
}
