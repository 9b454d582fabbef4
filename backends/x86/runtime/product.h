/* Products of matrices that are both computed: y[batch] = a[batch] · b[batch], in panels of NV · VL columns.

   p[0] = a, rows A_ROW apart, their terms side by side; p[1] = b, terms B_TERM and columns B_COLUMN apart;
   p[2] = y [BATCHES][ROWS][OC], p[3]… = operands. Matrices lie A_BATCH and B_BATCH apart along each of the AXES, of
   lengths COUNTS. A row is computed in TILES tiles, LARGER of them of SIZE + 1 rows, the others of SIZE.
   An item is a panel of one matrix. Scratch: the panel, packed: [TERMS][NV · VL]. */
#include "tile.h"

#define PRODUCT_JOIN_(a, b) a##b
#define PRODUCT_JOIN(a, b) PRODUCT_JOIN_(a, b)
#define PRODUCT(name) PRODUCT_JOIN(NAME, _##name)
#define VECTORS ((OC + VL - 1) / VL)
#define PANELS ((VECTORS + NV - 1) / NV)

/* TERMS rows of `columns` numbers, 0 behind these. */
INLINE void PRODUCT(pack)(float *panel, const float *b, const int columns, const int width) {
    if (B_COLUMN == 1) {
        for (long k = 0; k < TERMS; k++) {
            memcpy(panel + k * width, b + k * B_TERM, (size_t)columns * sizeof(float));
            for (int c = columns; c < width; c++)
                panel[k * width + c] = 0;
        }
        return;
    }
    for (int c = 0; c < width; c++)
        for (long k = 0; k < TERMS; k++)
            panel[k * width + c] = c < columns ? b[k * B_TERM + c * B_COLUMN] : 0;
}

/* `points` rows from `row` on; the last of `vectors` has `lanes` columns. */
INLINE void PRODUCT(tile)(void *const *p, const float *a, const float *panel, const long batch, const long row,
                          const long column, const int points, const int vectors, const int lanes) {
    const float *rows[TILE_POINTS];
    vf sums[TILE_SUMS];
    UNROLL for (int i = 0; i < points; i++)
        rows[i] = a + (row + i) * A_ROW;
    tile_zero(sums, points, vectors);
    tile_add(sums, points, vectors, rows, panel, vectors * VL, TERMS);
    UNROLL for (int i = 0; i < points; i++)
        UNROLL for (int v = 0; v < vectors; v++) {
            const long point = batch * ROWS + row + i, first = column + v * VL;
            const int count = v + 1 < vectors ? VL : lanes;
            const vf value = FINISH(sums[i * vectors + v], p, point, first, count);
            if (count == VL)
                vf_store((float *)p[2] + point * OC + first, value);
            else
                vf_store_n((float *)p[2] + point * OC + first, value, count);
        }
}

INLINE void PRODUCT(panel)(void *const *p, float *packed, const long batch, const int panel, const int vectors,
                           const int lanes) {
    static const long counts[] = {COUNTS}, a_batch[] = {A_BATCH}, b_batch[] = {B_BATCH};
    const float *a = p[0], *b = (const float *)p[1] + (long)panel * NV * VL * B_COLUMN;
    long place = batch, row = 0;
    for (int axis = AXES - 1; axis >= 0; axis--) {
        a += place % counts[axis] * a_batch[axis];
        b += place % counts[axis] * b_batch[axis];
        place /= counts[axis];
    }
    PRODUCT(pack)(packed, b, (vectors - 1) * VL + lanes, vectors * VL);
    for (int t = 0; t < LARGER; t++, row += SIZE + 1)
        PRODUCT(tile)(p, a, packed, batch, row, (long)panel * NV * VL, SIZE + 1, vectors, lanes);
    for (int t = LARGER; t < TILES; t++, row += SIZE)
        PRODUCT(tile)(p, a, packed, batch, row, (long)panel * NV * VL, SIZE, vectors, lanes);
}

void NAME(void *const *p, void *scratch, long begin, long end) {
    for (long item = begin; item < end; item++) {
        const long batch = item / PANELS;
        const int panel = (int)(item % PANELS);
        if (panel + 1 < PANELS)
            PRODUCT(panel)(p, scratch, batch, panel, NV, VL);
        else
            PRODUCT(panel)(p, scratch, batch, panel, VECTORS - (PANELS - 1) * NV, OC - (VECTORS - 1) * VL);
    }
}

#undef PRODUCT_JOIN_
#undef PRODUCT_JOIN
#undef PRODUCT
#undef VECTORS
#undef PANELS
