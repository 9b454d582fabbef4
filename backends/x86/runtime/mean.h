/* Mean or maximum of each channel over all points of an image, NHWC.

   p[0] = x [N][POINTS][OC], p[1] = y [N][OC], p[2]… = epilogue, whose `point` is the image
   Items: images × blocks of 64 channels. Needs NAME, FINISH, POINTS, OC, MAXIMUM (1: the largest, 0: the mean).
   A mean is summed in runs of 64 points, then over the runs, so that its error does not grow with the image. */
#include "simd.h"

#ifndef PRUNEIR_MEAN_H
#define PRUNEIR_MEAN_H
#define MEAN_JOIN_(a, b) a##b
#define MEAN_JOIN(a, b) MEAN_JOIN_(a, b)
#define MEAN_UNROLL _Pragma("GCC unroll 16")
#define MEAN_BLOCK 64
#define MEAN_RUN 64
#endif

#define ADD MEAN_JOIN(NAME, _add)
#define BLOCK MEAN_JOIN(NAME, _block)
#define BLOCKS ((OC + MEAN_BLOCK - 1) / MEAN_BLOCK)
#define REST (OC % MEAN_BLOCK)

INLINE vf ADD(vf a, vf b) { return MAXIMUM ? vf_max(a, b) : a + b; }

/* `channels` of image `n`: a literal, at most MEAN_BLOCK */
INLINE void BLOCK(void *const *p, long n, long filter, const int channels) {
    const float *x = (const float *)p[0] + n * POINTS * OC + filter;
    float *y = (float *)p[1] + n * OC + filter;
    const int vectors = (channels + VL - 1) / VL, tail = channels % VL;
    vf total[MEAN_BLOCK / VL];
    MEAN_UNROLL for (int v = 0; v < vectors; v++)
        total[v] = vf_set(MAXIMUM ? -INFINITY : 0);
    for (long run = 0; run < POINTS; run += MEAN_RUN) {
        const long end = run + MEAN_RUN < POINTS ? run + MEAN_RUN : POINTS;
        vf sum[MEAN_BLOCK / VL];
        MEAN_UNROLL for (int v = 0; v < vectors; v++)
            sum[v] = vf_set(MAXIMUM ? -INFINITY : 0);
        for (long point = run; point < end; point++)
            MEAN_UNROLL for (int v = 0; v < vectors; v++) {
                const float *at = x + point * OC + v * VL;
                sum[v] = ADD(sum[v], tail && v == vectors - 1 ? vf_load_n(at, tail) : vf_load(at));
            }
        MEAN_UNROLL for (int v = 0; v < vectors; v++)
            total[v] = ADD(total[v], sum[v]);
    }
    MEAN_UNROLL for (int v = 0; v < vectors; v++) {
        const int lanes = tail && v == vectors - 1 ? tail : VL;
        vf done = FINISH(MAXIMUM ? total[v] : total[v] * (1.f / POINTS), p, n, filter + v * VL, lanes);
        if (lanes == VL)
            vf_store(y + v * VL, done);
        else
            vf_store_n(y + v * VL, done, lanes);
    }
}

void NAME(void *const *p, void *scratch, long begin, long end) {
    (void)scratch;
    for (long item = begin; item < end; item++) {
        const long n = item / BLOCKS, filter = item % BLOCKS * MEAN_BLOCK;
        if (REST == 0 || item % BLOCKS < BLOCKS - 1)
            BLOCK(p, n, filter, MEAN_BLOCK);
        else
            BLOCK(p, n, filter, REST);
    }
}

#undef ADD
#undef BLOCK
#undef BLOCKS
#undef REST
