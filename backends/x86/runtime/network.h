/* What network.c says of the network, for model.c to run. */
#ifndef PRUNEIR_NETWORK_H
#define PRUNEIR_NETWORK_H

#include <stddef.h>

typedef void kernel(void *const *p, void *scratch, long begin, long end);

/* Where a pointer of a step points: into the arena, the weights, or the array of an input or, behind those, of an
 * output. */
enum { ARENA, WEIGHTS, ARRAYS };
struct place {
    int base;
    size_t offset;
};

/* A call of a kernel on the pointers from `first` on. */
struct step {
    kernel *run;
    int first;
    long items;
};

struct network {
    const struct step *steps;
    const struct place *places;
    const size_t *sizes; /* bytes of each input, then of each output */
    int step_count, place_count, input_count, output_count;
    size_t arena, scratch; /* bytes, for a run and for a thread */
};

extern const struct network network;
extern const char network_weights[];

/* An instruction set that the code needs and the processor lacks; NULL if there is none. */
const char *network_lacks(void);

/* A loop of `rounds` of fused multiply-adds in registers. Returns how many floating-point operations that were. */
double network_peak(long rounds);

#endif
