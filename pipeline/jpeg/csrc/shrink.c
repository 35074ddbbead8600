/* A JPEG body to planes of Y, Cb and Cr at another size, 4:2:0, which an encoder takes as they are. */

#include "jpeg.h"

struct window {
    double left, top, width, height; /* of the image, in its pixels as stored */
    int32_t out_width, out_height;   /* of the Y plane, whose rows are an even number of bytes apart; Cb and Cr have
                                        half of it, rounded up */
    int32_t eighths;                 /* of its size the image is decoded at, 1 to 8 */
};

/* Fills the planes; `blue` and `red` are NULL where the image is grey. It must be what its header was judged by. */
int pairmill_jpeg_shrink(void *opened, const uint8_t *body, size_t size, int width, int height, int is_grey,
                         const struct window *window, uint8_t *luma, uint8_t *blue, uint8_t *red) {
    struct workspace *work = opened;
    struct image image;
    uint8_t *planes[MAX_COMPONENTS] = {luma, blue, red};
    struct aim aim = {window->left,       window->top,     window->width, window->height, window->out_width,
                      window->out_height, window->eighths, 2,             LANCZOS,        0};
    if (!is_sound(&aim, width, height)) return BAD_CALL;
    int status = begin_image(work, &image, body, size);
    if (status != DONE) return status;
    if (image.width != width || image.height != height || is_grey != (image.num_components == 1)) return UNUSUAL;
    status = fill_lanes(work, &image, &aim);
    for (int c = 0; c < image.num_components; c++) {
        struct lane *lane = &work->lanes[c];
        size_t stride = c ? lane->across.length : (lane->across.length + 1) & ~1;
        for (int y = 0; status == DONE && y < lane->down.length; y++) filter_down(lane, y, planes[c] + y * stride);
    }
    free_axes(work);
    return status;
}
