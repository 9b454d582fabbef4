/* Dense convolutions over NHWC images, and with them 1×1 convolutions and dense layers.

   The output image is cut into parts, rectangles of points; these into lines, rows or columns; and each line into tiles
   of at most as many points as registers hold. A tile is summed tap by tap, straight from the image: a point whose tap
   lies outside reads zeros, and a tap that lies outside for all points of a tile is left out. Items are groups of panels
   times blocks of tiles, blocks innermost, for each group of channels.

   In:  NAME, FINISH
        IH IW IC OH OW OC      images; the channels are those of a group
        GROUPS                 of channels, each with filters of its own
        KH KW SH SW DH DW      kernel, strides, dilations
        PT PL                  rows of padding above, columns on the left
        NV                     vectors of filters in a panel
        PARTS                  initializer of the parts
        SIZES                  bit m is set where there are tiles of m points
        TILES                  tiles of all parts of an image
        IMAGES                 images
        GROUP BLOCK            panels, tiles of an item
        STEP                   panels for which a tile is computed before the next tile
        WIDE                   whether taps that are side by side inside the image are summed as one run
        PADDED                 where the weights have zeros that are not stored: see conv_sparse.h
        PLACE(n, h, w)         where point (h, w) of image n lies in y, counted in points
   p:   x, packed weights, y, operands of FINISH */
#include "tile.h"

#ifndef PRUNEIR_CONV_H
#define PRUNEIR_CONV_H

#define CONV_JOIN_(a, b) a##_##b
#define CONV_JOIN(a, b) CONV_JOIN_(a, b)

/* A rectangle of output points from `row`, `column`: `lines` rows, or columns where `down` is 1, each of so many tiles,
   of which the first `larger` have one point more than `size`. */
struct conv_part {
    int row, column, down, lines, tiles, size, larger;
};

/* Points in a line: where the first tap of the first is in the image, how far the next is below and to the right. */
struct conv_line {
    int h, w, down, right;
};

#endif

#define CONV(name) CONV_JOIN(NAME, name)
#define XC (GROUPS * IC)
#define YC (GROUPS * OC)
#define VECTORS ((OC + VL - 1) / VL)
#define PANELS ((VECTORS + NV - 1) / NV)
#define FULL (OC / (NV * VL))
#define BLOCKS ((IMAGES * TILES + BLOCK - 1) / BLOCK)
#define ITEMS (BLOCKS * ((PANELS + GROUP - 1) / GROUP))
#define POINTWISE (KH == 1 && KW == 1 && PT == 0 && PL == 0 && (OH - 1) * SH < IH && (OW - 1) * SW < IW)

static const struct conv_part CONV(parts)[] = {PARTS};

/* Whether taps `dh` below and `dw` to the right are inside for all points. */
INLINE int CONV(inside)(const struct conv_line *line, const int points, const int dh, const int dw) {
    return line->h >= 0 && line->h + (points - 1) * line->down + dh < IH && line->w >= 0 &&
           line->w + (points - 1) * line->right + dw < IW;
}

/* Where the points read a tap; false if all lie outside. `x` is where the first reads, `wide` the width of the tap. */
INLINE int CONV(rows)(const float **rows, const int points, const float *x, const struct conv_line *line, const int dh,
                      const int dw, const int wide) {
    static float zeros[WIDE ? KW * IC : IC];
    const long step = ((long)line->down * IW + line->right) * XC;
    int any = 0;
    UNROLL for (int i = 0; i < points; i++) {
        const int h = line->h + i * line->down + dh, w = line->w + i * line->right + dw;
        const int inside = ((unsigned)h < IH) & (w >= 0) & (w + wide <= IW);
        rows[i] = inside ? x + i * step : zeros;
        any |= inside;
    }
    return any;
}

#ifdef PADDED
#include "conv_sparse.h"
#else

/* The sums of a tile. `wide` taps are summed in one run. */
INLINE void CONV(sum)(vf *sums, const int points, const int vectors, const float *x, const float *weights,
                      const struct conv_line *line, const int inside, const int wide) {
    const float *rows[TILE_POINTS];
    for (int kh = 0; kh < KH; kh++)
        for (int kw = 0; kw < KW; kw += wide) {
            const float *tap = x + ((long)kh * DH * IW + kw * DW) * XC;
            if (inside) {
                UNROLL for (int i = 0; i < points; i++)
                    rows[i] = tap + i * ((long)line->down * IW + line->right) * XC;
            } else if (!CONV(rows)(rows, points, tap, line, kh * DH, kw * DW, wide))
                continue;
            tile_add(sums, points, vectors, rows, weights + (kh * KW + kw) * IC * NV * VL, NV * VL, wide * IC);
        }
}

