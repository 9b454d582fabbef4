/* The K-th largest magnitude of every STEP-th number of a sample, in the order in which ONNX has them.

   p[0] = x, p[1] = y, p[2]… = operands; an item is a sample of CHANNELS × POINTS numbers, channels last, of which COUNT
   are looked at. Scratch: these in whole vectors. Magnitudes are compared as integers, which orders them alike, and NaN
   above infinity. Bits of the result are found from the highest on, until just K numbers are as large. */
#include "row.h"

#ifndef PRUNEIR_THRESHOLD_H
#define PRUNEIR_THRESHOLD_H

/* How many numbers are at least `least`, which is above -1. */
INLINE long threshold_count(const vi *numbers, const long vectors, int32_t least) {
    vi sum = {0};
    long count = 0;
    for (long v = 0; v < vectors; v++)
        sum -= (vi)(numbers[v] >= vi_set(least));
    for (int i = 0; i < VL; i++)
        count += sum[i];
    return count;
}

/* The least of those that are at least `least`. */
INLINE int32_t threshold_least(const vi *numbers, const long vectors, int32_t least) {
    int32_t found = INT32_MAX;
    for (long v = 0; v < vectors; v++)
        for (int i = 0; i < VL; i++)
            found = numbers[v][i] >= least && numbers[v][i] < found ? numbers[v][i] : found;
    return found;
}

INLINE int32_t threshold_find(const vi *numbers, const long vectors, const long count, const long k) {
    int32_t found = 0;
    long above = count;
    if (k < count && threshold_count(numbers, vectors, 1) < k)
        return 0;
    for (int bit = 30; bit >= 0 && above != k; bit--) {
        const int32_t next = found | (int32_t)1 << bit;
        const long reached = threshold_count(numbers, vectors, next);
        if (reached >= k)
            found = next, above = reached;
    }
    return above == k ? threshold_least(numbers, vectors, found) : found;
}
#endif

void NAME(void *const *p, void *scratch, long begin, long end) {
    const long vectors = (COUNT + VL - 1) / VL;
    int32_t *numbers = scratch;
    for (long i = COUNT; i < vectors * VL; i++)
        numbers[i] = -1;
    for (long sample = begin; sample < end; sample++) {
        const char *x = (const char *)p[0] + sample * CHANNELS * POINTS * 4;
        for (long i = 0; i < COUNT; i++) {
            const long at = STEP == 1 ? i : i * STEP % POINTS * CHANNELS + i * STEP / POINTS;
            int32_t bits;
            memcpy(&bits, x + 4 * at, 4);
            numbers[i] = bits & INT32_MAX;
        }
        const vi found = vi_set(threshold_find((const vi *)numbers, vectors, COUNT, K));
        row_store((float *)p[1] + sample, 0, 1, FINISH((vf)found, p, sample, 0, 1));
    }
}
