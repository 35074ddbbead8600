/* What the files of this folder share: the parsed image, the Huffman tables, the axes of the resampler.

   The way of a body: parse.c reads its segments, huffman.c turns bits into dequantized coefficients, idct.c turns
   coefficients into pixels at n/8 of their size, resample.c filters those into rows and planes of the wanted size, and
   scan.c drives them one row of blocks at a time. shrink.c and squares.c are what Python calls: planes for an encoder,
   and squares of RGB for a model. Nothing here allocates by what a header claims before the size was judged, and every
   read of the body is bounded. */

#ifndef PAIRMILL_JPEG_H
#define PAIRMILL_JPEG_H

#include <stddef.h>
#include <stdint.h>

#define LOOK_BITS 11
#define LOOK_SIZE (1 << LOOK_BITS)
#define LEAP_BITS 13
#define LEAP_SIZE (1 << LEAP_BITS)
#define STRIP_LINES 16
#define ROW_BITS 6 /* of fraction, between the filters across and down */
#define MAX_COMPONENTS 3
#define BLOCK_SIZE 65 /* the last one is for what nobody reads */

enum outcome {
    DONE = 0,
    UNUSUAL = 1,   /* another decoder has to judge: progressive, CMYK, 12 bits, odd sampling, or damaged */
    NO_MEMORY = 2,
    BAD_CALL = 3,
};

/* One or two coefficients that the next LOOK_BITS bits hold whole: how many bits they take, the zeros before each, the
   places they take in all, their values. Where `bits` is 0, `run` is the length of a code and `value` its symbol, or
   both are 0. */
struct look {
    int16_t value, value_next;
    uint8_t bits, run, run_next, step;
};

/* All symbols that the next LEAP_BITS bits hold whole, for those who want no values: their bits, and the places they take,
   with END_OF_BLOCK added where the last one ends the block. */
struct leap {
    uint8_t bits, places;
};

struct huffman {
    uint8_t counts[17], symbols[256];
    int num_symbols, is_set;
    int32_t max_code[18], offset[17];
    struct look look[LOOK_SIZE];
    struct leap leap[LEAP_SIZE];
    int can_leap;
    uint8_t built_counts[17], built_symbols[256];
    int is_built;
};

struct component {
    int id, across, down, quant, dc, ac; /* sampling factors, table numbers */
    int blocks_across;                   /* of the scan, whole units */
    int32_t last_dc;
};

struct image {
    int width, height, num_components, across, down;
    int units_across, units_down, restart_units;
    int has_quant[4];
    uint16_t quant[4][256]; /* in zigzag order, then zeros */
    struct component components[MAX_COMPONENTS];
    const uint8_t *scan; /* what follows the header of the scan */
    size_t scan_size;
};

struct bits {
    const uint8_t *next, *end;
    uint64_t held;
    int count;
};

enum kernel { LANCZOS = 0, CUBIC = 1 };

/* One axis of the resampler: output i is the sum of `taps` inputs from first[i] on, by weights of 14 bits. */
struct axis {
    int length, taps;
    int32_t *first;
    int16_t *weights;
};

struct buffer {
    uint8_t *data;
    size_t size;
};

/* Where the pixels of one component go. */
struct lane {
    struct axis across, down;
    struct buffer strip, rows;
    int is_borrower; /* whether the axes are those of another lane */
    int n, stride, first_column, end_column, first_line, end_line;
    int filled, line; /* of the strip; and where its first line is in the image */
};

/* What calls use again, one call at a time. */
struct workspace {
    struct huffman dc[4], ac[4];
    struct buffer scan, row;
    struct lane lanes[MAX_COMPONENTS];
};

/* The part of an image that is wanted, in its pixels as stored, and what becomes of it. */
struct aim {
    double left, top, width, height;
    int out_width, out_height;
    int eighths;      /* of its size the image is decoded at, 1 to 8 */
    int chroma_parts; /* Cb and Cr get 1/chroma_parts of the sides of Y, rounded up */
    enum kernel kernel;
    int is_mirrored;
};

static inline int16_t saturated(int32_t value) { return value > 32767 ? 32767 : value < -32768 ? -32768 : value; }

static inline uint8_t clamped(int32_t value) { return value > 255 ? 255 : value < 0 ? 0 : value; }

int parse_image(const uint8_t *body, size_t size, struct image *image, struct huffman *dc, struct huffman *ac);
int prepare_huffman(struct huffman *table, int is_dc);
void prepare_leaps(struct huffman *table);
void begin_bits(struct bits *bits, const uint8_t *data, size_t size);
int decode_block(struct bits *bits, struct component *part, const struct huffman *dc, const struct huffman *ac,
                 const uint16_t *quant, int wanted, int16_t *block);
int ended_well(const struct bits *bits);

void begin_dct(void);
void inverse_dct(const int16_t *block, int last, int n, uint8_t *strip);

double sine_of_pi(double x);
void begin_axes(void);
int make_axis(struct axis *axis, int length, double start, double step, int inputs, enum kernel kernel);
void mirror_axis(struct axis *axis);
void free_axis(struct axis *axis);
void filter_across(const uint8_t *strip, int lines, const struct axis *axis, int16_t *rows, int stride);
void filter_down(const struct lane *lane, int y, uint8_t *out);
void filter_down_finely(const struct lane *lane, int y, int16_t *out);

int is_sound(const struct aim *aim, int width, int height);
int has_room(struct buffer *buffer, size_t size);
int lay_lane(struct lane *lanes, int c, const struct image *image, const struct aim *aim);
void free_axes(struct workspace *work);
void empty_strip(struct lane *lane);

int begin_image(struct workspace *work, struct image *image, const uint8_t *body, size_t size);
int fill_lanes(struct workspace *work, struct image *image, const struct aim *aim);

extern int use_avx2; /* the same results either way */

#endif
