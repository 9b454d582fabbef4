/* Threads that share the items of one task at a time. */
#ifndef PRUNEIR_POOL_H
#define PRUNEIR_POOL_H

/* The items from begin to end, by a thread: 0 is the caller's. */
typedef void task(void *context, int thread, long begin, long end);

/* Processors that this process may use. */
int pool_processors(void);

/* NULL where there is no memory, or the system gives no thread. One thread is the caller's own, and starts none. */
struct pool *pool_create(int threads);

/* Every thread gets a contiguous range of the items, the same one at each call unless it comes late. Returns when all
 * are done. */
void pool_run(struct pool *pool, task *run, void *context, long items);

void pool_destroy(struct pool *pool);

#endif
