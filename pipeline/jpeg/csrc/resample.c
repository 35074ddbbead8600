/* A Lanczos or a cubic filter over planes of bytes, stretched by the factor that an axis shrinks by.

   Takes strips of STRIP_LINES lines, column by column, and gives planes, row by row. Across first, into rows of 16 bits
   with 6 of fraction, then down. An axis maps output i to the input around start + (i + 1/2) * step, so fractions of a
   pixel at the edges are kept: an image decoded at 3/8 covers 127.5 pixels, not 128. At the edges the weights that fall
   outside are left out, as Pillow does. Sources of the kernels: Duchon 1979, Lanczos filtering in one and two dimensions,
   of three lobes; Keys 1981, Cubic convolution interpolation, with a = -1/2. */

#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "jpeg.h"

#define LOBES 3
#define KERNEL_STEPS 1024 /* a lobe; linear in between: an error below 2^-17 */
#define WEIGHT_BITS 14
#define SHIFT_ACROSS (WEIGHT_BITS - ROW_BITS)
#define SHIFT_DOWN (WEIGHT_BITS + ROW_BITS)
#define PI 3.14159265358979323846

int use_avx2 = 0;
static double kernel[LOBES * KERNEL_STEPS + 2];

/* sin(pi x) by its series: libraries differ in the last bit, and weights are not to. */
double sine_of_pi(double x) {
    x -= 2 * (double)(long)(x / 2);
    if (x > 1) x -= 2;
    if (x < -1) x += 2;
    if (x > 0.5) x = 1 - x;
    if (x < -0.5) x = -1 - x;
    double angle = PI * x, square = angle * angle, term = angle, sum = angle;
    for (int k = 1; k < 12; k++) {
        term *= -square / (2 * k * (2 * k + 1));
        sum += term;
    }
    return sum;
}

void begin_axes(void) {
    for (int k = 0; k < LOBES * KERNEL_STEPS; k++) {
        double x = (double)k / KERNEL_STEPS;
        kernel[k] = k ? LOBES * sine_of_pi(x) * sine_of_pi(x / LOBES) / (PI * PI * x * x) : 1.0;
    }
}

