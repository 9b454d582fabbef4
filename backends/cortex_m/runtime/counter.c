#include "counter.h"

#define CONTROL (*(volatile uint32_t *)0xE000E010)
#define RELOAD (*(volatile uint32_t *)0xE000E014)
#define CURRENT (*(volatile uint32_t *)0xE000E018)

void systick(void);

static volatile uint32_t wraps;

void systick(void)
{
    wraps++;
}

void counter_start(void)
{
    CONTROL = 0;
    wraps = 0;
    RELOAD = 0xFFFFFF;
    CURRENT = 0;
    CONTROL = 7; /* on, with interrupt, at the processor's clock */
}

uint64_t counter_ticks(void)
{
    uint32_t high, low;
    do {
        high = wraps;
        low = CURRENT;
    } while (high != wraps);
    return ((uint64_t)high << 24) + ((0x1000000u - low) & 0xFFFFFFu);
}
