/* Max and average pooling, NHWC.

   p[0] = x [N][IH][IW][IC], p[1] = y [N][OH][OW][OC], OC = IC, p[2]… = epilogue
   Needs what window.h needs, and
     MAXIMUM   1: the largest, 0: the mean
     PADDED    whether a mean counts padding: PT, PL, PB and PR of it, but nothing beyond
   First the rows of each column of the input, then the columns of each point: a column is reduced once for all points. */
#include "window.h"

#define ADD WINDOW_JOIN(NAME, _add)
#define TAKE WINDOW_JOIN(NAME, _take)
#define COUNT WINDOW_JOIN(NAME, _count)

INLINE vf ADD(vf a, vf b) { return MAXIMUM ? vf_max(a, b) : a + b; }

/* Taps of a window at `start` that a mean divides by. */
INLINE int COUNT(int start, int taps, int step, int size, int before, int behind) {
    int count = 0;
    for (int k = 0; k < taps; k++) {
        int at = start + k * step;
        count += PADDED ? at >= -before && at < size + behind : at >= 0 && at < size;
    }
    return count;
}

/* The rows from `first` to before `last`, at `x` in their first and leftmost place. */
INLINE void TAKE(vf *sum, const float *x, int first, int last, int iw, int width, int inside, int lanes) {
    WINDOW_UNROLL for (int i = 0; i < COLUMNS(width); i++) {
        if (!inside && (iw + i < 0 || iw + i >= IW))
            continue;
        vf v = vf_set(MAXIMUM ? -INFINITY : 0);
        for (int kh = first; kh < last; kh++) {
            const float *at = x + ((long)kh * DH * IW + i) * IC;
            v = ADD(v, lanes == VL ? vf_load(at) : vf_load_n(at, lanes));
        }
        WINDOW_UNROLL for (int t = 0; t < width; t++)
            if (REACHES(i, t))
                sum[t] = ADD(sum[t], v);
    }
}

INLINE void TILE(void *const *p, long row, int ow, int width, int inside, long filter, int lanes) {
    const int ih = (int)(row % OH) * SH - PT, iw = ow * SW - PL;
    const int first = window_first(ih, DH), last = window_last(ih, KH, DH, IH);
    const float *x = (const float *)p[0] + ((row / OH * IH + ih) * IW + iw) * IC + filter;
    vf sum[TW];
    WINDOW_UNROLL for (int t = 0; t < width; t++)
        sum[t] = vf_set(MAXIMUM ? -INFINITY : 0);
    if (last - first == KH)
        TAKE(sum, x, 0, KH, iw, width, inside, lanes);
    else
        TAKE(sum, x, first, last, iw, width, inside, lanes);
    const int rows = last - first == KH ? KH : COUNT(ih, KH, DH, IH, PT, PB);
    WINDOW_UNROLL for (int t = 0; t < width; t++) {
        const int columns = inside ? KW : COUNT(iw + t * SW, KW, DW, IW, PL, PR);
        vf done = MAXIMUM ? sum[t] : sum[t] * (1.f / (float)(rows * columns));
        STORE((float *)p[1], done, p, row * OW + ow + t, filter, lanes);
    }
}

#include "window_walk.h"

#undef ADD
#undef TAKE
#undef COUNT
