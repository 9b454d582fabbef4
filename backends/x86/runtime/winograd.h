/* 3×3 convolutions of stride 1 over NHWC images by Winograd's method F(M×M, 3×3), M = 2 or 4 (Lavin, Gray: Fast
   Algorithms for Convolutional Neural Networks, 2016).

   An output tile of M×M points comes from an input tile d of (M+2)×(M+2):  Aᵀ [Σ_c U_c ⊙ (Bᵀ d_c B)] A. The transformed
   weights U = G g Gᵀ are made beforehand. The sums over channels c are (M+2)² matrix products, [tiles × IC] · [IC × OC],
   one for each place in the transformed tile. Items are groups of filter panels for blocks of tiles, groups innermost:
   the input of a block is transformed once for all groups that follow each other.

   In:  NAME, FINISH
        IH IW IC OH OW OC      images
        PT PL                  rows of padding above, columns on the left; below and on the right as many as it takes
        IMAGES                 images
        M                      points of an output tile along each axis
        POINT_A POINT_B        F(2) interpolates at 0, ±POINT_A, ∞; F(4) at ±POINT_B too
        MR NV                  tiles and vectors of filters in registers
        BLOCK GROUP            tiles (a multiple of MR) and panels of an item
   p:   x, transformed weights [groups][(M+2)²][panels of the group][IC][NV · VL], y, operands of FINISH
   Scratch: (M+2)² planes of transformed inputs, then as many of sums. */
#include "tile.h"

#ifndef PRUNEIR_WINOGRAD_H
#define PRUNEIR_WINOGRAD_H

#define WINOGRAD_JOIN_(a, b) a##_##b
#define WINOGRAD_JOIN(a, b) WINOGRAD_JOIN_(a, b)

/* Floats of whole cache lines, of which there is an odd number: rows that many apart do not meet in one cache set. */
#define WINOGRAD_STEP(floats) ((((floats) + 15) / 16 | 1) * 16)

/* v = Bᵀ d, for a row or a column; the results lie `step` vectors apart. */
INLINE void winograd_input(const vf *d, vf *v, const int step, const int m, const float a, const float b) {
    const float aa = a * a, bb = b * b;
    if (m == 2) {
        v[0 * step] = d[2] - aa * d[0];
        v[1 * step] = d[2] + a * d[1];
        v[2 * step] = d[2] - a * d[1];
        v[3 * step] = d[3] - aa * d[1];
    } else {
        const vf even_a = d[4] - bb * d[2], odd_a = d[3] - bb * d[1];
        const vf even_b = d[4] - aa * d[2], odd_b = d[3] - aa * d[1];
        v[0 * step] = d[4] - (aa + bb) * d[2] + aa * bb * d[0];
        v[1 * step] = even_a + a * odd_a;
        v[2 * step] = even_a - a * odd_a;
        v[3 * step] = even_b + b * odd_b;
        v[4 * step] = even_b - b * odd_b;
        v[5 * step] = d[5] - (aa + bb) * d[3] + aa * bb * d[1];
    }
}

/* y = Aᵀ s, for a row or a column; the results lie `step` vectors apart. */
INLINE void winograd_output(const vf *s, vf *y, const int step, const int m, const float a, const float b) {
    if (m == 2) {
        y[0 * step] = s[0] + s[1] + s[2];
        y[1 * step] = a * (s[1] - s[2]) + s[3];
    } else {
        const vf even_a = s[1] + s[2], odd_a = s[1] - s[2];
        const vf even_b = s[3] + s[4], odd_b = s[3] - s[4];
        y[0 * step] = s[0] + even_a + even_b;
        y[1 * step] = a * odd_a + b * odd_b;
        y[2 * step] = a * a * even_a + b * b * even_b;
        y[3 * step] = a * a * a * odd_a + b * b * b * odd_b + s[5];
    }
}

#endif

