/* Vectors of VL floats, in GNU C: with the processor's own instructions where it has them, portable otherwise.

   `vf` adds, multiplies and compares as C does; what C has no sign for has a name here. A load or a store of `n` lanes
   touches no memory beyond them; the lanes behind are zero. */
#ifndef PRUNEIR_SIMD_H
#define PRUNEIR_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__AVX2__) && defined(__GNUC__) && !defined(__clang__) && !defined(__AVX512F__)
/* What AVX2 has of immintrin.h; gcc reads all of it for longer than it compiles most kernels. */
#define _IMMINTRIN_H_INCLUDED
#include <smmintrin.h>
#include <avxintrin.h>
#include <avx2intrin.h>
#include <fmaintrin.h>
#elif defined(__AVX2__)
#include <immintrin.h>
#endif

#ifndef VL
#if defined(__AVX512F__)
#define VL 16
#elif defined(__AVX2__)
#define VL 8
#else
#define VL 4
#endif
#endif

#define INLINE static inline __attribute__((always_inline, unused))

typedef float vf __attribute__((vector_size(4 * VL)));
typedef int32_t vi __attribute__((vector_size(4 * VL)));
typedef float vf_any __attribute__((vector_size(4 * VL), aligned(4), may_alias));

INLINE vf vf_load(const float *p) { return *(const vf_any *)p; }
INLINE void vf_store(float *p, vf v) { *(vf_any *)p = v; }
INLINE vf vf_set(float x) { return x - (vf){0}; }
INLINE vi vi_set(int32_t x) { return x - (vi){0}; }
INLINE vf vf_select(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
INLINE vf vf_abs(vf a) { return (vf)((vi)a & vi_set(INT32_MAX)); }
INLINE vf vf_copysign(vf size, vf sign) { return (vf)(((vi)size & vi_set(INT32_MAX)) | ((vi)sign & vi_set(INT32_MIN))); }

#if defined(__AVX512F__) && VL == 16
INLINE vf vf_load_n(const float *p, int n) { return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
INLINE void vf_store_n(float *p, vf v, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v); }
INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
INLINE vf vf_max(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
INLINE vf vf_min(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
INLINE vf vf_sqrt(vf a) { return (vf)_mm512_sqrt_ps((__m512)a); }
#elif defined(__AVX2__) && VL == 8
INLINE __m256i vf_lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vf vf_load_n(const float *p, int n) { return (vf)_mm256_maskload_ps(p, vf_lanes(n)); }
/* In pieces: a masked store takes Zen tens of cycles. */
INLINE void vf_store_n(float *p, vf v, int n) {
    __m128 rest = _mm256_castps256_ps128((__m256)v);
    if (n & 8)
        vf_store(p, v);
    if (n & 4) {
        _mm_storeu_ps(p, rest);
        rest = _mm256_extractf128_ps((__m256)v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, rest);
        rest = _mm_movehl_ps(rest, rest);
        p += 2;
    }
    if (n & 1)
        _mm_store_ss(p, rest);
}
INLINE vf vf_fma(vf a, vf b, vf c) { return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
INLINE vf vf_max(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
INLINE vf vf_min(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
INLINE vf vf_sqrt(vf a) { return (vf)_mm256_sqrt_ps((__m256)a); }
#else
INLINE vf vf_load_n(const float *p, int n) {
    vf v = {0};
    memcpy(&v, p, (size_t)n * sizeof(float));
    return v;
}
INLINE void vf_store_n(float *p, vf v, int n) { memcpy(p, &v, (size_t)n * sizeof(float)); }
INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
#if defined(__AVX2__) && VL == 16
/* By halves, since of a comparison this wide GCC makes sixteen. */
typedef union {
    vf whole;
    __m256 half[2];
} vf_halves;
INLINE vf vf_max(vf a, vf b) {
    vf_halves x = {a}, y = {b};
    x.half[0] = _mm256_max_ps(x.half[0], y.half[0]), x.half[1] = _mm256_max_ps(x.half[1], y.half[1]);
    return x.whole;
}
INLINE vf vf_min(vf a, vf b) {
    vf_halves x = {a}, y = {b};
    x.half[0] = _mm256_min_ps(x.half[0], y.half[0]), x.half[1] = _mm256_min_ps(x.half[1], y.half[1]);
    return x.whole;
}
#else
INLINE vf vf_max(vf a, vf b) { return vf_select((vi)(a > b), a, b); }
INLINE vf vf_min(vf a, vf b) { return vf_select((vi)(a < b), a, b); }
#endif
INLINE vf vf_sqrt(vf a) {
    for (int i = 0; i < VL; i++)
        a[i] = sqrtf(a[i]);
    return a;
}
#endif

/* sum += a · b, in the register of `sum` and in the order written: where gcc chooses, it spills some of twelve sums. A
   copy goes through the instruction, since gcc leaves in memory what an instruction of ours has the address of. */
INLINE void vf_accumulate(vf *sum, vf a, vf b) {
#if (defined(__AVX512F__) && VL == 16) || (defined(__AVX2__) && VL == 8)
    vf held = *sum;
    __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(held) : "v"(a), "vm"(b));
    *sum = held;
#else
    *sum = vf_fma(a, b, *sum);
#endif
}

#endif
