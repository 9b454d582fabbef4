/* Nearest and linear resizing of images, NHWC.

   p[0] = x [N][IH][IW][OC], p[1] = y [N][OH][OW][OC], p[2]… = epilogue
   Items: rows of all outputs. Needs NAME, FINISH, IH IW OH OW OC, and
     ROWS, COLUMNS   initializers, an entry {low, high, share} for each output row and column: it lies `share` of the
                     way from input row or column `low` to `high`
     LINEAR          1: it is mixed from both, 0: it is `low` */
#include "simd.h"

#ifndef PRUNEIR_RESIZE_H
#define PRUNEIR_RESIZE_H
struct resize_tap {
    int low, high;
    float share;
};
#define RESIZE_JOIN_(a, b) a##_##b
#define RESIZE_JOIN(a, b) RESIZE_JOIN_(a, b)
#endif

#define RESIZE(name) RESIZE_JOIN(NAME, name)

static const struct resize_tap RESIZE(rows)[] = {ROWS}, RESIZE(columns)[] = {COLUMNS};

INLINE vf RESIZE(load)(const float *p, int lanes) { return lanes == VL ? vf_load(p) : vf_load_n(p, lanes); }

INLINE vf RESIZE(mix)(vf low, vf high, float share) { return vf_fma(high - low, vf_set(share), low); }

/* A vector of channels of the point between two columns of two rows. */
INLINE vf RESIZE(take)(const float *upper, const float *lower, long left, long right, float across, float down, int lanes) {
    if (!LINEAR)
        return RESIZE(load)(upper + left, lanes);
    vf top = RESIZE(mix)(RESIZE(load)(upper + left, lanes), RESIZE(load)(upper + right, lanes), across);
    vf bottom = RESIZE(mix)(RESIZE(load)(lower + left, lanes), RESIZE(load)(lower + right, lanes), across);
    return RESIZE(mix)(top, bottom, down);
}

INLINE void RESIZE(row)(void *const *p, long row) {
    const struct resize_tap down = RESIZE(rows)[row % OH];
    const float *image = (const float *)p[0] + row / OH * IH * IW * OC;
    const float *upper = image + (long)down.low * IW * OC, *lower = image + (long)down.high * IW * OC;
    for (int ow = 0; ow < OW; ow++) {
        const struct resize_tap across = RESIZE(columns)[ow];
        const long left = (long)across.low * OC, right = (long)across.high * OC, point = row * OW + ow;
        float *y = (float *)p[1] + point * OC;
        long filter = 0;
        for (; filter + VL <= OC; filter += VL) {
            vf v = RESIZE(take)(upper + filter, lower + filter, left, right, across.share, down.share, VL);
            vf_store(y + filter, FINISH(v, p, point, filter, VL));
        }
        if (OC % VL) {
            vf v = RESIZE(take)(upper + filter, lower + filter, left, right, across.share, down.share, OC % VL);
            vf_store_n(y + filter, FINISH(v, p, point, filter, OC % VL), OC % VL);
        }
    }
}

void NAME(void *const *p, void *scratch, long begin, long end) {
    (void)scratch;
    for (long row = begin; row < end; row++)
        RESIZE(row)(p, row);
}

#undef RESIZE
