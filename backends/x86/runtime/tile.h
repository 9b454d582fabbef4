/* The register tile: sums[points][vectors] += a[points][terms] · b[terms][vectors · VL].

   `points` and `vectors` are literals where these are called, and `sums` a local array that nothing else points to: then
   it lives in registers, as long as points · vectors sums, the vectors of one term and one broadcast find room there.
   Rows of `a` lie anywhere; those of `b` (a packed panel) lie `step` floats apart. */
#ifndef PRUNEIR_TILE_H
#define PRUNEIR_TILE_H

#include "simd.h"

/* The most points of a tile, and the most sums. */
#define TILE_POINTS 24
#define TILE_SUMS 32

#define UNROLL _Pragma("GCC unroll 32")

/* sums = 0 */
INLINE void tile_zero(vf *sums, const int points, const int vectors) {
    UNROLL for (int i = 0; i < points * vectors; i++)
        sums[i] = (vf){0};
}

/* sums = memory[points][vectors · VL], with rows `step` floats apart. */
INLINE void tile_load(vf *sums, const int points, const int vectors, const float *memory, const long step) {
    UNROLL for (int i = 0; i < points; i++)
        UNROLL for (int v = 0; v < vectors; v++)
            sums[i * vectors + v] = vf_load(memory + i * step + v * VL);
}

/* memory[points][vectors · VL] = sums */
INLINE void tile_store(const vf *sums, const int points, const int vectors, float *memory, const long step) {
    UNROLL for (int i = 0; i < points; i++)
        UNROLL for (int v = 0; v < vectors; v++)
            vf_store(memory + i * step + v * VL, sums[i * vectors + v]);
}

/* One term. The fewer of its points and its vectors are held in registers. */
INLINE void tile_term(vf *sums, const int points, const int vectors, const float *const *a, const long k,
                      const float *b) {
    vf held[TILE_POINTS];
    if (vectors <= points) {
        UNROLL for (int v = 0; v < vectors; v++)
            held[v] = vf_load(b + v * VL);
        UNROLL for (int i = 0; i < points; i++) {
            const vf value = vf_set(a[i][k]);
            UNROLL for (int v = 0; v < vectors; v++)
                vf_accumulate(&sums[i * vectors + v], value, held[v]);
        }
    } else {
        UNROLL for (int i = 0; i < points; i++)
            held[i] = vf_set(a[i][k]);
        UNROLL for (int v = 0; v < vectors; v++) {
            const vf weights = vf_load(b + v * VL);
            UNROLL for (int i = 0; i < points; i++)
                vf_accumulate(&sums[i * vectors + v], held[i], weights);
        }
    }
}

/* A run of terms. `a` holds one pointer for each point. */
INLINE void tile_add(vf *sums, const int points, const int vectors, const float *const *a, const float *b,
                     const long step, const long terms) {
    long k = 0;
    for (; k + 4 <= terms; k += 4, b += 4 * step) {
        tile_term(sums, points, vectors, a, k, b);
        tile_term(sums, points, vectors, a, k + 1, b + step);
        tile_term(sums, points, vectors, a, k + 2, b + 2 * step);
        tile_term(sums, points, vectors, a, k + 3, b + 3 * step);
    }
    _Pragma("GCC unroll 1") for (; k < terms; k++, b += step)
        tile_term(sums, points, vectors, a, k, b);
}

#endif