static double cubic_at(double x) {
    if (x < 0) x = -x;
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

static double lanczos_at(double x) {
    double at = (x < 0 ? -x : x) * KERNEL_STEPS;
    if (at >= LOBES * KERNEL_STEPS) return 0;
    int k = (int)at;
    return kernel[k] + (at - k) * (kernel[k + 1] - kernel[k]);
}

/* `reach`: how far from its center a filter takes inputs. */
static void weigh(const struct axis *axis, int i, double center, double stretch, int inputs, enum kernel kernel,
                  double *exact) {
    double reach = (kernel == CUBIC ? 2 : LOBES) * stretch;
    int first = (int)(center - reach + 0.5), largest = 0, used;
    if (first > inputs - 1) first = inputs - 1;
    if (first < 0) first = 0;
    used = inputs - first < axis->taps ? inputs - first : axis->taps;
    double sum = 0;
    int32_t left = 1 << WEIGHT_BITS;
    for (int k = 0; k < used; k++) {
        double x = (first + k + 0.5 - center) / stretch;
        exact[k] = kernel == CUBIC ? cubic_at(x) : lanczos_at(x);
        sum += exact[k];
        if (exact[k] > exact[largest]) largest = k;
    }
    int16_t *weights = axis->weights + (size_t)i * axis->taps;
    for (int k = 0; k < used; k++) {
        double weight = exact[k] / sum * (1 << WEIGHT_BITS);
        weights[k] = (int16_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
        left -= weights[k];
    }
    weights[largest] += (int16_t)left; /* white stays white */
    axis->first[i] = first;
}

/* Raises nothing: 0 where there is no memory for it. Up to `taps` inputs behind the last one are read, by weight 0. */
int make_axis(struct axis *axis, int length, double start, double step, int inputs, enum kernel kernel) {
    double stretch = step > 1 ? step : 1;
    axis->length = length;
    axis->taps = ((int)(2 * (kernel == CUBIC ? 2 : LOBES) * stretch) + 3) & ~1;
    axis->first = malloc(length * sizeof *axis->first);
    axis->weights = calloc((size_t)length * axis->taps, sizeof *axis->weights);
    double *exact = malloc(axis->taps * sizeof *exact);
    int made = axis->first && axis->weights && exact;
    for (int i = 0; made && i < length; i++) weigh(axis, i, start + (i + 0.5) * step, stretch, inputs, kernel, exact);
    free(exact);
    return made;
}

/* Turns the order of the outputs around: the same sums, so the mirror image is exact. */
void mirror_axis(struct axis *axis) {
    for (int i = 0, j = axis->length - 1; i < j; i++, j--) {
        int32_t first = axis->first[i];
        axis->first[i] = axis->first[j];
        axis->first[j] = first;
        int16_t *here = axis->weights + (size_t)i * axis->taps, *there = axis->weights + (size_t)j * axis->taps;
        for (int k = 0; k < axis->taps; k++) {
            int16_t weight = here[k];
            here[k] = there[k];
            there[k] = weight;
        }
    }
}

void free_axis(struct axis *axis) {
    free(axis->first);
    free(axis->weights);
    axis->first = NULL;
    axis->weights = NULL;
}

static void plain_across(const uint8_t *strip, int lines, const struct axis *axis, int16_t *rows, int stride) {
    for (int i = 0; i < axis->length; i++) {
        const int16_t *weights = axis->weights + (size_t)i * axis->taps;
        int32_t sums[STRIP_LINES];
        for (int line = 0; line < STRIP_LINES; line++) sums[line] = 1 << (SHIFT_ACROSS - 1);
        for (int k = 0; k < axis->taps; k++) {
            const uint8_t *column = strip + (size_t)(axis->first[i] + k) * STRIP_LINES;
            for (int line = 0; line < STRIP_LINES; line++) sums[line] += weights[k] * column[line];
        }
        for (int line = 0; line < lines; line++) rows[(size_t)line * stride + i] = saturated(sums[line] >> SHIFT_ACROSS);
    }
}

static void plain_down(const int16_t *rows, int stride, int width, const int16_t *weights, int taps, uint8_t *out) {
    for (int x = 0; x < width; x++) {
        int32_t sum = 1 << (SHIFT_DOWN - 1);
        for (int k = 0; k < taps; k++) sum += weights[k] * rows[(size_t)k * stride + x];
        out[x] = clamped(saturated(sum >> SHIFT_DOWN));
    }
}

static void plain_fine(const int16_t *rows, int stride, int width, const int16_t *weights, int taps, int16_t *out) {
    for (int x = 0; x < width; x++) {
        int32_t sum = 1 << (WEIGHT_BITS - 1);
        for (int k = 0; k < taps; k++) sum += weights[k] * rows[(size_t)k * stride + x];
        out[x] = saturated(sum >> WEIGHT_BITS);
    }
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))

static inline int32_t two(const int16_t *weights) {
    int32_t both;
    memcpy(&both, weights, sizeof both);
    return both;
}

AVX2 static inline __m256i sums_across(const uint8_t *strip, const struct axis *axis, int i) {
    const int16_t *weights = axis->weights + (size_t)i * axis->taps;
    const uint8_t *column = strip + (size_t)axis->first[i] * STRIP_LINES;
    __m256i low = _mm256_set1_epi32(1 << (SHIFT_ACROSS - 1)), high = low;
    for (int k = 0; k < axis->taps; k += 2, column += 2 * STRIP_LINES) {
        const __m256i a = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)column));
        const __m256i b = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(column + STRIP_LINES)));
        const __m256i weight = _mm256_set1_epi32(two(weights + k));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), weight));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), weight));
    }
    return _mm256_packs_epi32(_mm256_srai_epi32(low, SHIFT_ACROSS), _mm256_srai_epi32(high, SHIFT_ACROSS));
}

