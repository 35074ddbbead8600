/* Coefficients to pixels at n/8 of their size, n from 1 to 8 (ITU-T T.81, A.3.3, for n = 8).

   The n lowest frequencies of each direction go through an inverse DCT of n points, which is the low-pass that shrinking
   asks for; averaging the pixels of the whole block, as libjpeg does at 1/2 and 1/4, blurs and folds frequencies over.
   Integers throughout, so that every processor gives the same pixels. A block is written column by column into a strip
   of STRIP_LINES lines, since the filter that comes next walks along columns. */

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "jpeg.h"

#define WEIGHT_BITS 13
#define BETWEEN_BITS 4 /* of fraction between the two passes */
#define SHIFT_1 (WEIGHT_BITS - BETWEEN_BITS)
#define SHIFT_2 (WEIGHT_BITS + BETWEEN_BITS)
#define ROUND_1 (1 << (SHIFT_1 - 1))
#define ROUND_2 ((1 << (SHIFT_2 - 1)) + (128 << SHIFT_2))

static int16_t weights[9][8][8];     /* [n][pixel][frequency] */
static int32_t pairs[9][4][2][2];    /* [n][pixel of the first half][even, odd][which pair]: two frequencies packed */

void begin_dct(void) {
    for (int n = 1; n <= 8; n++)
        for (int x = 0; x < n; x++)
            for (int u = 0; u < n; u++) {
                double cosine = sine_of_pi((2 * x + 1) * u / (2.0 * n) + 0.5) / 2;
                double exact = (u ? cosine : 0.35355339059327379) * (1 << WEIGHT_BITS);
                weights[n][x][u] = (int16_t)(exact < 0 ? exact - 0.5 : exact + 0.5);
            }
    for (int n = 1; n <= 8; n++)
        for (int x = 0; x < 4; x++)
            for (int odd = 0; odd < 2; odd++)
                for (int k = 0; k < 2; k++) {
                    const int16_t *of = weights[n][x] + 4 * k + odd;
                    pairs[n][x][odd][k] = (int32_t)((uint16_t)of[0] | (uint32_t)(uint16_t)of[2] << 16);
                }
}

static void plain_dct(const int16_t *block, int n, uint8_t *strip) {
    int16_t between[8][8];
    for (int y = 0; y < n; y++)
        for (int u = 0; u < n; u++) {
            int32_t sum = ROUND_1;
            for (int v = 0; v < n; v++) sum += weights[n][y][v] * block[8 * v + u];
            between[y][u] = saturated(sum >> SHIFT_1);
        }
    for (int x = 0; x < n; x++)
        for (int y = 0; y < n; y++) {
            int32_t sum = ROUND_2;
            for (int u = 0; u < n; u++) sum += weights[n][x][u] * between[y][u];
            strip[x * STRIP_LINES + y] = clamped(saturated(sum >> SHIFT_2));
        }
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))
#define INLINE static inline __attribute__((always_inline))

/* One pass: lines of 8 values (one a frequency) to sums of 32 bits (one a pixel), n and `half` known to the compiler. */
AVX2 INLINE void pass(const __m128i *in, __m256i *out, int n, int half, int round, int shift) {
    const __m128i none = _mm_setzero_si128();
#define LINE(k) ((k) < n && !(half && (k) >= 4) ? in[k] : none)
#define PAIR(a, b) _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b))
    const __m256i even_0 = PAIR(LINE(0), LINE(2)), even_1 = PAIR(LINE(4), LINE(6));
    const __m256i odd_0 = PAIR(LINE(1), LINE(3)), odd_1 = PAIR(LINE(5), LINE(7));
    const __m256i rounding = _mm256_set1_epi32(round);
    for (int x = 0; x < (n + 1) / 2; x++) {
        __m256i even = _mm256_madd_epi16(even_0, _mm256_set1_epi32(pairs[n][x][0][0]));
        __m256i odd = _mm256_madd_epi16(odd_0, _mm256_set1_epi32(pairs[n][x][1][0]));
        if (n > 4 && !half) {
            even = _mm256_add_epi32(even, _mm256_madd_epi16(even_1, _mm256_set1_epi32(pairs[n][x][0][1])));
            odd = _mm256_add_epi32(odd, _mm256_madd_epi16(odd_1, _mm256_set1_epi32(pairs[n][x][1][1])));
        }
        even = _mm256_add_epi32(even, rounding);
        out[x] = _mm256_srai_epi32(_mm256_add_epi32(even, odd), shift);
        out[n - 1 - x] = _mm256_srai_epi32(_mm256_sub_epi32(even, odd), shift);
    }
#undef LINE
#undef PAIR
}

