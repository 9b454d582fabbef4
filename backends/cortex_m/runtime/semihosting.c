/* ARM's semihosting calls: an operation in r0, its arguments in memory at r1. */
#include "semihosting.h"

#include <string.h>

enum { OPEN = 0x01, CLOSE = 0x02, WRITE0 = 0x04, WRITE = 0x05, READ = 0x06, EXIT_EXTENDED = 0x20 };
enum { READ_BINARY = 1, WRITE_BINARY = 5 };

static int call(int operation, const void *arguments)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

int semihosting_open(const char *name, int write)
{
    const uintptr_t arguments[3] = {(uintptr_t)name, write ? WRITE_BINARY : READ_BINARY, strlen(name)};
    return call(OPEN, arguments);
}

void semihosting_close(int file)
{
    const uintptr_t arguments[1] = {(uintptr_t)file};
    call(CLOSE, arguments);
}

int semihosting_read(int file, void *to, size_t bytes)
{
    const uintptr_t arguments[3] = {(uintptr_t)file, (uintptr_t)to, bytes};
    return call(READ, arguments);
}

int semihosting_write(int file, const void *from, size_t bytes)
{
    const uintptr_t arguments[3] = {(uintptr_t)file, (uintptr_t)from, bytes};
    return call(WRITE, arguments);
}

void semihosting_text(const char *text)
{
    call(WRITE0, text);
}

void semihosting_hex(uint32_t value)
{
    char text[9];
    for (int place = 0; place < 8; place++)
        text[place] = "0123456789abcdef"[(value >> (28 - 4 * place)) & 15];
    text[8] = 0;
    semihosting_text(text);
}

void semihosting_number(uint64_t value)
{
    char text[21];
    int place = 20;
    text[place] = 0;
    do {
        text[--place] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    semihosting_text(text + place);
}

__attribute__((noreturn)) void semihosting_exit(int code)
{
    const uint32_t arguments[2] = {0x20026, (uint32_t)code}; /* the application has ended by itself */
    call(EXIT_EXTENDED, arguments);
    for (;;) {
    }
}
