/* The kernel NAME made of calls of TILE; see window.h.

   Items: images × blocks of channels × OH rows, the rows of a block one after the other, so that what they share stays in
   the first cache. */
#define BLOCKS ((OC + CB - 1) / CB)
#define FULL (OW / TW)                            /* whole tiles of a row: of them */
#define LEFT ((PL + TW * SW - 1) / (TW * SW))     /* so many reach into the padding on the left, */
#define ROOM (IW + PL - COLUMNS(TW))
#define CLEAR (ROOM < 0 ? 0 : ROOM / (TW * SW) + 1) /* and those from here on into that on the right */
#define RIGHT (CLEAR > FULL ? FULL : CLEAR > LEFT ? CLEAR : LEFT)

INLINE void SPAN(void *const *p, long row, int ow, int width, int inside, long from, long to) {
    for (long filter = from; filter + VL <= to; filter += VL)
        TILE(p, row, ow, width, inside, filter, VL);
    if (OC % VL && to == OC)
        TILE(p, row, ow, width, inside, OC / VL * VL, OC % VL);
}

void NAME(void *const *p, void *scratch, long begin, long end) {
    (void)scratch;
    for (long item = begin; item < end; item++) {
        const long row = item / (OH * BLOCKS) * OH + item % OH;
        const long from = item / OH % BLOCKS * CB, to = from + CB < OC ? from + CB : OC;
        if (LEFT > 0 && FULL > 0)
            SPAN(p, row, 0, TW, 0, from, to);
        for (int t = 1; t < LEFT && t < FULL; t++)
            SPAN(p, row, t * TW, TW, 0, from, to);
        for (int t = LEFT; t < RIGHT; t++)
            SPAN(p, row, t * TW, TW, 1, from, to);
        for (int t = RIGHT; t < FULL - 1; t++)
            SPAN(p, row, t * TW, TW, 0, from, to);
        if (RIGHT < FULL)
            SPAN(p, row, (FULL - 1) * TW, TW, 0, from, to);
        if (OW % TW)
            SPAN(p, row, FULL * TW, OW % TW, 0, from, to);
    }
}

#undef TILE
#undef SPAN
#undef STORE
#undef COLUMNS
#undef REACHES
#undef BLOCKS
#undef FULL
#undef LEFT
#undef ROOM
#undef CLEAR
#undef RIGHT
