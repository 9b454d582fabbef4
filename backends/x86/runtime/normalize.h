/* Rows with mean 0 and variance 1, then scaled and shifted: y = (x - mean) / sqrt(variance + EPSILON) · scale + shift.

   p[0] = x, p[1] = scale and shift, each in whole vectors, p[2] = y, p[3]… = operands; POINTS rows of OC numbers, and an
   item is one of ITEMS equal runs of rows. Scratch: a row in whole vectors. */
#include "row.h"

void NAME(void *const *p, void *scratch, long begin, long end) {
    const float *scale = p[1], *shift = scale + (OC + VL - 1) / VL * VL;
    vf *held = scratch;
    for (long point = begin * POINTS / ITEMS; point < end * POINTS / ITEMS; point++) {
        const float *x = (const float *)p[0] + point * OC;
        float *y = (float *)p[2] + point * OC;
        vf total = vf_set(0), squares = vf_set(0);
        for (long c = 0; c < OC; c += VL)
            total += row_load(x, c, OC, 0);
        const float mean = vf_sum(total) / OC;
        for (long c = 0; c < OC; c += VL) {
            const vf from = row_load(x, c, OC, mean) - mean;
            held[c / VL] = from;
            squares = vf_fma(from, from, squares);
        }
        const vf factor = vf_set(1.f / sqrtf(vf_sum(squares) / OC + EPSILON));
        for (long c = 0; c < OC; c += VL) {
            const vf done = vf_fma(held[c / VL] * factor, vf_load(scale + c), vf_load(shift + c));
            row_store(y, c, OC, FINISH(done, p, point, c, row_lanes(c, OC)));
        }
    }
}
