/* What conv.h sums where zeros are not stored: a panel's groups, each the weights of its NV · VL filters at one position,
   a channel of a tap.

   In:  PADDED            whether taps may lie outside the image
        INDEX             type of an index
        INDICES VALUES    where indices and values begin in the packed weights, in bytes
        DIRECTIONS        1: tiles lie along rows, 2: along columns, 3: along either

   The groups of a panel are divided into ranges, one for each tap, or one for all where none lies outside. Packed are
   int32 starts[GROUPS · PANELS · RANGES + 1], the first group of each range; INDEX indices[], how many floats
   behind the first tap a group reads; float values[][NV · VL]. */

#define RANGES (PADDED ? KH * KW : 1)

/* The sums of `count` groups; rows of the points lie `step` floats apart. One sum waits four cycles for the next, so few
   of them are summed in several chains. */
INLINE void CONV(groups)(vf *sums, const int points, const int vectors, const float *x, const long step,
                         const INDEX *index, const float *values, const long count) {
    const int chains = points * vectors <= 2 ? 4 : points * vectors <= 6 ? 2 : 1, tile = points * vectors;
    vf chain[TILE_SUMS];
    tile_zero(chain, points * (chains - 1), vectors);
    const float *rows[TILE_POINTS];
    UNROLL for (int i = 0; i < points; i++)
        rows[i] = x + i * step;
    long k = 0;
    for (; k + 4 <= count; k += 4)
        UNROLL for (int j = 0; j < 4; j++)
            tile_term(j % chains ? chain + (j % chains - 1) * tile : sums, points, vectors, rows, index[k + j],
                      values + (k + j) * NV * VL);
    _Pragma("GCC unroll 1") for (; k < count; k++)
        tile_term(sums, points, vectors, rows, index[k], values + k * NV * VL);
    UNROLL for (int j = 1; j < chains; j++)
        UNROLL for (int i = 0; i < tile; i++)
            sums[i] += chain[(j - 1) * tile + i];
}

/* The same where the points read along a line whose direction is known to the compiler. */
INLINE void CONV(along)(vf *sums, const int points, const int vectors, const float *x, const struct conv_line *line,
                        const INDEX *index, const float *values, const long count) {
    if (DIRECTIONS == 2 || (DIRECTIONS == 3 && line->down))
        CONV(groups)(sums, points, vectors, x, (long)SH * IW * XC, index, values, count);
    else
        CONV(groups)(sums, points, vectors, x, (long)SW * XC, index, values, count);
}

/* Whether a tap is inside for all points. */
INLINE int CONV(reaches)(const struct conv_line *line, const int points, const int dh, const int dw) {
    const struct conv_line tap = {line->h + dh, line->w + dw, line->down, line->right};
    return CONV(inside)(&tap, points, 0, 0);
}

/* The sums of a tile over a panel. Points outside the image read zeros, which begin where the tap does. */
INLINE void CONV(panel)(vf *sums, const int points, const int vectors, const float *x, const void *packed,
                        const long panel, const struct conv_line *line, const int inside) {
    const int32_t *start = (const int32_t *)packed + panel * RANGES;
    const INDEX *indices = (const INDEX *)((const char *)packed + INDICES);
    const float *values = (const float *)((const char *)packed + VALUES);
    tile_zero(sums, points, vectors);
    if (inside || !PADDED) {
        CONV(along)(sums, points, vectors, x, line, indices + start[0], values + (long)start[0] * NV * VL,
                    start[RANGES] - start[0]);
        return;
    }
    for (int tap = 0; tap < RANGES; tap++) {
        const int dh = tap / KW * DH, dw = tap % KW * DW;
        const long at = ((long)dh * IW + dw) * XC;
        const float *rows[TILE_POINTS];
        if (CONV(reaches)(line, points, dh, dw))
            CONV(along)(sums, points, vectors, x, line, indices + start[tap], values + (long)start[tap] * NV * VL,
                        start[tap + 1] - start[tap]);
        else if (CONV(rows)(rows, points, x + at, line, dh, dw, 1))
            _Pragma("GCC unroll 1") for (long k = start[tap]; k < start[tap + 1]; k++)
                tile_term(sums, points, vectors, rows, indices[k] - at, values + k * NV * VL);
    }
}

#undef RANGES
