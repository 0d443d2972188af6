// Shared variables are the only thread-local ones of the library that the kernels are in, so all of those are filled.
//
// That happens once for a launch: later blocks find what the ones before them left, as on a GPU.
#include "shared_memory.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <link.h>
#include <map>
#include <mutex>

extern "C" void *__tls_get_addr(size_t *module_and_offset);

namespace software_gpu {

namespace {

struct Variables {
    uintptr_t kernel;
    size_t module, size;
};

// Looks for the library that has the kernel's address.
[[maybe_unused]] int find(dl_phdr_info *library, size_t, void *data) {
    auto *variables = (Variables *)data;
    bool has = false;
    size_t size = 0;
    for (int i = 0; i < library->dlpi_phnum; ++i) {
        const ElfW(Phdr) &segment = library->dlpi_phdr[i];
        const uintptr_t first = library->dlpi_addr + segment.p_vaddr;
        has = has || (segment.p_type == PT_LOAD && variables->kernel - first < segment.p_memsz);
        size = segment.p_type == PT_TLS ? segment.p_memsz : size;
    }
    if (has) {
        variables->module = library->dlpi_tls_modid;
        variables->size = size;
    }
    return has;
}

} // namespace

void forget_shared_memory(const void *kernel) {
#if defined(__SANITIZE_ADDRESS__) || !defined(__linux__)
    (void)kernel; // they are common variables, with guards in between, or cannot be found
#else
    static auto &lock = *new std::mutex;
    static auto &known = *new std::map<const void *, Variables>;
    const std::lock_guard<std::mutex> guard(lock);
    const auto [at, is_new] = known.emplace(kernel, Variables{(uintptr_t)kernel, 0, 0});
    const Variables &variables = at->second;
    if (is_new) {
        dl_iterate_phdr(find, &at->second);
    }
    if (variables.size > 0) {
        size_t place[2] = {variables.module, 0};
        memset(__tls_get_addr(place), 0xFF, variables.size);
    }
#endif
}

} // namespace software_gpu
