/* Convolutions, and dense layers, whose weights are stored one by one: compressed sparse rows, a row for each filter.

   Vectors lie along points. An item copies the part of the image that a block of output points reads, so that what a tap
   reads of one channel lies side by side; each weight is then multiplied with vectors from there. What filters make of
   the points is turned in registers, and written with channels last. A single point is summed without vectors, straight
   from the image. Items are shares of the filters of each block, for each group of channels.

   In:  NAME, FINISH
        IH IW IC OH OW OC KH KW SH SW DH DW PT PL GROUPS IMAGES PLACE(n, h, w)    as in conv.h
        ROWS COLUMNS      points of a block
        TV                vectors of points that are summed at once
        SHARE             panels of VL filters in an item
        INDEX             type of an index
        INDICES VALUES    where indices and values begin in the packed weights, in bytes
   p:   x; int32 starts[GROUPS · PANELS · VL + 1], INDEX indices[], float values[]; y; operands of FINISH
   An index is how many floats behind the first tap of the copy a weight reads, of the image where there is one point. */
#include "tile.h"

#ifndef PRUNEIR_SPARSE_ROWS_H
#define PRUNEIR_SPARSE_ROWS_H

#define ROWS_JOIN_(a, b) a##_##b
#define ROWS_JOIN(a, b) ROWS_JOIN_(a, b)

/* Two vectors as the rows of a matrix whose halves of `h` columns change places: the first row, and the second. */
#define ROWS_FIRST(j, h) ((j) & (h) ? VL + ((j) ^ (h)) : (j))
#define ROWS_SECOND(j, h) ((j) & (h) ? VL + (j) : (j) ^ (h))
#define ROWS_4(f, j, h) f(j, h), f((j) + 1, h), f((j) + 2, h), f((j) + 3, h)
#if VL == 4
#define ROWS_LANES(f, h) ((vi){ROWS_4(f, 0, h)})
#elif VL == 8
#define ROWS_LANES(f, h) ((vi){ROWS_4(f, 0, h), ROWS_4(f, 4, h)})
#else
#define ROWS_LANES(f, h) ((vi){ROWS_4(f, 0, h), ROWS_4(f, 4, h), ROWS_4(f, 8, h), ROWS_4(f, 12, h)})
#endif

#define ROWS_STEP(h)                                                                                                   \
    UNROLL for (int i = 0; i < VL; i++)                                                                                \
        if (!(i & (h))) {                                                                                              \
            const vf one = rows[i], other = rows[i + (h)];                                                             \
            rows[i] = __builtin_shuffle(one, other, ROWS_LANES(ROWS_FIRST, h));                                        \
            rows[i + (h)] = __builtin_shuffle(one, other, ROWS_LANES(ROWS_SECOND, h));                                 \
        }

/* rows[i][j] = rows[j][i], of VL rows: single numbers change places, then blocks of two by two, and so on. */
INLINE void rows_turn(vf *rows) {
    ROWS_STEP(1)
    ROWS_STEP(2)
#if VL > 4
    ROWS_STEP(4)
#endif
#if VL > 8
    ROWS_STEP(8)
#endif
}

#endif

#define ROWS_(name) ROWS_JOIN(NAME, name)
#define XC (GROUPS * IC)
#define YC (GROUPS * OC)
#define PANELS ((OC + VL - 1) / VL)
#define SHARES ((PANELS + SHARE - 1) / SHARE)
#define DOWN ((OH + ROWS - 1) / ROWS)
#define RIGHT ((OW + COLUMNS - 1) / COLUMNS)
#define BLOCKS (IMAGES * DOWN * RIGHT)
/* Of the copy: planes of one channel, one for each remainder of rows and columns by the strides that taps have. */
#define PHASES_H (KH == 1 ? 1 : SH)
#define PHASES_W (KW == 1 ? 1 : SW)
#define HIGH (ROWS + (KH - 1) * DH / SH)
#define WIDE (COLUMNS + (KW - 1) * DW / SW)
#define CHANNEL (PHASES_H * PHASES_W * HIGH * WIDE)
#define FLAT ((ROWS - 1) * WIDE + COLUMNS)
#define TILES ((FLAT + TV * VL - 1) / (TV * VL))
#define POINT (IMAGES * OH * OW * KH * KW == 1 && PT == 0 && PL == 0)

