/* Elementwise operators on their own: y[point, channel] = finish(x[point, channel]).

   p[0] = x, p[1] = y, p[2]… = operands. POINTS × OC elements, and an item is one of ITEMS equal runs of points. */

void NAME(void *const *p, void *scratch, long begin, long end) {
    const float *x = p[0];
    float *y = p[1];
    (void)scratch;
    for (long point = begin * POINTS / ITEMS; point < end * POINTS / ITEMS; point++) {
        long c = 0;
        for (; c + VL <= OC; c += VL)
            vf_store(y + point * OC + c, FINISH(vf_load(x + point * OC + c), p, point, c, VL));
        if (OC % VL) {
            vf v = vf_load_n(x + point * OC + c, OC % VL);
            vf_store_n(y + point * OC + c, FINISH(v, p, point, c, OC % VL), OC % VL);
        }
    }
}
