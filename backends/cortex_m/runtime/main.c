/* Runs the network on the samples in inputs.bin, writes outputs.bin, and says what the first sample took. The files hold
 * arrays one after another, in the order of model_run's parameters, sample by sample, without headers. */
#include <string.h>

#include "counter.h"
#include "model.h"
#include "semihosting.h"

#define STORAGE(name, type, count) static type io_##name[count] __attribute__((section(".io." #name), aligned(16)));
MODEL_INPUTS(STORAGE)
MODEL_OUTPUTS(STORAGE)

#define READ(name, type, count) || semihosting_read(inputs, io_##name, sizeof io_##name)
#define WRITE(name, type, count) || semihosting_write(outputs, io_##name, sizeof io_##name)
#define POINTER(name) io_##name

enum { PAINT = 0xA5, GARBAGE = 0xFF };

extern uint8_t stack_limit[];

static int failed(const char *what)
{
    semihosting_text("error ");
    semihosting_text(what);
    semihosting_text("\n");
    return 1;
}

static void figure(const char *name, uint64_t value)
{
    semihosting_text(name);
    semihosting_text(" ");
    semihosting_number(value);
    semihosting_text("\n");
}

static uint64_t instructions(uint64_t ticks)
{
    return (ticks * INSTRUCTIONS + TICKS / 2) / TICKS;
}

static int run(void)
{
    return model_run(MODEL_ARGUMENTS(POINTER));
}

/* The most bytes of stack that a run has in use at once: those below here that lose their paint. */
static __attribute__((noinline)) int run_on_painted_stack(size_t *used)
{
    uint8_t *here, *lowest = stack_limit;
    __asm__ volatile("mov %0, sp" : "=r"(here));
    for (volatile uint8_t *at = stack_limit; at < here; at++)
        *at = PAINT;
    const int code = run();
    while (lowest < here && *lowest == PAINT)
        lowest++;
    *used = (size_t)(here - lowest);
    return code;
}

#ifdef MODEL_PROFILE
static uint64_t marks[MODEL_STEPS + 2];

void model_step(int step)
{
    marks[step] = counter_ticks();
}

static void report_steps(void)
{
    for (int step = 0; step < MODEL_STEPS; step++)
        marks[step] = marks[step + 1] - marks[step];
    model_step(MODEL_STEPS);
    model_step(MODEL_STEPS + 1);
    const uint64_t empty = marks[MODEL_STEPS + 1] - marks[MODEL_STEPS];
    for (int step = 0; step < MODEL_STEPS; step++)
        figure("step", instructions(marks[step] > empty ? marks[step] - empty : 0));
}
#endif

static void count(void)
{
    counter_start();
    uint64_t start = counter_ticks(), end = counter_ticks();
    const uint64_t empty = end - start;
    start = counter_ticks();
    run();
    end = counter_ticks();
    figure("instructions", instructions(end - start - empty));
#ifdef MODEL_PROFILE
    report_steps();
#endif
}

int main(void)
{
    const int inputs = semihosting_open("inputs.bin", 0), outputs = semihosting_open("outputs.bin", 1);
    if (inputs < 0 || (0 MODEL_INPUTS(READ)))
        return failed("inputs.bin does not hold a sample");
    memset(model_arena, GARBAGE, sizeof model_arena); /* what a kernel did not write, it must not read */
    size_t stack = 0;
    if (run_on_painted_stack(&stack))
        return failed("model_run");
    if (stack_limit[0] != PAINT)
        return failed("stack overflow");
    figure("stack", stack);
    if (outputs < 0 || (0 MODEL_OUTPUTS(WRITE)))
        return failed("outputs.bin cannot be written");
    count();
    while (!(0 MODEL_INPUTS(READ)))
        if (run() || (0 MODEL_OUTPUTS(WRITE)))
            return failed("outputs.bin cannot be written");
    semihosting_close(outputs);
    return 0;
}
