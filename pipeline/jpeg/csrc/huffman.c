/* Bits to coefficients (ITU-T T.81, annex F.2).

   The scan comes without byte stuffing, so bits are taken eight bytes at a time. A table looks LOOK_BITS ahead and
   gives one or two whole coefficients, their runs of zeros and their values at once; few codes are longer. */

#include <string.h>

#include "jpeg.h"

#define END_OF_BLOCK 128 /* a run that leaves the block */
#define MAX_DC 32767

/* Zigzag order to row by row; a place behind the block, reached by END_OF_BLOCK, is one that nobody reads. */
static const uint8_t natural[256] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,
    7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46,
    53, 60, 61, 54, 47, 55, 62, 63, [64 ... 255] = BLOCK_SIZE - 1,
};

void begin_bits(struct bits *bits, const uint8_t *data, size_t size) {
    bits->next = data;
    bits->end = data + size;
    bits->held = 0;
    bits->count = 0;
}

/* At least 56 bits, of those that `next` leads to. Eight bytes behind the end may be read; further on there are zeros, and
   the caller gives up. */
#define REFILL(held, count, next, end)                   \
    do {                                                 \
        uint64_t more = 0;                               \
        if ((next) <= (end)) memcpy(&more, (next), 8);   \
        (held) |= __builtin_bswap64(more) >> (count);    \
        (next) += (63 - (count)) >> 3;                   \
        (count) |= 56;                                   \
    } while (0)

static inline void refill(struct bits *bits) { REFILL(bits->held, bits->count, bits->next, bits->end); }

static inline void drop(struct bits *bits, int count) {
    bits->held <<= count;
    bits->count -= count;
}

int ended_well(const struct bits *bits) {
    int64_t left = 8 * (int64_t)(bits->end - bits->next) + bits->count;
    return left >= 0 && left < 8;
}

static int extend(int raw, int size) { return size && raw < 1 << (size - 1) ? raw - (1 << size) + 1 : raw; }

static void look_ahead(const struct huffman *table, struct look *look) {
    memset(look, 0, LOOK_SIZE * sizeof *look);
    int code = 0, symbol = 0;
    for (int length = 1; length <= LOOK_BITS; length++, code <<= 1)
        for (int k = 0; k < table->counts[length]; k++, code++, symbol++) {
            int size = table->symbols[symbol] & 15, run = table->symbols[symbol] >> 4, room = LOOK_BITS - length;
            for (int rest = 0; rest < 1 << room; rest++) {
                struct look *entry = &look[code << room | rest];
                if (size > room) { /* the code alone */
                    entry->run = length;
                    entry->value = table->symbols[symbol];
                    continue;
                }
                entry->bits = length + size;
                entry->run = !size && run != 15 ? END_OF_BLOCK : run;
                entry->step = entry->run == END_OF_BLOCK ? END_OF_BLOCK : run + 1;
                entry->value = extend(rest >> (room - size), size);
            }
        }
}

static void look_twice(struct huffman *table) {
    struct look alone[LOOK_SIZE], *look = table->look;
    memcpy(alone, look, sizeof alone);
    for (int k = 0; k < LOOK_SIZE; k++) {
        const struct look *next = &alone[(k << alone[k].bits) & (LOOK_SIZE - 1)];
        if (!alone[k].bits || alone[k].run == END_OF_BLOCK) continue;
        if (!next->bits || alone[k].bits + next->bits > LOOK_BITS) continue;
        look[k].bits += next->bits;
        look[k].run_next = next->run + 1;
        look[k].step += next->step;
        look[k].value_next = next->value;
    }
}

/* The symbols that `ahead`, LEAP_BITS bits, begins with; bits that are not there count as zeros, and decide nothing. */
static struct leap leap_over(const struct look *alone, int ahead) {
    struct leap leap = {0, 0};
    for (;;) {
        const struct look *next = &alone[(ahead << leap.bits & (LEAP_SIZE - 1)) >> (LEAP_BITS - LOOK_BITS)];
        int run = next->bits ? next->run : next->value >> 4;
        int bits = next->bits ? next->bits : next->run ? next->run + (next->value & 15) : 0;
        if (!bits || leap.bits + bits > LEAP_BITS || (run != END_OF_BLOCK && leap.places + run > 62)) return leap;
        leap.bits += bits;
        leap.places += run == END_OF_BLOCK ? END_OF_BLOCK : run + 1;
        if (run == END_OF_BLOCK) return leap;
    }
}

/* For those who want no values: more symbols fit in a look. It takes as long as decoding a small image. */
void prepare_leaps(struct huffman *table) {
    struct look alone[LOOK_SIZE];
    if (table->can_leap) return;
    look_ahead(table, alone);
    for (int k = 0; k < LEAP_SIZE; k++) table->leap[k] = leap_over(alone, k);
    table->can_leap = 1;
}

/* Makes the tables by which codes are found. Tables that stand from an earlier image are kept: most are the same. */
int prepare_huffman(struct huffman *table, int is_dc) {
    if (!table->is_set) return UNUSUAL;
    for (int k = 0; k < table->num_symbols; k++)
        if (is_dc && table->symbols[k] > 11) return UNUSUAL;
    if (table->is_built && !memcmp(table->built_counts, table->counts, 17) &&
        !memcmp(table->built_symbols, table->symbols, 256))
        return DONE;
    table->is_built = table->can_leap = 0;
    int code = 0, symbol = 0;
    for (int length = 1; length <= 16; length++) {
        table->offset[length] = symbol - code;
        code += table->counts[length];
        symbol += table->counts[length];
        if (code > 1 << length) return UNUSUAL; /* more codes than there are */
        table->max_code[length] = code - 1;
        code <<= 1;
    }
    look_ahead(table, table->look);
    if (!is_dc) look_twice(table);
    memcpy(table->built_counts, table->counts, 17);
    memcpy(table->built_symbols, table->symbols, 256);
    table->is_built = 1;
    return DONE;
}