/* Eight columns of 16 lines at a time, turned into rows of eight. */
AVX2 static void avx2_across(const uint8_t *strip, int lines, const struct axis *axis, int16_t *rows, int stride) {
    for (int i = 0; i < axis->length; i += 8) {
        __m256i m[8], a[8], b[8];
        for (int k = 0; k < 8; k++) m[k] = sums_across(strip, axis, i + k < axis->length ? i + k : axis->length - 1);
        for (int k = 0; k < 4; k++) {
            a[2 * k] = _mm256_unpacklo_epi16(m[2 * k], m[2 * k + 1]);
            a[2 * k + 1] = _mm256_unpackhi_epi16(m[2 * k], m[2 * k + 1]);
        }
        for (int k = 0; k < 2; k++)
            for (int j = 0; j < 2; j++) {
                b[4 * k + 2 * j] = _mm256_unpacklo_epi32(a[4 * k + j], a[4 * k + j + 2]);
                b[4 * k + 2 * j + 1] = _mm256_unpackhi_epi32(a[4 * k + j], a[4 * k + j + 2]);
            }
        for (int k = 0; k < 4; k++) {
            m[2 * k] = _mm256_unpacklo_epi64(b[k], b[k + 4]);
            m[2 * k + 1] = _mm256_unpackhi_epi64(b[k], b[k + 4]);
        }
        for (int line = 0; line < lines; line++) {
            const __m128i row = line < 8 ? _mm256_castsi256_si128(m[line]) : _mm256_extracti128_si256(m[line - 8], 1);
            _mm_storeu_si128((__m128i *)(rows + (size_t)line * stride + i), row);
        }
    }
}

/* Sixteen columns: weighted sums of rows, shifted by `shift`, in 16 bits. */
AVX2 static inline __m256i sums_down(const int16_t *row, int stride, const int16_t *weights, int taps, int shift) {
    __m256i low = _mm256_set1_epi32(1 << (shift - 1)), high = low;
    for (int k = 0; k < taps; k += 2, row += 2 * (size_t)stride) {
        const __m256i a = _mm256_loadu_si256((const __m256i *)row);
        const __m256i b = _mm256_loadu_si256((const __m256i *)(row + stride));
        const __m256i weight = _mm256_set1_epi32(two(weights + k));
        low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), weight));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), weight));
    }
    return _mm256_packs_epi32(_mm256_srai_epi32(low, shift), _mm256_srai_epi32(high, shift));
}

AVX2 static void avx2_down(const int16_t *rows, int stride, int width, const int16_t *weights, int taps, uint8_t *out) {
    for (int x = 0; x < width; x += 16) {
        __m256i sums = sums_down(rows + x, stride, weights, taps, SHIFT_DOWN);
        sums = _mm256_permute4x64_epi64(_mm256_packus_epi16(sums, sums), 0xD8);
        uint8_t pixels[16];
        _mm_storeu_si128((__m128i *)pixels, _mm256_castsi256_si128(sums));
        memcpy(out + x, pixels, width - x < 16 ? width - x : 16);
    }
}

AVX2 static void avx2_fine(const int16_t *rows, int stride, int width, const int16_t *weights, int taps, int16_t *out) {
    for (int x = 0; x < width; x += 16)
        _mm256_storeu_si256((__m256i *)(out + x), sums_down(rows + x, stride, weights, taps, WEIGHT_BITS));
}
#endif

/* `rows`: where the first of `lines` rows goes; each has room for `stride` >= the axis rounded up to 16. */
void filter_across(const uint8_t *strip, int lines, const struct axis *axis, int16_t *rows, int stride) {
#if defined(__x86_64__)
    if (use_avx2) {
        avx2_across(strip, lines, axis, rows, stride);
        return;
    }
#endif
    plain_across(strip, lines, axis, rows, stride);
}

/* Row `y` of the plane of a lane. */
void filter_down(const struct lane *lane, int y, uint8_t *out) {
    const struct axis *axis = &lane->down;
    const int16_t *first = (const int16_t *)lane->rows.data + (size_t)axis->first[y] * lane->stride;
    const int16_t *weights = axis->weights + (size_t)y * axis->taps;
#if defined(__x86_64__)
    if (use_avx2) {
        avx2_down(first, lane->stride, lane->across.length, weights, axis->taps, out);
        return;
    }
#endif
    plain_down(first, lane->stride, lane->across.length, weights, axis->taps, out);
}

/* The same with ROW_BITS of fraction; `out` has room for the stride of the lane. */
void filter_down_finely(const struct lane *lane, int y, int16_t *out) {
    const struct axis *axis = &lane->down;
    const int16_t *first = (const int16_t *)lane->rows.data + (size_t)axis->first[y] * lane->stride;
    const int16_t *weights = axis->weights + (size_t)y * axis->taps;
#if defined(__x86_64__)
    if (use_avx2) {
        avx2_fine(first, lane->stride, lane->across.length, weights, axis->taps, out);
        return;
    }
#endif
    plain_fine(first, lane->stride, lane->across.length, weights, axis->taps, out);
}
