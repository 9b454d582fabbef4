/* The items of a task are cut into one contiguous range for each thread. A thread claims its own range first, so that
 * it meets the same memory again, and then whatever range nobody has begun: a thread that sleeps, or that the system
 * has put aside, is not waited for. Who waits spins for a moment, since in a network the next task comes within
 * microseconds, and sleeps after that; where there are more threads than processors it sleeps at once. */
#define _GNU_SOURCE
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SPINS = 10000 };

/* A number that only grows, and that others wait for. */
struct gate {
    _Alignas(128) atomic_ulong passed;
    atomic_int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

struct pool {
    struct gate start, done; /* tasks that began; ranges that are finished, of all tasks */
    task *run;
    void *context;
    long items;
    int threads, started, spins;
    atomic_int stop;
    atomic_ulong *claimed; /* for each range, the last task in which somebody claimed it */
    struct worker *workers;
};

struct worker {
    struct pool *pool;
    int thread;
    pthread_t id;
};

static void breathe(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void gate_open(struct gate *gate) {
    pthread_mutex_init(&gate->mutex, NULL);
    pthread_cond_init(&gate->changed, NULL);
}

static void gate_close(struct gate *gate) {
    pthread_cond_destroy(&gate->changed);
    pthread_mutex_destroy(&gate->mutex);
}

static void gate_pass(struct gate *gate) {
    atomic_fetch_add(&gate->passed, 1);
    if (atomic_load(&gate->sleepers)) { /* who sleeps had counted itself before it looked at `passed` */
        pthread_mutex_lock(&gate->mutex);
        pthread_cond_broadcast(&gate->changed);
        pthread_mutex_unlock(&gate->mutex);
    }
}

static void gate_wait(struct gate *gate, unsigned long wanted, int spins) {
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(&gate->passed, memory_order_acquire) >= wanted)
            return;
        breathe();
    }
    pthread_mutex_lock(&gate->mutex);
    atomic_fetch_add(&gate->sleepers, 1);
    while (atomic_load(&gate->passed) < wanted)
        pthread_cond_wait(&gate->changed, &gate->mutex);
    atomic_fetch_sub(&gate->sleepers, 1);
    pthread_mutex_unlock(&gate->mutex);
}

/* Ranges of a task, from the thread's own on. Claiming one also says that the task goes on until it is finished, so
 * that what the pool says of the task may be read. */
static void share(struct pool *pool, int thread, unsigned long number) {
    for (int i = 0; i < pool->threads; i++) {
        const int range = (thread + i) % pool->threads;
        unsigned long before = number - 1;
        if (!atomic_compare_exchange_strong(&pool->claimed[range], &before, number))
            continue;
        const long begin = pool->items * range / pool->threads, end = pool->items * (range + 1) / pool->threads;
        if (begin < end)
            pool->run(pool->context, thread, begin, end);
        gate_pass(&pool->done);
    }
}

static void *work(void *argument) {
    const struct worker *worker = argument;
    struct pool *pool = worker->pool;
    for (unsigned long number = 0;;) {
        gate_wait(&pool->start, number + 1, pool->spins);
        number = atomic_load(&pool->start.passed);
        if (atomic_load(&pool->stop))
            return NULL;
        share(pool, worker->thread, number);
    }
}

int pool_processors(void) {
    cpu_set_t allowed;
    return sched_getaffinity(0, sizeof allowed, &allowed) ? 1 : CPU_COUNT(&allowed);
}

struct pool *pool_create(int threads) {
    struct pool *pool = aligned_alloc(_Alignof(struct pool), sizeof *pool);
    if (pool == NULL)
        return NULL;
    *pool = (struct pool){.threads = threads, .started = 1, .spins = threads <= pool_processors() ? SPINS : 0};
    gate_open(&pool->start);
    gate_open(&pool->done);
    pool->workers = calloc((size_t)threads, sizeof *pool->workers);
    pool->claimed = calloc((size_t)threads, sizeof *pool->claimed);
    const int memory = pool->workers && pool->claimed;
    for (int i = 1; memory && i < threads; i++, pool->started++) {
        struct worker *worker = &pool->workers[i];
        *worker = (struct worker){.pool = pool, .thread = i};
        if (pthread_create(&worker->id, NULL, work, worker))
            break;
    }
    if (pool->started < threads || !memory) {
        pool_destroy(pool);
        return NULL;
    }
    return pool;
}

void pool_run(struct pool *pool, task *run, void *context, long items) {
    if (pool->threads == 1 || items == 1) {
        run(context, 0, 0, items);
        return;
    }
    pool->run = run;
    pool->context = context;
    pool->items = items;
    const unsigned long number = atomic_load(&pool->start.passed) + 1;
    gate_pass(&pool->start);
    share(pool, 0, number);
    gate_wait(&pool->done, number * (unsigned long)pool->threads, pool->spins);
}

void pool_destroy(struct pool *pool) {
    atomic_store(&pool->stop, 1);
    gate_pass(&pool->start);
    for (int i = 1; i < pool->started; i++)
        pthread_join(pool->workers[i].id, NULL);
    gate_close(&pool->start);
    gate_close(&pool->done);
    free(pool->claimed);
    free(pool->workers);
    free(pool);
}
