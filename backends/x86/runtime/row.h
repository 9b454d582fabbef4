/* Vectors of one row of numbers, and what is common to its last, whose lanes may lie behind the end. */
#ifndef PRUNEIR_ROW_H
#define PRUNEIR_ROW_H

#include "simd.h"

/* How many of `size` numbers the vector at `at` has. */
INLINE int row_lanes(long at, const long size) { return at + VL <= size ? VL : (int)(size % VL); }

/* The vector at `at`; `fill` behind the end. */
INLINE vf row_load(const float *x, long at, const long size, const float fill) {
    if (at + VL <= size)
        return vf_load(x + at);
    vi lane;
    for (int i = 0; i < VL; i++)
        lane[i] = i;
    return vf_select((vi)(lane < (int)(size % VL)), vf_load_n(x + at, (int)(size % VL)), vf_set(fill));
}

INLINE void row_store(float *y, long at, const long size, vf v) {
    if (at + VL <= size)
        vf_store(y + at, v);
    else
        vf_store_n(y + at, v, (int)(size % VL));
}

INLINE float vf_sum(vf v) {
    float sum = 0;
    for (int i = 0; i < VL; i++)
        sum += v[i];
    return sum;
}

/* The largest; NaN if one is. */
INLINE float vf_largest(vf v) {
    float largest = v[0];
    for (int i = 1; i < VL; i++)
        largest = v[i] > largest || v[i] != v[i] ? v[i] : largest;
    return largest;
}

#endif
