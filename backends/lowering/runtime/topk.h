/* The k largest of n floats in order, or the k-th alone; or the smallest.
 *
 * The k-th is found byte by byte, the highest first: four passes count how often each occurs among the numbers that
 * begin with those found, whatever the numbers are, and none is copied. Order is that of the numbers, and -0 is 0; NaN
 * stands beyond infinity, with its sign. Of equals the first comes first. */
#ifndef TOPK_H
#define TOPK_H

#include <stdint.h>
#include <string.h>

#define TOPK_BYTES 256

/* Numbers x[0], x[step], …, and whether the smallest come first. */
struct topk_row {
    const float *x;
    uint32_t n, step, least;
};

static inline __attribute__((always_inline)) uint32_t topk_bits(const struct topk_row *row, uint32_t i)
{
    uint32_t bits;
    memcpy(&bits, row->x + (size_t)i * row->step, sizeof bits);
    return bits;
}

/* Keys of numbers that come earlier are larger, those of equal ones equal. */
static inline uint32_t topk_key(const struct topk_row *row, uint32_t i)
{
    uint32_t bits = topk_bits(row, i), sign = 0u - (bits >> 31);
    uint32_t key = 0x80000000u + (((bits & 0x7fffffffu) ^ sign) - sign);
    return row->least ? ~key : key;
}

/* The byte that comes at place j of all. Its first bit may be that of the sign, `first`, or they are of one sign. */
static inline uint32_t topk_byte(uint32_t j, int first, uint32_t least, uint32_t negative)
{
    if (first)
        return least ? (j < 128 ? 255 - j : j - 128) : (j < 128 ? 127 - j : j);
    return least == negative ? 255 - j : j;
}

/* The bits of the k-th. */
static inline __attribute__((always_inline)) uint32_t topk_kth(const struct topk_row *row, uint32_t k, uint32_t *counts)
{
    uint32_t low = 0, span = UINT32_MAX;
    for (int shift = 24; shift >= 0; shift -= 8) {
        uint32_t j = 0, byte;
        memset(counts, 0, TOPK_BYTES * sizeof *counts);
        for (uint32_t i = 0; i < row->n; i++) {
            uint32_t bits = topk_bits(row, i);
            if (bits - low <= span)
                counts[bits >> shift & 255]++;
        }
        while (counts[byte = topk_byte(j, shift == 24, row->least, low >> 31)] < k) {
            k -= counts[byte];
            j++;
        }
        low |= byte << shift;
        span = (1u << shift) - 1;
    }
    return low;
}

static inline float topk_number(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline int topk_before(const struct topk_row *row, uint32_t a, uint32_t b)
{
    uint32_t key_a = topk_key(row, a), key_b = topk_key(row, b);
    return key_a > key_b || (key_a == key_b && a < b);
}

/* Below each place of a heap are those that come before it. */
static inline void topk_sift(const struct topk_row *row, uint32_t *heap, uint32_t place, uint32_t n)
{
    uint32_t sinking = heap[place], child;
    for (; (child = 2 * place + 1) < n; place = child) {
        if (child + 1 < n && topk_before(row, heap[child], heap[child + 1]))
            child++;
        if (!topk_before(row, sinking, heap[child]))
            break;
        heap[place] = heap[child];
    }
    heap[place] = sinking;
}

static inline void topk_sort(const struct topk_row *row, uint32_t *places, uint32_t n)
{
    for (uint32_t place = n / 2; place-- > 0;)
        topk_sift(row, places, place, n);
    for (uint32_t end = n; end-- > 1;) {
        uint32_t last = places[0];
        places[0] = places[end];
        places[end] = last;
        topk_sift(row, places, 0, end);
    }
}

/* y and where get the k first and their places, `step` apart as the numbers are. room: of max(k, TOPK_BYTES). */
static inline void topk_first(const struct topk_row *row, uint32_t k, float *y, int64_t *where, uint32_t *room)
{
    float kth = topk_number(topk_kth(row, k, room));
    const struct topk_row last = {&kth, 1, 1, row->least};
    uint32_t found = 0, key = topk_key(&last, 0);
    for (uint32_t i = 0; i < row->n; i++)
        if (topk_key(row, i) > key)
            room[found++] = i;
    for (uint32_t i = 0; found < k; i++)
        if (topk_key(row, i) == key)
            room[found++] = i;
    topk_sort(row, room, k);
    for (uint32_t j = 0; j < k; j++) {
        y[(size_t)j * row->step] = row->x[(size_t)room[j] * row->step];
        where[(size_t)j * row->step] = room[j];
    }
}

#endif
