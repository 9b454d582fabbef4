/* ROWS runs of WIDTH floats from one place to another: a part of a concatenation, or a slice of channels.

   p[0] = x, runs FROM apart, the first at X0; p[1] = y, runs TO apart, the first at Y0. An item is one of ITEMS equal
   shares of the runs. */

void NAME(void *const *p, void *scratch, long begin, long end) {
    const float *x = (const float *)p[0] + X0;
    float *y = (float *)p[1] + Y0;
    (void)scratch;
    for (long row = begin * ROWS / ITEMS; row < end * ROWS / ITEMS; row++)
        memcpy(y + row * TO, x + row * FROM, WIDTH * sizeof(float));
}

#undef NAME
#undef ROWS
#undef WIDTH
#undef FROM
#undef TO
#undef X0
#undef Y0
#undef ITEMS
#undef FINISH
