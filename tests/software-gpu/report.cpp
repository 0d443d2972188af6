// Lines on stderr, each in one piece, since tests run on several threads.
#include "report.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace software_gpu {

static void line(const char *format, va_list arguments) {
    char text[1024];
    vsnprintf(text, sizeof text, format, arguments);
    fprintf(stderr, "software GPU: %s\n", text);
}

void report(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    line(format, arguments);
    va_end(arguments);
}

void give_up(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    line(format, arguments);
    va_end(arguments);
    abort();
}

} // namespace software_gpu

// Called by the stand-ins of functions that the software GPU does not have (build.sh makes them).
extern "C" [[noreturn]] __attribute__((visibility("default"))) void software_gpu_missing(const char *function) {
    software_gpu::give_up("%s was called, which is not simulated", function);
}
