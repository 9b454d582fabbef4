/* What the kernels of sliding windows share: how a row of output points is cut into tiles.

   NAME, FINISH                        the kernel, and what every vector passes through before it is stored
   IH IW IC OH OW OC                   images, channels innermost
   KH KW SH SW DH DW PT PL             window, strides, dilations, padding above and on the left
   TW                                  points of a register tile, at most OW
   CB                                  channels of a block, whole vectors

   A template includes this file, defines

       INLINE void TILE(void *const *p, long row, int ow, int width, int inside, long filter, int lanes)

   which makes `width` points from column `ow` on of row `row` (counted over the batch) for one vector of channels, and
   includes window_walk.h, which calls it. `inside`: no point reads padding on its left or right. Where one may, `ow` is
   a literal, so that the questions which columns exist fold away. */
#include "simd.h"

#ifndef PRUNEIR_WINDOW_H
#define PRUNEIR_WINDOW_H

#define WINDOW_JOIN_(a, b) a##b
#define WINDOW_JOIN(a, b) WINDOW_JOIN_(a, b)
#define WINDOW_UNROLL _Pragma("GCC unroll 128")

/* The first tap of a window at `start` that is not before the image, and the first that is behind it. */
INLINE int window_first(int start, int step) { return start < 0 ? (step - 1 - start) / step : 0; }
INLINE int window_last(int start, int taps, int step, int size) {
    return start + (taps - 1) * step < size ? taps : start < size ? (size - start + step - 1) / step : 0;
}

#endif

#define TILE WINDOW_JOIN(NAME, _tile)
#define SPAN WINDOW_JOIN(NAME, _span)
#define STORE WINDOW_JOIN(NAME, _store)

/* Columns of the input between the first and the last of a tile, and whether column i is one that point t reads. */
#define COLUMNS(width) (((width)-1) * SW + (KW - 1) * DW + 1)
#define REACHES(i, t) ((i) >= (t) * SW && ((i) - (t) * SW) % DW == 0 && ((i) - (t) * SW) / DW < KW)

INLINE void STORE(float *y, vf sum, void *const *p, long point, long filter, int lanes) {
    vf done = FINISH(sum, p, point, filter, lanes);
    if (lanes == VL)
        vf_store(y + point * OC + filter, done);
    else
        vf_store_n(y + point * OC + filter, done, lanes);
}
