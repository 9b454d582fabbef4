/* Runs the network that network.c describes: memory, threads, and the steps in order. Compiled for any processor of the
 * architecture, so that one which lacks the kernels' instructions is told so. */
#define _DEFAULT_SOURCE
#include "model.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "network.h"
#include "pool.h"

enum { ALIGNMENT = 64, PAGE = 4096, HUGE_PAGE = 2 << 20, MOST_THREADS = 1024 };

/* What one run works in: its arena, and the pointers of all steps. */
struct lane {
    char *arena;
    void **pointers, **bases;
};

struct model {
    struct pool *pool;
    int threads;
    char *scratch; /* of all threads, one behind another */
    struct lane *lanes; /* the first is always there; the others, once samples run side by side */
};

static _Thread_local char message[160] = "";

const char *model_error(void) {
    return message;
}

static size_t rounded(size_t size, size_t to) {
    return (size + to - 1) / to * to;
}

/* Aligned memory; large pieces on large pages, where the system has them. */
static char *memory(size_t size) {
    const size_t to = size >= HUGE_PAGE ? HUGE_PAGE : ALIGNMENT;
    size = rounded(size ? size : 1, to);
    char *found = aligned_alloc(to, size);
#ifdef MADV_HUGEPAGE
    if (found && to == HUGE_PAGE)
        madvise(found, size, MADV_HUGEPAGE);
#endif
    return found;
}

static void lane_close(struct lane *lane) {
    free(lane->arena);
    free(lane->pointers);
    free(lane->bases);
    *lane = (struct lane){0};
}

/* Whether the lane has its memory. */
static int lane_open(struct lane *lane) {
    if (lane->arena)
        return 1;
    const size_t bases = (size_t)(ARRAYS + network.input_count + network.output_count);
    *lane = (struct lane){
        .arena = memory(network.arena),
        .pointers = calloc((size_t)network.place_count + 1, sizeof(void *)),
        .bases = calloc(bases, sizeof(void *)),
    };
    if (lane->arena && lane->pointers && lane->bases)
        return 1;
    lane_close(lane);
    return 0;
}

model *model_create(int threads) {
    const char *lacks = network_lacks();
    if (lacks) {
        const char *told = "the code needs %s, which this processor lacks; compile it for this one";
        snprintf(message, sizeof message, told, lacks);
        return NULL;
    }
    if (threads <= 0)
        threads = pool_processors();
    threads = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
    model *made = calloc(1, sizeof *made);
    if (made) {
        made->threads = threads;
        made->scratch = memory(rounded(network.scratch, PAGE) * (size_t)threads);
        made->lanes = calloc((size_t)threads, sizeof *made->lanes);
        made->pool = pool_create(threads);
    }
    if (made == NULL || made->scratch == NULL || made->lanes == NULL || made->pool == NULL || !lane_open(made->lanes)) {
        const char *told = "there is no memory for %zu bytes, or no %d threads; ask for fewer";
        snprintf(message, sizeof message, told, network.arena, threads);
        model_destroy(made);
        return NULL;
    }
    return made;
}

void model_destroy(model *gone) {
    if (gone == NULL)
        return;
    if (gone->pool)
        pool_destroy(gone->pool);
    for (int i = 0; gone->lanes && i < gone->threads; i++)
        lane_close(&gone->lanes[i]);
    free(gone->lanes);
    free(gone->scratch);
    free(gone);
}

/* A run: where its arrays are, and how many samples follow each other there. */
struct run {
    const model *model;
    const void *const *inputs;
    void *const *outputs;
};

static void *scratch_of(const model *model, int thread) {
    return model->scratch + rounded(network.scratch, PAGE) * (size_t)thread;
}

/* The pointers of all steps for one sample. */
static void aim(const struct lane *lane, const struct run *run, long sample) {
    void **arrays = lane->bases + ARRAYS;
    lane->bases[ARENA] = lane->arena;
    lane->bases[WEIGHTS] = (void *)(uintptr_t)network_weights;
    for (int i = 0; i < network.input_count + network.output_count; i++) {
        const int output = i - network.input_count;
        const void *array = output < 0 ? run->inputs[i] : run->outputs[output];
        arrays[i] = (char *)(uintptr_t)array + network.sizes[i] * (size_t)sample;
    }
    for (int i = 0; i < network.place_count; i++)
        lane->pointers[i] = (char *)lane->bases[network.places[i].base] + network.places[i].offset;
}

struct call {
    const model *model;
    const struct step *step;
};

static void share_of_step(void *context, int thread, long begin, long end) {
    const struct call *call = context;
    void *const *pointers = call->model->lanes[0].pointers + call->step->first;
    call->step->run(pointers, scratch_of(call->model, thread), begin, end);
}

/* Items of work are samples here: each thread runs whole ones, in a lane of its own. */
static void share_of_samples(void *context, int thread, long begin, long end) {
    const struct run *run = context;
    const struct lane *lane = &run->model->lanes[thread];
    for (long sample = begin; sample < end; sample++) {
        aim(lane, run, sample);
        for (const struct step *step = network.steps; step < network.steps + network.step_count; step++)
            step->run(lane->pointers + step->first, scratch_of(run->model, thread), 0, step->items);
    }
}

static int lanes_open(const model *model) {
    int open = 1;
    for (int i = 1; i < model->threads; i++)
        open &= lane_open(&model->lanes[i]);
    return open;
}

int model_run(model *model, const void *const *inputs, void *const *outputs, long batch) {
    struct run run = {.model = model, .inputs = inputs, .outputs = outputs};
    if (batch < 0) {
        snprintf(message, sizeof message, "a batch of %ld samples", batch);
        return -1;
    }
    long together = model->threads > 1 ? batch - batch % model->threads : 0;
    if (together && !lanes_open(model))
        together = 0;
    if (together)
        pool_run(model->pool, share_of_samples, &run, together);
    for (long sample = together; sample < batch; sample++) {
        aim(model->lanes, &run, sample);
        for (const struct step *step = network.steps; step < network.steps + network.step_count; step++)
            pool_run(model->pool, share_of_step, &(struct call){.model = model, .step = step}, step->items);
    }
    return 0;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec * 1e-6;
}

int model_profile(model *model, const void *const *inputs, void *const *outputs, double *ms) {
    aim(model->lanes, &(struct run){.model = model, .inputs = inputs, .outputs = outputs}, 0);
    for (int i = 0; i < network.step_count; i++) {
        const double start = now();
        struct call call = {.model = model, .step = &network.steps[i]};
        pool_run(model->pool, share_of_step, &call, call.step->items);
        ms[i] = now() - start;
    }
    return 0;
}

static void share_of_peak(void *context, int thread, long begin, long end) {
    ((double *)context)[thread] = network_peak((end - begin) << 18);
}

double model_peak(model *model) {
    double best = 0, done[MOST_THREADS];
    for (int i = 0; i < 40; i++) {
        const double start = now();
        pool_run(model->pool, share_of_peak, done, model->threads);
        const double ms = now() - start;
        double all = 0;
        for (int thread = 0; thread < model->threads; thread++)
            all += done[thread];
        best = all / ms > best ? all / ms : best;
    }
    return best * 1e-6;
}
