/* y[n, c, r] = x[n, r, c]: between channels first and channels last. An item is a band of BAND rows of y.

   p[0] = x, p[1] = y; SAMPLES × ROWS × COLUMNS floats. */

void NAME(void *const *p, void *scratch, long begin, long end) {
    const float *from = p[0];
    float *to = p[1];
    const long bands = (COLUMNS + BAND - 1) / BAND;
    (void)scratch;
    for (long item = begin; item < end; item++) {
        const long n = item / bands, first = item % bands * BAND;
        const long last = first + BAND < COLUMNS ? first + BAND : COLUMNS;
        const float *x = from + n * ROWS * COLUMNS;
        float *y = to + n * ROWS * COLUMNS;
        for (long r = 0; r < ROWS; r += BAND)
            for (long c = first; c < last; c++)
                for (long i = r; i < (r + BAND < ROWS ? r + BAND : ROWS); i++)
                    y[c * ROWS + i] = x[i * COLUMNS + c];
    }
}