/* The sums of a tile over a panel of weights. */
INLINE void CONV(panel)(vf *sums, const int points, const int vectors, const float *x, const void *packed,
                        const long panel, const struct conv_line *line, const int inside) {
    const float *weights = (const float *)packed + panel * KH * KW * IC * NV * VL;
    tile_zero(sums, points, vectors);
    if (WIDE && line->w >= 0 && line->w + (points - 1) * line->right + KW <= IW)
        CONV(sum)(sums, points, vectors, x, weights, line, inside, KW);
    else
        CONV(sum)(sums, points, vectors, x, weights, line, inside, 1);
}

#endif

/* A tile for panels begin … end - 1; its points start at `row`, `column`. The last of the vectors has `lanes` filters. */
INLINE void CONV(tile)(void *const *p, const int group, const int down, const long image, const int row,
                       const int column, const int begin, const int end, const int points, const int vectors,
                       const int lanes) {
    const struct conv_line line = {row * SH - PT, column * SW - PL, down ? SH : 0, down ? 0 : SW};
    const float *x = (const float *)p[0] + ((image * IH + line.h) * IW + line.w) * XC + group * IC;
    const long point = PLACE(image, row, column), next = PLACE(image, row + down, column + !down) - point;
    const int inside = POINTWISE || CONV(inside)(&line, points, (KH - 1) * DH, (KW - 1) * DW);
    float *y = p[2];
    for (int panel = begin; panel < end; panel++) {
        vf sums[TILE_SUMS];
        CONV(panel)(sums, points, vectors, x, p[1], (long)group * PANELS + panel, &line, inside);
        UNROLL for (int i = 0; i < points; i++)
            UNROLL for (int v = 0; v < vectors; v++) {
                const long filter = group * OC + (long)panel * NV * VL + v * VL;
                const int count = v + 1 < vectors ? VL : lanes;
                const vf value = FINISH(sums[i * vectors + v], p, point + i * next, filter, count);
                if (count == VL)
                    vf_store(y + (point + i * next) * YC + filter, value);
                else
                    vf_store_n(y + (point + i * next) * YC + filter, value, count);
            }
    }
}

/* Tiles begin … end - 1 of all images, for some panels. */
INLINE void CONV(tiles)(void *const *p, const int group, const int panel, const int panels, const long begin,
                        const long end, const int vectors, const int lanes) {
    for (long t = begin; t < end; t++) {
        const long image = t / TILES;
        const struct conv_part *part = CONV(parts);
        int tile = (int)(t - image * TILES);
        for (; tile >= part->lines * part->tiles; part++)
            tile -= part->lines * part->tiles;
        const int line = tile / part->tiles, place = tile % part->tiles;
        const int first = place * part->size + (place < part->larger ? place : part->larger);
        const int row = part->row + (part->down ? first : line), column = part->column + (part->down ? line : first);
        switch (part->size + (place < part->larger)) {
#define CASE(m)                                                                                                        \
    case m:                                                                                                            \
        if (SIZES >> m & 1)                                                                                            \
            CONV(tile)(p, group, part->down, image, row, column, panel, panels, m, vectors, lanes);                    \
        break;
            CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
            CASE(13) CASE(14) CASE(15) CASE(16) CASE(17) CASE(18) CASE(19) CASE(20) CASE(21) CASE(22) CASE(23) CASE(24)
#undef CASE
        }
    }
}

void NAME(void *const *p, void *scratch, long begin, long end) {
    (void)scratch;
    for (long each = begin; each < end; each++) {
        const int group = (int)(each / ITEMS), item = (int)(each % ITEMS), first = item / BLOCKS * GROUP;
        const int stop = first + GROUP < FULL ? first + GROUP : FULL;
        const long tile = item % BLOCKS * BLOCK;
        const long last = tile + BLOCK < (long)IMAGES * TILES ? tile + BLOCK : (long)IMAGES * TILES;
        for (int panel = first; panel < stop; panel += STEP)
            CONV(tiles)(p, group, panel, panel + STEP < stop ? panel + STEP : stop, tile, last, NV, VL);
        if (FULL < PANELS && first + GROUP >= PANELS)
            CONV(tiles)(p, group, FULL, PANELS, tile, last, VECTORS - FULL * NV, OC - (VECTORS - 1) * VL);
    }
}

#undef CONV
#undef VECTORS
#undef PANELS
#undef FULL
#undef BLOCKS
#undef ITEMS
#undef POINTWISE
#undef XC
#undef YC
