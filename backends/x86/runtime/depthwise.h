/* Depthwise convolution, NHWC: output channel f is input channel f / (OC / IC) filtered by its own KH × KW weights.

   p[0] = x [N][IH][IW][IC], p[1] = weights [KH][KW][OC padded to whole vectors], p[2] = y [N][OH][OW][OC], p[3]… = epilogue
   Needs what window.h needs. A tile keeps KW weights, its sums and one input in registers: a column of the input is
   loaded once for all the points that it reaches. */
#include "window.h"

#define INPUT WINDOW_JOIN(NAME, _input)
#define COPIES (OC / IC)
#define PADDED ((OC + VL - 1) / VL * VL)

INLINE vf INPUT(const float *x, long filter, int lanes) {
    vf v = {0};
    if (COPIES == 1)
        return lanes == VL ? vf_load(x + filter) : vf_load_n(x + filter, lanes);
    for (int i = 0; i < lanes; i++)
        v[i] = x[(filter + i) / COPIES];
    return v;
}

INLINE void TILE(void *const *p, long row, int ow, int width, int inside, long filter, int lanes) {
    const int ih = (int)(row % OH) * SH - PT, iw = ow * SW - PL;
    const int first = window_first(ih, DH), last = window_last(ih, KH, DH, IH);
    const float *x = (const float *)p[0] + ((row / OH * IH + ih + first * DH) * IW + iw) * IC;
    const float *w = (const float *)p[1] + (long)first * KW * PADDED + filter;
    vf sum[TW] = {0};
    for (int kh = first; kh < last; kh++, x += (long)DH * IW * IC, w += (long)KW * PADDED) {
        vf weight[KW];
        WINDOW_UNROLL for (int kw = 0; kw < KW; kw++)
            weight[kw] = vf_load(w + (long)kw * PADDED);
        WINDOW_UNROLL for (int i = 0; i < COLUMNS(width); i++) {
            if (!inside && (iw + i < 0 || iw + i >= IW))
                continue;
            vf v = INPUT(x + (long)i * IC, filter, lanes);
            WINDOW_UNROLL for (int t = 0; t < width; t++)
                if (REACHES(i, t))
                    sum[t] = vf_fma(v, weight[(i - t * SW) / DW], sum[t]);
        }
    }
    WINDOW_UNROLL for (int t = 0; t < width; t++)
        STORE((float *)p[2], sum[t], p, row * OW + ow + t, filter, lanes);
}

#include "window_walk.h"

#undef INPUT
#undef COPIES
#undef PADDED