#define WINOGRAD(name) WINOGRAD_JOIN(NAME, name)
#define TAPS (M + 2)
#define ACROSS ((OW + M - 1) / M)
#define DOWN ((OH + M - 1) / M)
#define TILES (IMAGES * DOWN * ACROSS)
#define LAST_BLOCK ((TILES - 1) % BLOCK + 1)
#define VECTORS ((OC + VL - 1) / VL)
#define PANELS ((VECTORS + NV - 1) / NV)
#define LAST (VECTORS - (PANELS - 1) * NV)
#define GROUPS ((PANELS + GROUP - 1) / GROUP)
#define V_ROW WINOGRAD_STEP(IC)
#define V_PLANE WINOGRAD_STEP((long)BLOCK * V_ROW)
#define S_ROW WINOGRAD_STEP(GROUP * NV * VL)
#define S_PLANE WINOGRAD_STEP((long)BLOCK * S_ROW)

/* Transforms VL channels (or `lanes`) of the input tile at x, whose rows top … bottom - 1 and columns left … right - 1
   lie inside the image. */
INLINE void WINOGRAD(input_tile)(const float *x, float *v, const int top, const int bottom, const int left,
                                 const int right, const int lanes) {
    vf half[TAPS][TAPS], column[TAPS], row[TAPS];
    for (int j = 0; j < TAPS; j++) {
        for (int i = 0; i < TAPS; i++) {
            const float *at = x + ((long)i * IW + j) * IC;
            if (i < top || i >= bottom || j < left || j >= right)
                column[i] = vf_set(0);
            else
                column[i] = lanes == VL ? vf_load(at) : vf_load_n(at, lanes);
        }
        winograd_input(column, &half[0][j], TAPS, M, POINT_A, POINT_B);
    }
    for (int i = 0; i < TAPS; i++) {
        winograd_input(half[i], row, 1, M, POINT_A, POINT_B);
        for (int j = 0; j < TAPS; j++)
            vf_store(v + (i * TAPS + j) * V_PLANE, row[j]);
    }
}

/* `i`, but not below 0 nor above TAPS. */
INLINE int WINOGRAD(tap)(const int i) { return i < 0 ? 0 : i > TAPS ? TAPS : i; }

/* Transforms the input of `tiles` tiles. */
static void WINOGRAD(input)(const float *x, float *v, const long first, const int tiles) {
    for (int t = 0; t < tiles; t++, v += V_ROW) {
        const long tile = first + t, image = tile / (DOWN * ACROSS);
        const int h = (int)(tile / ACROSS % DOWN) * M - PT, w = (int)(tile % ACROSS) * M - PL;
        const int top = WINOGRAD(tap)(-h), bottom = WINOGRAD(tap)(IH - h);
        const int left = WINOGRAD(tap)(-w), right = WINOGRAD(tap)(IW - w);
        const float *corner = x + ((image * IH + h) * IW + w) * IC;
        int c = 0;
        if (bottom - top == TAPS && right - left == TAPS)
            for (; c + VL <= IC; c += VL)
                WINOGRAD(input_tile)(corner + c, v + c, 0, TAPS, 0, TAPS, VL);
        for (; c < IC; c += VL)
            WINOGRAD(input_tile)(corner + c, v + c, top, bottom, left, right, IC - c < VL ? IC - c : VL);
    }
}

/* The sums of one register tile. The weights that follow are fetched meanwhile: each is read once for a block. */
INLINE void WINOGRAD(sum)(const float *v, const float *weights, float *s, const int tiles, const int vectors) {
    const float *rows[MR];
    vf sums[MR * NV];
    for (int i = 0; i < tiles; i++)
        rows[i] = v + i * V_ROW;
    tile_zero(sums, tiles, vectors);
    long k = 0;
    for (; k + 4 <= IC; k += 4, weights += 4 * NV * VL) {
        UNROLL for (int n = 0; n < 4 * NV * VL; n += 16)
            __builtin_prefetch(weights + IC * NV * VL + n, 0, 2);
        UNROLL for (int j = 0; j < 4; j++)
            tile_term(sums, tiles, vectors, rows, k + j, weights + j * NV * VL);
    }
    _Pragma("GCC unroll 1") for (; k < IC; k++, weights += NV * VL)
        tile_term(sums, tiles, vectors, rows, k, weights);
    tile_store(sums, tiles, vectors, s, S_ROW);
}

