/* The scan of a JPEG, one row of blocks at a time, without ever holding the whole image.

   Each row of blocks is decoded into the strips of its lanes. Only blocks that the wanted window needs become pixels; of
   others the bits are read all the same, since whether a body is whole is not to depend on what is wanted of it. A
   workspace is all the state there is, and one thread at a time may use it. */

#include <stdlib.h>
#include <string.h>

#include "jpeg.h"

#define LEAP_FROM_BYTES (1 << 16) /* a smaller scan is decoded before the tables for leaps are made */

/* Behind which place in zigzag order there is none of the n lowest frequencies of both directions. */
static const uint8_t wanted_places[9] = {1, 1, 5, 13, 25, 40, 52, 60, 64};

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
    free(work->row.data);
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

int begin_image(struct workspace *work, struct image *image, const uint8_t *body, size_t size) {
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

/* The rows of each component that `aim` wants; only the filter down is left to do. */
int fill_lanes(struct workspace *work, struct image *image, const struct aim *aim) {
    int status = DONE;
    for (int c = 0; c < image->num_components && status == DONE; c++)
        if (!lay_lane(work->lanes, c, image, aim)) status = NO_MEMORY;
    if (status == DONE) status = decode_scan(work, image, 1);
    for (int c = 0; c < image->num_components && status == DONE; c++)
        if (work->lanes[c].filled) empty_strip(&work->lanes[c]);
    return status;
}

/* DONE where every block of the body is there and nothing is left over. */
int pairmill_jpeg_check(void *opened, const uint8_t *body, size_t size) {
    struct workspace *work = opened;
    struct image image;
    int status = begin_image(work, &image, body, size);
    return status == DONE ? decode_scan(work, &image, 0) : status;
}
