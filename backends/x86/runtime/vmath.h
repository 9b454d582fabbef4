/* Elementary functions of vectors of floats, by argument reduction and polynomials in Horner's form.

   The coefficients are minimax fits (Lawson's weighted least squares, in double precision). The relative error is at
   most 2e-7 over the whole range, one ulp for denormal results; infinities, zeros and NaN give what C's functions do. */
#ifndef PRUNEIR_VMATH_H
#define PRUNEIR_VMATH_H

#include "simd.h"

/* c[0] + c[1] x + … + c[n - 1] x^(n - 1) */
INLINE vf vf_poly(vf x, const float *c, int n) {
    vf sum = vf_set(c[n - 1]);
    for (int i = n - 2; i >= 0; i--)
        sum = vf_fma(sum, x, vf_set(c[i]));
    return sum;
}

/* 2^n for n from -126 to 127 */
INLINE vf vf_power_of_two(vi n) { return (vf)((n + 127) << 23); }

/* e^x = 2^n e^r with |r| ≤ ln 2 / 2. Half of n at a time, since e^x spans more powers than one float. */
INLINE vf vf_exp(vf x) {
    static const float c[] = {0.49999994f, 0.16666521f, 0.04166839f, 0.008368745f, 0.001381454f};
    const vf round = vf_set(0x1.8p23f); /* the sum's last bits are then whole numbers */
    x = vf_max(vf_set(-104.f), vf_min(vf_set(89.f), x));
    vf shifted = vf_fma(x, vf_set(0x1.715476p0f), round), whole = shifted - round;
    vi n = (vi)shifted - (vi)round;
    vf r = vf_fma(whole, vf_set(-0x1.62e4p-1f), x);
    r = vf_fma(whole, vf_set(-0x1.7f7d1cp-20f), r);
    vf power = vf_fma(r * r, vf_poly(r, c, 5), r) + 1.f;
    return power * vf_power_of_two(n >> 1) * vf_power_of_two(n - (n >> 1));
}

INLINE vf vf_sigmoid(vf x) {
    vf decay = vf_exp(-vf_abs(x));
    return vf_select((vi)(x < 0.f), decay, vf_set(1.f)) / (decay + 1.f);
}

INLINE vf vf_tanh(vf x) {
    static const float c[] = {-0.3333328f, 0.13331442f, -0.053739715f, 0.020639082f, -0.005704982f};
    vf size = vf_abs(x), square = x * x;
    vf near = vf_fma(vf_poly(square, c, 5) * square, size, size);
    vf far = 1.f - 2.f / (vf_exp(size + size) + 1.f);
    return vf_copysign(vf_select((vi)(size < 0.625f), near, far), x);
}

/* An odd polynomial up to 1; from there 1 - e^q(|x|), where q fits log erfc up to 4. */
INLINE vf vf_erf(vf x) {
    static const float c[] = {1.1283791f,   -0.37612626f,    0.112835854f, -0.026853811f,
                              0.0051883277f, -0.00080101925f, 7.853858e-05f};
    static const float q[] = {-0.00035371518f, -1.12704f,    -0.6382257f,    -0.103037395f,
                              0.02180533f,     -0.0029396098f, 0.00018557426f};
    vf size = vf_abs(x);
    vf near = vf_poly(x * x, c, 7) * size;
    vf far = 1.f - vf_exp(vf_poly(vf_min(vf_set(4.f), size), q, 7));
    return vf_copysign(vf_select((vi)(size < 1.f), near, far), x);
}

/* log x = e ln 2 + log(1 + f) with 1 + f from √½ to √2 */
INLINE vf vf_log(vf x) {
    static const float c[] = {0.33333313f,  -0.2500001f, 0.20002119f, -0.16667996f, 0.14219552f,
                              -0.12405588f, 0.11888164f, -0.1167566f, 0.06746645f};
    vi tiny = (vi)(x < 0x1p-126f);
    vi bits = (vi)vf_select(tiny, x * 0x1p23f, x) - 0x3f3504f3; /* √½ */
    vi e = (bits >> 23) - (tiny & 23);
    vf f = (vf)((bits & 0x7fffff) + 0x3f3504f3) - 1.f, power = __builtin_convertvector(e, vf);
    vf log = vf_fma(vf_fma(vf_poly(f, c, 9), f, vf_set(-0.5f)), f * f, power * 0x1.7f7d1cp-20f) + f;
    log = vf_fma(power, vf_set(0x1.62e4p-1f), log);
    log = vf_select((vi)(x < INFINITY), log, x); /* ∞ and NaN */
    log = vf_select((vi)(x == 0.f), vf_set(-INFINITY), log);
    return vf_select((vi)(x < 0.f), vf_set(NAN), log);
}

/* log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), with the rounding of 1 + e^-|x| made good */
INLINE vf vf_softplus(vf x) {
    vf decay = vf_exp(-vf_abs(x)), one_more = decay + 1.f;
    vf rest = vf_log(one_more) + (decay - (one_more - 1.f)) / one_more;
    return vf_max(vf_set(0.f), x) + rest;
}

#endif