/* The sums of a block of tiles and one panel. */
INLINE void WINOGRAD(panel)(const float *v, const float *weights, float *s, int tiles, const int vectors) {
    for (; tiles >= MR; tiles -= MR, v += MR * V_ROW, s += MR * S_ROW)
        WINOGRAD(sum)(v, weights, s, MR, vectors);
    if (tiles)
        WINOGRAD(sum)(v, weights, s, LAST_BLOCK % MR, vectors);
}

/* The sums of a block of tiles and panels begin … end - 1, at all places of the transformed tile. */
static void WINOGRAD(products)(const float *v, const float *weights, float *s, const int tiles, const int begin,
                               const int end) {
    for (int place = 0; place < TAPS * TAPS; place++, v += V_PLANE, s += S_PLANE)
        for (int panel = begin; panel < end; panel++, weights += IC * NV * VL)
            if (panel + 1 < PANELS)
                WINOGRAD(panel)(v, weights, s + (panel - begin) * NV * VL, tiles, NV);
            else
                WINOGRAD(panel)(v, weights, s + (panel - begin) * NV * VL, tiles, LAST);
}

/* Brings VL filters (or `lanes`) of a tile back and stores its first rows × columns points. */
INLINE void WINOGRAD(output_tile)(const float *s, void *const *p, const long point, const int rows, const int columns,
                                  const int filter, const int lanes) {
    vf half[M][TAPS], column[TAPS], row[M];
    for (int j = 0; j < TAPS; j++) {
        for (int i = 0; i < TAPS; i++)
            column[i] = vf_load(s + (i * TAPS + j) * S_PLANE);
        winograd_output(column, &half[0][j], TAPS, M, POINT_A, POINT_B);
    }
    for (int i = 0; i < rows; i++) {
        winograd_output(half[i], row, 1, M, POINT_A, POINT_B);
        for (int j = 0; j < columns; j++) {
            const long at = point + i * OW + j;
            float *y = (float *)p[2] + at * OC + filter;
            const vf value = FINISH(row[j], p, at, filter, lanes);
            if (lanes == VL)
                vf_store(y, value);
            else
                vf_store_n(y, value, lanes);
        }
    }
}

/* Stores `filters` filters of `tiles` tiles. */
static void WINOGRAD(output)(const float *s, void *const *p, const long first, const int tiles, const int filter,
                             const int filters) {
    for (int t = 0; t < tiles; t++, s += S_ROW) {
        const long tile = first + t, image = tile / (DOWN * ACROSS);
        const int h = (int)(tile / ACROSS % DOWN) * M, w = (int)(tile % ACROSS) * M;
        const int rows = OH - h < M ? OH - h : M, columns = OW - w < M ? OW - w : M;
        const long point = (image * OH + h) * OW + w;
        int f = 0;
        if (rows == M && columns == M)
            for (; f + VL <= filters; f += VL)
                WINOGRAD(output_tile)(s + f, p, point, M, M, filter + f, VL);
        for (; f < filters; f += VL)
            WINOGRAD(output_tile)(s + f, p, point, rows, columns, filter + f, filters - f < VL ? filters - f : VL);
    }
}

void NAME(void *const *p, void *scratch, long begin, long end) {
    float *v = scratch, *s = v + TAPS * TAPS * V_PLANE;
    long transformed = -1;
    for (long item = begin; item < end; item++) {
        const long block = item / GROUPS, first = block * BLOCK;
        const int tiles = (int)(TILES - first < BLOCK ? TILES - first : BLOCK);
        const int panel = (int)(item % GROUPS) * GROUP, stop = panel + GROUP < PANELS ? panel + GROUP : PANELS;
        const int filter = panel * NV * VL, filters = (stop * NV * VL < OC ? stop * NV * VL : OC) - filter;
        if (block != transformed)
            WINOGRAD(input)(p[0], v, first, tiles);
        transformed = block;
        WINOGRAD(products)(v, (const float *)p[1] + TAPS * TAPS * (long)filter * IC, s, tiles, panel, stop);
        WINOGRAD(output)(s, p, first, tiles, filter, filters);
    }
}

#undef WINOGRAD
#undef TAPS
#undef ACROSS
#undef DOWN
#undef TILES
#undef LAST_BLOCK
#undef VECTORS
#undef PANELS
#undef LAST
#undef GROUPS
#undef V_ROW
#undef V_PLANE
#undef S_ROW
#undef S_PLANE
