/* A JPEG body to planes of Y, Cb and Cr at another size, 4:2:0, without ever holding the whole image.

   Each row of blocks is decoded into strips, a strip is filtered across as soon as it is full, and at the end all rows
   are filtered down. Only blocks that the wanted window needs become pixels. These are the functions that Python calls;
   they keep no state but a workspace, which one thread at a time may use. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jpeg.h"

#define LEAP_FROM_BYTES (1 << 16) /* a smaller scan is decoded before the tables for leaps are made */

/* Behind which place in zigzag order there is none of the n lowest frequencies of both directions. */
static const uint8_t wanted_places[9] = {1, 1, 5, 13, 25, 40, 52, 60, 64};

struct window {
    double left, top, width, height; /* of the image, in its pixels as stored */
    int32_t out_width, out_height;   /* of the Y plane, whose rows are an even number of bytes apart; Cb and Cr have
                                        half of it, rounded up */
    int32_t eighths;                 /* of its size the image is decoded at, 1 to 8 */
};

struct buffer {
    uint8_t *data;
    size_t size;
};

/* Where the pixels of one component go. */
struct lane {
    struct axis across, down;
    struct buffer strip, rows;
    int n, stride, first_column, end_column, first_line, end_line;
    int filled, line; /* of the strip; and where its first line is in the image */
};

struct workspace {
    struct huffman dc[4], ac[4];
    struct buffer scan;
    struct lane lanes[MAX_COMPONENTS];
};

static int has_room(struct buffer *buffer, size_t size) {
    if (buffer->size >= size) return 1;
    free(buffer->data);
    buffer->data = calloc(size, 1);
    buffer->size = buffer->data ? size : 0;
    return buffer->data != NULL;
}

int pairmill_jpeg_begin(int with_avx2) {
    begin_axes();
    begin_dct();
#if defined(__x86_64__)
    __builtin_cpu_init();
    use_avx2 = with_avx2 && __builtin_cpu_supports("avx2");
#else
    use_avx2 = 0 * with_avx2;
#endif
    return use_avx2;
}

void *pairmill_jpeg_open(void) { return calloc(1, sizeof(struct workspace)); }

void pairmill_jpeg_close(void *opened) {
    struct workspace *work = opened;
    if (!work) return;
    free(work->scan.data);
    for (int c = 0; c < MAX_COMPONENTS; c++) {
        free(work->lanes[c].strip.data);
        free(work->lanes[c].rows.data);
    }
    free(work);
}

/* Copies one segment of the scan without its byte stuffing. Returns where its marker begins, or NULL without one. */
static const uint8_t *unstuffed(const uint8_t *at, const uint8_t *end, uint8_t *out, size_t *size) {
    uint8_t *to = out;
    for (;;) {
        const uint8_t *stop = memchr(at, 0xFF, end - at);
        if (!stop || stop + 1 >= end) return NULL;
        memcpy(to, at, stop - at);
        to += stop - at;
        if (stop[1] == 0) {
            *to++ = 0xFF;
            at = stop + 2;
        } else if (stop[1] == 0xFF) {
            at = stop + 1; /* a fill byte before a marker */
        } else {
            *size = to - out;
            return stop;
        }
    }
}

/* One axis of a lane and the range of inputs that it reads. `scale`: inputs per pixel of the image as stored. */
static int lay_axis(struct axis *axis, int length, double start, double span, double scale, double parts, int extent,
                    int *first, int *end) {
    double step = span / length * scale;
    int wanted = parts == 1 ? length : (length + 1) / 2, inputs = (int)ceil(extent * scale - 1e-9);
    if (!make_axis(axis, wanted, start * scale, step * parts, inputs)) return 0;
    *first = axis->first[0];
    *end = axis->first[wanted - 1] + axis->taps;
    if (*end > inputs) *end = inputs;
    return 1;
}

static int lay_lane(struct lane *lane, const struct image *image, const struct component *part,
                    const struct window *window, int is_luma) {
    int thin_x = image->across / part->across, thin_y = image->down / part->down;
    double parts = is_luma ? 1 : 2;
    lane->n = is_luma || thin_x > 1 || thin_y > 1 ? window->eighths : (window->eighths + 1) / 2;
    lane->filled = lane->line = 0;
    if (!lay_axis(&lane->across, window->out_width, window->left, window->width, lane->n / (8.0 * thin_x), parts,
                  image->width, &lane->first_column, &lane->end_column) ||
        !lay_axis(&lane->down, window->out_height, window->top, window->height, lane->n / (8.0 * thin_y), parts,
                  image->height, &lane->first_line, &lane->end_line))
        return 0;
    for (int i = 0; i < lane->down.length; i++) lane->down.first[i] -= lane->first_line - STRIP_LINES;
    lane->stride = (lane->across.length + 15) & ~15;
    size_t columns = (size_t)part->blocks_across * lane->n + lane->across.taps;
    size_t lines = (size_t)lane->end_line - lane->first_line + 2 * STRIP_LINES + lane->down.taps;
    return has_room(&lane->strip, columns * STRIP_LINES) &&
           has_room(&lane->rows, lines * lane->stride * sizeof(int16_t));
}

static void empty_strip(struct lane *lane) {
    int at = lane->line - lane->first_line + STRIP_LINES;
    if (lane->line < lane->end_line && lane->line + lane->filled > lane->first_line)
        filter_across(lane->strip.data, lane->filled, &lane->across,
                      (int16_t *)lane->rows.data + (size_t)at * lane->stride, lane->stride);
    lane->line += lane->filled;
    lane->filled = 0;
}

/* Whether the filter reads any pixel of a block; `line` is that in the strip. */
static inline int is_seen(const struct lane *lane, int column, int line) {
    line += lane->line;
    return column < lane->end_column && column + lane->n > lane->first_column && line < lane->end_line &&
           line + lane->n > lane->first_line;
}

