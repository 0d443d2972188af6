// The order in which threads and blocks run. A GPU promises none, so what depends on one is wrong; with the wrong one
// it shows.
#pragma once

#include "random.h"

#include <cstdint>

namespace software_gpu {

class Order {
  public:
    enum Kind { Forward, Backward, Shuffled };

    // As MSHARP_SOFTWARE_GPU_ORDER says (forward, backward, shuffled), shuffled where it says nothing. Another one at
    // each launch, so that a kernel launched twice has to get the same result in two ways; the same ones in each
    // process, as far as its launches have the same order. MSHARP_SOFTWARE_GPU_SEED chooses others.
    static Order of_next_launch();

    Order(Kind kind, uint64_t seed) : kind(kind), random(seed) {}

    // Puts n numbers, given in ascending order, into this order.
    template <class T> void arrange(T *numbers, unsigned n) {
        if (kind == Shuffled) {
            for (unsigned i = n; i > 1; --i) { // Fisher and Yates
                swap(numbers[i - 1], numbers[random.below(i)]);
            }
        } else if (kind == Backward) {
            for (unsigned i = 0; i < n / 2; ++i) {
                swap(numbers[i], numbers[n - 1 - i]);
            }
        }
    }

    // Whether threads that need no longer wait go on at once, or after all others that are ready. In lockstep, whatever
    // is exchanged within warps would keep the whole block together, and hide that a barrier is missing.
    bool runs_ahead() { return kind == Backward || (kind == Shuffled && random.next() >> 63); }

    // An order of 0 ... n-1 that needs no table.
    class Steps {
      public:
        uint64_t at(uint64_t i) const { return (uint64_t)((first + (unsigned __int128)i * step) % n); }

      private:
        friend class Order;
        uint64_t n, first, step;
    };
    Steps steps(uint64_t n);

  private:
    Kind kind;
    Random random;

    template <class T> static void swap(T &a, T &b) {
        const T kept = a;
        a = b;
        b = kept;
    }
};

} // namespace software_gpu
