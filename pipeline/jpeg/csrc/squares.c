/* Windows of JPEG bodies to squares of RGB, plane after plane, as a batch of a model holds them.

   Luma and chroma are filtered each from its own resolution to the square's, by a cubic filter that is stretched where
   the image shrinks, and a row becomes RGB as soon as it is there (ITU-T T.871). */

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "jpeg.h"

#define HALF (1 << (ROW_BITS - 1))
#define GREY (128 << ROW_BITS)
/* of 2^15: 1.402 - 1, -0.344136, -0.714136, 1.772 - 1 */
#define RED_OF_CR 13173
#define GREEN_OF_CB -11277
#define GREEN_OF_CR -23401
#define BLUE_OF_CB 25297

static const double least_ratio = 1.9; /* of what is decoded to what is wanted: see docs/loader.md */

/* One square: the body of an image of `width` x `height`, and the window of it that is wanted. */
struct square {
    const uint8_t *body;
    uint64_t size;
    int32_t width, height, left, top, window_width, window_height;
    int32_t is_mirrored, outcome;
};

static int eighths_of(const struct square *square, int side) {
    int across = square->window_width, down = square->window_height;
    double ratio = (double)(across < down ? across : down) / side;
    for (int eighths = 1; eighths < 8; eighths++)
        if (ratio * eighths / 8 >= least_ratio) return eighths;
    return 8;
}

/* `factor` in 15 bits of fraction, as the processor's own instruction rounds. */
static inline int32_t times(int32_t value, int32_t factor) { return (value * factor + (1 << 14)) >> 15; }

static inline uint8_t pixel_of(int32_t fine) { return clamped(saturated(fine + HALF) >> ROW_BITS); }

static void plain_row(int16_t *const *rows, int side, uint8_t *out, size_t plane) {
    for (int x = 0; x < side; x++) {
        int32_t y = rows[0][x], cb = saturated(rows[1][x] - GREY), cr = saturated(rows[2][x] - GREY);
        out[x] = pixel_of(saturated(y + saturated(cr + times(cr, RED_OF_CR))));
        out[plane + x] = pixel_of(saturated(y + saturated(times(cb, GREEN_OF_CB) + times(cr, GREEN_OF_CR))));
        out[2 * plane + x] = pixel_of(saturated(y + saturated(cb + times(cb, BLUE_OF_CB))));
    }
}

#if defined(__x86_64__)
#define AVX2 __attribute__((target("avx2")))

AVX2 static inline void store(uint8_t *out, __m256i fine, int count) {
    fine = _mm256_srai_epi16(_mm256_adds_epi16(fine, _mm256_set1_epi16(HALF)), ROW_BITS);
    fine = _mm256_permute4x64_epi64(_mm256_packus_epi16(fine, fine), 0xD8);
    uint8_t pixels[16];
    _mm_storeu_si128((__m128i *)pixels, _mm256_castsi256_si128(fine));
    memcpy(out, pixels, count < 16 ? count : 16);
}

AVX2 static void avx2_row(int16_t *const *rows, int side, uint8_t *out, size_t plane) {
#define TIMES(value, factor) _mm256_mulhrs_epi16(value, _mm256_set1_epi16(factor))
    for (int x = 0; x < side; x += 16, out += 16) {
        const __m256i grey = _mm256_set1_epi16(GREY), y = _mm256_loadu_si256((const __m256i *)(rows[0] + x));
        const __m256i cb = _mm256_subs_epi16(_mm256_loadu_si256((const __m256i *)(rows[1] + x)), grey);
        const __m256i cr = _mm256_subs_epi16(_mm256_loadu_si256((const __m256i *)(rows[2] + x)), grey);
        const __m256i green = _mm256_adds_epi16(TIMES(cb, GREEN_OF_CB), TIMES(cr, GREEN_OF_CR));
        store(out, _mm256_adds_epi16(y, _mm256_adds_epi16(cr, TIMES(cr, RED_OF_CR))), side - x);
        store(out + plane, _mm256_adds_epi16(y, green), side - x);
        store(out + 2 * plane, _mm256_adds_epi16(y, _mm256_adds_epi16(cb, TIMES(cb, BLUE_OF_CB))), side - x);
    }
#undef TIMES
}
#endif

static void rows_to_rgb(struct workspace *work, int num_components, int side, uint8_t *out) {
    size_t plane = (size_t)side * side, stride = work->lanes[0].stride;
    int16_t *rows[MAX_COMPONENTS];
    for (int c = 0; c < MAX_COMPONENTS; c++) rows[c] = (int16_t *)work->row.data + c * stride;
    for (size_t x = 0; x < 2 * stride; x++) rows[1][x] = GREY; /* for an image of luma alone */
    for (int y = 0; y < side; y++, out += side) {
        for (int c = 0; c < num_components; c++) filter_down_finely(&work->lanes[c], y, rows[c]);
#if defined(__x86_64__)
        if (use_avx2) {
            avx2_row(rows, side, out, plane);
            continue;
        }
#endif
        plain_row(rows, side, out, plane);
    }
}

static int make_square(struct workspace *work, const struct square *square, int side, uint8_t *out) {
    struct image image;
    struct aim aim = {square->left,         square->top, square->window_width,      square->window_height, side, side,
                      eighths_of(square, side), 1,       CUBIC, square->is_mirrored};
    if (!is_sound(&aim, square->width, square->height)) return BAD_CALL;
    int status = begin_image(work, &image, square->body, square->size);
    if (status != DONE) return status;
    if (image.width != square->width || image.height != square->height) return UNUSUAL;
    status = fill_lanes(work, &image, &aim);
    if (status == DONE && !has_room(&work->row, MAX_COMPONENTS * work->lanes[0].stride * sizeof(int16_t)))
        status = NO_MEMORY;
    if (status == DONE) rows_to_rgb(work, image.num_components, side, out);
    free_axes(work);
    return status;
}

/* Fills `out`, uint8 [count][3][side][side]; each square's `outcome` says whether its place was filled. */
int pairmill_jpeg_squares(void *opened, struct square *squares, int count, int side, uint8_t *out) {
    size_t size = (size_t)3 * side * side;
    for (int k = 0; k < count; k++) squares[k].outcome = make_square(opened, &squares[k], side, out + k * size);
    return DONE;
}
