/* As many fused multiply-adds as the processor does when nothing holds it up: independent chains in registers. */
#include "network.h"
#include "simd.h"

#if VL == 4
enum { CHAINS = 16 };
#else
enum { CHAINS = 12 };
#endif

double network_peak(long rounds) {
    vf sums[CHAINS], factor = vf_set(0.5f), term = vf_set(1.0f);
    volatile float seen = 0;
    for (int i = 0; i < CHAINS; i++)
        sums[i] = vf_set((float)i);
    __asm__ volatile("" ::: "memory");
    for (long round = 0; round < rounds; round++)
        for (int i = 0; i < CHAINS; i++)
            sums[i] = vf_fma(sums[i], factor, term);
    for (int i = 0; i < CHAINS; i++)
        seen += sums[i][0];
    (void)seen;
    return 2.0 * VL * CHAINS * (double)rounds;
}
