/* Softmax over rows: y[point, c] = exp(x[point, c] - m) / Σ exp(x[point, …] - m) with m the largest of the row.

   p[0] = x, p[1] = y, p[2]… = operands; POINTS rows of OC numbers, and an item is one of ITEMS equal runs of rows.
   Scratch: a row in whole vectors. LOGARITHM: its logarithm instead. */
#include "row.h"
#include "vmath.h"

void NAME(void *const *p, void *scratch, long begin, long end) {
    vf *held = scratch;
    for (long point = begin * POINTS / ITEMS; point < end * POINTS / ITEMS; point++) {
        const float *x = (const float *)p[0] + point * OC;
        float *y = (float *)p[1] + point * OC;
        vf top = vf_set(-INFINITY), total = vf_set(0);
        for (long c = 0; c < OC; c += VL)
            top = vf_max(top, row_load(x, c, OC, -INFINITY));
        top = vf_set(vf_largest(top));
        for (long c = 0; c < OC; c += VL) {
            const vf less = row_load(x, c, OC, -INFINITY) - top, power = vf_exp(less);
            held[c / VL] = LOGARITHM ? less : power;
            total += power;
        }
        const float sum = vf_sum(total);
        const vf share = vf_set(1.f / sum), log = LOGARITHM ? vf_log(vf_set(sum)) : share;
        for (long c = 0; c < OC; c += VL) {
            const vf done = LOGARITHM ? held[c / VL] - log : held[c / VL] * share;
            row_store(y, c, OC, FINISH(done, p, point, c, row_lanes(c, OC)));
        }
    }
}