/* One row of one plane: channels of WIDE columns, `step` floats apart, from `x`; of these the columns from `left` to
   before `right` lie inside the image. */
INLINE void ROWS_(row)(float *copy, const float *x, const long step, const int left, const int right) {
    for (int w = 0; w < WIDE; w += VL) {
        const int columns = WIDE - w < VL ? WIDE - w : VL;
        for (int c = 0; c < IC; c += VL) {
            const int channels = IC - c < VL ? IC - c : VL;
            vf rows[VL];
            UNROLL for (int i = 0; i < VL; i++) {
                rows[i] = (vf){0};
                if (w + i >= left && w + i < right)
                    rows[i] = channels == VL ? vf_load(x + (w + i) * step + c) : vf_load_n(x + (w + i) * step + c, channels);
            }
            rows_turn(rows);
            UNROLL for (int i = 0; i < VL; i++)
                if (i < channels) {
                    float *to = copy + (long)(c + i) * CHANNEL + w;
                    if (columns == VL)
                        vf_store(to, rows[i]);
                    else
                        vf_store_n(to, rows[i], columns);
                }
        }
    }
}

/* The part of the image that the block from point (row, column) reads. */
INLINE void ROWS_(copy)(float *copy, const float *image, const int row, const int column) {
    for (int plane = 0; plane < PHASES_H * PHASES_W; plane++)
        for (int high = 0; high < HIGH; high++) {
            const int h = (row + high) * SH + plane / PHASES_W - PT, w = column * SW + plane % PHASES_W - PL;
            const int left = w < 0 ? (SW - 1 - w) / SW : 0, right = w < IW ? (IW - w + SW - 1) / SW : 0;
            const int inside = h >= 0 && h < IH;
            ROWS_(row)(copy + ((long)plane * HIGH + high) * WIDE, image + ((long)h * IW + w) * XC, (long)SW * XC, left,
                       inside ? right : 0);
        }
    for (int i = 0; i < TV * VL; i++) /* what the last tile reads behind it */
        copy[(long)IC * CHANNEL + i] = 0;
}

/* sums[TV] of one filter, of `count` weights. */
INLINE void ROWS_(sum)(float *sums, const float *x, const INDEX *index, const float *values, const long count) {
    const int chains = TV <= 2 ? 4 : TV <= 4 ? 2 : 1;
    vf chain[TILE_SUMS];
    tile_zero(chain, chains, TV);
    long k = 0;
    for (; k + 4 <= count; k += 4)
        UNROLL for (int j = 0; j < 4; j++) {
            const vf weight = vf_set(values[k + j]);
            UNROLL for (int v = 0; v < TV; v++)
                vf_accumulate(&chain[j % chains * TV + v], weight, vf_load(x + index[k + j] + v * VL));
        }
    _Pragma("GCC unroll 1") for (; k < count; k++) {
        const vf weight = vf_set(values[k]);
        UNROLL for (int v = 0; v < TV; v++)
            vf_accumulate(&chain[v], weight, vf_load(x + index[k] + v * VL));
    }
    UNROLL for (int v = 0; v < TV; v++) {
        UNROLL for (int j = 1; j < chains; j++)
            chain[v] += chain[j * TV + v];
        vf_store(sums + v * VL, chain[v]);
    }
}

/* The points of a tile from number `first` of the block on, whose place in the image is (row, column), for the `lanes`
   filters of a panel from `filter` on; their sums lie TV · VL floats apart. */