static int decode_unit(struct workspace *work, struct image *image, struct bits *bits, int unit, int with_pixels) {
    int16_t block[BLOCK_SIZE];
    for (int c = 0; c < image->num_components; c++) {
        struct component *part = &image->components[c];
        struct lane *lane = &work->lanes[c];
        const struct huffman *dc = &work->dc[part->dc], *ac = &work->ac[part->ac];
        const uint16_t *quant = image->quant[part->quant];
        int wanted = wanted_places[with_pixels ? lane->n : 0];
        for (int down = 0, line = lane->filled; down < part->down; down++, line += lane->n)
            for (int across = 0, column = unit * part->across * lane->n; across < part->across;
                 across++, column += lane->n) {
                int last = decode_block(bits, part, dc, ac, quant, wanted, block);
                if (last < 0) return UNUSUAL;
                if (with_pixels && is_seen(lane, column, line))
                    inverse_dct(block, last, lane->n, lane->strip.data + (size_t)column * STRIP_LINES + line);
            }
    }
    return bits->next > bits->end + 8 ? UNUSUAL : DONE;
}

static void end_row(struct workspace *work, const struct image *image) {
    for (int c = 0; c < image->num_components; c++) {
        struct lane *lane = &work->lanes[c];
        int lines = image->components[c].down * lane->n;
        lane->filled += lines;
        if (lane->filled + lines > STRIP_LINES) empty_strip(lane);
    }
}

/* All units of the scan, in order; `with_pixels` or only to see that all of them are there. */
static int decode_scan(struct workspace *work, struct image *image, int with_pixels) {
    const uint8_t *at = image->scan, *end = at + image->scan_size;
    long units = (long)image->units_across * image->units_down, left = 0;
    struct bits bits = {0};
    int across = 0, restarts = 0;
    for (long unit = 0; unit < units; unit++) {
        if (!left) {
            if (unit && (!ended_well(&bits) || at[1] != 0xD0 + (restarts++ & 7))) return UNUSUAL;
            size_t size;
            at = unstuffed(unit ? at + 2 : at, end, work->scan.data, &size);
            if (!at) return UNUSUAL;
            memset(work->scan.data + size, 0, 16);
            begin_bits(&bits, work->scan.data, size);
            for (int c = 0; c < image->num_components; c++) image->components[c].last_dc = 0;
            left = image->restart_units ? image->restart_units : units;
        }
        int status = decode_unit(work, image, &bits, across, with_pixels);
        if (status != DONE) return status;
        left--;
        if (++across == image->units_across) {
            across = 0;
            if (with_pixels) end_row(work, image);
        }
    }
    return ended_well(&bits) && at[1] == 0xD9 ? DONE : UNUSUAL;
}

static int begin_image(struct workspace *work, struct image *image, const uint8_t *body, size_t size) {
    int status = parse_image(body, size, image, work->dc, work->ac);
    if (status != DONE) return status;
    image->units_across = (image->width + 8 * image->across - 1) / (8 * image->across);
    image->units_down = (image->height + 8 * image->down - 1) / (8 * image->down);
    for (int c = 0; c < image->num_components; c++) {
        struct component *part = &image->components[c];
        part->blocks_across = image->units_across * part->across;
        if (prepare_huffman(&work->dc[part->dc], 1) != DONE || prepare_huffman(&work->ac[part->ac], 0) != DONE)
            return UNUSUAL;
        if (image->scan_size >= LEAP_FROM_BYTES) prepare_leaps(&work->ac[part->ac]);
    }
    return has_room(&work->scan, image->scan_size + 16) ? DONE : NO_MEMORY;
}

/* DONE where every block of the body is there and nothing is left over. */
int pairmill_jpeg_check(void *opened, const uint8_t *body, size_t size) {
    struct workspace *work = opened;
    struct image image;
    int status = begin_image(work, &image, body, size);
    return status == DONE ? decode_scan(work, &image, 0) : status;
}

/* Fills the planes; `blue` and `red` are NULL where the image is grey. It must be what its header was judged by. */
int pairmill_jpeg_shrink(void *opened, const uint8_t *body, size_t size, int width, int height, int is_grey,
                         const struct window *window, uint8_t *luma, uint8_t *blue, uint8_t *red) {
    struct workspace *work = opened;
    struct image image;
    uint8_t *planes[MAX_COMPONENTS] = {luma, blue, red};
    if (window->eighths < 1 || window->eighths > 8 || window->out_width < 1 || window->out_height < 1 ||
        !(window->left >= 0) || !(window->top >= 0) || !(window->width > 0) || !(window->height > 0) ||
        !(window->left + window->width <= width + 1e-6) || !(window->top + window->height <= height + 1e-6))
        return BAD_CALL;
    int status = begin_image(work, &image, body, size);
    if (status != DONE) return status;
    if (image.width != width || image.height != height || is_grey != (image.num_components == 1)) return UNUSUAL;
    for (int c = 0; c < image.num_components && status == DONE; c++)
        if (!lay_lane(&work->lanes[c], &image, &image.components[c], window, c == 0)) status = NO_MEMORY;
    if (status == DONE) status = decode_scan(work, &image, 1);
    for (int c = 0; c < image.num_components; c++) {
        struct lane *lane = &work->lanes[c];
        if (status == DONE) {
            if (lane->filled) empty_strip(lane);
            filter_down((const int16_t *)lane->rows.data, lane->stride, lane->across.length, &lane->down, planes[c],
                        c ? lane->across.length : (lane->across.length + 1) & ~1);
        }
        free_axis(&lane->across);
        free_axis(&lane->down);
    }
    return status;
}