/* A symbol by its code; -1 where there is none. */
static int symbol_of(struct bits *bits, const struct huffman *table) {
    const struct look *look = &table->look[bits->held >> (64 - LOOK_BITS)];
    if (!look->bits && look->run) {
        drop(bits, look->run);
        return look->value;
    }
    for (int length = 1; length <= 16; length++) {
        int code = (int)(bits->held >> (64 - length));
        if (table->counts[length] && code <= table->max_code[length]) {
            int at = table->offset[length] + code;
            if (at < 0 || at >= table->num_symbols) return -1;
            drop(bits, length);
            return table->symbols[at];
        }
    }
    return -1;
}

static int value_of(struct bits *bits, int size) {
    if (!size) return 0;
    int raw = (int)(bits->held >> (64 - size));
    drop(bits, size);
    return extend(raw, size);
}

static int decode_dc(struct bits *bits, struct component *part, const struct huffman *table) {
    refill(bits);
    const struct look *look = &table->look[bits->held >> (64 - LOOK_BITS)];
    if (look->bits) {
        drop(bits, look->bits);
        part->last_dc += look->value;
    } else {
        int size = symbol_of(bits, table);
        if (size < 0) return 0;
        part->last_dc += value_of(bits, size);
    }
    return part->last_dc >= -MAX_DC && part->last_dc <= MAX_DC;
}

/* One coefficient, or the end of the block, that the table does not hold whole. Returns the new place, or -1. */
static int decode_long(struct bits *bits, const struct huffman *table, const uint16_t *quant, int k, int16_t *block) {
    refill(bits);
    int symbol = symbol_of(bits, table), size = symbol & 15, run = symbol >> 4;
    if (symbol < 0 || size > 10) return -1;
    if (!size && run != 15) return k + END_OF_BLOCK;
    k += run;
    if (k > 63) return -1;
    block[natural[k]] = (int16_t)(value_of(bits, size) * quant[k]);
    return k + 1;
}

/* One symbol by decode_long(), from and to bits that are held in locals. */
#define DECODE_LONG()                                            \
    do {                                                         \
        struct bits bits = {next, end, held, count};             \
        k = decode_long(&bits, ac, quant, k, block);             \
        if (k < 0) return -1;                                    \
        next = bits.next, held = bits.held, count = bits.count;  \
    } while (0)

/* The coefficients of a block behind its first. The bits are held in locals, for the compiler's sake. With at least 56 of
   them there are four looks, or four leaps, before the next refill. */
static inline __attribute__((always_inline)) int decode_ac(struct bits *from, const struct huffman *ac,
                                                           const uint16_t *quant, int wanted, int16_t *block) {
    uint64_t held = from->held;
    const uint8_t *next = from->next, *const end = from->end;
    int count = from->count, k = 1, until = ac->can_leap ? wanted : 64;
    while (k < until) {
        REFILL(held, count, next, end);
        for (int looks = 0; looks < 4 && k < until; looks++) {
            const struct look look = ac->look[held >> (64 - LOOK_BITS)];
            int first = k + look.run, second = first + look.run_next;
            if (!look.bits || (unsigned)(first - 63) < 64) { /* not held whole; or the block ends between the two */
                DECODE_LONG();
                break;
            }
            block[natural[second]] = (int16_t)(look.value_next * quant[second]);
            block[natural[first]] = (int16_t)(look.value * quant[first]);
            held <<= look.bits;
            count -= look.bits;
            k += look.step;
        }
    }
    while (k < 64) {
        REFILL(held, count, next, end);
        for (int leaps = 0; leaps < 4 && k < 64; leaps++) {
            const struct leap leap = ac->leap[held >> (64 - LEAP_BITS)];
            int after = k + leap.places;
            if (!leap.bits || (after & 127) > 64 - (leap.places >> 7)) { /* as above */
                DECODE_LONG();
                break;
            }
            held <<= leap.bits;
            count -= leap.bits;
            k = after;
        }
    }
    from->next = next, from->held = held, from->count = count;
    if (k == 64) return 64;
    return k >= END_OF_BLOCK ? k - END_OF_BLOCK : -1;
}

static int plain_ac(struct bits *bits, const struct huffman *ac, const uint16_t *quant, int wanted, int16_t *block) {
    return decode_ac(bits, ac, quant, wanted, block);
}

#if defined(__x86_64__)
/* The same with shifts that need no certain register. */
__attribute__((target("bmi2"))) static int bmi2_ac(struct bits *bits, const struct huffman *ac, const uint16_t *quant,
                                                   int wanted, int16_t *block) {
    return decode_ac(bits, ac, quant, wanted, block);
}
#endif

/* The dequantized coefficients of one block, row by row; `quant` in zigzag order, 256 entries long. From place `wanted`
   on they may be left out.

   Returns the place in zigzag order behind the last one that was set, or -1 where the data makes no sense. */
int decode_block(struct bits *bits, struct component *part, const struct huffman *dc, const struct huffman *ac,
                 const uint16_t *quant, int wanted, int16_t *block) {
    for (int k = 0; k < 64; k += 8) memset(block + k, 0, 16);
    if (!decode_dc(bits, part, dc)) return -1;
    block[0] = (int16_t)(part->last_dc * quant[0]);
#if defined(__x86_64__)
    if (use_avx2) return bmi2_ac(bits, ac, quant, wanted, block);
#endif
    return plain_ac(bits, ac, quant, wanted, block);
}
