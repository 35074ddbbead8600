/* Lanes: where the pixels of one component go, from blocks over a strip to rows of the wanted width.

   Blocks are written into a strip of STRIP_LINES lines, which is filtered across as soon as it is full; the rows wait for
   the filter down. Only what the wanted window needs is kept. */

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "jpeg.h"

int has_room(struct buffer *buffer, size_t size) {
    if (buffer->size >= size) return 1;
    free(buffer->data);
    buffer->data = calloc(size, 1);
    buffer->size = buffer->data ? size : 0;
    return buffer->data != NULL;
}

/* Whether the window lies inside of an image of that size, and all else is in its range. */
int is_sound(const struct aim *aim, int width, int height) {
    return aim->eighths >= 1 && aim->eighths <= 8 && aim->out_width >= 1 && aim->out_height >= 1 && aim->left >= 0 &&
           aim->top >= 0 && aim->width > 0 && aim->height > 0 && aim->left + aim->width <= width + 1e-6 &&
           aim->top + aim->height <= height + 1e-6; /* false of what is no number */
}

/* One axis of a lane and the range of inputs that it reads. `scale`: inputs per pixel of the image as stored. */
static int lay_axis(struct axis *axis, const struct aim *aim, int length, double start, double span, double scale,
                    int parts, int extent, int *first, int *end) {
    double step = span / length * scale;
    int wanted = (length + parts - 1) / parts, inputs = (int)ceil(extent * scale - 1e-9);
    if (!make_axis(axis, wanted, start * scale, step * parts, inputs, aim->kernel)) return 0;
    *first = axis->first[0];
    *end = axis->first[wanted - 1] + axis->taps;
    if (*end > inputs) *end = inputs;
    return 1;
}

static int lay_axes(struct lane *lane, const struct image *image, const struct component *part, const struct aim *aim,
                    int is_luma) {
    int thin_x = image->across / part->across, thin_y = image->down / part->down;
    int parts = is_luma ? 1 : aim->chroma_parts, thin = thin_x > thin_y ? thin_x : thin_y;
    lane->n = (aim->eighths * thin + parts - 1) / parts; /* thin colour needs no shrinking where all is shrunk */
    if (lane->n > 8) lane->n = 8;
    if (!lay_axis(&lane->across, aim, aim->out_width, aim->left, aim->width, lane->n / (8.0 * thin_x), parts,
                  image->width, &lane->first_column, &lane->end_column) ||
        !lay_axis(&lane->down, aim, aim->out_height, aim->top, aim->height, lane->n / (8.0 * thin_y), parts,
                  image->height, &lane->first_line, &lane->end_line))
        return 0;
    if (aim->is_mirrored) mirror_axis(&lane->across);
    for (int i = 0; i < lane->down.length; i++) lane->down.first[i] -= lane->first_line - STRIP_LINES;
    return 1;
}

static void borrow_axes(struct lane *lane, const struct lane *from) {
    struct buffer strip = lane->strip, rows = lane->rows;
    *lane = *from;
    lane->strip = strip;
    lane->rows = rows;
    lane->is_borrower = 1;
}

/* Raises nothing: 0 where there is no memory for it. */
int lay_lane(struct lane *lanes, int c, const struct image *image, const struct aim *aim) {
    struct lane *lane = &lanes[c];
    const struct component *part = &image->components[c];
    if (c == 2 && part->across == part[-1].across && part->down == part[-1].down) borrow_axes(lane, &lanes[1]);
    else if (!lay_axes(lane, image, part, aim, c == 0)) return 0;
    lane->filled = lane->line = 0;
    lane->stride = (lane->across.length + 15) & ~15;
    size_t columns = (size_t)part->blocks_across * lane->n + lane->across.taps;
    size_t lines = (size_t)lane->end_line - lane->first_line + 2 * STRIP_LINES + lane->down.taps;
    return has_room(&lane->strip, columns * STRIP_LINES) &&
           has_room(&lane->rows, lines * lane->stride * sizeof(int16_t));
}

/* When all lanes are done with: one may stand on the axes of another. */
void free_axes(struct workspace *work) {
    for (int c = 0; c < MAX_COMPONENTS; c++) {
        struct lane *lane = &work->lanes[c];
        if (!lane->is_borrower) free_axis(&lane->across), free_axis(&lane->down);
        memset(&lane->across, 0, sizeof lane->across);
        memset(&lane->down, 0, sizeof lane->down);
        lane->is_borrower = 0;
    }
}

void empty_strip(struct lane *lane) {
    int at = lane->line - lane->first_line + STRIP_LINES;
    if (lane->line < lane->end_line && lane->line + lane->filled > lane->first_line)
        filter_across(lane->strip.data, lane->filled, &lane->across,
                      (int16_t *)lane->rows.data + (size_t)at * lane->stride, lane->stride);
    lane->line += lane->filled;
    lane->filled = 0;
}
