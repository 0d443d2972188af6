// A batch of augmented images from a set of bytes that is on the GPU.
#include "device.cuh"

// What is done to one image: which it is; rows and columns of the padded image outside of the crop; whether it is
// mirrored; and the square [top, bottom) x [left, right) that is set to 0 after the normalisation.
struct Placement {
    u32 index;
    int down, right, mirrored, top, bottom, left, right_edge;
};

// out[k] = the image of placement k, cropped from a border of `pad` black pixels, normalised by `table`, [3, 256].
KERNEL(place_images, const u8 *images, const Placement *placements, const float *table, float *out, i64 n, int h, int w,
       int pad) {
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
        const int channel = i % 3, x = i / 3 % w, y = i / 3 / w % h;
        const Placement p = placements[i / 3 / w / h];
        const int row = y + p.down - pad, column = (p.mirrored ? w - 1 - x : x) + p.right - pad;
        int byte = 0;
        if (row >= 0 && row < h && column >= 0 && column < w) {
            byte = images[(((i64)p.index * h + row) * w + column) * 3 + channel];
        }
        const bool cut = y >= p.top && y < p.bottom && x >= p.left && x < p.right_edge;
        out[i] = cut ? 0.f : table[channel * 256 + byte];
    }
}
