// The register of kernels. It is filled before main, by constructors of other files, so it must not be one of theirs.
#include "kernels.h"

#include "report.h"

#include <map>
#include <string>

namespace software_gpu {

static std::map<std::string, Kernel> &kernels(Origin origin) {
    static auto *kernels = new std::map<std::string, Kernel>[2]; // for as long as the process lives
    return kernels[origin == Origin::Candle];
}

void add_kernel(Origin origin, const Kernel &kernel) {
    if (!kernels(origin).emplace(kernel.name, kernel).second) {
        give_up("there are two kernels called %s", kernel.name);
    }
}

const Kernel *find_kernel(Origin origin, const char *name) {
    const auto found = kernels(origin).find(name);
    return found == kernels(origin).end() ? nullptr : &found->second;
}

} // namespace software_gpu
