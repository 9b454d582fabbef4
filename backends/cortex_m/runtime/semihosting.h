/* Files, text and the end of the run, through the debugger or emulator that the board is attached to. */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stddef.h>
#include <stdint.h>

/* A file for reading, or for writing if `write`; -1 if it cannot be opened. */
int semihosting_open(const char *name, int write);
void semihosting_close(int file);

/* 0 if all bytes were read or written. */
int semihosting_read(int file, void *to, size_t bytes);
int semihosting_write(int file, const void *from, size_t bytes);

void semihosting_text(const char *text);
void semihosting_hex(uint32_t value);
void semihosting_number(uint64_t value);

__attribute__((noreturn)) void semihosting_exit(int code);

#endif
