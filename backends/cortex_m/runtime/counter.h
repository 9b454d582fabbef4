/* SysTick as a 64-bit counter. Under QEMU's -icount it counts instructions; on silicon it counts cycles. */
#ifndef COUNTER_H
#define COUNTER_H

#include <stdint.h>

void counter_start(void);
uint64_t counter_ticks(void);

#endif
