/* Vectors, reset and faults. Nothing here depends on the network. */
#include <stdint.h>
#include <string.h>

#include "semihosting.h"

extern uint8_t stack_limit[], stack_top[], data_start[], data_end[], data_values[], bss_start[], bss_end[];
int main(void);
void reset(void);
void fault(void);
void fault_report(const uint32_t *frame);
void systick(void);

#define CPACR (*(volatile uint32_t *)0xE000ED88)
#define CCR (*(volatile uint32_t *)0xE000ED14)
#define CFSR (*(volatile uint32_t *)0xE000ED28)
#define HFSR (*(volatile uint32_t *)0xE000ED2C)

__attribute__((noreturn)) void reset(void)
{
#if __ARM_ARCH >= 8
    __asm__ volatile("msr msplim, %0" : : "r"(stack_limit));
#endif
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    CPACR |= 0xFu << 20;
#if defined(__ARM_FEATURE_MVE)
    CCR |= 1u << 19; /* low-overhead loops */
#endif
    __asm__ volatile("dsb\n\tisb" : : : "memory");
#endif
    memcpy(data_start, data_values, (size_t)(data_end - data_start));
    memset(bss_start, 0, (size_t)(bss_end - bss_start));
    semihosting_exit(main());
}

/* The stack may be what failed: the report has it from the top again. */
__attribute__((naked)) void fault(void)
{
    __asm__ volatile("mrs r0, msp\n\t"
#if __ARM_ARCH >= 8
                     "movs r1, #0\n\t"
                     "msr msplim, r1\n\t"
#endif
                     "ldr r1, =stack_top\n\t"
                     "msr msp, r1\n\t"
                     "ldr r1, =fault_report\n\t"
                     "bx r1\n\t"
                     ".ltorg");
}

__attribute__((noreturn, used)) void fault_report(const uint32_t *frame)
{
    semihosting_text("fault");
    const int inside = (const uint8_t *)frame >= stack_limit && (const uint8_t *)(frame + 8) <= stack_top;
#if __ARM_ARCH >= 8
    const int overflow = !inside || (CFSR & 1u << 20);
#else
    const int overflow = !inside;
#endif
    if (overflow)
        semihosting_text(" (stack overflow)");
#if __ARM_ARCH_ISA_THUMB > 1
    semihosting_text(" CFSR ");
    semihosting_hex(CFSR);
    semihosting_text(" HFSR ");
    semihosting_hex(HFSR);
#endif
    if (!overflow) {
        semihosting_text(" PC ");
        semihosting_hex(frame[6]);
    }
    semihosting_text("\n");
    semihosting_exit(99);
}

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
    0,         0,             0,             (void *)fault, (void *)fault, 0,             (void *)fault, (void *)systick,
};