INLINE void ROWS_(write)(void *const *p, const float *sums, const int first, const long image, const int row,
                          const int column, const long filter, const int lanes) {
    float *y = p[2];
    int h = first / WIDE, w = first % WIDE;
    for (int at = 0; at < TV * VL && first + at < FLAT; at += VL) {
        vf rows[VL];
        UNROLL for (int i = 0; i < VL; i++)
            rows[i] = i < lanes ? vf_load(sums + i * TV * VL + at) : (vf){0};
        rows_turn(rows);
        UNROLL for (int i = 0; i < VL; i++) {
            if (h < ROWS && w < COLUMNS && row + h < OH && column + w < OW) {
                const long point = PLACE(image, row + h, column + w);
                const vf value = FINISH(rows[i], p, point, filter, lanes);
                if (lanes == VL)
                    vf_store(y + point * YC + filter, value);
                else
                    vf_store_n(y + point * YC + filter, value, lanes);
            }
            if (++w == WIDE)
                h++, w = 0;
        }
    }
}

/* A single point, for a panel. */
INLINE void ROWS_(point)(void *const *p, const float *x, const int32_t *start, const INDEX *indices,
                         const float *values, const long filter, const int lanes) {
    float sums[VL] = {0};
    for (int i = 0; i < lanes; i++) {
        float chain[4] = {0};
        long k = start[i];
        for (; k + 4 <= start[i + 1]; k += 4)
            UNROLL for (int j = 0; j < 4; j++)
                chain[j] += x[indices[k + j]] * values[k + j];
        for (; k < start[i + 1]; k++)
            chain[0] += x[indices[k]] * values[k];
        sums[i] = (chain[0] + chain[1]) + (chain[2] + chain[3]);
    }
    const long point = PLACE(0, 0, 0);
    vf_store_n((float *)p[2] + point * YC + filter, FINISH(vf_load(sums), p, point, filter, lanes), lanes);
}

void NAME(void *const *p, void *scratch, long begin, long end) {
    const int32_t *starts = p[1];
    const INDEX *indices = (const INDEX *)((const char *)p[1] + INDICES);
    const float *values = (const float *)((const char *)p[1] + VALUES);
    float *copy = scratch, *sums = copy + (long)IC * CHANNEL + TV * VL;
    long there = -1;
    for (long item = begin; item < end; item++) {
        const long block = item / SHARES, group = block / BLOCKS, image = block % BLOCKS / (DOWN * RIGHT);
        const int row = (int)(block / RIGHT % DOWN) * ROWS, column = (int)(block % RIGHT) * COLUMNS;
        const float *x = (const float *)p[0] + image * IH * IW * XC + group * IC;
        if (!POINT && block != there)
            ROWS_(copy)(copy, x, row, column);
        there = block;
        const int first = (int)(item % SHARES) * SHARE;
        for (int panel = first; panel < PANELS && panel < first + SHARE; panel++) {
            const int32_t *start = starts + (group * PANELS + panel) * VL;
            const int lanes = OC - panel * VL < VL ? OC - panel * VL : VL;
            const long filter = group * OC + panel * VL;
            if (POINT) {
                ROWS_(point)(p, x, start, indices, values, filter, lanes);
                continue;
            }
            for (int tile = 0; tile < TILES; tile++) {
                for (int i = 0; i < lanes; i++)
                    ROWS_(sum)(sums + i * TV * VL, copy + tile * TV * VL, indices + start[i], values + start[i],
                               start[i + 1] - start[i]);
                ROWS_(write)(p, sums, tile * TV * VL, image, row, column, filter, lanes);
            }
        }
    }
}

#undef ROWS_
#undef XC
#undef YC
#undef PANELS
#undef SHARES
#undef DOWN
#undef RIGHT
#undef BLOCKS
#undef PHASES_H
#undef PHASES_W
#undef HIGH
#undef WIDE
#undef CHANNEL
#undef FLAT
#undef TILES
#undef POINT
