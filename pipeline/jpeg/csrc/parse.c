/* The segments of a baseline JPEG up to the data of its scan (ITU-T T.81, annex B).

   Takes a body. Fills `image` and the Huffman tables. Only what nearly all JPEGs of the web are is read: 8 bits, one
   sequential scan of 1 or 3 components, sampling factors 1 and 2, YCbCr or grey. All else is UNUSUAL, and left to a
   decoder that knows every corner of the standard. */

#include <string.h>

#include "jpeg.h"

static int two_bytes(const uint8_t *at) { return at[0] << 8 | at[1]; }

static int read_quant(const uint8_t *at, const uint8_t *end, struct image *image) {
    while (at < end) {
        int wide = *at >> 4, number = *at & 15;
        at++;
        if (wide > 1 || number > 3 || end - at < 64 << wide) return UNUSUAL;
        for (int k = 0; k < 64; k++, at += 1 + wide) image->quant[number][k] = wide ? two_bytes(at) : *at;
        image->has_quant[number] = 1;
    }
    return DONE;
}

static int read_huffman(const uint8_t *at, const uint8_t *end, struct huffman *dc, struct huffman *ac) {
    while (at < end) {
        int number = *at & 15, kind = *at >> 4, total = 0;
        at++;
        if (kind > 1 || number > 3 || end - at < 16) return UNUSUAL;
        struct huffman *table = kind ? &ac[number] : &dc[number];
        table->counts[0] = 0;
        memcpy(table->counts + 1, at, 16);
        for (int k = 1; k <= 16; k++) total += table->counts[k];
        at += 16;
        if (total > 256 || end - at < total) return UNUSUAL;
        memset(table->symbols, 0, sizeof table->symbols);
        memcpy(table->symbols, at, total);
        table->num_symbols = total;
        table->is_set = 1;
        at += total;
    }
    return DONE;
}

static int read_frame(const uint8_t *at, const uint8_t *end, struct image *image) {
    if (image->num_components || end - at < 6 || at[0] != 8) return UNUSUAL;
    image->height = two_bytes(at + 1);
    image->width = two_bytes(at + 3);
    image->num_components = at[5];
    if (!image->height || !image->width || (at[5] != 1 && at[5] != 3) || end - at != 6 + 3 * at[5]) return UNUSUAL;
    at += 6;
    for (int c = 0; c < image->num_components; c++, at += 3) {
        struct component *part = &image->components[c];
        part->id = at[0];
        part->across = at[1] >> 4;
        part->down = at[1] & 15;
        part->quant = at[2];
        if (image->num_components == 1) part->across = part->down = 1; /* one component has no neighbours */
        if (part->across < 1 || part->across > 2 || part->down < 1 || part->down > 2 || part->quant > 3) return UNUSUAL;
        if (part->across > image->across) image->across = part->across;
        if (part->down > image->down) image->down = part->down;
    }
    if (image->components[0].across != image->across || image->components[0].down != image->down) return UNUSUAL;
    return DONE;
}

static int read_scan_header(const uint8_t *at, const uint8_t *end, struct image *image) {
    if (end - at < 1 || at[0] != image->num_components || end - at != 4 + 2 * at[0]) return UNUSUAL;
    at++;
    for (int c = 0; c < image->num_components; c++, at += 2) {
        struct component *part = &image->components[c];
        part->dc = at[1] >> 4;
        part->ac = at[1] & 15;
        if (at[0] != part->id || part->dc > 3 || part->ac > 3 || !image->has_quant[part->quant]) return UNUSUAL;
    }
    return at[0] == 0 && at[1] == 63 && at[2] == 0 ? DONE : UNUSUAL;
}

/* Whether three components are YCbCr, as libjpeg would take them: by JFIF, by Adobe's word, or by their numbers. */
static int is_ycbcr(const struct image *image, int jfif, int adobe) {
    const struct component *parts = image->components;
    if (image->num_components == 1 || jfif) return 1;
    if (adobe >= 0) return adobe == 1;
    return parts[0].id == 1 && parts[1].id == 2 && parts[2].id == 3;
}

int parse_image(const uint8_t *body, size_t size, struct image *image, struct huffman *dc, struct huffman *ac) {
    const uint8_t *at = body + 2, *end = body + size;
    int jfif = 0, adobe = -1;
    memset(image, 0, sizeof *image);
    for (int k = 0; k < 4; k++) dc[k].is_set = ac[k].is_set = 0;
    if (size < 4 || body[0] != 0xFF || body[1] != 0xD8) return UNUSUAL;
    while (end - at >= 4) {
        int marker = at[1], length = two_bytes(at + 2), status = DONE;
        if (at[0] != 0xFF) return UNUSUAL;
        if (marker == 0xFF) { /* a fill byte */
            at++;
            continue;
        }
        if (marker < 0xC0 || (marker >= 0xD0 && marker <= 0xD9) || length < 2 || end - at < 2 + length) return UNUSUAL;
        const uint8_t *inside = at + 4, *after = at + 2 + length;
        if (marker == 0xDB) status = read_quant(inside, after, image);
        else if (marker == 0xC4) status = read_huffman(inside, after, dc, ac);
        else if (marker == 0xC0 || marker == 0xC1) status = read_frame(inside, after, image);
        else if (marker > 0xC1 && marker < 0xD0) return UNUSUAL; /* progressive, lossless, arithmetic */
        else if (marker == 0xDD) {
            if (length != 4) return UNUSUAL;
            image->restart_units = two_bytes(inside);
        } else if (marker == 0xE0 && length >= 16 && !memcmp(inside, "JFIF", 5)) jfif = 1;
        else if (marker == 0xEE && length >= 14 && !memcmp(inside, "Adobe", 5)) adobe = inside[11];
        else if (marker == 0xDA) {
            if (!image->num_components || read_scan_header(inside, after, image) != DONE) return UNUSUAL;
            image->scan = after;
            image->scan_size = end - after;
            return is_ycbcr(image, jfif, adobe) ? DONE : UNUSUAL;
        } else if (marker == 0xDC) return UNUSUAL;
        if (status != DONE) return status;
        at = after;
    }
    return UNUSUAL;
}