AVX2 INLINE __m128i narrow(__m256i wide) {
    return _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
}

AVX2 INLINE void transpose(__m128i *m) {
    __m128i a[8], b[8];
    for (int k = 0; k < 4; k++) {
        a[2 * k] = _mm_unpacklo_epi16(m[2 * k], m[2 * k + 1]);
        a[2 * k + 1] = _mm_unpackhi_epi16(m[2 * k], m[2 * k + 1]);
    }
    for (int k = 0; k < 2; k++)
        for (int j = 0; j < 2; j++) {
            b[4 * k + 2 * j] = _mm_unpacklo_epi32(a[4 * k + j], a[4 * k + j + 2]);
            b[4 * k + 2 * j + 1] = _mm_unpackhi_epi32(a[4 * k + j], a[4 * k + j + 2]);
        }
    for (int k = 0; k < 4; k++) {
        m[2 * k] = _mm_unpacklo_epi64(b[k], b[k + 4]);
        m[2 * k + 1] = _mm_unpackhi_epi64(b[k], b[k + 4]);
    }
}

AVX2 INLINE void fast_dct(const int16_t *block, int n, int half, uint8_t *strip) {
    __m128i lines[8];
    __m256i sums[8];
    for (int v = 0; v < 8; v++) lines[v] = _mm_loadu_si128((const __m128i *)(block + 8 * v));
    pass(lines, sums, n, half, ROUND_1, SHIFT_1);
    for (int y = 0; y < 8; y++) lines[y] = y < n ? narrow(sums[y]) : _mm_setzero_si128();
    transpose(lines);
    pass(lines, sums, n, half, ROUND_2, SHIFT_2);
    for (int x = 0; x < n; x++) {
        __m128i short_sums = narrow(sums[x]);
        uint64_t column = _mm_cvtsi128_si64(_mm_packus_epi16(short_sums, short_sums));
        memcpy(strip + x * STRIP_LINES, &column, n);
    }
}

#define CASE(n) \
    case n: \
        if (n > 4 && last <= 10) fast_dct(block, n, 1, strip); \
        else fast_dct(block, n, 0, strip); \
        return;

AVX2 static void avx2_dct(const int16_t *block, int last, int n, uint8_t *strip) {
    switch (n) {
        CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8)
    }
}
#endif

/* `last`: the place in zigzag order behind the last coefficient that is not zero. */
void inverse_dct(const int16_t *block, int last, int n, uint8_t *strip) {
    if (n == 1 || (n > 4 && last <= 1)) { /* where it saves more than a wrong guess of the processor costs */
        int32_t between = saturated((weights[1][0][0] * block[0] + ROUND_1) >> SHIFT_1);
        uint8_t pixel = clamped(saturated((weights[1][0][0] * between + ROUND_2) >> SHIFT_2));
        for (int x = 0; x < n; x++) memset(strip + x * STRIP_LINES, pixel, n);
        return;
    }
#if defined(__x86_64__)
    if (use_avx2) {
        avx2_dct(block, last, n, strip);
        return;
    }
#endif
    plain_dct(block, n, strip);
}
