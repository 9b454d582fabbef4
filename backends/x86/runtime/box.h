/* A box of numbers from one place to another, with strides of its own on each side: a transpose, a slice, an image in a
   padded one.

   p[0] = x, the first number at X0; p[1] = y, the first at Y0. Needs NAME and
     OUTER, COUNTS, FROMS, TOS     how many axes lie outside, how long each is, its strides in x and in y
     ROWS, FROM, TO                a further axis, and its strides
     COLUMNS, FROM_NEXT, TO_NEXT   the innermost
     BAND                          rows of an item; an item lies in one place of the axes outside */
#include "simd.h"

void NAME(void *const *p, void *scratch, long begin, long end) {
    static const long counts[] = {COUNTS}, froms[] = {FROMS}, tos[] = {TOS};
    const long bands = (ROWS + BAND - 1) / BAND;
    (void)scratch;
    for (long item = begin; item < end; item++) {
        const long first = item % bands * BAND, last = first + BAND < ROWS ? first + BAND : ROWS;
        const float *x = (const float *)p[0] + X0;
        float *y = (float *)p[1] + Y0;
        long place = item / bands;
        for (int axis = OUTER - 1; axis >= 0; axis--) {
            x += place % counts[axis] * froms[axis];
            y += place % counts[axis] * tos[axis];
            place /= counts[axis];
        }
        if (FROM_NEXT == 1 && TO_NEXT == 1) {
            for (long row = first; row < last; row++)
                memcpy(y + row * TO, x + row * FROM, COLUMNS * sizeof(float));
            continue;
        }
        for (long c = 0; c < COLUMNS; c += 8)
            for (long row = first; row < last; row++)
                for (long i = c; i < (c + 8 < COLUMNS ? c + 8 : COLUMNS); i++)
                    y[row * TO + i * TO_NEXT] = x[row * FROM + i * FROM_NEXT];
    }
}
